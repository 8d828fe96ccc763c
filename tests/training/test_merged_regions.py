"""Regions as the merging meets them, for the loss of pairs of regions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_del.evaluation.datasets import UNLABELLED
from napari_del.training.regions import merged_regions
from napari_del.training.samples import make_sample


@pytest.fixture(scope="module")
def sample():
    """Three labelled bands of noise and an unlabelled one."""
    rng = np.random.default_rng(0)
    labels = np.zeros((1, 64, 96), np.int32)
    labels[:, :, 24:48], labels[:, :, 48:72], labels[:, :, 72:] = 1, 2, UNLABELLED
    image = rng.integers(0, 40, (64, 96, 3)) + 60 * (labels[0, :, :, np.newaxis] + 1)
    return make_sample(image.clip(0, 255).astype(np.uint8), labels, stride=32, output_stride=2)


@pytest.fixture(scope="module")
def outputs(sample):
    """An embedding that tells the bands apart, and boundaries where there are some."""
    band = torch.from_numpy(sample.majority[0]).float()
    noise = torch.rand((band.numel(), 4), generator=torch.Generator().manual_seed(0)) * 0.05
    return noise + band[:, np.newaxis], sample.boundary * 8 - 4


def test_regions_are_unions_of_superpixels_with_their_means(sample, outputs):
    embedding, logits = outputs
    for seed in range(5):
        regions = merged_regions(sample, embedding, logits, 2, np.random.default_rng(seed))
        n = sample.nodes.ids.size
        assert regions.of_node.shape == (n,) and 1 < regions.count <= n
        assert regions.of_node.unique().tolist() == list(range(regions.count))
        means = regions.means(embedding)
        sizes = torch.from_numpy(sample.nodes.sizes).float()
        for k in range(regions.count):
            inside = regions.of_node == k
            expected = (embedding[inside] * sizes[inside, None]).sum(0) / sizes[inside].sum()
            torch.testing.assert_close(means[k], expected)


def test_pairs_are_adjacent_regions_with_what_their_labels_say(sample, outputs):
    embedding, logits = outputs
    regions = merged_regions(sample, embedding, logits, 2, np.random.default_rng(3))
    of_node = regions.of_node.numpy()
    across = {tuple(sorted(pair)) for pair in of_node[sample.graph.edges].tolist()}
    expected = sorted(pair for pair in across if pair[0] != pair[1])
    assert [tuple(pair) for pair in regions.pairs.nodes.tolist()] == expected
    label = []
    for k in range(regions.count):
        inside = of_node == k
        values = sample.majority[0][inside]
        votes = {v: sample.nodes.sizes[inside][values == v].sum() for v in set(values.tolist())}
        label.append(max(votes, key=lambda v: (votes[v], -v)))
    for (a, b), apart, weight in zip(
        expected, regions.pairs.apart.tolist(), regions.pairs.weight.tolist(), strict=True
    ):
        known = UNLABELLED not in (label[a], label[b])
        assert weight == known
        assert apart == (known and label[a] != label[b])
    assert 0 < regions.pairs.weight.mean() < 1


def test_merging_follows_the_outputs_and_chance_sets_the_level(sample, outputs):
    embedding, logits = outputs
    counts = []
    for seed in range(12):
        regions = merged_regions(sample, embedding, logits, 2, np.random.default_rng(seed))
        again = merged_regions(sample, embedding, logits, 2, np.random.default_rng(seed))
        assert torch.equal(regions.of_node, again.of_node)
        counts.append(regions.count)
        if regions.count < 12:  # so few that only the bands and specks are left
            mixed = sum(
                np.unique(sample.majority[0][regions.of_node.numpy() == k]).size > 1
                for k in range(regions.count)
            )
            assert mixed <= 2
    assert min(counts) < 20 < max(counts)


def test_gradients_reach_the_embedding(sample, outputs):
    embedding = outputs[0].clone().requires_grad_()
    regions = merged_regions(sample, embedding, outputs[1], 2, np.random.default_rng(0))
    regions.means(embedding).square().sum().backward()
    assert (embedding.grad.abs().sum(dim=1) > 0).all()
