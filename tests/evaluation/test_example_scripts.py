"""Examples that need neither weights nor a display do what they say."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import imageio.v3 as iio
import pytest
import tifffile

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["example"])


def test_measure_regions() -> None:
    labels = runpy.run_path(str(EXAMPLES / "measure_regions.py"))["labels"]
    with Path("regions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == labels.max() > 20
    assert sum(int(row["area"]) for row in rows) == labels.size
    assert min(int(row["area"]) for row in rows) >= 100
    # Dark brown glands take up far more DAB than the pale ground.
    stain = sorted(float(row["dab"]) for row in rows)
    assert stain[-1] > 2 * stain[0]
    assert iio.imread("regions.png").shape == (*labels.shape, 3)


def test_geotiff_keeps_its_place() -> None:
    names = runpy.run_path(str(EXAMPLES / "geotiff.py"))
    with tifffile.TiffFile(names["bundled"]) as scene, tifffile.TiffFile("regions.tif") as regions:
        for tag in ("ModelPixelScaleTag", "ModelTiepointTag"):
            assert regions.pages[0].tags[tag].value == scene.pages[0].tags[tag].value
        labels = regions.asarray()
        empty = ~scene.asarray().any(axis=-1)
    assert 100 < labels.max() <= 300
    assert ((labels == 0) == empty).all()


def test_threshold_sweep(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "threshold_sweep.py"))
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["threshold", "average", "del", "egb"]
    counts = [[int(count) for count in line.split()[1:]] for line in lines]
    for column in list(zip(*counts, strict=True))[:2]:
        assert sorted(column, reverse=True) == list(column)
        assert column[0] > 1000 and column[-1] == 1
