"""Training of the function behind the linkage "learned"."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import nn

from napari_del import merging, segment
from napari_del.errors import ParameterError, WeightsError
from napari_del.evaluation.datasets import UNLABELLED
from napari_del.merging import SuperpixelTables, learned
from napari_del.merging.region_pairs import FEATURES
from napari_del.models import find_model, load_merge_function
from napari_del.training.merge_function import (
    MergeSample,
    _side_by_side,
    add_merge_function,
    fit_merge_function,
    merge_sample,
)
from napari_del.training.mixture import Mixture, TrainingSet
from napari_del.training.weights import export_weights
from tests.training.painted import disc, new_network


def noisy_sample(seed: int, side: int = 16) -> MergeSample:
    """Four squares whose superpixels differ much, but whose means differ too.

    Edges say next to nothing: only regions as wholes tell the squares apart.
    """
    rng = np.random.default_rng(seed)
    number = np.arange(side * side).reshape(side, side)
    half = side // 2
    labels = (np.arange(side)[:, None] // half * 2 + np.arange(side)[None] // half).ravel()
    edges = np.concatenate(
        [
            np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1),
            np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1),
        ]
    )
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))].astype(np.int32)
    means = rng.normal(0, 1.0, (4, 8))
    embeddings = (means[labels] + rng.normal(0, 0.5, (side * side, 8))).astype(np.float32)
    colors = rng.uniform(0, 100, (side * side, 3)).astype(np.float32)
    apart = labels[edges[:, 0]] != labels[edges[:, 1]]
    weak = np.clip(rng.normal(0.5 + 0.06 * apart, 0.12), 0.01, 0.99)
    tables = SuperpixelTables(
        np.full(side * side, 64),
        embeddings,
        colors,
        colors**2,
        edges,
        np.full(len(edges), 8),
        weak,
        weak,
        64,
    )
    return MergeSample(tables, labels[np.newaxis].astype(np.int64))


def agreement(sample: MergeSample, tree: merging.Hierarchy) -> float:
    """Share of all pairs of superpixels that four regions put together or apart rightly."""
    rows = tree.cut(tree.threshold_for(4))
    truth = sample.majority[0]
    same, wanted = rows[:, None] == rows, truth[:, None] == truth
    return float((same == wanted).mean())


@pytest.fixture(scope="module")
def function():
    samples = [noisy_sample(seed) for seed in range(24)]
    return fit_merge_function(samples, steps=600, members=2, log=lambda _: None)


def test_regions_as_wholes_are_told_apart_where_edges_are_not(function):
    before, after = [], []
    for seed in range(100, 106):
        sample = noisy_sample(seed)
        t = sample.tables
        plain = merging.average(
            t.edges, merging.to_fixed(t.edge_weights()), t.lengths, len(t.sizes)
        )
        before.append(agreement(sample, plain))
        after.append(agreement(sample, learned(t, function)))
    assert np.mean(before) < 0.75
    assert np.mean(after) > np.mean(before) + 0.15


def test_levels_leave_the_shares_that_were_asked_for():
    samples = [noisy_sample(seed) for seed in range(6)]
    shares = (1 / 4, 1 / 16)
    function = fit_merge_function(
        samples, shares=shares, steps=60, members=1, rounds=1, log=lambda _: None
    )
    assert len(function.levels) == 2
    trees = [learned(sample.tables, function) for sample in samples]
    for end, share in zip((0.2, 0.4), shares, strict=True):
        left = sum(tree.n_regions(int(end * (2**32 - 1))) for tree in trees)
        assert left == pytest.approx(share * 256 * 6, rel=0.1)


def test_the_same_seed_gives_the_same_function():
    samples = [noisy_sample(seed) for seed in range(3)]
    one, two, other = (
        fit_merge_function(samples, steps=30, members=1, seed=seed, log=lambda _: None)
        for seed in (1, 1, 2)
    )
    x = np.random.default_rng(0).normal(size=(9, len(FEATURES)))
    np.testing.assert_array_equal(one(x), two(x))
    assert one.levels == two.levels
    assert np.abs(one(x) - other(x)).max() > 1e-3


def test_a_function_of_the_first_features_looks_at_no_others():
    samples = [noisy_sample(seed) for seed in range(3)]
    function = fit_merge_function(
        samples, steps=30, members=1, rounds=2, n_features=20, log=lambda _: None
    )
    assert function.mean.size == 20
    x = np.random.default_rng(0).normal(size=(9, len(FEATURES)))
    other = x.copy()
    other[:, 20:] += 5
    np.testing.assert_array_equal(function(x), function(other))
    other[:, 19] += 5
    assert np.abs(function(x) - function(other)).max() > 1e-4
    assert learned(samples[0].tables, function).n == 256


def test_networks_side_by_side_answer_with_the_mean_of_their_logits():
    torch.manual_seed(0)
    networks = [[nn.Linear(len(FEATURES), 5), nn.Linear(5, 3), nn.Linear(3, 1)] for _ in range(3)]
    weights, biases = _side_by_side(networks)
    n = len(FEATURES)
    together = merging.MergeFunction(np.zeros(n), np.ones(n), weights, biases, (0.5,))
    x = np.random.default_rng(0).normal(size=(20, n))
    logits = []
    for network in networks:
        h = torch.from_numpy(x).float()
        for layer in network[:-1]:
            h = torch.relu(layer(h))
        logits.append(network[-1](h)[:, 0].detach().numpy())
    expected = 1 / (1 + np.exp(-np.mean(logits, axis=0)))
    np.testing.assert_allclose(together(x), expected, rtol=1e-5)


def test_labels_are_needed():
    sample = noisy_sample(0)
    blank = sample._replace(majority=np.full_like(sample.majority, UNLABELLED))
    with pytest.raises(ParameterError, match="no two adjacent regions .* are labelled"):
        fit_merge_function([blank], steps=2, log=lambda _: None)


def test_it_is_kept_in_the_weights_file_and_used_from_there(tmp_path):
    path = tmp_path / "weights.safetensors"
    export_weights(new_network(), path, {"description": "kept"})
    image = disc(50).image
    plain = segment(image, model=path)
    assert plain.default_linkage == "average"
    found = add_merge_function(path, [disc(seed) for seed in range(3)], seed=1, log=lambda _: None)
    with safe_open(path, framework="numpy") as file:
        assert file.metadata()["description"] == "kept"
    kept = load_merge_function(find_model(path))
    assert kept is not None and kept.levels == pytest.approx(found.levels)
    segmentation = segment(image, model=path)
    np.testing.assert_array_equal(segmentation.embeddings, plain.embeddings)
    assert segmentation.default_linkage == "learned"
    tree = learned(merge_sample(disc(50), path).tables, kept)
    np.testing.assert_array_equal(segmentation.hierarchy().parent, tree.parent)
    np.testing.assert_array_equal(segmentation.hierarchy().height, tree.height)


def test_a_merge_function_that_lacks_arrays_is_named(tmp_path):
    path = tmp_path / "weights.safetensors"
    network = new_network()
    tensors = {name: t.half() for name, t in network.state_dict().items()}
    from safetensors.torch import save_file

    save_file(
        {**tensors, "merge.mean": torch.zeros(len(FEATURES))},
        path,
        {"architecture": network.architecture},
    )
    with pytest.raises(WeightsError, match=r"weights\.safetensors has a damaged merge function"):
        segment(disc(0).image, model=path)


def test_whole_images_come_in_the_shares_of_the_sets():
    few = TrainingSet("few", [disc(seed) for seed in range(3)], 2.0, (0.5, 0.9))
    many = TrainingSet("many", [disc(seed) for seed in range(10, 30)], 1.0)
    mixture = Mixture([few, many], synthetic=1.0, size=(40, 48))
    images = mixture.whole(16)
    names = [item.name for item in images]
    assert len(images) == 16
    assert sum(name in "012" for name in names) == 8
    assert names.count("composite") == 4
    # Each image of a set comes as it is once, before any is varied.
    np.testing.assert_array_equal(images[0].image, few.images[0].image)
    assert names[:3] == ["0", "1", "2"]
    assert all(item.image.shape[0] <= 58 for item in images[3:8])
    assert images[-1].image.shape == (40, 48, 3)
    assert {item.name for item in mixture.whole(9, ["few"])} == {"0", "1", "2"}
    with pytest.raises(ParameterError, match="set 'more' is not known; expected one of few, many"):
        mixture.whole(9, ["more"])
    again = mixture.whole(16)
    np.testing.assert_array_equal(images[5].image, again[5].image)
    more = Mixture([replace(few, merge_weight=6.0), many], synthetic=1.0, size=(40, 48))
    assert sum(item.name in "012" for item in more.whole(16)) == 12
