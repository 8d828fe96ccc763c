"""The linkages ``average`` and ``del`` of graphs that do not fit in memory.

The graph comes in parts, each with the edges of a range of rows. Every part, or group of its rows,
is merged as far as it is certain without the others (`_mean_merging` says how far that is), and
what is left of it, regions beside its borders, is put together with what is left of others and
merged on, until one graph without borders is merged to the end. A hierarchy does not depend on the
order of its merges as long as each joins regions that are nearest to each other, so this one equals
that of the whole graph, bit for bit, for any parts and any number of threads.

How much is left of a part depends on how long its borders are, and on the image. Of 2**20
superpixels of a synthetic graph that is 3,100 cells wide (330 rows of cells), ``average`` leaves
about 2 % of the regions and 2 % of the edges, ``del`` 3 % and 1 %; in one that is 10,000 cells wide
(100 rows), they leave 6 % and 5 %, and 8 % and 3 %. Of squares of 150 cells of photographs,
``average`` leaves 8 % of the edges. Where all weights are equal, edges merge in the order of their
numbers, from the top of the image down: then hardly anything is certain before what lies above has
been merged. What is left is therefore put together as soon as it is much, and memory stays bounded
there as well.
"""

from __future__ import annotations

import operator
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_del._memory import trim
from napari_del._threads import n_threads, parallel_for, thread_budget
from napari_del.errors import ParameterError
from napari_del.merging._edges import checked_graph, checked_lengths
from napari_del.merging._part_graph import (
    Borders,
    Edges,
    Graph,
    edges_of_groups,
    join,
    runs,
)
from napari_del.merging._part_linkages import AVERAGE, SPANNING_FOREST, PartLinkage
from napari_del.merging.fixed_point import ONE
from napari_del.merging.hierarchy import Hierarchy

__all__ = ["EdgePart", "average_in_parts", "spanning_forest_in_parts"]

Progress = Callable[[int, int], object]

# Edges that are left of merged groups are put together when there are so many, and then twice as
# many as the last time: often enough to bound memory, and while others still merge what is certain,
# but seldom enough to cost little.
_MANY = 2**17
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
    groups : ndarray of int, shape (rows of the range,), optional
        A number from 0 for each row: those with the same are merged first by themselves, on one
        thread. Groups of about 2**14 rows that lie together stay in a processor's cache, and have
        short borders. By default all rows are one.
    """

    edges: NDArray[np.int32]
    weights: NDArray[np.uint32]
    lengths: NDArray[np.int64]
    groups: NDArray[np.integer] | None = None


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
        call at a time, and held until its last group is merged. Parts of about 2**18 rows are a
        good choice: one takes up to 100 MB for each thread, beside 8 bytes for each row of the
        whole. Groups much larger than that are merged one at a time.
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
    return _Merging(AVERAGE, load, starts, n, progress).run()


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

    return _Merging(SPANNING_FOREST, load_edges, starts, n, progress).run()


class _Piece(NamedTuple):
    """A group of a part that is to be merged, and what makes its graph."""

    part: int
    number: int
    graph: Callable[[], Graph]


def _graph(
    start: int,
    rows: NDArray[np.intp],
    index: NDArray[np.int32],
    part: Edges,
    which: NDArray[np.intp],
) -> Graph:
    """The graph of some rows, counted from `start`, with their indices and some edges of a part."""
    edges = part.take(which)
    edges = edges._replace(ends=index[edges.ends - np.int32(start)])
    row = (rows + start).astype(np.int32)
    return Graph(row, np.ones_like(row), row.size, edges)


class _Merging:
    """One run over all parts."""

    def __init__(
        self,
        linkage: PartLinkage,
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
        # earlier parts. Its groups are the pieces that are merged.
        self._loading = threading.Lock()
        self._next, self._n_edges, self._n_pieces = 0, 0, 0
        self._waiting: deque[_Piece] = deque()

        # Of what has been loaded and merged.
        self._state = threading.Lock()
        self._borders = Borders()
        self._merged: list[tuple[frozenset[int], Graph]] = []
        self._n_left = 0
        self._many, self._done = _MANY, 0
        self._unmerged: Counter[int] = Counter()

        # Edges that are being merged.
        self._room = threading.Condition()
        self._busy, self._most = 0, n_threads() * _ROOM

    def run(self) -> Hierarchy:
        def work(*_: int) -> None:
            with thread_budget(1):
                self._work()

        parallel_for(work, n_threads())
        if len(self._merged) > 1:
            several, self._merged = self._merged, []
            self._put_together(several)
        self._tell()
        return Hierarchy(self._parent, self._height)

    def _work(self) -> None:
        try:
            while (piece := self._next_piece()) is not None:
                part, number, graph = piece
                del piece
                graphs = [graph()]
                del graph
                self._merge(frozenset([number]), graphs)
                with self._state:
                    self._unmerged[part] -= 1
                    is_done = not self._unmerged[part]
                if is_done:
                    self._tell()
                with self._state:
                    several = self._merged
                    if len(several) == 1 or self._n_left <= self._many:
                        continue
                    self._merged, self._n_left = [], 0
                self._put_together(several)
        except BaseException:
            with self._loading:
                self._next = self._n_parts
                self._waiting.clear()
            raise

    def _tell(self) -> None:
        with self._state:
            self._done += 1
            if self._progress is not None:
                self._progress(self._done, self._n_parts + 1)

    def _next_piece(self) -> _Piece | None:
        with self._loading:
            while not self._waiting:
                k = self._next
                if k >= self._n_parts:
                    return None
                self._next += 1
                self._split(k, *self._checked_part(k))
                if not self._waiting:  # a part without rows
                    self._tell()
            return self._waiting.popleft()

    def _put_together(self, several: list[tuple[frozenset[int], Graph]]) -> None:
        parts = frozenset[int]().union(*(parts for parts, _ in several))
        graphs = [graph for _, graph in several]
        several.clear()  # what is not needed any more should not take memory meanwhile
        self._merge(parts, graphs)
        trim(self._parent.size)

    def _merge(self, parts: frozenset[int], graphs: list[Graph]) -> None:
        with self._room_for(sum(graph.edges.number.size for graph in graphs)):
            with self._state:
                borders = self._borders.of(parts)
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
            self._n_left += left.edges.number.size
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

    def _split(self, k: int, part: Edges, groups: NDArray[np.int64]) -> None:
        """Make pieces of the groups of part `k`, and keep the edges between them and to others."""
        start, stop = self._starts[k : k + 2].tolist()
        piece_of = groups + self._n_pieces
        within, stops, crossing = edges_of_groups(part.ends, start, groups)
        border = part.take(crossing)
        own, other = border.ends[:, 0] - start, border.ends[:, 1]
        is_later = other >= stop
        later, sooner = np.flatnonzero(is_later), np.flatnonzero(~is_later)
        range_of = np.searchsorted(self._starts, other[later], side="right") - 1
        beside = piece_of[other[sooner] - start]
        with self._state:
            self._borders.arrive(k, start, piece_of)
            for pair, which in runs(piece_of[own[later]] << 32 | range_of):
                edges = border.take(later[which])
                self._borders.add_to_come(pair >> 32, pair & 0xFFFFFFFF, edges)
            for pair, which in runs(piece_of[own[sooner]] << 32 | beside):
                edges = border.take(sooner[which])
                self._borders.add(pair >> 32, pair & 0xFFFFFFFF, edges)
            index = np.empty(stop - start, np.int32)
            for group, rows in runs(groups):
                index[rows] = np.arange(rows.size, dtype=np.int32)
                which = within[stops[group] : stops[group + 1]]
                graph = partial(_graph, start, rows, index, part, which)
                self._waiting.append(_Piece(k, self._n_pieces + group, graph))
                self._unmerged[k] += 1
        self._n_pieces += int(groups.max(initial=-1)) + 1

    def _checked_part(self, k: int) -> tuple[Edges, NDArray[np.int64]]:
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
        return Edges(pairs, total, length, number), _checked_groups(k, part.groups, stop - start)


def _checked_groups(k: int, groups: NDArray[np.integer] | None, n_rows: int) -> NDArray[np.int64]:
    if groups is None:
        return np.zeros(n_rows, np.int64)
    found = np.asarray(groups)
    if found.shape != (n_rows,) or found.dtype.kind not in "iu":
        raise ParameterError(
            f"part {k}: groups have shape {found.shape} and dtype {found.dtype}; expected a whole "
            f"number for each of {n_rows} rows"
        )
    if n_rows and not 0 <= found.min() <= found.max() < n_rows:
        raise ParameterError(
            f"part {k}: groups go from {found.min()} to {found.max()}; expected numbers from 0 to "
            f"less than the {n_rows} rows"
        )
    return found.astype(np.int64)


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
