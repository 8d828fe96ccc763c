"""Mixtures: each position draws the same, and sets are drawn by their weights."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from napari_del.errors import ParameterError
from napari_del.evaluation.datasets import OTHER, UNLABELLED, AnnotatedImage
from napari_del.training.mixture import Mixture, TrainingSet, prepare
from tests.training.painted import disc


def two_sets(**options):
    few, many = [disc(0)], [disc(seed) for seed in range(1, 6)]
    return [TrainingSet("few", few, 3.0, **options), TrainingSet("many", many, 1.0, **options)]


def test_a_position_draws_the_same_whatever_was_drawn_before():
    one, two = (Mixture(two_sets(), synthetic=1.0, size=(48, 40)) for _ in range(2))
    expected = [one.draw(position) for position in range(8)]
    for position in (5, 0, 7, 5):
        name, image, labels = two.draw(position)
        assert name == expected[position][0]
        np.testing.assert_array_equal(image, expected[position][1])
        np.testing.assert_array_equal(labels, expected[position][2])
    assert len({image.tobytes() for _, image, _ in expected}) == 8
    other = Mixture(two_sets(), synthetic=1.0, size=(48, 40), seed=1)
    assert any(
        other.draw(position)[1].tobytes() != expected[position][1].tobytes()
        for position in range(3)
    )


def test_samples_have_the_size_that_is_wanted_and_labels_of_the_image():
    mixture = Mixture(two_sets(scales=(1.0, 2.0)), synthetic=1.0, size=(48, 40))
    for position in range(12):
        name, image, labels = mixture.draw(position)
        assert image.dtype == np.uint8 and sorted(image.shape[:2]) == [40, 48]
        assert labels.shape == (1 if name == "composite" else 2, *image.shape[:2])
        assert labels.flags.c_contiguous


def test_sets_are_drawn_by_weight_not_by_number_of_images():
    mixture = Mixture(two_sets(), synthetic=1.0, size=(32, 32))
    kinds = Counter(mixture.draw(position)[0].split()[0] for position in range(300))
    # Shares of 3 : 1 : 1, within four standard deviations.
    assert abs(kinds["few"] - 180) < 34
    assert abs(kinds["many"] - 60) < 28 and abs(kinds["composite"] - 60) < 28
    nothing = Mixture([*two_sets()[:1], TrainingSet("never", [disc(9)], 0.0)], size=(32, 32))
    assert {nothing.draw(position)[0] for position in range(20)} == {"few 0"}


def test_crowded_images_are_drawn_as_often_as_their_regions_say():
    rows, columns = np.indices((64, 64)) // 8
    labels = {"two": rows // 4, "many": rows * 8 + columns}
    images = [
        # What is not labelled is no region.
        AnnotatedImage(name, np.zeros((64, 64, 3), np.uint8), np.stack([of, of * 0 + UNLABELLED]))
        for name, of in labels.items()
    ]
    for crowding, share in ((0.0, 1 / 2), (0.5, 32**0.5 / (1 + 32**0.5)), (1.0, 32 / 33)):
        data = TrainingSet("set", images, crowding=crowding)
        mixture = Mixture([data], size=(32, 32))
        many = sum(mixture.draw(position)[0] == "set many" for position in range(200))
        # Within four standard deviations.
        assert abs(many - 200 * share) < 4 * (200 * share * (1 - share)) ** 0.5


def test_regions_of_other_images_are_pasted():
    images = [disc(seed) for seed in range(6)]
    for pasting in (0.0, 0.5, 1.0):
        data = TrainingSet("set", images, scales=(1.0, 1.0), strength=0.0, pasting=pasting)
        mixture = Mixture([data], size=(64, 64))
        more = sum(np.unique(mixture.draw(position)[2][0]).size > 2 for position in range(60))
        # A disc that is pasted over the other alone makes no more regions.
        assert abs(more - 60 * pasting) < 18 if pasting else more == 0
    one, two = mixture.draw(3), mixture.draw(3)
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(one[2], two[2])


def test_windows_with_a_border_are_preferred():
    # One window in ten of this image holds both regions.
    labels = np.zeros((1, 64, 640), np.int32)
    labels[:, :, 320:] = 1
    image = AnnotatedImage("wide", np.zeros((64, 640, 3), np.uint8), labels)
    mixture = Mixture([TrainingSet("set", [image], scales=(1.0, 1.0))], size=(64, 64))
    both = sum(np.unique(mixture.draw(position)[2]).size == 2 for position in range(60))
    assert 12 <= both <= 35


def test_images_are_brought_to_what_a_network_sees():
    grey = np.linspace(0, 4, 24 * 24).reshape(24, 24)
    grey[3, 4] = np.nan
    labels = np.zeros((2, 24, 24), np.int32)
    labels[1] = OTHER
    with pytest.warns(UserWarning, match="NaN"):
        (found,) = prepare([AnnotatedImage("a", grey, labels)])
    assert found.image.shape == (24, 24, 3) and found.image.dtype == np.uint8
    assert (found.segmentations[:, 3, 4] == UNLABELLED).all()
    assert (found.segmentations == UNLABELLED).sum() == 2
    assert (labels != UNLABELLED).all()


def test_what_is_wrong_is_named():
    with pytest.raises(ParameterError, match="set 'none' has no images"):
        Mixture([TrainingSet("none", [])])
    with pytest.raises(ParameterError, match=r"weights of sets are \[-1.0, 0.0\]"):
        Mixture([TrainingSet("a", [disc(0)], -1.0)])
    with pytest.raises(ParameterError, match=r"not all 0"):
        Mixture([TrainingSet("a", [disc(0)], 0.0)])
    small = AnnotatedImage("a", np.zeros((16, 16, 3), np.uint8), np.zeros((1, 16, 16), np.int32))
    with pytest.raises(ParameterError, match="no labelled region is large enough"):
        Mixture([TrainingSet("a", [small])], synthetic=0.5)
