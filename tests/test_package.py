"""The package as a whole: what importing it costs, what it declares and what it ships."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
import skimage.data
import tifffile

import napari_del

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

HEAVY = {
    "dask",
    "magicgui",
    "napari",
    "numba",
    "numpy",
    "PyQt6",
    "PySide6",
    "qtpy",
    "scipy",
    "skimage",
    "torch",
    "zarr",
}

# Base dependencies that are imported by another name than their own.
IMPORT_NAMES = {"pillow": "PIL", "scikit-image": "skimage"}

GitFiles = Callable[..., list[str]]


def _loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in run.stdout.split()}


def test_import_loads_no_heavy_library() -> None:
    loaded = _loaded_after("import napari_del, napari_del.errors; napari_del.__version__")
    assert "napari_del" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_heavy_libraries_are_seen_where_they_are_loaded() -> None:
    assert {"numba", "numpy"} <= _loaded_after("import napari_del; napari_del.slic")


@pytest.mark.parametrize("module", ["segmentation", "cli"])
def test_library_and_command_line_need_neither_napari_nor_qt(module: str) -> None:
    loaded = _loaded_after(f"import napari_del.{module}")
    assert loaded.isdisjoint({"napari", "qtpy", "PyQt6", "PySide6", "magicgui", "superqt"})


def test_public_names_resolve() -> None:
    assert set(napari_del.__all__) <= set(dir(napari_del))
    for name in napari_del.__all__:
        assert getattr(napari_del, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'segmnt'"):
        napari_del.segmnt  # noqa: B018


def test_version_is_that_of_the_installed_distribution() -> None:
    assert napari_del.__version__ == metadata.version("napari-del")


def test_changelog_has_an_entry_for_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"\n## [{napari_del.__version__}]" in changelog


def test_licence_is_bsd() -> None:
    assert metadata.metadata("napari-del")["License-Expression"] == "BSD-3-Clause"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("BSD 3-Clause License")


def test_top_level_holds_only_what_it_should(git_files: GitFiles) -> None:
    names = {name.partition("/")[0] for name in git_files()}
    assert {name for name in names if not name.startswith(".")} == {
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "benchmarks",
        "docs",
        "examples",
        "napari.yaml",
        "napari_del",
        "pyproject.toml",
        "tests",
    }


def test_every_package_is_declared(git_files: GitFiles) -> None:
    folders = {Path(name).parent for name in git_files("napari_del") if name.endswith(".py")}
    packages = {".".join(folder.parts) for folder in folders}
    assert packages | {"napari_del_manifest"} == set(PROJECT["tool"]["setuptools"]["packages"])


def _requirements(names: list[str]) -> set[str]:
    return {re.split(r"[\[<>=!~;]", name, maxsplit=1)[0].strip() for name in names}


def test_base_dependencies_have_no_qt_binding_and_no_upper_cap() -> None:
    dependencies = PROJECT["project"]["dependencies"]
    assert _requirements(dependencies).isdisjoint(
        {"napari", "PyQt5", "PyQt6", "PySide2", "PySide6", "pyqt5", "pyqt6", "pyside6"}
    )
    assert not [name for name in dependencies if re.search(r"<|==|~=", name)]


def _third_party_imports(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - {"napari_del"}


def test_every_import_is_a_declared_dependency_and_the_other_way_round(git_files: GitFiles) -> None:
    imported: set[str] = set()
    for name in git_files("napari_del"):
        if name.endswith(".py") and not name.startswith("napari_del/training/"):
            imported |= _third_party_imports(ROOT / name)
    dependencies = _requirements(PROJECT["project"]["dependencies"])
    declared = {IMPORT_NAMES.get(name, name) for name in dependencies}
    # The widgets run inside napari, which is there when they do; what needs one of the extras
    # says what to install.
    extras = PROJECT["project"]["optional-dependencies"]
    optional = _requirements([*extras["distributed"], *extras["tables"]])
    assert optional <= imported
    assert imported - optional - {"napari"} == declared


def test_only_widgets_import_napari_or_qt(git_files: GitFiles) -> None:
    gui = {"napari", "magicgui", "superqt", "qtpy", "psygnal"}
    users = {
        name
        for name in git_files("napari_del")
        if name.endswith(".py") and gui & _third_party_imports(ROOT / name)
    }
    assert users
    assert all(name.startswith("napari_del/widgets/") for name in users)


README = (ROOT / "README.md").read_text(encoding="utf-8")
REPOSITORY = re.compile(
    r"https://(?:raw\.githubusercontent\.com/napari-del/napari-del/main/"
    r"|github\.com/napari-del/napari-del/(?:blob|tree)/main/)([^\s)#]+)"
)


def test_readme_links_are_absolute_and_lead_to_files() -> None:
    targets = re.findall(r"\]\(([^)\s]+)\)", README)
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []
    paths = REPOSITORY.findall(README)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_readme_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, tiled = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(whole, names)
    assert names["labels"].min() == 1
    assert 1 < names["fifty"].max() <= 50
    assert (names["same"].superpixels == names["result"].superpixels).all()

    # The slide of the README is larger, and its window is elsewhere.
    tifffile.imwrite("slide.svs", skimage.data.coffee(), photometric="rgb", tile=(128, 128))
    large: dict[str, Any] = {}
    exec(tiled.replace("20_000:21_000, 30_000:31_000", "100:200, 300:450"), large)
    assert large["window"].shape == (100, 150)
    assert (large["result"].superpixels == names["result"].superpixels).all()
    assert (large["again"].labels(0.4) == names["result"].labels(0.4)).all()
    assert Path("regions.ome.zarr").is_dir()


def test_readme_commands_name_existing_scripts_and_options() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.DOTALL)
    assert "napari-del demo" in blocks[0]
    assert blocks[1].strip() == "bash tests/run.sh"
    ci = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert blocks[1].strip() in ci
    lines = [line for block in blocks[2:] for line in block.splitlines()]
    for command in ("segment", "relabel"):
        run = subprocess.run(
            [sys.executable, "-c", "from napari_del.cli import main; main()", command, "--help"],
            capture_output=True,
            text=True,
            check=True,
        )
        used = [line for line in lines if line.startswith(f"napari-del {command} ")]
        assert used
        options = set(re.findall(r"--[a-z-]+", "\n".join(used)))
        assert options <= set(re.findall(r"--[a-z-]+", run.stdout))
