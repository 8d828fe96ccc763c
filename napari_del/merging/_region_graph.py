"""A region adjacency graph whose regions can be merged, for use inside kernels.

Every region holds a doubly linked list of half edges; half edges ``2 * e`` and ``2 * e + 1`` are
the two ends of edge `e`. Merging re-hangs the list of the region with fewer neighbours, so that
a background region that touches everything costs no more than its small partner, and a table
from pairs of regions to edges finds the neighbours that both have. All merges of a graph with m
edges take O(m log m) steps together.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "DEGREE",
    "FIRST",
    "FOLLOWING",
    "REGION",
    "hang",
    "look_up",
    "new_graph",
    "new_table",
    "slot_of",
    "unhang",
]

NONE = -1

# The lists are two arrays. `half`, int32 (2m, 4), has a row for each half edge: its region, or
# -1 if the edge is gone, and the half edges that follow and precede it in the list of that
# region. Rows are read at random and one at a time, so they are kept together and aligned by a
# fourth column.
REGION, FOLLOWING, PRECEDING = 0, 1, 2
# `lists`, int32 (n, 2), has a row for each region: its first half edge and number of neighbours.
# (Named tuples of arrays would be easier to read, but numba counts references whenever a field
# is read, and that takes longer than what is done with the field here.)
FIRST, DEGREE = 0, 1


@njit(nogil=True, cache=True)
def new_graph(edges: NDArray[np.int32], n: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """`half` and `lists` of `n` single nodes."""
    half = np.full((2 * edges.shape[0], 4), NONE, np.int32)
    lists = np.empty((n, 2), np.int32)
    for i in range(n):
        lists[i, FIRST] = NONE
        lists[i, DEGREE] = 0
    for e in range(edges.shape[0]):
        hang(half, lists, 2 * e, edges[e, 0])
        hang(half, lists, 2 * e + 1, edges[e, 1])
    return half, lists


@njit(nogil=True, cache=True)
def hang(half: NDArray[np.int32], lists: NDArray[np.int32], h: int, region: int) -> None:
    """Put half edge `h` into the list of `region`."""
    head = lists[region, FIRST]
    half[h, REGION] = region
    half[h, FOLLOWING] = head
    half[h, PRECEDING] = NONE
    if head != NONE:
        half[head, PRECEDING] = h
    lists[region, FIRST] = h
    lists[region, DEGREE] += 1


@njit(nogil=True, cache=True)
def unhang(half: NDArray[np.int32], lists: NDArray[np.int32], h: int) -> None:
    """Take half edge `h` out of the list of its region."""
    region, before, after = half[h, REGION], half[h, PRECEDING], half[h, FOLLOWING]
    if before == NONE:
        lists[region, FIRST] = after
    else:
        half[before, FOLLOWING] = after
    if after != NONE:
        half[after, PRECEDING] = before
    lists[region, DEGREE] -= 1
    half[h, REGION] = NONE


# The table is a hash table with open addressing that holds edge numbers; the key of an entry is
# the pair of regions at the ends of the edge as they are now. An entry whose edge is gone or has
# moved matches no pair or its new pair, and both are right, so nothing is ever deleted.


@njit(nogil=True, cache=True)
def new_table(half: NDArray[np.int32], n_live: int) -> NDArray[np.int32]:
    """A table of the edges that are left, `n_live` of them, at most half full."""
    size = 16
    while size < 2 * n_live:
        size *= 2
    table = np.full(size, NONE, np.int32)
    for e in range(half.shape[0] // 2):
        if half[2 * e, REGION] != NONE:
            a, b = half[2 * e, REGION], half[2 * e + 1, REGION]
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
def look_up(half: NDArray[np.int32], table: NDArray[np.int32], a: int, b: int) -> tuple[int, int]:
    """The slot of the edge between regions `a` and `b`, or else a free slot; steps taken."""
    slot = slot_of(table, a, b)
    steps = 1
    while table[slot] != NONE:
        p, q = half[2 * table[slot], REGION], half[2 * table[slot] + 1, REGION]
        if (p == a and q == b) or (p == b and q == a):
            break
        slot = (slot + 1) & (table.size - 1)
        steps += 1
    return slot, steps
