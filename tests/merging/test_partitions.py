"""The linkage without a hierarchy, the joining of small regions, and numbers in fixed point."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.errors import ParameterError
from napari_del.merging import (
    LINKAGES,
    Hierarchy,
    average,
    edge_order,
    egb,
    from_fixed,
    join_small,
    sequential,
    spanning_forest,
    threshold_to_fixed,
    to_fixed,
)
from tests.merging.references import (
    components,
    egb_partition,
    graphs,
    grid,
    partition,
    small_partition,
    thresholds,
)

ONE = 2**32 - 1


# The threshold whose k is a small number of units, as most of the weights are, or any other.
NEAR_WEIGHTS = st.integers(0, 20).map(lambda k: k / (ONE + k))
ENDS = st.sampled_from([0.0, 0.5, 1.0, 1 - 2**-53])


@given(graphs(), st.one_of(NEAR_WEIGHTS, ENDS, st.floats(0, 1)))
def test_egb_against_its_definition(graph, threshold):
    edges, weights, _, n = graph
    result = egb(edges, weights, n, threshold)
    assert partition(result) == egb_partition(edges, weights, n, threshold)
    assert np.array_equal(result[result], result)
    assert np.array_equal(egb(edges, weights, n, threshold, order=edge_order(weights)), result)


def test_egb_asks_both_regions():
    # The pair has grown along 4 and allows 4 + 4 / 2; the single row allows 4 and not 5.
    edges = np.array([[0, 1], [1, 2]], np.int32)
    result = egb(edges, np.array([4, 5], np.uint32), 3, 4.5 / (ONE + 4.5))
    assert result.tolist() == [0, 0, 2]
    # Turned round, so that the larger region is the second one.
    result = egb(edges, np.array([5, 4], np.uint32), 3, 4.5 / (ONE + 4.5))
    assert result.tolist() == [0, 1, 1]


def test_egb_lets_varied_regions_grow_where_even_ones_stop():
    # Two chains: the right one varies by 100, the left one by 1; a step of 60 within each.
    edges = np.array([[i, i + 1] for i in range(8)] + [[i, i + 1] for i in range(9, 17)], np.int32)
    weights = np.array([1, 1, 1, 1, 60, 1, 1, 1, 50, 50, 50, 50, 60, 50, 50, 50])
    result = egb(edges, (weights * 2**20).astype(np.uint32), 18, 100 * 2**20 / ONE)
    assert len(np.unique(result[:9])) == 2
    assert len(np.unique(result[9:])) == 1


@given(graphs(), st.integers(0, 12), st.data())
def test_join_small_against_its_definition(graph, min_size, data):
    edges, weights, _, n = graph
    sizes = data.draw(st.lists(st.integers(1, 5), min_size=n, max_size=n))
    sizes = np.array(sizes, np.int64)
    tree = spanning_forest(edges, weights, n)
    before = tree.cut(data.draw(st.sampled_from(thresholds(weights))))
    after = join_small(before, edges, weights, sizes, min_size)
    assert np.array_equal(after[after], after)
    regions = partition(after)
    assert regions == small_partition(partition(before), edges, weights, sizes, min_size)
    whole = components(edges, n)
    assert all(sizes[list(r)].sum() >= min_size or r in whole for r in regions)
    again = join_small(after, edges, weights, sizes, min_size, order=edge_order(weights))
    assert np.array_equal(again, after)


def test_join_small_keeps_the_representative_of_the_larger_part():
    edges = np.array([[0, 1], [1, 2]], np.int32)
    weights = np.array([1, 2], np.uint32)
    rows = np.arange(3, dtype=np.int32)
    assert join_small(rows, edges, weights, np.array([3, 9, 5]), 4).tolist() == [1, 1, 2]
    assert join_small(rows, edges, weights, np.array([3, 3, 5]), 4).tolist() == [0, 0, 2]
    assert join_small(rows, edges, weights, np.array([3, 9, 5]), 100).tolist() == [1, 1, 1]
    assert rows.tolist() == [0, 1, 2]


def test_to_fixed_rounds_half_up():
    d = np.array([0, 0.5 / ONE, 0.49 / ONE, 0.5, 1])
    assert to_fixed(d).tolist() == [0, 1, 0, 2**31, ONE]
    assert to_fixed(d).dtype == np.uint32


@given(st.integers(0, ONE))
def test_from_fixed_is_undone_by_both_ways_back(w):
    t = from_fixed(w)
    assert to_fixed(t) == w
    assert threshold_to_fixed(float(t)) == w


def test_from_fixed_is_undone_for_many_weights_at_once():
    steps = np.arange(100_000)
    w = np.concatenate([steps, ONE - steps, steps * 42949]).astype(np.uint32)
    assert np.array_equal(to_fixed(from_fixed(w)), w)
    assert np.array_equal(np.floor(from_fixed(w) * ONE), w)


@given(st.floats(0, 1))
def test_threshold_to_fixed_takes_in_exactly_the_weights_up_to_it(t):
    w = threshold_to_fixed(t)
    assert from_fixed(w) <= np.nextafter(t, 2)
    assert w == ONE or from_fixed(w + 1) > t


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), float("inf"), "high", None])
def test_threshold_outside_its_range(value):
    with pytest.raises(ParameterError, match=rf"^threshold is .*{value!s}.*expected a number"):
        threshold_to_fixed(value)
    with pytest.raises(ParameterError, match="^threshold is"):
        egb(np.array([[0, 1]], np.int32), np.array([1], np.uint32), 2, value)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan")])
def test_dissimilarity_outside_its_range(value):
    with pytest.raises(ParameterError, match=rf"^a dissimilarity is {value}; expected"):
        to_fixed(np.array([0.2, value]))


GOOD = {
    "edges": np.array([[0, 1], [1, 2]], np.int32),
    "weights": np.array([1, 2], np.uint32),
    "n": 3,
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": np.zeros((2, 3), np.int32)}, r"^edges have shape \(2, 3\)"),
        ({"edges": np.zeros((2, 2))}, "dtype float64"),
        ({"edges": np.array([[0, 1], [2, 1]])}, r"^edge 1 is \(2, 1\); expected rows u < v"),
        ({"edges": np.array([[1, 2], [0, 1]])}, r"^edge 1 is \(0, 1\).*sorted"),
        ({"edges": np.array([[0, 1], [0, 1]])}, r"^edge 1 is \(0, 1\).*once"),
        ({"edges": np.array([[0, 1], [1, 3]])}, r"^edge 1 is \(1, 3\).*below 3"),
        ({"edges": np.array([[0, 1], [1, 2**32 + 2]])}, "^edge 1 is .*below 3"),
        ({"edges": np.array([[-1, 1], [1, 2]])}, "^edge 0 is"),
        ({"weights": np.array([0.1, 0.2])}, "^weights have .*float64; expected uint32"),
        ({"weights": np.array([1], np.uint32)}, "^there are 2 edges and 1 weights"),
        ({"n": -1}, "^the number of nodes is -1"),
    ],
)
def test_wrong_graphs(change, message):
    arguments = {**GOOD, **change}
    lengths = np.ones(2, np.int64)
    for call in (
        lambda: spanning_forest(**arguments),
        lambda: average(**arguments, lengths=lengths),
        lambda: egb(**arguments, threshold=0.5),
    ):
        with pytest.raises(ParameterError, match=message) as error:
            call()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([1], "^border lengths have shape"),
        ([1, 0], "^a border length is 0"),
        ([2**31, 1], "^a border length is 2147483648; expected less"),
        ([2**63, 2**64 - 1], "^a border length is 18446744073709551615; expected less"),
    ],
)
def test_wrong_border_lengths(lengths, message):
    with pytest.raises(ParameterError, match=message):
        average(**GOOD, lengths=np.array(lengths))


def test_longest_borders_of_the_largest_weight_do_not_overflow():
    edges = np.array([[0, 1], [0, 2], [1, 2]], np.int32)
    weights = np.array([ONE - 1, ONE, ONE], np.uint32)
    tree = average(edges, weights, np.array([1, 2**30 - 1, 2**30 - 1]), 3)
    assert tree.merge_heights.tolist() == [ONE - 1, ONE]


def test_a_border_that_grows_too_long():
    edges = np.array([[0, 1], [0, 2], [0, 3], [1, 2]], np.int32)
    weights = np.array([0, ONE, ONE, ONE], np.uint32)
    # All together may be longer, as long as no two regions share so much.
    tree = average(edges, weights, np.array([2**31 - 1, 2**30, 2**31 - 1, 2**30 - 1]), 4)
    assert tree.merge_heights.tolist() == [0, ONE, ONE]
    with pytest.raises(ParameterError, match="^the border between two regions is longer than 2147"):
        average(edges, weights, np.array([1, 2**30, 1, 2**30]), 4)


@pytest.mark.parametrize("order", [[0], [0.0, 1.0]])
def test_wrong_order(order):
    with pytest.raises(ParameterError, match="^order has shape"):
        spanning_forest(**GOOD, order=np.array(order))


def test_wrong_sizes_and_representatives():
    edges, weights = GOOD["edges"], GOOD["weights"]
    rows, sizes = np.arange(3, dtype=np.int32), np.ones(3, np.int64)
    with pytest.raises(ParameterError, match=r"^sizes have shape \(2,\)"):
        join_small(rows, edges, weights, sizes[:2], 2)
    with pytest.raises(ParameterError, match="^the minimum size is -1"):
        join_small(rows, edges, weights, sizes, -1)
    for wrong, message in [
        (rows.astype(float), "^representatives have shape"),
        (rows + np.int32(1), "^representatives go from 1 to 3"),
        (np.array([1, 0, 2], np.int32), "^row 0 is represented by row 1"),
    ]:
        with pytest.raises(ParameterError, match=message):
            join_small(wrong, edges, weights, sizes, 2)
        with pytest.raises(ParameterError, match=message):
            sequential(wrong)


def test_wrong_calls_of_a_hierarchy():
    tree = spanning_forest(**GOOD)
    for call in (tree.cut, tree.n_regions, lambda t: tree.region_of([0], t)):
        for value in (-1, 2**32):
            with pytest.raises(ParameterError, match=f"^the fixed-point threshold is {value}"):
                call(value)
    with pytest.raises(ParameterError, match="^the number of regions is 0"):
        tree.threshold_for(0)
    with pytest.raises(ParameterError, match="^rows go from 0 to 3"):
        tree.region_of([0, 3], 0)
    with pytest.raises(ParameterError, match="^rows have shape"):
        tree.region_of([0.5], 0)
    with pytest.raises(ParameterError, match="^parent is int64"):
        Hierarchy(np.arange(3), np.zeros(3, np.uint32))
    with pytest.raises(ParameterError, match="^parents go from 1 to 3"):
        Hierarchy(np.arange(1, 4, dtype=np.int32), np.zeros(3, np.uint32))


def test_threads_do_not_change_a_cut(monkeypatch):
    edges, n = grid(300, 300)
    weights = np.random.default_rng(0).integers(0, 2**32, len(edges)).astype(np.uint32)
    tree = spanning_forest(edges, weights, n)
    t = tree.threshold_for(n // 50)
    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", "1")
    alone = tree.cut(t)
    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", "2")
    assert np.array_equal(tree.cut(t), alone)


def test_linkages_are_named_as_in_the_interfaces():
    assert LINKAGES == ("learned", "average", "contrast", "del", "egb")
