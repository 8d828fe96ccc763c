"""What is left to merge in a piece of a graph, and the borders between pieces.

A piece begins as the superpixels of some rows. What is left of it after merging is a smaller
graph of regions. The edges between pieces stay as they were given, from superpixel to superpixel:
the hierarchy so far tells which regions they connect by now, on either side.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del.merging._mean_merging import LONGEST, border_too_long
from napari_del.merging._union_find import roots

__all__ = [
    "Borders",
    "Edges",
    "Graph",
    "combine_means",
    "edges_of_groups",
    "join",
    "remaining",
    "runs",
]


class Edges(NamedTuple):
    """Edges of a graph, or between two parts.

    Attributes
    ----------
    ends : ndarray of int32, shape (m, 2)
        Nodes of a graph, or rows of the whole.
    total : ndarray of int64, shape (m,)
        Sum of weight times length along the border.
    length : ndarray of int32, shape (m,)
        Length of the border.
    number : ndarray of int64, shape (m,)
        The smallest of the original edges that make up the border, as numbered in the whole.
    """

    ends: NDArray[np.int32]
    total: NDArray[np.int64]
    length: NDArray[np.int32]
    number: NDArray[np.int64]

    @property
    def floors(self) -> NDArray[np.uint32]:
        """Mean weights, rounded down, uint32 (m,)."""
        return (self.total // self.length).astype(np.uint32)

    def take(self, which: NDArray[np.bool_] | NDArray[np.intp]) -> Edges:
        """Some of the edges, by mask or by index."""
        return Edges(self.ends[which], self.total[which], self.length[which], self.number[which])


class Graph(NamedTuple):
    """Regions of some parts and the edges between them.

    Attributes
    ----------
    rows : ndarray of int32, shape (n,)
        Rows that stand for the regions, ascending; then, in no order, those of regions that lie
        outside of the parts.
    sizes : ndarray of int32, shape (n,)
        Number of rows of each region; not known (0) outside.
    n_inside : int
        Number of regions that are not outside.
    edges : Edges
        Their ends are indices into `rows`.
    """

    rows: NDArray[np.int32]
    sizes: NDArray[np.int32]
    n_inside: int
    edges: Edges

    @property
    def outside(self) -> NDArray[np.bool_]:
        """Which regions lie outside, bool (n,)."""
        return np.arange(self.rows.size) >= self.n_inside


def runs(keys: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Each of some keys, ascending, and where in the array it is."""
    if not keys.size:
        return
    least, span = int(keys.min()), int(keys.max()) - int(keys.min())
    # NumPy sorts numbers of 16 bits many times as fast.
    short = (keys - least).astype(np.uint16 if span < 2**16 else np.int64)
    order = np.argsort(short, kind="stable")
    firsts = np.flatnonzero(np.diff(short[order])) + 1
    for places in np.split(order, firsts):
        yield int(keys[places[0]]), places


@njit(nogil=True, cache=True)
def edges_of_groups(
    ends: NDArray[np.int32], start: int, groups: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Sort the edges of a range of rows by the group that both ends are in.

    Parameters
    ----------
    ends : int32 (m, 2)
        Rows; the first is in the range, the second there or beyond.
    start : int
        First row of the range.
    groups : int64 (rows,)
        Group of each row of the range, from 0.

    Returns
    -------
    within : int64
        Edges within groups, those of a group one after another, ascending.
    stops : int64 (groups + 1,)
        Those of group g are ``within[stops[g] : stops[g + 1]]``.
    crossing : int64
        All other edges, ascending.
    """
    n, rows = ends.shape[0], groups.size
    stops = np.zeros((groups.max() if rows else -1) + 2, np.int64)
    found = np.full(n, -1, np.int64)
    for e in range(n):
        v = ends[e, 1] - start
        if v < rows and groups[v] == groups[ends[e, 0] - start]:
            found[e] = groups[v]
            stops[groups[v] + 1] += 1
    stops = np.cumsum(stops)
    within, crossing = np.empty(stops[-1], np.int64), np.empty(n - stops[-1], np.int64)
    place, k = stops.copy(), 0
    for e in range(n):
        if found[e] >= 0:
            within[place[found[e]]] = e
            place[found[e]] += 1
        else:
            crossing[k] = e
            k += 1
    return within, stops, crossing


class Borders:
    """Edges between pieces of a graph, and from them to ranges of rows that are to come.

    Pieces have numbers from 0. The methods are not to be called at the same time.
    """

    def __init__(self) -> None:
        self._edges: dict[tuple[int, int], Edges] = {}
        self._of_piece: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
        self._to_come: defaultdict[int, list[tuple[int, Edges]]] = defaultdict(list)
        self._ranges: defaultdict[int, set[int]] = defaultdict(set)

    def add(self, piece: int, other: int, edges: Edges) -> None:
        """Edges between two pieces."""
        pair = min(piece, other), max(piece, other)
        if pair in self._edges:
            edges = _joined([self._edges[pair], edges])
        self._edges[pair] = edges
        self._of_piece[piece].add(pair)
        self._of_piece[other].add(pair)

    def add_to_come(self, piece: int, range_: int, edges: Edges) -> None:
        """Edges from a piece to the rows, in their second column, of a range to come."""
        self._to_come[range_].append((piece, edges))
        self._ranges[piece].add(range_)

    def arrive(self, range_: int, first: int, piece_of: NDArray[np.int64]) -> None:
        """The pieces of the rows of a range, from row `first` on, are known from now on."""
        for piece, edges in self._to_come.pop(range_, []):
            self._ranges[piece].discard(range_)
            for other, which in runs(piece_of[edges.ends[:, 1] - first]):
                self.add(piece, other, edges.take(which))

    def of(self, pieces: frozenset[int]) -> list[Edges]:
        """Edges from pieces to others, and those between them, which are theirs from now on."""
        found = []
        for pair in set[tuple[int, int]]().union(*(self._of_piece[piece] for piece in pieces)):
            if pair[0] in pieces and pair[1] in pieces:
                found.append(self._edges.pop(pair))
                for piece in pair:
                    self._of_piece[piece].discard(pair)
            else:
                found.append(self._edges[pair])
        for range_ in set[int]().union(*(self._ranges[piece] for piece in pieces)):
            found += [edges for piece, edges in self._to_come[range_] if piece in pieces]
        return found


def join(
    graphs: list[Graph],
    borders: Sequence[Edges],
    parent: NDArray[np.int32],
    combine: Callable[[Edges], Edges],
) -> Graph:
    """Put what is left of some parts together, with what their borders connect them to.

    Parameters
    ----------
    graphs : list of Graph
        Without regions outside; at least one. They are taken out of the list, so that no more
        than one of their columns is there twice at a time.
    borders : sequence of Edges
        Edges between the parts, and from them to other parts; their ends are rows.
    parent : int32 (rows,)
        The hierarchy so far. Other threads may go on merging outside of these parts: a region
        there is taken as it was at some time since, which is a part of what it is now.
    combine : callable
        Makes one edge of those that have come to connect the same two regions.

    Returns
    -------
    Graph
        Its edges are in ascending order of their numbers.
    """
    tables: list[list[NDArray[Any]]] = []
    if len(graphs) == 1:  # its rows are in order
        graph = graphs.pop()
        inside, sizes = graph.rows, graph.sizes
        tables.append(list(graph.edges))
        del graph
    else:
        inside = np.concatenate([graph.rows for graph in graphs])
        sizes = np.concatenate([graph.sizes for graph in graphs])
        ascending = np.argsort(inside, kind="stable")
        inside, sizes = inside[ascending], sizes[ascending]
        rank = np.empty(inside.size, np.int32)
        rank[ascending] = np.arange(inside.size, dtype=np.int32)
    n_inside, first = inside.size, 0
    while graphs:
        graph = graphs.pop(0)
        tables.append(list(graph.edges._replace(ends=rank[graph.edges.ends + np.int32(first)])))
        first += graph.rows.size
        del graph
    outside = inside[:0]
    if borders:
        crossing = _joined(borders)
        ends = roots(parent, crossing.ends.ravel())
        node = np.searchsorted(inside, ends)
        is_outside = node == n_inside
        is_outside[~is_outside] = inside[node[~is_outside]] != ends[~is_outside]
        outside, index = np.unique(ends[is_outside], return_inverse=True)
        node[is_outside] = n_inside + index
        tables.append(list(combine(crossing._replace(ends=node.astype(np.int32).reshape(-1, 2)))))
    edges = _ascending(tables)
    rows = np.concatenate([inside, outside])
    sizes = np.concatenate([sizes, np.zeros_like(outside)])
    return Graph(rows, sizes, n_inside, edges)


def _joined(several: Sequence[Edges]) -> Edges:
    """Some edges after others."""
    return Edges(*map(np.concatenate, zip(*several, strict=True)))


def _ascending(tables: list[list[NDArray[Any]]]) -> Edges:
    """Edges of some tables by their number; each column of the tables is taken out of them."""

    def take() -> NDArray[Any]:
        columns = [table.pop() for table in tables]
        return columns[0] if len(columns) == 1 else np.concatenate(columns)

    number = take()
    if np.all(number[1:] >= number[:-1]):
        length, total, ends = take(), take(), take()
        return Edges(ends, total, length, number)
    order = np.argsort(number, kind="stable")
    number = number[order]
    length, total, ends = (take()[order] for _ in range(3))
    return Edges(ends, total, length, number)


def combine_means(edges: Edges) -> Edges:
    """One edge of all between the same two nodes: that of their common border.

    Parameters
    ----------
    edges : Edges
        Each pair of nodes any number of times, either way round.

    Returns
    -------
    Edges
        Each pair once.

    Raises
    ------
    ParameterError
        If a border is longer than LONGEST.
    """
    low, high = edges.ends.min(axis=1), edges.ends.max(axis=1)
    key = (low.astype(np.int64) << 32) | high
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    if first.size == key.size:
        return edges
    # Sums of lengths are checked first: where they fit, so do the totals.
    length = np.add.reduceat(edges.length[order], first, dtype=np.int64)
    if length.max() > LONGEST:
        raise border_too_long()
    return Edges(
        edges.ends[order[first]],
        np.add.reduceat(edges.total[order], first),
        length.astype(np.int32),
        np.minimum.reduceat(edges.number[order], first),
    )


def remaining(graph: Graph, edges: Edges) -> Graph:
    """The graph of the regions that still have an edge, after merging.

    Parameters
    ----------
    graph : Graph
        With `rows` and `sizes` as they are after merging.
    edges : Edges
        Edges that are left, with the nodes that they connect by now.

    Returns
    -------
    Graph
        Without regions outside, whose edges stay with the borders between parts.
    """
    used = np.zeros(graph.rows.size, np.bool_)
    used[edges.ends] = True
    nodes = np.flatnonzero(used[: graph.n_inside])
    nodes = nodes[np.argsort(graph.rows[nodes])]
    index = np.full(graph.rows.size, -1, np.int32)
    index[nodes] = np.arange(nodes.size, dtype=np.int32)
    ends = index[edges.ends]
    within = ends.min(axis=1) >= 0
    kept = edges._replace(ends=ends).take(within)
    return Graph(graph.rows[nodes], graph.sizes[nodes], nodes.size, kept)
