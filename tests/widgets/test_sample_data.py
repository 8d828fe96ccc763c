"""Sample images open from the menu, without a download."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_del
from napari_del import sample_data

SAMPLES = {
    "rocket": (427, 640, 3),
    "coffee": (400, 600, 3),
    "chelsea": (300, 451, 3),
    "immunohistochemistry": (512, 512, 3),
    "cell": (660, 550),
    "retina": (1411, 1411, 3),
    "landsat": (480, 480, 3),
}


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.gui
@pytest.mark.usefixtures("plugin")
def test_samples_open_in_a_viewer(make_napari_viewer: Callable[..., Any]) -> None:
    viewer = make_napari_viewer()
    for key, shape in SAMPLES.items():
        viewer.layers.clear()
        viewer.open_sample("napari-del", key)
        assert viewer.layers[0].data.shape == shape, key
    assert [str(unit) for unit in viewer.layers[0].units] == ["meter", "meter"]
    np.testing.assert_array_equal(viewer.layers[0].scale, (30, 30))


@pytest.mark.usefixtures("offline")
def test_samples_need_no_network() -> None:
    assert set(sample_data.__all__) == set(SAMPLES)
    for key, shape in SAMPLES.items():
        layers = getattr(sample_data, key)()
        assert layers[0][0].shape == shape
        assert layers[0][2] == "image"


def test_landsat_has_nodata_that_its_mask_leaves_out() -> None:
    (image, settings, _), (mask, _, kind) = sample_data.landsat()
    assert settings["rgb"]
    assert kind == "labels"
    assert 0.01 < (mask == 0).mean() < 0.1
    assert (image[mask == 0] == 0).all()
    assert image.dtype == np.uint16
    assert np.median(image[mask == 1]) > 8_000  # bright enough to see
    labels = napari_del.segment(image, model="mean-color", step=16, mask=mask != 0).labels()
    np.testing.assert_array_equal(labels == 0, mask == 0)


def test_shipped_data_are_small_and_named_in_a_readme() -> None:
    folder = Path(napari_del.__file__).parent / "data"
    readme = (folder / "README.md").read_text(encoding="utf-8")
    files = [entry for entry in os.scandir(folder) if entry.name != "README.md"]
    assert files
    for entry in files:
        assert entry.stat().st_size < 1_000_000
        assert entry.name in readme
