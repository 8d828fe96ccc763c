"""Superpixel measures: by hand, and against their definitions written out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation import (
    achievable_segmentation_accuracy,
    boundary_recall,
    label_boundaries,
    undersegmentation_error,
)

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=7)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    shape = draw(SHAPES)
    images = hnp.arrays(np.int32, shape, elements=st.integers(0, 3))
    return draw(images), draw(images)


def boundaries_by_definition(labels: np.ndarray) -> set[tuple[int, int]]:
    height, width = labels.shape
    return {
        (y, x)
        for y in range(height)
        for x in range(width)
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
        if 0 <= v < height and 0 <= u < width and labels[v, u] != labels[y, x]
    }


@given(pairs(), st.integers(0, 3))
def test_boundary_recall_follows_its_definition(images, tolerance):
    superpixels, truth = images
    wanted = boundaries_by_definition(truth)
    given_ = boundaries_by_definition(superpixels)
    found = [any(max(abs(y - v), abs(x - u)) <= tolerance for v, u in given_) for y, x in wanted]
    expected = np.mean(found) if found else 1.0
    assert boundary_recall(superpixels, truth, tolerance=tolerance) == pytest.approx(expected)


@given(pairs())
def test_boundaries_are_on_both_sides(images):
    labels, _ = images
    ys, xs = np.nonzero(label_boundaries(labels))
    assert set(zip(ys.tolist(), xs.tolist(), strict=True)) == boundaries_by_definition(labels)


@given(pairs())
def test_undersegmentation_error_follows_its_definition(images):
    superpixels, truth = images
    expected = 0
    for region in np.unique(truth):
        for superpixel in np.unique(superpixels[truth == region]):
            inside = np.sum((superpixels == superpixel) & (truth == region))
            outside = np.sum((superpixels == superpixel) & (truth != region))
            expected += min(inside, outside)
    assert undersegmentation_error(superpixels, truth) == pytest.approx(expected / truth.size)


@given(pairs())
def test_achievable_accuracy_follows_its_definition(images):
    superpixels, truth = images
    expected = sum(np.bincount(truth[superpixels == s]).max() for s in np.unique(superpixels))
    accuracy = achievable_segmentation_accuracy(superpixels, truth)
    assert accuracy == pytest.approx(expected / truth.size)


def test_a_tolerance_of_two_pixels_is_the_default():
    truth = np.repeat([[1, 2]], 8, axis=1).reshape(1, 16)
    assert boundary_recall(np.roll(truth, 2)[:, 2:], truth[:, 2:]) == 1.0
    assert boundary_recall(np.roll(truth, 3)[:, 3:], truth[:, 3:]) == 0.5
    assert boundary_recall(np.roll(truth, 4)[:, 4:], truth[:, 4:]) == 0.0


def test_superpixels_that_keep_to_every_border_are_perfect():
    truth = np.kron([[1, 2], [3, 3]], np.ones((4, 4), int))
    superpixels = np.arange(16).reshape(4, 4).repeat(2, axis=0).repeat(2, axis=1)
    assert boundary_recall(superpixels, truth, tolerance=0) == 1.0
    assert undersegmentation_error(superpixels, truth) == 0.0
    assert achievable_segmentation_accuracy(superpixels, truth) == 1.0


def test_bad_input_is_named():
    labels = np.zeros((2, 3), int)
    with pytest.raises(ImageError, match=r"\(2, 3\) and \(3, 2\)"):
        boundary_recall(labels, labels.T)
    with pytest.raises(ImageError, match="two dimensions"):
        label_boundaries(labels[0])
    with pytest.raises(ParameterError, match="-1"):
        boundary_recall(labels, labels, tolerance=-1)
