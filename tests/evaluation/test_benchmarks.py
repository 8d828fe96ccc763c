"""The benchmarks measure what they say; how quick things are is not tested here."""

from __future__ import annotations

import json
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from benchmarks import __main__ as table
from benchmarks import superpixel_quality
from benchmarks._images import natural_image
from benchmarks._measure import Comparison, compare, interleave


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Two small photographs; the annotators' regions are blocks."""
    folder = tmp_path / "split"
    folder.mkdir()
    blocks = np.kron(np.arange(6).reshape(2, 3), np.ones((48, 48), int)).astype(np.int16)
    for name, image in (("1", data.coffee()), ("2", data.chelsea())):
        iio.imwrite(folder / f"{name}.jpg", image[100:196, 100:244])
        np.savez(folder / f"{name}.npz", seg=np.stack([blocks, blocks // 3]))
    return folder


def test_rounds_alternate_after_a_warm_up() -> None:
    calls: list[str] = []
    seconds = interleave([lambda: calls.append("a"), lambda: calls.append("b")], rounds=3)
    assert calls == ["a", "b"] * 4
    assert [len(times) for times in seconds] == [3, 3]


def test_the_ratio_is_the_median_of_the_rounds() -> None:
    comparison = Comparison("x", "a", "b", (1.0, 6.0, 30.0), (1.0, 2.0, 3.0))
    assert comparison.ratios == [1.0, 3.0, 10.0]
    assert comparison.ratio == 3.0
    row = comparison.row()
    assert (row["A / B"], row["least - most"], row["median A"]) == ("3", "1 - 10", "6000 ms")


@pytest.mark.parametrize(
    ("limit", "holds"),
    [({"at_least": 0.0}, True), ({"at_most": 0.0}, False), ({}, None)],
)
def test_a_limit_is_kept_or_not(limit: dict[str, float], holds: bool | None) -> None:
    result = compare("x", ("a", lambda: None), ("b", lambda: None), rounds=1, **limit)
    assert result.holds is holds


@pytest.mark.parametrize("shape", [(50, 70), (321, 481), (700, 1000)])
def test_natural_image_is_of_any_size_and_does_not_repeat(shape: tuple[int, int]) -> None:
    image = natural_image(*shape)
    assert image.shape == (*shape, 3) and image.dtype == np.uint8
    assert image.std() > 5
    if shape[1] > 902:
        assert (image[:300, :451] != image[:300, 451:902]).mean() > 0.5


def test_merging_gives_the_same_regions_as_scikit_image(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.json"
    assert table.main(["--quick", "--only", "merging", "--json", str(path)]) == 0
    (row,) = json.loads(path.read_text())["rows"]
    assert row["note"] == "60 regions the same"
    assert row["name"] in capsys.readouterr().out


def test_bracket_encloses_the_count() -> None:
    image = data.coffee()[:96, :144]
    for arguments in (
        superpixel_quality.by_n_segments(image),
        superpixel_quality.by_min_size(image),
    ):
        below, above = superpixel_quality.bracket(image, 200, arguments)
        assert np.unique(below).size < 200 <= np.unique(above).size


@given(st.integers(1, 99))
def test_interpolation_lies_on_the_line(count: int) -> None:
    low = superpixel_quality.Quality(0, 0.0, 1.0, 0.5)
    high = superpixel_quality.Quality(100, 1.0, 0.0, 0.5)
    middle = superpixel_quality.interpolate(low, high, count)
    assert middle == pytest.approx((count, count / 100, 1 - count / 100, 0.5))


def test_superpixel_quality_compares_at_equal_counts(
    split: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "quality.json"
    superpixel_quality.main([str(split), "--json", str(path)])
    content = json.loads(path.read_text())
    images = content["images"]
    ours = [image["count"] for image in images["napari_del"]]
    assert len(ours) == 2
    for name, results in images.items():
        counts = [image["count"] for image in results]
        if name.endswith("equal count"):
            assert counts == ours
        if name.endswith("next above"):
            assert all(a >= b for a, b in zip(counts, ours, strict=True))
    assert "boundary recall" in capsys.readouterr().out
