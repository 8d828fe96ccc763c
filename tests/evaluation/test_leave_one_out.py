"""The table that leaves one set out: what is left out, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from benchmarks import leave_one_out
from benchmarks.leave_one_out import without
from napari_del.errors import ParameterError
from napari_del.training.config import load_config

CONFIG = """
size = [64, 64]
merge_images = 0

[network]
initial = "del-lite"

[training]
steps = 1
batch = 1

[[data]]
path = "{folder}/dsb2018"
hold_out = true

[[data]]
path = "{folder}/wbc"
hold_out = true
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sets of ten small images of two discs each, and a configuration for both."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80]
    for name in ("dsb2018", "wbc"):
        for part in ("images", "labels"):
            (tmp_path / name / part).mkdir(parents=True)
        for number in range(10):
            labels = np.zeros((64, 80), np.uint8)
            for label, row in enumerate(rng.integers(14, 50, 2).tolist(), start=1):
                labels[(y - row) ** 2 + (x - 40 * label + 20) ** 2 < 144] = label
            image = np.where(labels > 0, 200, 60) + rng.integers(0, 8, labels.shape)
            iio.imwrite(tmp_path / name / "images" / f"{number}.png", image.astype(np.uint8))
            iio.imwrite(tmp_path / name / "labels" / f"{number}.png", labels)
    (tmp_path / "both.toml").write_text(CONFIG.format(folder=tmp_path.as_posix()))
    return tmp_path


def test_the_set_is_left_out_and_nothing_else(folder: Path) -> None:
    config = load_config(folder / "both.toml")
    assert [item.name for item in without(config, "wbc").data] == ["dsb2018"]
    assert without(config, "wbc").training == config.training
    with pytest.raises(ParameterError, match="'roads' is not in .* one of dsb2018, wbc"):
        without(config, "roads")


def test_each_set_is_scored_by_a_network_that_was_trained_without_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = folder / "figures.json"
    arguments = [str(folder / "both.toml"), "--data", str(folder), "--json", str(figures)]
    arguments += ["--sets", "wbc", "--work", str(folder / "work"), "--device", "cpu"]
    arguments += ["--scale", "1", "2"]
    leave_one_out.main(arguments)
    out = capsys.readouterr().out
    assert "dsb2018: 8 images" in out and "wbc: 8 images" not in out
    assert [path.name for path in (folder / "work").glob("*.safetensors")] == [
        "without-wbc.safetensors"
    ]
    row = json.loads(figures.read_text())["without"]["wbc"]
    assert (row["images"], row["steps"]) == (2, 1)
    assert list(row["methods"]) == [
        f"{linkage}{setting}"
        for setting in ("", ", scale 1, step 16", ", scale 2, step 8", ", scale 2, step 6")
        for linkage in ("average", "contrast")
    ]
    assert 0.5 < max(row["methods"]["average"]["best_iou"]) <= 1
    assert "felzenszwalb" in out  # whose figures are there already
    written = figures.read_bytes()
    leave_one_out.main(arguments)
    assert "images" not in capsys.readouterr().out  # nothing is trained again
    assert figures.read_bytes() == written
