"""The linkages ``average`` and ``del`` of graphs that do not fit in memory.

The graph comes in parts, each with the edges of a range of rows. Every part is merged as far as
it is certain without the others (`_mean_merging` says how far that is), and what is left of it,
regions beside its borders, is put together with what is left of others and merged on, until one
graph without borders is merged to the end. A hierarchy does not depend on the order of its
merges as long as each joins regions that are nearest to each other, so this one equals that of
the whole graph, bit for bit, for any parts and any number of threads.

How much is left of a part depends on how long its borders are, and on the image. Of 2**20
superpixels of a synthetic graph that is 3,100 cells wide (330 rows of cells), ``average`` leaves
about 2 % of the regions and 2 % of the edges, ``del`` 3 % and 1 %; in one that is 10,000 cells wide
(100 rows), they leave 6 % and 5 %, and 8 % and 3 %. Of 2**18 superpixels of photographs, 4,000
cells wide (66 rows), ``average`` leaves 13 % of the edges. Where all weights are equal,
edges merge in the order of their numbers, from the top of the image down: then hardly anything is
certain before what lies above has been merged. Parts are therefore put together as soon as much is
left, and memory stays bounded there as well.
"""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_del._memory import trim
from napari_del._threads import n_threads, parallel_for
from napari_del.errors import ParameterError
from napari_del.merging._edges import checked_graph, checked_lengths, edge_order
from napari_del.merging._mean_merging import merge_means, prepare
from napari_del.merging._part_graph import Edges, Graph, combine_means, join, remaining
from napari_del.merging._region_graph import GONE, REGION
from napari_del.merging._union_find import roots
from napari_del.merging.fixed_point import ONE
from napari_del.merging.hierarchy import Hierarchy
from napari_del.merging.spanning_forest import merge_edges

__all__ = ["EdgePart", "average_in_parts", "spanning_forest_in_parts"]

Progress = Callable[[int, int], object]

# Edges that are left of merged parts are put together when there are so many, and then twice as
# many as the last time: often enough to bound memory, and seldom enough to cost little.
_MANY = 2**20
# Edges that are merged at a time, about 110 bytes each, for each thread: as many as a part has.
# What is put together may have more, and then waits until it is alone.
_ROOM = 3 * 2**18


class EdgePart(NamedTuple):
    """Edges of a range of rows.

    Attributes
    ----------
    edges : ndarray of int32, shape (m, 2)
        Adjacent rows of the whole graph, ``u < v``, sorted, each pair once. Every u is in the
        range; v is there or in any later part.
    weights : ndarray of uint32, shape (m,)
        Dissimilarity of the two rows, in fixed point.
    lengths : ndarray of int64, shape (m,)
        Length of the common border, at least 1.
    """

    edges: NDArray[np.int32]
    weights: NDArray[np.uint32]
    lengths: NDArray[np.int64]


class _Linkage(NamedTuple):
    """What a linkage does with edges between the same two regions, and with a graph.

    The graph is taken out of its list, so that its arrays can go when they are needed no more.
    """

    combine: Callable[[Edges], Edges]
    merge: Callable[[list[Graph], NDArray[np.int32], NDArray[np.uint32]], Graph]


def average_in_parts(
    load: Callable[[int], EdgePart],
    starts: Sequence[int],
    n: int,
    *,
    progress: Progress | None = None,
) -> Hierarchy:
    """`average` of a graph that is loaded part by part.

    Parameters
    ----------
    load : callable
        ``load(k)`` returns the `EdgePart` of rows ``starts[k]`` to ``starts[k + 1] - 1``. It is
        called once for each part, in their order, from any of the threads of the budget, one
        call at a time. Parts of about 2**18 rows are a good choice: merging one takes about
        100 MB on each thread, beside 8 bytes for each row of the whole. Parts much larger than
        that are merged one at a time.
    starts : sequence of int
        First row of each part, and `n` at the end: 0 = starts[0] <= starts[1] <= ... = n.
    n : int
        Number of rows.
    progress : callable, optional
        ``progress(done, total)`` after each part and at the end, one call at a time, from any
        of the threads. An error that it raises stops the merging.

    Returns
    -------
    Hierarchy
        Equal to ``average(edges, weights, lengths, n)`` of all parts one after another.

    Raises
    ------
    ParameterError
        If `starts` or a part are not as above, or the border between two regions becomes 2**31
        long.

    Examples
    --------
    >>> edges = np.array([[0, 1], [0, 2], [1, 2]], np.int32)
    >>> weights = np.array([5, 10, 50], np.uint32)
    >>> lengths = np.array([4, 3, 1])
    >>> starts = [0, 1, 3]
    >>> def load(k):
    ...     part = slice(*np.searchsorted(edges[:, 0], starts[k : k + 2]))
    ...     return EdgePart(edges[part], weights[part], lengths[part])
    >>> average_in_parts(load, starts, 3).merge_heights
    array([ 5, 20], dtype=uint32)
    """
    return _Merging(_Linkage(combine_means, _merge_means), load, starts, n, progress).run()


def spanning_forest_in_parts(
    load: Callable[[int], EdgePart],
    starts: Sequence[int],
    n: int,
    *,
    progress: Progress | None = None,
) -> Hierarchy:
    """`spanning_forest` of a graph that is loaded part by part.

    Parameters
    ----------
    load, starts, n, progress
        As those of `average_in_parts`; lengths are not used.

    Returns
    -------
    Hierarchy
        Equal to ``spanning_forest(edges, weights, n)`` of all parts one after another.

    Raises
    ------
    ParameterError
        If `starts` or a part are not as they should be.
    """

    def load_edges(k: int) -> EdgePart:
        part = load(k)
        return part._replace(lengths=np.ones(np.shape(part.weights), np.int32))

    return _Merging(_Linkage(_as_they_are, _merge_edges), load_edges, starts, n, progress).run()


def _merge_means(only: list[Graph], parent: NDArray[np.int32], height: NDArray[np.uint32]) -> Graph:
    graph = only.pop()
    edges, floors = graph.edges, graph.edges.floors
    total, length = edges.total, edges.length
    prepared = prepare(edges.ends, floors, total, length, edge_order(floors), graph.rows.size)
    # The most memory is taken now, and is less without these.
    none = edges.ends[:0]
    graph = graph._replace(edges=edges._replace(ends=none))
    del edges, floors
    smallest, _ = merge_means(
        prepared, total, length, graph.rows, graph.sizes, graph.outside, parent, height
    )
    half = prepared.half
    del prepared
    left = half[::2, REGION] != GONE
    ends = half[:, REGION].reshape(-1, 2)[left]
    number = graph.edges.number[smallest[left]]
    return remaining(graph, Edges(ends, total[left], length[left], number))


def _as_they_are(edges: Edges) -> Edges:
    """Kruskal's algorithm takes the first of several edges between two regions by itself."""
    return edges


def _merge_edges(only: list[Graph], parent: NDArray[np.int32], height: NDArray[np.uint32]) -> Graph:
    graph = only.pop()
    weights = graph.edges.floors
    left = graph.edges.take(
        merge_edges(
            graph.edges.ends,
            weights,
            edge_order(weights),
            graph.rows,
            graph.sizes,
            graph.outside,
            parent,
            height,
        )
    )
    # An end may be any node of its region; what stands for the region is also a node.
    ends = left.ends.ravel()
    inside = ends < graph.n_inside
    top = roots(parent, graph.rows[ends[inside]])
    ends[inside] = np.searchsorted(graph.rows[: graph.n_inside], top)
    return remaining(graph, left._replace(ends=ends.reshape(-1, 2)))


class _Merging:
    """One run over all parts."""

    def __init__(
        self,
        linkage: _Linkage,
        load: Callable[[int], EdgePart],
        starts: Sequence[int],
        n: int,
        progress: Progress | None,
    ) -> None:
        self._linkage, self._load, self._progress = linkage, load, progress
        self._starts = _checked_starts(starts, n)
        self._n_parts = self._starts.size - 1
        self._parent = np.arange(self._starts[-1], dtype=np.int32)
        self._height = np.full(self._starts[-1], ONE, dtype=np.uint32)

        # Of loading, which is in order: when a part is there, so are all edges to it from
        # earlier parts.
        self._loading = threading.Lock()
        self._next, self._n_edges = 0, 0

        # Of what has been loaded and merged.
        self._state = threading.Lock()
        self._borders: dict[tuple[int, int], Edges] = {}
        self._merged: list[tuple[frozenset[int], Graph]] = []
        self._many, self._done = _MANY, 0

        # Edges that are being merged.
        self._room = threading.Condition()
        self._busy, self._most = 0, n_threads() * _ROOM

    def run(self) -> Hierarchy:
        parallel_for(lambda *_: self._work(), n_threads())
        if len(self._merged) > 1:
            several, self._merged = self._merged, []
            self._put_together(several)
        self._tell()
        return Hierarchy(self._parent, self._height)

    def _work(self) -> None:
        try:
            while (loaded := self._load_next()) is not None:
                self._merge(*loaded)
                del loaded
                self._tell()
                with self._state:
                    several = self._merged
                    n_left = sum(graph.edges.number.size for _, graph in several)
                    if len(several) == 1 or n_left <= self._many:
                        continue
                    self._merged = []
                self._put_together(several)
        except BaseException:
            self._next = self._n_parts
            raise

    def _tell(self) -> None:
        with self._state:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._n_parts + 1)

    def _load_next(self) -> tuple[frozenset[int], list[Graph]] | None:
        with self._loading:
            k = self._next
            if k >= self._n_parts:
                return None
            self._next += 1
            part = self._checked_part(k)
            return frozenset([k]), [self._split(k, part)]

    def _put_together(self, several: list[tuple[frozenset[int], Graph]]) -> None:
        parts = frozenset[int]().union(*(parts for parts, _ in several))
        graphs = [graph for _, graph in several]
        several.clear()  # what is not needed any more should not take memory meanwhile
        self._merge(parts, graphs)
        trim(self._parent.size)

    def _merge(self, parts: frozenset[int], graphs: list[Graph]) -> None:
        with self._room_for(sum(graph.edges.number.size for graph in graphs)):
            with self._state:
                borders = list(self._borders_of(parts))
            if len(parts) > 1:
                # What was put together may be large, and is when most memory is needed.
                trim(self._parent.size)
            only = [join(graphs, borders, self._parent, self._linkage.combine)]
            del borders
            if len(parts) > 1:
                trim(self._parent.size)
            left = self._linkage.merge(only, self._parent, self._height)
        with self._state:
            self._merged.append((parts, left))
            if len(parts) > 1:
                self._many = max(_MANY, 2 * left.edges.number.size)

    @contextmanager
    def _room_for(self, n_edges: int) -> Iterator[None]:
        """Wait until so many edges may be merged beside what other threads merge."""
        with self._room:
            self._room.wait_for(lambda: self._busy == 0 or self._busy + n_edges <= self._most)
            self._busy += n_edges
        try:
            yield
        finally:
            with self._room:
                self._busy -= n_edges
                self._room.notify_all()

    def _borders_of(self, parts: frozenset[int]) -> Iterator[Edges]:
        """Edges from `parts` to others, and those between them, which are theirs from now on."""
        for pair in list(self._borders):
            inside = (pair[0] in parts) + (pair[1] in parts)
            if inside == 2:
                yield self._borders.pop(pair)
            elif inside == 1:
                yield self._borders[pair]

    def _split(self, k: int, part: Edges) -> Graph:
        """Keep the edges of part `k` to others, and make a graph of the rest."""
        start, stop = self._starts[k : k + 2]
        other = np.searchsorted(self._starts, part.ends[:, 1], side="right") - 1
        crossing = np.flatnonzero(other != k)
        border = part.take(crossing)
        with self._state:
            for j in np.unique(other[crossing]):
                self._borders[k, int(j)] = border.take(other[crossing] == j)
        within = part.take(other == k)
        rows = np.arange(start, stop, dtype=np.int32)
        within = within._replace(ends=within.ends - np.int32(start))
        return Graph(rows, np.ones_like(rows), rows.size, within)

    def _checked_part(self, k: int) -> Edges:
        start, stop = self._starts[k : k + 2].tolist()
        part = self._load(k)
        try:
            pairs, weights, _ = checked_graph(part.edges, part.weights, self._parent.size)
            length = checked_lengths(part.lengths, weights)
        except ParameterError as error:
            raise ParameterError(f"part {k}: {error}") from error
        if len(pairs) and not (start <= pairs[0, 0] and pairs[-1, 0] < stop):
            raise ParameterError(
                f"part {k} has edges of rows {pairs[0, 0]} to {pairs[-1, 0]}; expected u from "
                f"{start} to {stop - 1}, as starts says"
            )
        number = np.arange(self._n_edges, self._n_edges + len(pairs))
        self._n_edges += len(pairs)
        total = np.multiply(weights, length, dtype=np.int64)
        return Edges(pairs, total, length, number)


def _checked_starts(starts: Sequence[int], n: int) -> NDArray[np.int64]:
    count = operator.index(n)
    if not 0 <= count < 2**31:
        raise ParameterError(f"the number of nodes is {count}; expected 0 to 2**31 - 1")
    first = np.asarray(starts)
    if first.ndim != 1 or first.size == 0 or first.dtype.kind not in "iu":
        raise ParameterError(
            f"starts have shape {first.shape} and dtype {first.dtype}; expected whole numbers, "
            "one for each part and one more"
        )
    rows: NDArray[np.int64] = first.astype(np.int64)
    if rows[0] != 0 or rows[-1] != count or np.any(np.diff(rows) < 0):
        raise ParameterError(
            f"starts go from {rows[0]} to {rows[-1]}; expected ascending rows from 0 to {count}"
        )
    return rows
