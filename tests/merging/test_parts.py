"""Graphs merged part by part, against the same graphs merged as wholes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.errors import Cancelled, ParameterError
from napari_del.merging import _part_linkages, average, parts, spanning_forest
from napari_del.merging.parts import EdgePart, average_in_parts, spanning_forest_in_parts
from tests.merging.references import graphs, grid

ONE = 2**32 - 1
LINKAGES = ("average", "del")


def loader(graph, starts, groups=None):
    edges, weights, lengths, _ = graph

    def load(k):
        part = slice(*np.searchsorted(edges[:, 0], starts[k : k + 2]))
        of = None if groups is None else groups[starts[k] : starts[k + 1]]
        return EdgePart(edges[part], weights[part], lengths[part], of)

    return load


def in_parts(linkage, graph, starts, groups=None, **options):
    merge = average_in_parts if linkage == "average" else spanning_forest_in_parts
    return merge(loader(graph, starts, groups), starts, graph[3], **options)


def whole(linkage, graph):
    edges, weights, lengths, n = graph
    if linkage == "average":
        return average(edges, weights, lengths, n)
    return spanning_forest(edges, weights, n)


def same(first, second):
    return np.array_equal(first.parent, second.parent) and np.array_equal(
        first.height, second.height
    )


def superpixel_graph(rows, columns, seed, values=None):
    """A grid with one diagonal at each corner and smooth weights, or some of few values."""
    rng = np.random.default_rng(seed)
    index = np.arange(rows * columns).reshape(rows, columns)
    turned = rng.random((rows - 1, columns - 1)) < 0.5
    diagonal = np.where(turned, index[:-1, 1:], index[:-1, :-1])
    opposite = np.where(turned, index[1:, :-1], index[1:, 1:])
    edges = np.concatenate(
        [grid(rows, columns)[0], np.stack([diagonal.ravel(), opposite.ravel()], axis=1)]
    )
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))].astype(np.int32)
    if values is None:
        y, x = np.divmod(edges[:, 0], columns)
        smooth = 0.4 + 0.3 * np.sin(y / 5) * np.cos(x / 7) + 0.2 * rng.random(len(edges))
        weights = (smooth * ONE).astype(np.uint32)
    else:
        weights = rng.choice(np.array(values, np.uint32), len(edges))
    return edges, weights, rng.integers(1, 12, len(edges)), index.size


@pytest.fixture(params=["seldom", "at once"])
def put_together(request, monkeypatch):
    """Whether parts are put together one by one, or all at the end."""
    monkeypatch.setattr(parts, "_MANY", 0 if request.param == "at once" else 2**20)


@given(graphs(), st.sampled_from(LINKAGES), st.sampled_from([0, 3, 2**20]), st.data())
def test_parts_give_the_hierarchy_of_the_whole(graph, linkage, many, data):
    n = graph[3]
    some_rows = st.lists(st.integers(0, n), max_size=6)
    inner = data.draw(st.one_of(some_rows, st.just(list(range(n)))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_MANY", many)
        assert same(in_parts(linkage, graph, [0, *sorted(inner), n]), whole(linkage, graph))


@given(graphs(), st.sampled_from(LINKAGES), st.sampled_from([0, 3, 2**20]), st.data())
def test_groups_of_any_rows_give_the_hierarchy_of_the_whole(graph, linkage, many, data):
    n = graph[3]
    inner = data.draw(st.lists(st.integers(0, n), max_size=3))
    starts = [0, *sorted(inner), n]
    # Numbers below that of the rows of each part, with gaps.
    drawn = data.draw(st.lists(st.integers(0, 4), min_size=n, max_size=n))
    rows = np.repeat(np.diff(starts), np.diff(starts))
    groups = np.array(drawn, np.int64) % np.maximum(rows, 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "_MANY", many)
        assert same(in_parts(linkage, graph, starts, groups), whole(linkage, graph))


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("values", [None, [7], [0, 1], [0, 5, 6, 7]])
@pytest.mark.parametrize("size", [97, 400, 10_000])
def test_superpixels_in_squares(linkage, values, size, put_together):
    graph = superpixel_graph(24, 31, 3, values)
    starts = [*range(0, graph[3], size), graph[3]]
    rows, columns = np.divmod(np.arange(graph[3]), 31)
    groups = (rows // 5) % 3 * 4 + columns // 9
    assert same(in_parts(linkage, graph, starts, groups), whole(linkage, graph))


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize("values", [None, [7], [0, 1], [0, 5, 6, 7], [0, ONE - 1, ONE]])
@pytest.mark.parametrize("size", [11, 97, 400, 10_000])
def test_superpixels_in_parts_of_any_size(linkage, values, size, put_together):
    graph = superpixel_graph(24, 31, 3, values)
    starts = [*range(0, graph[3], size), graph[3]]
    assert same(in_parts(linkage, graph, starts), whole(linkage, graph))


@pytest.mark.parametrize("linkage", LINKAGES)
def test_the_number_of_threads_does_not_matter(linkage, monkeypatch, put_together):
    graph = superpixel_graph(120, 90, 4)
    starts = [*range(0, graph[3], 700), graph[3]]
    groups = np.arange(graph[3]) % 90 // 31
    expected = whole(linkage, graph)
    for threads in (1, 2, 8):
        # More threads than there are cores as well: they take turns in other places.
        monkeypatch.setattr(parts, "n_threads", lambda threads=threads: threads)
        monkeypatch.setattr("napari_del._threads.n_threads", lambda threads=threads: threads)
        for of in (None, groups, groups):
            assert same(in_parts(linkage, graph, starts, of), expected)


@pytest.mark.parametrize("linkage", LINKAGES)
def test_rows_at_the_end_that_border_on_all_parts(linkage, put_together):
    edges, weights, lengths, n = superpixel_graph(30, 30, 5, [1, 2, 3, 4, 5])
    rng = np.random.default_rng(6)
    late = np.stack([rng.permutation(n)[:40], n + np.arange(40) // 2], axis=1)
    every = np.concatenate([edges, late]).astype(np.int32)
    order = np.lexsort((every[:, 1], every[:, 0]))
    graph = (
        every[order],
        np.concatenate([weights, rng.integers(0, 6, 40).astype(np.uint32)])[order],
        np.concatenate([lengths, np.ones(40, np.int64)])[order],
        n + 20,
    )
    assert same(in_parts(linkage, graph, [0, 200, 450, 900, n + 20]), whole(linkage, graph))


@pytest.mark.parametrize("linkage", LINKAGES)
def test_most_of_a_part_is_merged_without_the_others(linkage, monkeypatch):
    left = []
    remaining = _part_linkages.remaining

    def watched(graph, edges):
        left.append(remaining(graph, edges))
        return left[-1]

    monkeypatch.setattr(_part_linkages, "remaining", watched)
    graph = superpixel_graph(400, 100, 7)
    in_parts(linkage, graph, [0, 20_000, 40_000])
    assert len(left) == 3
    assert all(0 < of_part.rows.size < 8_000 for of_part in left[:2])
    assert left[2].rows.size == 0


@pytest.mark.parametrize("linkage", LINKAGES)
def test_without_blocking_the_result_would_differ(linkage, monkeypatch):
    """A negative control: what lies outside has to be asked."""
    graph = superpixel_graph(24, 31, 8)
    starts = [0, 300, graph[3]]
    join = parts.join
    assert same(in_parts(linkage, graph, starts), whole(linkage, graph))

    def careless(*arguments):
        # What is outside comes last, and so blocks nothing.
        joined = join(*arguments)
        edges = joined.edges
        outside = joined.outside[edges.ends].any(axis=1)
        edges.total[outside] = ONE * edges.length[outside].astype(np.int64)
        return joined

    monkeypatch.setattr(parts, "join", careless)
    assert not same(in_parts(linkage, graph, starts), whole(linkage, graph))


@pytest.mark.parametrize("linkage", LINKAGES)
def test_ties_by_number_within_the_part_would_differ(linkage, monkeypatch):
    """A negative control: of equal means, the number in the whole graph has to decide."""
    graph = superpixel_graph(24, 31, 9, [5, 6, 7])
    starts = [*range(0, graph[3], 100), graph[3]]
    assert same(in_parts(linkage, graph, starts), whole(linkage, graph))
    checked_part = parts._Merging._checked_part

    def numbered_by_part(self, k):
        self._n_edges = 0
        return checked_part(self, k)

    monkeypatch.setattr(parts._Merging, "_checked_part", numbered_by_part)
    assert not same(in_parts(linkage, graph, starts), whole(linkage, graph))


@pytest.mark.parametrize("linkage", LINKAGES)
@pytest.mark.parametrize(("n", "starts"), [(0, [0]), (0, [0, 0]), (1, [0, 1]), (3, [0, 0, 1, 3])])
def test_graphs_without_edges(linkage, n, starts):
    none = np.empty((0, 2), np.int32), np.empty(0, np.uint32), np.empty(0, np.int64), n
    assert in_parts(linkage, none, starts).parent.tolist() == list(range(n))


@pytest.mark.parametrize("linkage", LINKAGES)
def test_parts_are_loaded_once_in_order_and_one_at_a_time(linkage):
    graph = superpixel_graph(60, 40, 10)
    starts = [*range(0, graph[3], 100), graph[3]]
    load, loaded, busy = loader(graph, starts), [], threading.Lock()

    def watched(k):
        assert busy.acquire(blocking=False)
        loaded.append(k)
        part = load(k)
        busy.release()
        return part

    merge = average_in_parts if linkage == "average" else spanning_forest_in_parts
    merge(watched, starts, graph[3])
    assert loaded == list(range(len(starts) - 1))


def test_progress_counts_to_the_end_and_can_stop():
    graph = superpixel_graph(24, 31, 11)
    starts = [0, 100, 200, 200, 500, graph[3]]
    for groups in (None, np.arange(graph[3]) % 31 // 11):
        calls = []

        def count(done, total, calls=calls):
            calls.append((done, total))

        in_parts("average", graph, starts, groups, progress=count)
        assert calls == [(done, 6) for done in range(1, 7)]

    def stop(done, total):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        in_parts("average", graph, starts, progress=stop)


def test_an_error_of_a_part_stops_the_merging(monkeypatch):
    graph = superpixel_graph(60, 40, 12)
    starts = [*range(0, graph[3], 20), graph[3]]
    load, loaded = loader(graph, starts), []

    def failing(k):
        loaded.append(k)
        if k == 3:
            raise OSError("the disk is gone")
        return load(k)

    for threads in (1, 2):
        monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", str(threads))
        loaded.clear()
        with pytest.raises(OSError, match="^the disk is gone$"):
            average_in_parts(failing, starts, graph[3])
        assert len(loaded) <= 3 + threads


PATH = np.array([[0, 1], [1, 2], [2, 3]], np.int32)


@pytest.mark.parametrize(
    ("starts", "message"),
    [
        ([], "^starts have shape"),
        ([[0, 4]], "^starts have shape"),
        ([0.0, 4.0], "dtype float64; expected whole numbers"),
        ([1, 4], "^starts go from 1 to 4; expected ascending rows from 0 to 4"),
        ([0, 3], "^starts go from 0 to 3"),
        ([0, 3, 2, 4], "^starts go from 0 to 4; expected ascending"),
    ],
)
def test_wrong_starts(starts, message):
    for merge in (average_in_parts, spanning_forest_in_parts):
        with pytest.raises(ParameterError, match=message) as error:
            merge(lambda k: pytest.fail("nothing to load"), starts, 4)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"edges": PATH[:, ::-1]}, r"^part 0: edge 0 is \(1, 0\); expected rows u < v below 4"),
        ({"edges": PATH + np.int32(1)}, r"^part 0: edge 2 is \(3, 4\)"),
        ({"edges": PATH.astype(float)}, "^part 0: edges have shape"),
        ({"weights": np.ones(3)}, "^part 0: weights have"),
        ({"weights": np.ones(2, np.uint32)}, "^part 0: there are 3 edges and 2 weights"),
        ({"groups": np.zeros(3, int)}, r"^part 0: groups have shape \(3,\) .* each of 4 rows"),
        ({"groups": np.zeros(4)}, "^part 0: groups have .* dtype float64; expected a whole number"),
        ({"groups": np.array([0, 0, -1, 0])}, "^part 0: groups go from -1 to 0"),
        ({"groups": np.array([0, 4, 0, 0])}, "^part 0: groups go from 0 to 4; .* than the 4 rows"),
    ],
)
def test_wrong_parts(change, message):
    good = EdgePart(PATH, np.ones(3, np.uint32), np.ones(3, np.int64))
    for merge in (average_in_parts, spanning_forest_in_parts):
        with pytest.raises(ParameterError, match=message):
            merge(lambda k: good._replace(**change), [0, 4], 4)
        with pytest.raises(ParameterError, match="^part 0 has edges of rows 0 to 2; expected u fr"):
            merge(lambda k: good, [0, 2, 4], 4)


@pytest.mark.parametrize("starts", [[0, 4], [0, 2, 4], [0, 1, 2, 3, 4]])
def test_borders_that_are_too_long(starts):
    edges = np.array([[0, 1], [0, 2], [0, 3], [1, 2]], np.int32)
    weights = np.array([0, ONE, ONE, ONE], np.uint32)
    fits = edges, weights, np.array([2**31 - 1, 2**30, 2**31 - 1, 2**30 - 1]), 4
    assert same(in_parts("average", fits, starts), whole("average", fits))
    longer = edges, weights, np.array([1, 2**30, 1, 2**30]), 4
    with pytest.raises(ParameterError, match="^the border between two regions is longer than 2147"):
        in_parts("average", longer, starts)
    with pytest.raises(ParameterError, match="^part 0: a border length is 2147483648"):
        in_parts("average", (PATH, weights[:3], np.array([2**31, 1, 1]), 4), [0, 4])
