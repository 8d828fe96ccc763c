"""A region adjacency graph whose regions can be merged, for use inside kernels.

Every region holds a doubly linked list of half edges; half edges ``2 * e`` and ``2 * e + 1`` are
the two ends of edge `e`. Merging re-hangs the list of the region with fewer neighbours, so that
a background region that touches everything costs no more than its small partner, and a table
from pairs of regions to edges finds the neighbours that both have. All merges of a graph with m
edges take O(m log m) steps together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["RegionGraph", "hang", "look_up", "new_graph", "new_table", "slot_of", "unhang"]

NONE = -1


class RegionGraph(NamedTuple):
    """The lists. An edge that is gone has `region` -1 at both ends."""

    region: NDArray[np.int32]  # (2m,) region at each half edge
    following: NDArray[np.int32]  # (2m,) next half edge in the list of the region
    preceding: NDArray[np.int32]  # (2m,)
    first: NDArray[np.int32]  # (n,) first half edge of each region
    degree: NDArray[np.int32]  # (n,) number of neighbours


@njit(nogil=True, cache=True)
def new_graph(edges: NDArray[np.int32], n: int) -> RegionGraph:
    """The graph of `n` single nodes."""
    halves = 2 * edges.shape[0]
    graph = RegionGraph(
        edges.copy().reshape(halves),
        np.empty(halves, np.int32),
        np.empty(halves, np.int32),
        np.full(n, NONE, np.int32),
        np.zeros(n, np.int32),
    )
    for h in range(halves):
        hang(graph, h, graph.region[h])
    return graph


@njit(nogil=True, cache=True)
def hang(graph: RegionGraph, h: int, region: int) -> None:
    """Put half edge `h` into the list of `region`."""
    head = graph.first[region]
    graph.region[h] = region
    graph.following[h] = head
    graph.preceding[h] = NONE
    if head != NONE:
        graph.preceding[head] = h
    graph.first[region] = h
    graph.degree[region] += 1


@njit(nogil=True, cache=True)
def unhang(graph: RegionGraph, h: int) -> None:
    """Take half edge `h` out of the list of its region."""
    region, before, after = graph.region[h], graph.preceding[h], graph.following[h]
    if before == NONE:
        graph.first[region] = after
    else:
        graph.following[before] = after
    if after != NONE:
        graph.preceding[after] = before
    graph.degree[region] -= 1
    graph.region[h] = NONE


# The table is a hash table with open addressing that holds edge numbers; the key of an entry is
# the pair of regions at the ends of the edge as they are now. An entry whose edge is gone or has
# moved matches no pair or its new pair, and both are right, so nothing is ever deleted.


@njit(nogil=True, cache=True)
def new_table(graph: RegionGraph, n_live: int) -> NDArray[np.int32]:
    """A table of the edges of `graph` that are left, `n_live` of them, at most half full."""
    size = 16
    while size < 2 * n_live:
        size *= 2
    table = np.full(size, NONE, np.int32)
    for e in range(graph.region.size // 2):
        if graph.region[2 * e] != NONE:
            a, b = graph.region[2 * e], graph.region[2 * e + 1]
            slot = slot_of(table, a, b)
            while table[slot] != NONE:
                slot = (slot + 1) & (size - 1)
            table[slot] = e
    return table


@njit(nogil=True, cache=True)
def slot_of(table: NDArray[np.int32], a: int, b: int) -> int:
    """The slot where the search for the edge between regions `a` and `b` starts."""
    key = (np.uint64(min(a, b)) << np.uint64(32)) | np.uint64(max(a, b))
    key *= np.uint64(0x9E3779B97F4A7C15)
    key ^= key >> np.uint64(32)
    key *= np.uint64(0xD6E8FEB86659FD93)
    key ^= key >> np.uint64(32)
    return int(np.int64(key & np.uint64(table.size - 1)))


@njit(nogil=True, cache=True)
def look_up(graph: RegionGraph, table: NDArray[np.int32], a: int, b: int) -> tuple[int, int]:
    """The slot of the edge between regions `a` and `b`, or else a free slot; steps taken."""
    slot = slot_of(table, a, b)
    steps = 1
    while table[slot] != NONE:
        p, q = graph.region[2 * table[slot]], graph.region[2 * table[slot] + 1]
        if (p == a and q == b) or (p == b and q == a):
            break
        slot = (slot + 1) & (table.size - 1)
        steps += 1
    return slot, steps
