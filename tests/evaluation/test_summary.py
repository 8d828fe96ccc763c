"""Figures of a data set, by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation import ImageScores, ImageTruth, ObjectScores, summarise
from napari_del.evaluation.datasets import OTHER, UNLABELLED
from napari_del.evaluation.summary import average_precision


def scores(boundary, object_part, overlaps, sizes, rand, variation, objects=None) -> ImageScores:
    return ImageScores(
        n_regions=np.array([4, 2]),
        boundary=np.array(boundary),
        object_part=np.array(object_part, float),
        overlaps=np.array(overlaps),
        sizes=np.array(sizes),
        rand_index=np.array(rand),
        variation_of_information=np.array(variation),
        objects=objects,
    )


@pytest.fixture
def two_images() -> list[ImageScores]:
    """Two images at two thresholds; the first has two annotators."""
    objects = ObjectScores(np.array([[1.0, 0.5], [0.5, 0.75]]), np.array([3, 1]), np.array([1, 0]))
    overlaps = [[1.0, 0.5, 0.5], [0.5, 0.75, 1.0]]
    return [
        scores([[8, 10, 4, 8], [5, 10, 5, 5]], [[1, 0.5], [0.5, 0.5]], overlaps, [4, 2, 2],
               [0.9, 0.5], [1.0, 2.0], objects),
        scores([[10, 10, 10, 40], [0, 10, 0, 0]], [[0, 0], [1, 1]], [[0.5], [0.6]], [4],
               [0.3, 0.5], [3.0, 1.0]),
    ]  # fmt: skip


def test_figures_by_hand(two_images):
    result = summarise(two_images, [0.2, 0.4])
    assert (result.n_images, result.n_objects) == (2, 2)
    np.testing.assert_array_equal(result.n_regions, [4, 2])

    # Counts are added up over the images: recall 18 / 20, precision 14 / 48 at first.
    boundary = result.boundary
    np.testing.assert_allclose(boundary.recall, [0.9, 0.25])
    np.testing.assert_allclose(boundary.precision, [14 / 48, 1])
    np.testing.assert_allclose(boundary.values, [2 * 0.9 * 14 / 48 / (0.9 + 14 / 48), 0.4])
    assert (boundary.ods_index, boundary.ods) == (0, boundary.values[0])
    # The best thresholds of the images are the second and the first: (5 + 10) / 20, 15 / 45.
    assert boundary.ois == pytest.approx(2 * 0.75 / 3 / (0.75 + 1 / 3))

    # Means over the images; the best thresholds are the first and the second.
    np.testing.assert_allclose(result.object_part.values, [2 * 0.5 * 0.25 / 0.75, 0.75])
    assert result.object_part.ois == pytest.approx(2 * 1 * 0.75 / 1.75)

    np.testing.assert_allclose(result.covering.values, [(6 + 2) / 12, (5.5 + 2.4) / 12])
    assert result.covering.ods_index == 0
    assert result.covering.ois == pytest.approx((6 + 2.4) / 12)
    assert result.covering.best == pytest.approx((4 + 1.5 + 2 + 2.4) / 12)

    assert (result.rand_index.ods, result.rand_index.ois) == pytest.approx((0.6, 0.7))
    information = result.variation_of_information
    assert (information.ods, information.ods_index) == pytest.approx((1.5, 1))
    assert information.ois == pytest.approx(1.0)

    # One image alone has objects.
    assert result.object_best_iou.values == pytest.approx([0.75, 0.625])
    assert result.object_best_iou.best == pytest.approx(0.875)
    assert result.object_covering.values == pytest.approx([3.5 / 4, 2.25 / 4])
    assert (result.adapted_rand_error.ods, result.adapted_rand_error.ods_index) == (0, 1)


def test_average_precision_is_the_area_under_the_curve():
    line = average_precision(np.array([0.5, 1.0]), np.array([1.0, 0.0]))
    assert line == pytest.approx(0.75 * 1.01)  # a hundred and one points, as in the benchmark
    assert average_precision(np.array([1.0, 1.0]), np.array([0.3, 0.1])) == pytest.approx(0.21)


def test_rows_and_json_hold_the_figures(two_images):
    result = summarise(two_images, [0.2, 0.4])
    rows = {row["measure"]: row for row in result.rows()}
    assert rows["covering"]["ODS"] == "0.6667" and rows["covering"]["mean regions"] == "4.0"
    content = json.loads(json.dumps(result.to_json()))
    assert content["thresholds"] == [0.2, 0.4] and content["images"] == 2
    assert content["figures"].keys() == result.figures.keys()
    boundary = content["figures"]["boundary"]
    assert boundary["ods_threshold"] == 0.2 and boundary["recall"] == pytest.approx([0.9, 0.25])
    assert "object_best_iou" not in summarise(two_images[1:], [0.2, 0.4]).to_json()["figures"]


def test_labels_are_scored_where_people_labelled():
    truth = np.zeros((1, 40, 60), int)
    truth[:, :, 30:] = 1
    truth[:, :, :10] = UNLABELLED
    objects = (truth[0] == 1).astype(int)
    labels = np.where(truth[0] == UNLABELLED, np.arange(60), truth[0])
    for scored in (ImageTruth(truth), ImageTruth([*truth, truth[0] * 0 - 1])):
        image = scored.score_labels([labels, labels * 0])
        np.testing.assert_allclose(image.overlaps, [[1, 1], [0.4, 0.6]])
        assert image.rand_index[0] == 1 and image.objects is None
        assert image.boundary[0].tolist() == [40, 40, 40, 40]
        np.testing.assert_array_equal(image.object_part[0], [1, 1])
    result = ImageTruth(truth, objects).score_labels([labels, labels * 0]).objects
    assert result is not None and result.sizes == [1200]
    np.testing.assert_allclose(result.overlaps, [[1], [0.6]])


def test_objects_alone_may_be_labelled():
    truth = np.full((1, 40, 60), OTHER)
    truth[:, 10:30, 20:40] = 0
    image = ImageTruth(truth).score_labels([(truth[0] == 0) + 0, (truth[0] == OTHER) * 0])
    np.testing.assert_allclose(image.overlaps, [[1], [1 / 6]])


def test_bad_input_is_named(two_images):
    with pytest.raises(ParameterError, match=r"0 images .* at least one image"):
        summarise([], [0.5])
    with pytest.raises(ParameterError, match=r"\[2, 3\]"):
        summarise(two_images, [0.1, 0.2, 0.3])
    truth = np.zeros((1, 4, 5), int)
    with pytest.raises(ImageError, match=r"\(4, 5\)"):
        ImageTruth(truth[0])
    with pytest.raises(ImageError, match="float64"):
        ImageTruth(truth + 0.5)
    with pytest.raises(ParameterError, match="no pixel is labelled"):
        ImageTruth(truth - 1)
    with pytest.raises(ImageError, match=r"\(5, 4\).*\(4, 5\)"):
        ImageTruth(truth).score_labels([truth[0].T])
    with pytest.raises(ParameterError, match="no thresholds"):
        ImageTruth(truth).score_labels([])
