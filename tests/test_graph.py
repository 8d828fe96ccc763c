"""The region adjacency graph against a count pixel by pixel."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.graph import BOUNDARY_SCALE, adjacency, dissimilarity, number_nodes
from napari_del.merging import from_fixed


def brute_force(labels, boundary=None, stride=1):
    """Length of each border, and the boundary values on both sides of it added up."""
    lengths, sums = Counter(), Counter()
    height, width = labels.shape
    for y in range(height):
        for x in range(width):
            for y1, x1 in ((y, x + 1), (y + 1, x)):
                if y1 < height and x1 < width:
                    pair = tuple(sorted((int(labels[y, x]), int(labels[y1, x1]))))
                    if pair[0] != pair[1] and pair[0] > 0:
                        lengths[pair] += 1
                        if boundary is not None:
                            sums[pair] += int(boundary[y // stride, x // stride])
                            sums[pair] += int(boundary[y1 // stride, x1 // stride])
    return lengths, sums


@st.composite
def label_images(draw):
    """Small label images with gaps in the numbers and masked pixels; pieces may be apart."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    numbers = draw(st.lists(st.integers(0, 500), min_size=1, max_size=12, unique=True))
    return rng.choice(np.array(numbers, np.int32), shape), rng


@given(label_images(), st.sampled_from([1, 2, 8]))
def test_edges_lengths_and_boundary_sums(images, stride):
    labels, rng = images
    # One row and column more than needed, as the output of a padded network may have.
    shape = [-(-side // stride) + 1 for side in labels.shape]
    boundary = rng.integers(0, BOUNDARY_SCALE + 1, shape).astype(np.uint16)
    nodes = number_nodes(labels)
    lengths, sums = brute_force(labels, boundary, stride)

    graph = adjacency(nodes, boundary, stride=stride)

    assert graph.edges.dtype == np.int32 and graph.edges.shape == (len(lengths), 2)
    assert graph.lengths.dtype == np.int64 and graph.boundary_sums.dtype == np.int64
    pairs = [(int(nodes.ids[u]), int(nodes.ids[v])) for u, v in graph.edges]
    assert pairs == sorted(lengths)
    assert graph.lengths.tolist() == [lengths[pair] for pair in pairs]
    assert graph.boundary_sums.tolist() == [sums[pair] for pair in pairs]
    mean = graph.boundary()
    np.testing.assert_allclose(
        mean, [sums[p] / (2 * lengths[p]) / BOUNDARY_SCALE for p in pairs], rtol=1e-12
    )
    assert ((mean >= 0) & (mean <= 1)).all()
    alone = adjacency(nodes)
    assert alone.boundary_sums is None and alone.boundary() is None
    np.testing.assert_array_equal(alone.edges, graph.edges)
    np.testing.assert_array_equal(alone.lengths, graph.lengths)


@given(label_images())
def test_nodes_are_numbered_by_id_without_gaps(images):
    labels, _ = images
    nodes = number_nodes(labels)
    ids = sorted(set(labels.ravel().tolist()) - {0})
    assert nodes.ids.tolist() == ids and nodes.ids.dtype == np.int32
    assert nodes.sizes.tolist() == [int((labels == i).sum()) for i in ids]
    assert nodes.image.dtype == np.int32
    back = np.concatenate([[0], nodes.ids])
    np.testing.assert_array_equal(back[nodes.image], labels)


def test_numbers_without_gaps_are_not_copied():
    labels = np.array([[1, 2], [0, 3]], np.int32)
    assert np.shares_memory(number_nodes(labels).image, labels)
    gap = np.array([[1, 2], [0, 4]], np.int32)
    assert number_nodes(gap).image.tolist() == [[1, 2], [0, 3]]
    assert gap.tolist() == [[1, 2], [0, 4]]


def test_a_node_with_many_neighbours():
    # A comb: node 1 touches each of 60 others, in an order that is not sorted.
    numbers = 2 + np.random.default_rng(0).permutation(60)
    labels = np.stack([np.ones(120), np.repeat(numbers, 2)]).astype(np.int32)
    graph = adjacency(number_nodes(labels))
    spokes = graph.edges[:, 0] == 0
    assert graph.edges[spokes, 1].tolist() == list(range(1, 61))
    assert (graph.lengths[spokes] == 2).all()
    assert (~spokes).sum() == 59


@pytest.mark.parametrize("labels", [[[5]], [[0]], [[3, 3, 3]], [[1, 0, 2]]])
def test_graphs_without_edges(labels):
    nodes = number_nodes(np.array(labels, np.int32))
    graph = adjacency(nodes, np.zeros((1, 3), np.uint16))
    assert graph.edges.shape == (0, 2)
    assert graph.boundary().shape == (0,)
    assert dissimilarity(graph.edges, np.zeros((nodes.ids.size, 4), np.float32)).shape == (0,)


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.01, 0.3, 3.0]), st.integers(1, 64))
def test_dissimilarity_is_that_of_the_paper(seed, scale, dim):
    rng = np.random.default_rng(seed)
    embeddings = (rng.normal(size=(9, dim)) * scale).astype(np.float32)
    edges = np.array([(u, v) for u in range(9) for v in range(u + 1, 9)], np.int32)
    found = dissimilarity(edges, embeddings)
    assert found.dtype == np.uint32
    wide = embeddings.astype(np.float64)
    distance = np.abs(wide[edges[:, 0]] - wide[edges[:, 1]]).sum(axis=1)
    with np.errstate(over="ignore"):
        expected = 1 - 2 / (1 + np.exp(distance))
    np.testing.assert_allclose(from_fixed(found), expected, atol=1e-9)


def test_dissimilarity_at_its_ends():
    embeddings = np.array([[0, 0], [0, 0], [500, -500]], np.float32)
    edges = np.array([[0, 1], [0, 2]], np.int32)
    assert dissimilarity(edges, embeddings).tolist() == [0, 2**32 - 1]


def test_the_number_of_threads_changes_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.repeat(rng.permutation(10_000).reshape(100, 100), 2, 0), 3, 1)
    nodes = number_nodes(labels.astype(np.int32) + 1)
    boundary = rng.integers(0, BOUNDARY_SCALE, labels.shape).astype(np.uint16)
    embeddings = rng.random((10_000, 3)).astype(np.float32)
    found = []
    for threads in ("1", "2"):
        monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", threads)
        graph = adjacency(nodes, boundary)
        weights = dissimilarity(graph.edges, embeddings)
        found.append((graph.edges, graph.lengths, graph.boundary_sums, weights))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    assert len(found[0][0]) == 2 * 100 * 99
