"""Composites of textures and of objects: regions that are known, textures from within regions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from napari_del.evaluation.datasets import UNLABELLED, AnnotatedImage
from napari_del.training.mixture import Mixture, TrainingSet
from napari_del.training.synthetic import (
    COMPOSITES,
    _patchwork,
    _strewn,
    composite,
    region_map,
    texture_patches,
)


@pytest.fixture(scope="module")
def patches():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), np.uint8) for side in (20, 33, 64)]


@pytest.mark.parametrize("size", [(64, 96), (40, 40), (33, 128)])
def test_regions_are_numbered_from_0_without_gaps(size):
    counts = []
    for seed in range(12):
        labels = region_map(size, np.random.default_rng(seed))
        assert labels.shape == size and labels.dtype == np.int32
        numbers = np.unique(labels)
        np.testing.assert_array_equal(numbers, np.arange(numbers.size))
        np.testing.assert_array_equal(labels, region_map(size, np.random.default_rng(seed)))
        counts.append(numbers.size)
    assert max(counts) > 5 and len(set(counts)) > 4


@pytest.mark.parametrize("kind", COMPOSITES)
def test_composites_are_repeatable_and_differ_from_seed_to_seed(patches, kind):
    found = set()
    for seed in range(10):
        image, labels = composite((48, 64), patches, np.random.default_rng(seed), kind)
        again = composite((48, 64), patches, np.random.default_rng(seed), kind)
        np.testing.assert_array_equal(image, again[0])
        np.testing.assert_array_equal(labels, again[1])
        assert image.shape == (48, 64, 3) and image.dtype == np.uint8
        assert labels.shape == (1, 48, 64) and labels.min() == 0
        found.add(image.tobytes())
    assert len(found) == 10


def test_regions_can_be_seen_in_the_image(patches):
    # Over many composites, pixels differ more between regions than within them.
    within, between = [], []
    for seed in range(20):
        image, (labels,) = composite((64, 64), patches, np.random.default_rng(seed))
        step = np.abs(np.diff(image.astype(int), axis=1)).sum(axis=2)
        border = labels[:, 1:] != labels[:, :-1]
        if border.any():
            between.append(step[border].mean())
            within.append(step[~border].mean())
    assert np.mean(between) > 1.2 * np.mean(within)


def test_textures_are_of_one_strength_or_not(patches):
    def ratio(alike, seed):
        """How many times as strong the strongest texture of a patchwork is as the faintest."""
        value, labels = _patchwork((96, 96), patches, np.random.default_rng(seed), alike)
        sizes = np.bincount(labels.ravel())
        # The difference of neighbours leaves shading and tones out.
        change = np.abs(np.diff(value[..., 1], axis=1))
        inside = labels[:, 1:] == labels[:, :-1]
        strength = [
            np.median(change[inside & (labels[:, 1:] == number)])
            for number in np.flatnonzero(sizes > 400)
        ]
        return max(strength) / min(strength) if len(strength) > 1 else 1.0

    alike = [ratio(True, seed) for seed in range(20)]
    mixed = [ratio(False, seed) for seed in range(20)]
    assert max(alike) < 3  # regions take 0.7 to 1.3 times the strength of their texture
    assert sum(value > 4 for value in mixed) >= 3


def test_a_mixture_draws_the_kind_of_composites_that_it_is_told(patches):
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (64, 64, 3), np.uint8)
    labels = np.zeros((1, 64, 64), np.int32)
    labels[:, 32:] = 1
    drawn = {}
    for kind in COMPOSITES:
        sets = [TrainingSet("a", [AnnotatedImage("a", image, labels)], weight=0.0)]
        mixture = Mixture(sets, synthetic=1.0, composites=kind, size=(48, 40))
        drawn[kind] = [mixture.draw(index)[1] for index in range(8)]
        again = Mixture(sets, synthetic=1.0, composites=kind, size=(48, 40))
        for index, before in enumerate(drawn[kind]):
            np.testing.assert_array_equal(again.draw(index)[1], before)
    assert not any(map(np.array_equal, drawn["mixed"], drawn["textures"]))


def test_objects_lie_on_one_ground(patches):
    grounds, cores, glowing = [], 0, 0
    for seed in range(40):
        value, labels = _strewn((96, 80), patches, np.random.default_rng(seed))
        again = _strewn((96, 80), patches, np.random.default_rng(seed))
        np.testing.assert_array_equal(value, again[0])
        np.testing.assert_array_equal(labels, again[1])
        assert value.shape == (96, 80, 3) and np.isfinite(value).all()
        assert labels.dtype == np.int32
        numbers = np.unique(labels)
        np.testing.assert_array_equal(numbers, np.arange(numbers.size))
        ground = labels == 0
        if ground.all():
            continue
        # Objects glow, or are stained and darker than their ground.
        tone, objects = value[ground].mean(axis=0), value[~ground].mean(axis=0)
        glowing += bool(objects.sum() > tone.sum())
        grounds.append(ground.mean())
        # A core has a region of its own within that of its object.
        boxes = ndimage.find_objects(labels)
        cores += any(
            inner[0].start > outer[0].start
            and inner[0].stop < outer[0].stop
            and inner[1].start > outer[1].start
            and inner[1].stop < outer[1].stop
            for outer in boxes
            for inner in boxes
        )
    assert np.median(grounds) > 0.4
    assert 8 < glowing < 32
    assert 4 < cores < 36


def test_composites_are_of_both_kinds(patches):
    # A patchwork has no noise of its own: with even textures most neighbours are alike.
    even = [np.full((20, 20, 3), value, np.uint8) for value in (60, 120, 180)]
    noisy = 0
    for seed in range(60):
        image, _ = composite((64, 64), even, np.random.default_rng(seed))
        step = np.abs(np.diff(image.astype(int), axis=1)).max(axis=2)
        noisy += bool(np.median(step) > 1)
    assert 8 < noisy < 24  # 0 if none were of objects, 32 if all were


def test_textures_come_from_within_one_region():
    labels = np.zeros((80, 120), np.int32)
    labels[:, 60:] = 1
    labels[50:, 60:] = UNLABELLED
    values = np.where(labels == 0, 50, np.where(labels == 1, 150, 250)).astype(np.uint8)
    image = np.repeat(values[..., np.newaxis], 3, axis=2)
    found = texture_patches([AnnotatedImage("a", image, labels[np.newaxis])])
    assert [np.unique(patch).tolist() for patch in found] == [[50], [150]]
    for patch in found:
        assert patch.shape[0] == patch.shape[1] >= 20 and patch.shape[2] == 3


def test_regions_that_are_too_small_give_no_texture():
    labels = (np.mgrid[:60, :60].sum(axis=0) // 9).astype(np.int32)
    image = np.zeros((60, 60, 3), np.uint8)
    assert texture_patches([AnnotatedImage("a", image, labels[np.newaxis])]) == []
