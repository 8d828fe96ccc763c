"""The table that leaves one set out: what is left out, and what is kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import leave_one_out
from benchmarks.leave_one_out import without
from napari_del.errors import ParameterError
from napari_del.training.config import load_config


def test_the_set_is_left_out_and_nothing_else(two_sets: Path) -> None:
    config = load_config(two_sets / "both.toml")
    assert [item.name for item in without(config, "wbc").data] == ["dsb2018"]
    assert without(config, "wbc").training == config.training
    with pytest.raises(ParameterError, match="'roads' is not in .* one of dsb2018, wbc"):
        without(config, "roads")


def test_each_set_is_scored_by_a_network_that_was_trained_without_it(
    two_sets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = two_sets / "figures.json"
    arguments = [str(two_sets / "both.toml"), "--data", str(two_sets), "--json", str(figures)]
    arguments += ["--sets", "wbc", "--work", str(two_sets / "work"), "--device", "cpu"]
    arguments += ["--scale", "1", "2"]
    leave_one_out.main(arguments)
    out = capsys.readouterr().out
    assert "dsb2018: 8 images" in out and "wbc: 8 images" not in out
    assert [path.name for path in (two_sets / "work").glob("*.safetensors")] == [
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
