"""Measures of regions: by hand, against definitions written out, and against scikit-image."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage import metrics

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation import (
    RegionTable,
    SuperpixelContingency,
    adapted_rand_error,
    contingency_table,
    mean_best_iou,
    object_covering,
    objects_and_parts,
    probabilistic_rand_index,
    segmentation_covering,
    variation_of_information,
)
from napari_del.evaluation.datasets import OTHER, UNLABELLED
from napari_del.evaluation.regions import best_overlaps

SHAPES = hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)
LABELS = st.one_of(st.integers(0, 4), st.sampled_from([2**40]))


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


def numbered(labels: np.ndarray) -> np.ndarray:
    """The same partition with the labels 0, 1, 2, ...: scikit-image counts up to the largest."""
    return np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


@given(label_images(2))
def test_covering_follows_its_definition(images):
    segmentation, truth = images
    expected = covering_by_definition(segmentation, truth)
    assert segmentation_covering(segmentation - 2, truth) == pytest.approx(expected, abs=1e-12)


@given(label_images(3))
def test_rand_index_counts_pairs_of_pixels(images):
    segmentation, *truths = images
    pairs = list(combinations(range(segmentation.size), 2))
    agreeing = [
        sum((a.ravel()[i] == a.ravel()[j]) == (b.ravel()[i] == b.ravel()[j]) for i, j in pairs)
        for a, b in ((segmentation, truth) for truth in truths)
    ]
    expected = np.mean(agreeing) / len(pairs) if pairs else 1.0
    assert probabilistic_rand_index(segmentation, truths) == pytest.approx(expected, abs=1e-12)


@given(label_images(2))
def test_variation_of_information_is_that_of_scikit_image(images):
    segmentation, truth = (numbered(labels) for labels in images)
    expected = sum(metrics.variation_of_information(truth, segmentation))
    assert variation_of_information(segmentation, [truth]) == pytest.approx(expected, abs=1e-9)


@given(label_images(1))
def test_a_partition_agrees_with_itself(images):
    (labels,) = images
    other = labels * 3 + 1
    assert segmentation_covering(other, labels) == 1.0
    assert probabilistic_rand_index(other, [labels]) == 1.0
    assert variation_of_information(other, [labels]) == 0.0
    assert objects_and_parts(other, [labels]) == (1.0, 1.0)


def test_covering_by_hand():
    truth = np.array([[1, 1, 2], [1, 1, 2]])
    # Region 1 (4 pixels) overlaps all six by 4/6, region 2 (2 pixels) by 2/6.
    assert segmentation_covering(np.zeros((2, 3), int), truth) == pytest.approx(
        (4 * 4 / 6 + 2 * 2 / 6) / 6
    )
    assert segmentation_covering(truth, np.zeros((2, 3), int)) == pytest.approx(4 / 6)


def line(*lengths: int) -> np.ndarray:
    """One row of regions of these lengths, numbered from 0."""
    return np.repeat(np.arange(len(lengths)), lengths)[np.newaxis]


def test_objects_and_parts_by_hand():
    truth = line(100, 100)
    # The first region is an object; the second region falls into parts of 70 and of 30.
    precision, recall = objects_and_parts(line(100, 70, 30), [truth])
    assert (precision, recall) == pytest.approx(((1 + 0.1 + 0.1) / 3, 1.0))
    # One region holds both: it is filled by them, and they are its parts.
    precision, recall = objects_and_parts(line(200), [truth])
    assert (precision, recall) == pytest.approx((1.0, 0.1))
    # A region that fills less than a quarter of what it lies in is nothing, but fills it.
    precision, recall = objects_and_parts(line(100, 80, 20), [truth])
    assert (precision, recall) == pytest.approx(((1 + 0.1 + 0) / 3, 1.0))
    # Straddling both, nothing fits: its share in either is below 0.9.
    precision, recall = objects_and_parts(line(50, 100, 50), [truth])
    assert (precision, recall) == pytest.approx((0.2 / 3, 0.5))


def test_objects_and_parts_of_several_annotators():
    # Parts to the first annotator, objects to the second: the better counts.
    precision, recall = objects_and_parts(line(100, 100), [line(200), line(100, 100)])
    assert (precision, recall) == (1.0, 1.0)
    precision, recall = objects_and_parts(line(200), [line(200), line(50, 150)])
    assert (precision, recall) == pytest.approx((1.0, (1 + 0.1 + 0.1) / 3))
    # No part and no object to anyone: how far it is filled is the mean over the annotators.
    precision, _ = objects_and_parts(line(50, 350), [line(20, 380), line(400)], gamma_part=0.5)
    assert precision == pytest.approx((0.4 / 2 + 1) / 2)


def test_objects_and_parts_leave_out_the_smallest_regions():
    truth = line(400)
    # 2 + 1 of 400 pixels are less than a hundredth; they fill, but are not counted.
    precision, recall = objects_and_parts(line(397, 2, 1), [truth])
    assert (precision, recall) == (1.0, 1.0)
    precision, _ = objects_and_parts(line(393, 7), [truth])
    assert precision == 0.5


@given(label_images(2))
def test_contingency_table_counts_every_pair(images):
    first, second = images
    table = contingency_table(first, second).toarray()
    expected = [
        [np.sum((first == a) & (second == b)) for b in np.unique(second)] for a in np.unique(first)
    ]
    np.testing.assert_array_equal(table, expected)


@given(label_images(4), st.data())
def test_superpixel_counts_give_the_figures_of_the_pixels(images, data):
    superpixels, *truths = images
    truths[0][0, 0] = UNLABELLED
    truths[1][0, 0] = OTHER
    truths = [truth for truth in truths if (truth >= 0).any()]
    counted = SuperpixelContingency(superpixels, truths)
    regions = data.draw(hnp.arrays(np.int32, counted.ids.size, elements=st.integers(0, 5)))
    pixels = regions[np.searchsorted(counted.ids, superpixels)]
    table, expected = counted.table(regions), RegionTable.from_labels(pixels, truths)
    for name in ("counts", "truth", "region", "truth_sizes", "region_sizes", "labelled_sizes"):
        np.testing.assert_array_equal(getattr(table, name), getattr(expected, name))


@given(label_images(2), st.data())
def test_pixels_that_are_not_labelled_change_nothing(images, data):
    segmentation, truth = images
    lost = data.draw(hnp.arrays(bool, truth.shape))
    lost.flat[0] = False
    partial = np.where(lost, UNLABELLED, truth)
    inside = (segmentation[~lost][np.newaxis], truth[~lost][np.newaxis])
    assert segmentation_covering(segmentation, partial) == segmentation_covering(*inside)
    for measure in (probabilistic_rand_index, variation_of_information, objects_and_parts):
        assert measure(segmentation, [partial]) == pytest.approx(measure(inside[0], [inside[1]]))


def test_what_lies_outside_of_all_regions_adds_to_those_that_reach_out():
    truth = np.array([[0, 0, OTHER, OTHER, UNLABELLED]])
    assert segmentation_covering(np.array([[1, 1, 1, 2, 1]]), truth) == pytest.approx(2 / 3)
    # A region that lies outside is neither right nor wrong.
    assert objects_and_parts(np.array([[1, 1, 2, 2, 2]]), [truth]) == (1.0, 1.0)
    assert objects_and_parts(np.array([[1, 1, 1, 2, 2]]), [truth]) == (2 / 3, 0.1)


@given(label_images(2))
def test_adapted_rand_error_is_that_of_scikit_image(images):
    segmentation, objects = (numbered(labels) for labels in images)
    objects.flat[0] = 1
    sizes = [np.bincount(labels[objects > 0]).max() for labels in (segmentation, objects)]
    if min(sizes) > 1:
        expected = metrics.adapted_rand_error(objects, segmentation, ignore_labels=(0,))[0]
        assert adapted_rand_error(segmentation, objects) == pytest.approx(expected, abs=1e-12)
    else:  # 0 / 0 there
        assert adapted_rand_error(segmentation, objects) == (1 if max(sizes) > 1 else 0)


def test_objects_by_hand():
    objects = np.array([[1, 1, 0, 2, 2, 2, 0, -1]])
    segmentation = np.array([[5, 5, 5, 5, 6, 6, 6, 6]])
    # Object 1 is half of region 5; object 2 shares two of four pixels with region 6.
    table = RegionTable.from_labels(segmentation, [np.where(objects == 0, OTHER, objects)])
    np.testing.assert_allclose(best_overlaps(table), [2 / 4, 2 / 4])
    assert mean_best_iou(segmentation, objects) == pytest.approx(0.5)
    segmentation[0, 2] = 6
    assert mean_best_iou(segmentation, objects) == pytest.approx((2 / 3 + 2 / 5) / 2)
    assert object_covering(segmentation, objects) == pytest.approx((2 * 2 / 3 + 3 * 2 / 5) / 5)


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
    with pytest.raises(ParameterError, match="ground truth 1 has no label"):
        SuperpixelContingency(labels, [labels, labels - 1])
    with pytest.raises(ParameterError, match=r"\(2,\)"):
        SuperpixelContingency(labels, [labels]).table([1, 2])
    with pytest.raises(ImageError, match="at least one object"):
        mean_best_iou(labels, labels)
    with pytest.raises(ImageError, match="bool"):
        mean_best_iou(labels, labels.astype(bool))
