"""A merge function goes on as before when its network has changed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_del.errors import Cancelled
from napari_del.evaluation.datasets import UNLABELLED
from napari_del.merging import SuperpixelTables, learned, to_fixed
from napari_del.merging.region_pairs import region_pairs
from napari_del.training.merge_adaptation import adapt_merge_function, replay_pictures
from napari_del.training.merge_function import fit_merge_function
from napari_del.training.merge_pairs import labelled_pairs
from tests.training.test_merge_function import noisy_sample

THRESHOLDS = (0.2, 0.33)


def shifted(tables: SuperpixelTables) -> SuperpixelTables:
    """What a network would say of the same superpixels that takes all for more alike."""
    return tables._replace(
        embeddings=tables.embeddings * np.float32(0.6),
        dissimilarity=tables.dissimilarity**1.5,
        boundary=tables.boundary**1.5,
    )


def regions(tables, function):
    tree = learned(tables, function)
    return [tree.n_regions(int(to_fixed(threshold))) for threshold in THRESHOLDS]


def answers(tables, function):
    squares = (np.arange(256) // 16 // 4) * 4 + np.arange(256) % 16 // 4
    return function(region_pairs(tables, squares, 16).features)


@pytest.fixture(scope="module")
def samples():
    return [noisy_sample(seed) for seed in range(12)]


@pytest.fixture(scope="module")
def tables(samples):
    before = [sample.tables for sample in samples]
    return before, [shifted(each) for each in before]


@pytest.fixture(scope="module")
def function(samples):
    return fit_merge_function(samples, steps=600, members=2, log=lambda _: None)


@pytest.fixture(scope="module")
def adapted(function, tables):
    return adapt_merge_function(function, *tables, [])


def test_other_pictures_merge_at_the_thresholds_that_they_did(function, adapted):
    before = [noisy_sample(seed).tables for seed in range(100, 112)]
    after = [shifted(each) for each in before]
    was = np.sum([regions(each, function) for each in before], axis=0)
    copied = np.sum([regions(each, function) for each in after], axis=0)
    now = np.sum([regions(each, adapted) for each in after], axis=0)
    assert np.all(np.abs(now - was) < 0.15 * was)
    assert np.all(np.abs(copied - was) > 0.4 * was)


def test_it_answers_as_before(function, adapted):
    copied, now = [], []
    for seed in range(100, 112):
        before = noisy_sample(seed).tables
        was, after = answers(before, function), shifted(before)
        copied.append(np.abs(answers(after, function) - was).mean())
        now.append(np.abs(answers(after, adapted) - was).mean())
    assert np.mean(now) < 0.4 * np.mean(copied)


def test_levels_leave_the_regions_that_they_left(function, adapted, tables):
    assert len(adapted.levels) == len(function.levels)
    ends = [int(0.4 * number / 12 * (2**32 - 1)) for number in range(1, 13)]
    counts = []
    for each, asked in zip(tables, (function, adapted), strict=True):
        trees = [learned(one, asked) for one in each]
        counts.append([sum(tree.n_regions(end) for tree in trees) for end in ends])
    np.testing.assert_allclose(counts[1], counts[0], rtol=0.05)


def test_what_is_painted_is_learned(function, tables):
    def halves(seed):
        # To whoever painted these, two squares beside each other are one region. Nothing tells
        # which two, so that all that can be learned is to say "apart" half as surely.
        sample = noisy_sample(seed)
        return sample._replace(majority=sample.majority // 2)

    before, _ = tables
    adapted = adapt_merge_function(function, before, before, [halves(s) for s in range(200, 212)])
    was, now = [], []
    for seed in range(300, 308):
        sample = halves(seed)
        tree = learned(sample.tables, function)
        for count in (8, 16, 32):
            _, found = np.unique(tree.cut(tree.threshold_for(count)), return_inverse=True)
            pairs = labelled_pairs(sample, found)
            known = pairs.weight > 0
            for asked, errors in ((function, was), (adapted, now)):
                answer = asked(pairs.features[known, : asked.mean.size])
                errors.append(np.square(answer - pairs.apart[known]).mean())
    assert np.mean(was) > 0.25
    assert np.mean(now) < 0.85 * np.mean(was)


def test_the_same_seed_gives_the_same_function(function, samples, tables):
    one, two, other = (
        adapt_merge_function(function, *tables, samples[:2], steps=20, seed=seed)
        for seed in (1, 1, 2)
    )
    for name, values in one.tensors().items():
        np.testing.assert_array_equal(values, two.tensors()[name])
    assert np.abs(one.weights[0] - other.weights[0]).max() > 1e-4
    np.testing.assert_array_equal(one.mean, function.mean)


def test_what_nobody_knows_changes_nothing(function, samples, tables):
    blank = [s._replace(majority=np.full_like(s.majority, UNLABELLED)) for s in samples[:2]]
    one, two = (
        adapt_merge_function(function, *tables, painted, steps=20) for painted in ([], blank)
    )
    for name, values in one.tensors().items():
        np.testing.assert_array_equal(values, two.tensors()[name])


def test_a_function_of_fewer_features_goes_on_with_these(function, tables):
    fewer = replace(
        function,
        mean=function.mean[:30],
        scale=function.scale[:30],
        weights=(function.weights[0][..., :30], *function.weights[1:]),
    )
    adapted = adapt_merge_function(fewer, *tables, [], steps=2)
    assert adapted.weights[0].shape == fewer.weights[0].shape
    assert np.abs(adapted.weights[0] - fewer.weights[0]).max() > 0


def test_progress_counts_images_and_steps(function, samples, tables):
    told = []
    adapt_merge_function(
        function, *tables, samples[:3], steps=5, progress=lambda *now: told.append(now)
    )
    assert told == [(done, 12 + 3 + 5) for done in range(1, 21)]

    def cancel(done, total):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        adapt_merge_function(function, *tables, [], progress=cancel)


def test_pictures_are_small_and_of_several_scales():
    pictures = replay_pictures()
    sides = [max(picture.shape[:2]) for picture in pictures]
    assert max(sides) <= 384 and min(sides) < 150
    assert all(picture.dtype == np.uint8 and picture.shape[2:] == (3,) for picture in pictures)
