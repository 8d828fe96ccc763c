"""Covering: by hand, against the definition written out, and against the BSDS benchmark."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage as ndi
from scipy.io import loadmat

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation import (
    RegionOverlaps,
    SuperpixelContingency,
    contingency_table,
    load_bsds,
    segmentation_covering,
    summarise_covering,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
LABELS = st.one_of(st.integers(-3, 4), st.sampled_from([-(2**40), 2**40]))


@st.composite
def label_images(draw: st.DrawFn, count: int) -> list[np.ndarray]:
    shape = draw(SHAPES)
    return [draw(hnp.arrays(np.int64, shape, elements=LABELS)) for _ in range(count)]


def covering_by_definition(segmentation: np.ndarray, truth: np.ndarray) -> float:
    total = 0.0
    for region in np.unique(truth):
        inside = truth == region
        best = max(
            np.sum(inside & (segmentation == label)) / np.sum(inside | (segmentation == label))
            for label in np.unique(segmentation)
        )
        total += inside.sum() * best
    return total / truth.size


@given(label_images(2))
def test_covering_follows_its_definition(images):
    segmentation, truth = images
    expected = covering_by_definition(segmentation, truth)
    assert segmentation_covering(segmentation, truth) == pytest.approx(expected, abs=1e-12)


@given(label_images(1))
def test_covering_of_a_partition_by_itself_is_one(images):
    (labels,) = images
    assert segmentation_covering(labels * 3 + 1, labels) == 1.0


def test_covering_by_hand():
    truth = np.array([[1, 1, 2], [1, 1, 2]])
    # Region 1 (4 pixels) overlaps all six by 4/6, region 2 (2 pixels) by 2/6.
    assert segmentation_covering(np.zeros((2, 3), int), truth) == pytest.approx(
        (4 * 4 / 6 + 2 * 2 / 6) / 6
    )
    assert segmentation_covering(truth, np.zeros((2, 3), int)) == pytest.approx(4 / 6)


@given(label_images(2))
def test_contingency_table_counts_every_pair(images):
    first, second = images
    table = contingency_table(first, second).toarray()
    expected = [
        [np.sum((first == a) & (second == b)) for b in np.unique(second)] for a in np.unique(first)
    ]
    np.testing.assert_array_equal(table, expected)


@given(label_images(4), st.data())
def test_superpixel_counts_give_the_covering_of_the_pixels(images, data):
    superpixels, *truths = images
    counted = SuperpixelContingency(superpixels, truths)
    n = counted.ids.size
    regions = [data.draw(hnp.arrays(np.int32, n, elements=st.integers(0, 5))) for _ in range(2)]
    overlaps = counted.overlaps(regions)
    rows = np.searchsorted(counted.ids, superpixels)
    for labels, covering in zip(regions, overlaps.covering(), strict=True):
        expected = np.mean([covering_by_definition(labels[rows], truth) for truth in truths])
        assert covering == pytest.approx(expected, abs=1e-12)


def test_summary_by_hand():
    # Two images of four pixels, one with two annotators: three pairs, each counting the same.
    first = RegionOverlaps(np.array([[1.0, 0.5, 0.5], [0.5, 0.75, 1.0]]), np.array([4, 2, 2]))
    second = RegionOverlaps(np.array([[0.5], [0.6]]), np.array([4]))
    summary = summarise_covering([first, second])
    np.testing.assert_allclose(first.covering(), [0.75, (2 + 1.5 + 2) / 8])
    np.testing.assert_allclose(summary.covering, [(6 + 2) / 12, (5.5 + 2.4) / 12])
    assert summary.ods_index == 0
    assert summary.ods == pytest.approx(8 / 12)
    assert summary.ois == pytest.approx((6 + 2.4) / 12)
    assert summary.best == pytest.approx((4 + 1.5 + 2 + 2.4) / 12)


def test_bad_input_is_named():
    labels = np.zeros((2, 3), int)
    with pytest.raises(ImageError, match=r"\(3, 2\) and \(2, 3\)"):
        segmentation_covering(labels, labels.T)
    with pytest.raises(ImageError, match="float64"):
        segmentation_covering(labels.astype(float), labels)
    with pytest.raises(ImageError, match="at least one pixel"):
        contingency_table(labels[:0], labels[:0])
    with pytest.raises(ParameterError, match="at least one annotator"):
        SuperpixelContingency(labels, [])
    with pytest.raises(ParameterError, match=r"\(2,\)"):
        SuperpixelContingency(labels, [labels]).overlaps([[1, 2]])
    with pytest.raises(ParameterError, match="at least one image"):
        summarise_covering([])
    one = RegionOverlaps(np.ones((1, 1)), np.ones(1, np.int64))
    two = RegionOverlaps(np.ones((2, 1)), np.ones(1, np.int64))
    with pytest.raises(ParameterError, match=r"\[1, 2\]"):
        summarise_covering([one, two])


@pytest.mark.slow
def test_agrees_with_the_benchmark_on_its_reference(shared_data: Path):
    """Hierarchies that the BSDS benchmark itself has scored, to 0.003 at every threshold."""
    folder = shared_data / "bsds500_reference"
    expected = json.loads((folder / "expected.json").read_text())
    names = set((folder / "ids.txt").read_text().split())
    thresholds = 0.05 * np.arange(1, 20)
    images = []
    for name, _, truths in load_bsds(shared_data / "bsds500" / "val"):
        if name not in names:
            continue
        contours = loadmat(folder / "ucm2" / f"{name}.mat")["ucm2"]
        regions = [
            ndi.label(contours <= threshold, np.ones((3, 3)))[0][1::2, 1::2]
            for threshold in thresholds
        ]
        # Each pixel a superpixel of its own: nothing is assumed of the hierarchy.
        pixels = np.arange(regions[0].size).reshape(regions[0].shape)
        counted = SuperpixelContingency(pixels, truths)
        images.append(counted.overlaps(labels.ravel() for labels in regions))
    assert len(images) == len(names) == 10
    summary = summarise_covering(images)
    np.testing.assert_allclose(summary.covering, expected["per_threshold"]["covering"], atol=0.003)
    assert summary.ods == pytest.approx(expected["summary"]["covering"]["ODS"], abs=0.003)
    assert summary.ois == pytest.approx(expected["summary"]["covering"]["OIS"], abs=0.003)
    assert summary.best == pytest.approx(expected["summary"]["covering"]["Best"], abs=0.003)
