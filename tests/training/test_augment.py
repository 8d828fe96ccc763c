"""Changed versions of an image: labels stay with it, and colours change as much as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.evaluation.datasets import UNLABELLED
from napari_del.training.augment import crop, paste, recolour, turn

seeds = st.integers(0, 2**32 - 1)


def coded(height, width, annotators=2):
    """An image whose red and green say where a pixel was, and labels that say the same."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.zeros_like(y)], axis=-1).astype(np.uint8)
    labels = np.stack([(y * 256 + x + k).astype(np.int32) for k in range(annotators)])
    return image, labels


def agree(image, labels):
    where = image[..., 0].astype(int) * 256 + image[..., 1]
    return all((of == where + k).all() for k, of in enumerate(labels))


@given(st.integers(1, 20), st.integers(1, 20), seeds)
def test_labels_turn_with_the_image(height, width, seed):
    image, labels = turn(*coded(height, width), np.random.default_rng(seed))
    assert image.shape[:2] == labels.shape[1:]
    assert sorted(image.shape[:2]) == sorted((height, width))
    assert agree(image, labels)


def test_all_eight_ways_to_lie_are_drawn():
    found = {turn(*coded(5, 7), np.random.default_rng(seed))[0].tobytes() for seed in range(60)}
    assert len(found) == 8


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.tuples(st.integers(1, 50), st.integers(1, 50)),
    seeds,
)
def test_labels_are_cut_out_with_the_image(height, width, size, seed):
    image, labels = crop(*coded(height, width), size, 1.0, np.random.default_rng(seed))
    assert image.shape == (min(height, size[0]), min(width, size[1]), 3)
    assert agree(image, labels)


@given(st.floats(0.3, 3.0), seeds)
def test_labels_are_scaled_with_the_image(scale, seed):
    image, labels = coded(64, 80, 1)
    image, labels = crop(image, labels, (48, 40), scale, np.random.default_rng(seed))
    assert image.shape[:2] == labels.shape[1:]
    assert abs(image.shape[0] - min(48, 64 * scale)) <= 1
    assert abs(image.shape[1] - min(40, 80 * scale)) <= 1
    # A pixel and its label were at the same place, to about a pixel of the coarser of the two.
    off = image[..., :2].astype(float) - np.stack(np.divmod(labels[0], 256), axis=-1)
    assert np.abs(off).mean() < 1 + 0.7 / min(scale, 1)


def test_the_whole_image_at_its_scale_is_not_changed():
    image, labels = coded(20, 30)
    found = crop(image, labels, (50, 50), 1.0, np.random.default_rng(0))
    np.testing.assert_array_equal(found[0], image)
    np.testing.assert_array_equal(found[1], labels)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_recolouring_is_repeatable_and_leaves_the_image_alone(two_tone, strength):
    before = two_tone.copy()
    found = set()
    for seed in range(12):
        one, two = (
            recolour(two_tone, np.random.default_rng(seed), strength=strength) for _ in range(2)
        )
        np.testing.assert_array_equal(one, two)
        assert one.dtype == np.uint8 and one.shape == two_tone.shape
        found.add(one.tobytes())
    np.testing.assert_array_equal(two_tone, before)
    assert len(found) == 12


def test_strength_says_how_far_an_image_may_go():
    grey, dark = np.full((8, 8, 3), 60, np.uint8), {}
    grey[:, 4:] = 200
    for strength in (0.0, 1.0):
        found = [
            recolour(grey, np.random.default_rng(seed), strength=strength) for seed in range(80)
        ]
        dark[strength] = sum(int(of[:, :4].mean() > of[:, 4:].mean()) for of in found)
    # Without strength no image is inverted; with it about one in seven is.
    assert dark[0.0] == 0 and 4 <= dark[1.0] <= 25


class TestPaste:
    """A grey image with two annotators, and another with a red square that one of three halves."""

    image = np.full((60, 80, 3), 90, np.uint8)
    labels = np.repeat(np.arange(80)[None, None] // 40, 60, axis=1).repeat(2, axis=0).astype("i4")
    labels[1] = UNLABELLED
    other = np.full((50, 70, 3), 200, np.uint8)
    other_labels = np.zeros((3, 50, 70), np.int32)
    other[20:40, 30:50] = (255, 0, 0)
    other_labels[:, 20:40, 30:50] = 7
    other_labels[2, 30:40, 30:50] = 8

    def paste(self, seed, **changed):
        given = {name: getattr(self, name) for name in ("other", "other_labels")} | changed
        rng = np.random.default_rng(seed)
        return paste(self.image, self.labels, given["other"], given["other_labels"], rng)

    def test_a_region_is_pasted_with_the_labels_of_its_annotators(self):
        halved = 0
        for seed in range(40):
            before = self.image.copy(), self.labels.copy()
            image, labels = self.paste(seed)
            np.testing.assert_array_equal(self.image, before[0])
            np.testing.assert_array_equal(self.labels, before[1])
            inside = labels != self.labels
            area = inside[0].sum()
            # A whole square, a half of it, or what of either does not hang over a side.
            assert 0 < area <= 400
            np.testing.assert_array_equal(inside[0], inside[1])
            red = image[..., 0].astype(int) - image[..., 1] > 100
            assert (red == inside[0]).mean() > 0.98
            y, x = np.nonzero(inside[0])
            far = np.ones(inside[0].shape, bool)
            far[max(y.min() - 5, 0) : y.max() + 6, max(x.min() - 5, 0) : x.max() + 6] = False
            assert (image[far] == 90).all()
            new = [set(one[here].tolist()) for one, here in zip(labels, inside, strict=True)]
            assert not (new[0] | new[1]) & set(np.unique(self.labels).tolist())
            halved += len(new[0] | new[1]) > 1
        assert 5 < halved < 40

    def test_what_nobody_labelled_stays_so(self):
        unknown = self.other_labels.copy()
        unknown[1:] = UNLABELLED
        seen = set()
        for seed in range(80):
            _, labels = self.paste(seed, other_labels=unknown)
            seen |= set(np.unique(labels).tolist())
        assert min(seen) == UNLABELLED and max(seen) > 1

    def test_regions_that_are_too_small_or_too_large_are_not_pasted(self):
        for side in (5, 49):
            labels = np.zeros_like(self.other_labels)
            labels[:, :side, :side] = 1
            labels[labels == 0] = UNLABELLED
            image, found = self.paste(0, other_labels=labels)
            assert image is self.image and found is self.labels
