"""The examples run as they stand."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import pytest
import tifffile
from skimage import data

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_regions_at_three_scales(tmp_path: Path) -> None:
    script = EXAMPLES / "regions_at_three_scales.py"
    run = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"regions_20.png", "regions_80.png", "regions_320.png"}
    coarse, fine = (iio.imread(tmp_path / f"regions_{n}.png") for n in (20, 320))
    image = data.coffee()
    assert coarse.shape == fine.shape == image.shape
    # More regions have more border, so more of the picture differs from the image.
    assert 0 < (coarse != image).sum() < (fine != image).sum()


def test_whole_slide(tmp_path: Path) -> None:
    script = EXAMPLES / "whole_slide.py"
    for _ in range(2):  # the second run finds all that it needs in the store
        run = subprocess.run(
            [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"regions.del.zarr", "regions.tif"}
    labels = tifffile.imread(tmp_path / "regions.tif")
    assert labels.shape == (480, 480) and 200 < labels.max() <= 300
    assert f"regions.tif: {labels.max()} regions" in run.stdout


@pytest.mark.gui
def test_layers_in_napari(
    make_napari_viewer: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    napari = pytest.importorskip("napari")
    viewers = []

    def open_viewer() -> object:
        viewers.append(make_napari_viewer())
        return viewers[0]

    # The event loop would wait for someone to close the window.
    monkeypatch.setattr(napari, "Viewer", open_viewer)
    monkeypatch.setattr(napari, "run", lambda: None)
    script = EXAMPLES / "layers_in_napari.py"
    exec(compile(script.read_text(encoding="utf-8"), script, "exec"), {})
    image, fine, coarse = viewers[0].layers
    assert image.name == "coffee"
    assert 200 >= fine.data.max() > 20 >= coarse.data.max() > 1
