"""The plugin manifest: valid, and found by napari in each way of installing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from npe2 import PluginManifest

ROOT = Path(__file__).parents[1]

COMMAND = "napari-del.segment"

# Runs in an environment of its own: opens a viewer, looks for the command in both menus, and
# chooses it there as a user does.
OPEN_FROM_MENU = """
import json, sys
import napari
import napari_del

def find(menu, command, path=()):
    menu.aboutToShow.emit()  # napari fills its menus when they open
    for action in menu.actions():
        if action.menu():
            yield from find(action.menu(), command, (*path, action.text()))
        elif action.objectName() == command:
            yield path, action

command = sys.argv[1]
viewer = napari.Viewer()
window = viewer.window
in_layers = list(find(window.layers_menu, command))
in_plugins = list(find(window.plugins_menu, command))
before = list(window.dock_widgets)
in_layers[0][1].trigger()
docked = {name: type(w).__name__ for name, w in window.dock_widgets.items() if name not in before}
found = {
    "module": napari_del.__file__,
    "layers": [path for path, _ in in_layers],
    "plugins": len(in_plugins),
    "docked": docked,
}
viewer.close()
print("found", json.dumps(found))
"""


def test_manifest_is_valid_and_names_this_package() -> None:
    manifest = PluginManifest.from_file(ROOT / "napari.yaml")
    manifest.validate_imports()
    assert manifest.name == "napari-del"


@pytest.mark.parametrize("what", [str(ROOT / "napari.yaml"), "napari-del"])
def test_npe2_validates_the_file_and_the_installed_plugin(what: str) -> None:
    command = [sys.executable, "-m", "npe2", "validate", "--imports", what]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_entry_point_names_a_folder_and_a_file() -> None:
    (entry_point,) = metadata.entry_points(group="napari.manifest", name="napari-del")
    assert entry_point.value == "napari_del_manifest:napari.yaml"


class Installed:
    """A virtual environment with napari-del, which takes all else from the running one."""

    def __init__(self, folder: Path, checkout: Path, *, editable: bool) -> None:
        self.folder, self.checkout, self.editable = folder, checkout, editable
        self.environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        # Neither the user's settings nor plugins that they disabled play a part.
        self.environment["NAPARI_CONFIG"] = str(folder / "settings.yaml")
        venv = folder / "venv"
        self.run(sys.executable, "-m", "venv", "--without-pip", str(venv))
        scripts = venv / ("Scripts" if os.name == "nt" else "bin")
        self.python = str(scripts / Path(sys.executable).name)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        self.site_packages = Path(self.run(self.python, "-c", where).strip())
        paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
        (self.site_packages / "outer.pth").write_text("\n".join(sorted(paths)))
        options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
        how = ["--editable"] if editable else []
        self.run(self.python, "-m", "pip", "install", *options, *how, str(checkout))

    def run(self, *command: str) -> str:
        """Output of a command that must succeed; it runs far from the checkout."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command} failed\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def open_from_menu(self) -> dict[str, object]:
        """Open the widget by its menu command; what was found on the way."""
        output = self.run(self.python, "-c", OPEN_FROM_MENU, COMMAND)
        return dict(json.loads(output.rpartition("found ")[2]))


@pytest.fixture(scope="module", params=["regular", "editable"])
def installed(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    git_files: Callable[..., list[str]],
) -> Installed:
    editable = request.param == "editable"
    if editable and (Path(sysconfig.get_path("purelib")) / "napari_del").exists():
        pytest.skip("the running environment's own copy of napari-del hides an editable one")
    folder = tmp_path_factory.mktemp(request.param)
    # A copy, because building leaves files in the checkout and takes up those of earlier builds.
    for name in git_files("napari_del", "napari.yaml", "pyproject.toml", "README.md", "LICENSE"):
        target = folder / "checkout" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    return Installed(folder, folder / "checkout", editable=editable)


def test_installed_plugin_is_valid(installed: Installed) -> None:
    installed.run(installed.python, "-m", "npe2", "validate", "--imports", "napari-del")


@pytest.mark.gui
def test_widget_opens_by_its_menu_command(installed: Installed) -> None:
    found = installed.open_from_menu()
    home = installed.checkout if installed.editable else installed.site_packages
    assert Path(str(found["module"])).parent == home / "napari_del"
    assert found["layers"] == [["Segment"]]
    assert found["plugins"] == 1
    assert list(dict(found["docked"]).values()) == ["SegmentWidget"]


def test_manifest_that_is_edited_takes_effect_at_once_only_when_editable(
    installed: Installed,
) -> None:
    manifest = installed.checkout / "napari.yaml"
    before = manifest.read_text(encoding="utf-8")
    find = "PluginManifest.from_distribution('napari-del').display_name"
    show = f"from npe2 import PluginManifest; print({find})"
    try:
        manifest.write_text(
            before.replace("display_name: ", "display_name: Edited ", 1), encoding="utf-8"
        )
        title = installed.run(installed.python, "-c", show)
    finally:
        manifest.write_text(before, encoding="utf-8")
    assert title.startswith("Edited ") == installed.editable


def test_installation_has_every_file_of_the_package(
    installed: Installed, git_files: Callable[..., list[str]]
) -> None:
    folders = [installed.site_packages / name for name in ("napari_del", "napari_del_manifest")]
    files = {
        path.relative_to(installed.site_packages).as_posix()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    shipped = {*git_files("napari_del"), "napari_del_manifest/napari.yaml"}
    # An editable installation takes all from the checkout and copies nothing.
    assert files == (set() if installed.editable else shipped)
