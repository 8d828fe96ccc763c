"""The linkages that give a hierarchy, against plain forms of themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.merging import average, edge_order, sequential, spanning_forest
from napari_del.merging.average import _merge
from tests.merging.references import (
    average_merges,
    components,
    graphs,
    grid,
    partition,
    partition_at,
    random_schedule,
    thresholds,
    total_order,
)


def build(linkage, graph):
    edges, weights, lengths, n = graph
    if linkage == "average":
        return average(edges, weights, lengths, n)
    return spanning_forest(edges, weights, n)


@given(graphs())
def test_spanning_forest_gives_the_connected_components_at_every_threshold(graph):
    edges, weights, _, n = graph
    tree = spanning_forest(edges, weights, n)
    for t in thresholds(weights):
        assert partition(tree.cut(t)) == components(edges[weights <= t], n)


@given(graphs())
def test_average_merges_the_smallest_mean_of_all(graph):
    edges, weights, lengths, n = graph
    tree = average(edges, weights, lengths, n)
    merges = average_merges(edges, weights, lengths, n)
    assert tree.merge_heights.tolist() == sorted(int(mean) for mean, _ in merges)
    for t in thresholds(tree.merge_heights):
        assert partition(tree.cut(t)) == partition_at(merges, t, n)


@given(graphs(), st.integers(0, 100))
def test_average_does_not_depend_on_the_order_of_merges(graph, seed):
    edges, weights, lengths, n = graph
    tree = average(edges, weights, lengths, n)
    merges = average_merges(edges, weights, lengths, n, random_schedule(seed))
    assert set(merges) == set(average_merges(edges, weights, lengths, n))
    for t in thresholds(tree.merge_heights):
        assert partition(tree.cut(t)) == partition_at(merges, t, n)


def test_average_tells_means_apart_that_floating_point_does_not():
    # The means to row 2 and row 3 are 1/3 and 333333333/1000000000 above the same integer.
    q = 2**32 - 10
    edges = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [1, 3]], np.int32)
    weights = np.array([0, q + 1, q + 1, q, q], np.uint32)
    lengths = np.array([1, 1, 333333333, 2, 666666667])
    assert q + 1 / 3 == q + 333333333 / 1000000000
    tree = average(edges, weights, lengths, 4)
    assert tree.cut(2**32 - 1).tolist() == [0, 0, 0, 0]
    merges = average_merges(edges, weights, lengths, 4)
    assert [both for _, both in merges] == [{0, 1}, {0, 1, 3}, {0, 1, 2, 3}]


def test_average_orders_equal_means_by_the_lowest_original_edge():
    # After rows 0 and 1 merge, the borders to rows 2 and 3 both have the mean 20. That to row 2
    # is made of edges 1 and 3 and goes before edge 2; the border that is left then has the mean
    # (20 + 100) / 2, and would have (30 + 10 + 100) / 3 the other way round.
    edges = np.array([[0, 1], [0, 2], [0, 3], [1, 2], [2, 3]], np.int32)
    weights = np.array([0, 30, 20, 10, 100], np.uint32)
    tree = average(edges, weights, np.ones(5, np.int64), 4)
    assert tree.merge_heights.tolist() == [0, 20, 60]


@given(graphs(), st.sampled_from(["average", "del"]))
def test_hierarchy_is_a_union_by_size(graph, linkage):
    tree = build(linkage, graph)
    rows = np.arange(tree.n)
    for i in rows:
        steps, node, last = 0, i, 0
        while tree.parent[node] != node:
            assert tree.height[node] >= last
            last, node, steps = tree.height[node], tree.parent[node], steps + 1
        assert tree.height[node] == 2**32 - 1
        assert 2**steps <= tree.n
    # A representative is a row of its own region.
    for t in thresholds(tree.merge_heights):
        cut = tree.cut(t)
        assert np.array_equal(cut[cut], cut)


@given(graphs(), st.sampled_from(["average", "del"]), st.data())
def test_counts_and_subsets_agree_with_the_partition(graph, linkage, data):
    tree = build(linkage, graph)
    coarser = tree.n + 1
    for t in thresholds(tree.merge_heights):
        cut = tree.cut(t)
        count = len(np.unique(cut))
        assert tree.n_regions(t) == count <= coarser
        coarser = count
        labels, k = sequential(cut)
        assert k == count and partition(labels) == partition(cut)
        assert list(dict.fromkeys(labels.tolist())) == list(range(1, k + 1))
        rows = data.draw(st.lists(st.integers(0, tree.n - 1), max_size=9)) if tree.n else []
        assert tree.region_of(rows, t).tolist() == [cut[i] for i in rows]


@given(graphs(), st.sampled_from(["average", "del"]))
def test_partitions_are_nested(graph, linkage):
    tree = build(linkage, graph)
    cuts = [tree.cut(t) for t in thresholds(tree.merge_heights)]
    for fine, coarse in itertools.pairwise(cuts):
        assert np.array_equal(coarse[fine], coarse)


@given(graphs(), st.sampled_from(["average", "del"]), st.integers(1, 60))
def test_threshold_for_is_the_smallest_that_gives_so_few(graph, linkage, wanted):
    tree = build(linkage, graph)
    t = tree.threshold_for(wanted)
    fewest = tree.n_regions(2**32 - 1)
    assert tree.n_regions(t) <= max(wanted, fewest)
    assert t == 0 or tree.n_regions(t - 1) > max(wanted, fewest)


def test_a_whole_number_of_ties_keeps_the_lowest_row():
    edges, n = grid(4, 4)
    weights = np.full(len(edges), 7, np.uint32)
    for tree in (
        spanning_forest(edges, weights, n),
        average(edges, weights, np.ones(len(edges), np.int64), n),
    ):
        assert tree.cut(6).tolist() == list(range(n))
        assert tree.cut(7).tolist() == [0] * n


def test_an_edge_of_weight_one_joins_only_what_it_connects():
    edges = np.array([[0, 1]], np.int32)
    weights = np.array([2**32 - 1], np.uint32)
    for tree in (spanning_forest(edges, weights, 3), average(edges, weights, np.array([9]), 3)):
        assert tree.cut(2**32 - 2).tolist() == [0, 1, 2]
        assert tree.cut(2**32 - 1).tolist() == [0, 0, 2]
        assert tree.threshold_for(1) == tree.threshold_for(2) == 2**32 - 1


@pytest.mark.parametrize("n", [0, 1])
def test_graphs_without_edges(n):
    none = np.empty((0, 2), np.int32)
    weights = np.empty(0, np.uint32)
    for tree in (spanning_forest(none, weights, n), average(none, weights, np.empty(0, int), n)):
        assert tree.cut(2**32 - 1).tolist() == list(range(n))
        assert tree.n_regions(0) == n
        assert tree.threshold_for(1) == 0


@given(graphs())
def test_edge_order_is_by_weight_then_number(graph):
    assert edge_order(graph[1]).tolist() == total_order(graph[1])


def steps_of(edges, n, weights):
    parent = np.arange(n, dtype=np.int32)
    height = np.full(n, 2**32 - 1, np.uint32)
    lengths = np.ones(len(edges), np.int32)
    return _merge(edges, weights, lengths, edge_order(weights), parent, height)


@pytest.mark.parametrize("background", ["joins last", "joins first", "joins at any time"])
def test_a_region_that_touches_all_others_costs_no_more_than_a_grid(background):
    rng = np.random.default_rng(0)
    edges, n = grid(150, 150)
    weights = rng.integers(1000, 2000, len(edges)).astype(np.uint32)
    plain = steps_of(edges, n, weights)
    # Two such regions, so that they have all their neighbours in common as well.
    inner = np.arange(n, dtype=np.int32)
    hub = np.concatenate([np.stack([inner, np.full(n, n + k)], axis=1) for k in (0, 1)])
    both = np.concatenate([edges, hub]).astype(np.int32)
    low, high = {
        "joins last": (3000, 4000),
        "joins first": (0, 500),
        "joins at any time": (0, 4000),
    }[background]
    all_weights = np.concatenate([weights, rng.integers(low, high, 2 * n)]).astype(np.uint32)
    order = np.lexsort((both[:, 1], both[:, 0]))
    # Twice the edges; a step for each neighbour of a hub at each merge would be 10000 times.
    assert steps_of(both[order], n + 2, all_weights[order]) < 4 * plain
