"""Fixtures and settings that all tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

# Read by the libraries when they are first imported: the tests use PyTorch, BLAS and their own
# threads one after the other, and none of them may take more threads than there are cores.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parents[1]

# Compiling a kernel in the first example takes seconds, so no example has a deadline.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=25,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "default")


def _has_display() -> bool:
    if not sys.platform.startswith("linux"):
        return True
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Qt aborts the whole process where it finds no display, so such a test is skipped instead.
    skip = pytest.mark.skip(reason="no display; run the tests with tests/run.sh or xvfb-run")
    for item in items:
        if {"make_napari_viewer", "qtbot"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.gui)
        if item.get_closest_marker("gui") and not _has_display():
            item.add_marker(skip)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no CUDA device")


@pytest.fixture
def quick_adaptation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Merge functions are adapted in few steps, for tests that do not ask what becomes of them."""
    from napari_del.training.merge_adaptation import adapt_merge_function, replay_pictures

    where = "napari_del.training.finetune"
    smallest = replay_pictures()[-3:]
    monkeypatch.setattr(f"{where}.replay_pictures", lambda: smallest)
    monkeypatch.setattr(f"{where}._MERGED", 2)
    monkeypatch.setattr(f"{where}.adapt_merge_function", partial(adapt_merge_function, steps=20))


@pytest.fixture(scope="session", autouse=True)
def no_user_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the models that a developer has installed out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_DEL_MODELS", str(tmp_path_factory.mktemp("models")))
        yield


@pytest.fixture
def user_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of user models for one test; not made yet."""
    folder = tmp_path / "user models"
    monkeypatch.setenv("NAPARI_DEL_MODELS", str(folder))
    return folder


@pytest.fixture(scope="session")
def git_files() -> Callable[..., list[str]]:
    """List the files below some paths: tracked ones, and new ones that git does not ignore."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")

    def list_files(*paths: str) -> list[str]:
        command = ["git", "ls-files", "-co", "--exclude-standard", "--", *paths]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        # A file that was deleted but is still tracked is listed as well.
        return [name for name in run.stdout.splitlines() if (ROOT / name).exists()]

    return list_files


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of data sets beside the checkout, which is not part of the repository."""
    folder = (ROOT / "../shared/data").resolve()
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}")
    return folder


@pytest.fixture
def two_tone() -> np.ndarray:
    """A uint8 RGB image of 48 x 64 pixels: a dark disc on a bright ground, with little noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:48, :64]
    disc = (y - 24) ** 2 + (x - 28) ** 2 < 14**2
    image = np.where(disc[..., None], [60, 80, 40], [200, 180, 220])
    return (image + rng.integers(-8, 9, image.shape)).astype(np.uint8)


@pytest.fixture
def grey_ramp() -> np.ndarray:
    """A uint16 grey image of 40 x 56 pixels: four vertical bands of growing brightness."""
    bands = np.repeat(np.array([500, 9_000, 25_000, 60_000], dtype=np.uint16), 14)
    return np.tile(bands, (40, 1))


@pytest.fixture(scope="session")
def lite_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights file of del-lite as training would write it, with weights drawn by chance."""
    import torch

    from napari_del.models.lite import DelLite
    from napari_del.training.train import export_weights

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = DelLite()
    network.initialise(torch.Generator().manual_seed(1))
    path = tmp_path_factory.mktemp("weights") / "lite.safetensors"
    export_weights(network, path, {})
    return path
