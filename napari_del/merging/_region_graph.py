"""A region adjacency graph whose regions can be merged, for use inside kernels.

Every region holds a linked list of half edges; half edges ``2 * e`` and ``2 * e + 1`` are the two
ends of edge `e`. Merging re-hangs the list of the region with fewer neighbours, so that a
background region that touches everything costs no more than its small partner, and a table
from pairs of regions to edges finds the neighbours that both have. An edge that goes is only
marked; its ends stay in their lists until these are re-hung the next time, once each. All merges
of a graph with m edges take O(m log m) steps together.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = [
    "DEGREE",
    "FIRST",
    "FOLLOWING",
    "GONE",
    "REGION",
    "drop",
    "fill_table",
    "hang",
    "hang_all",
    "look_up",
    "table_size",
]

NONE = -1
GONE = -1

# The lists are two arrays. `half`, int32 (2m, 2), has a row for each half edge: its region, or
# GONE if the edge is gone, and the half edge that follows it in the list of that region.
REGION, FOLLOWING = 0, 1
# `lists`, int32 (n, 2), has a row for each region: its first half edge and number of neighbours.
# (Named tuples of arrays would be easier to read, but numba counts references whenever a field
# is read, and that takes longer than what is done with the field here.)
FIRST, DEGREE = 0, 1


@njit(nogil=True, cache=True)
def hang_all(edges: NDArray[np.int32], half: NDArray[np.int32], lists: NDArray[np.int32]) -> None:
    """Fill `half` and `lists` for single nodes."""
    for i in range(lists.shape[0]):
        lists[i, FIRST] = NONE
        lists[i, DEGREE] = 0
    for e in range(edges.shape[0]):
        for side in range(2):
            hang(half, lists, 2 * e + side, edges[e, side])
            lists[edges[e, side], DEGREE] += 1


@njit(nogil=True, cache=True)
def hang(half: NDArray[np.int32], lists: NDArray[np.int32], h: int, region: int) -> None:
    """Put half edge `h`, which is in no list, into the list of `region`."""
    half[h, REGION] = region
    half[h, FOLLOWING] = lists[region, FIRST]
    lists[region, FIRST] = h


@njit(nogil=True, cache=True)
def drop(half: NDArray[np.int32], lists: NDArray[np.int32], e: int) -> None:
    """Mark edge `e` as gone, and count it no longer."""
    lists[half[2 * e, REGION], DEGREE] -= 1
    lists[half[2 * e + 1, REGION], DEGREE] -= 1
    half[2 * e, REGION] = GONE
    half[2 * e + 1, REGION] = GONE


# The table is a hash table with open addressing that holds edge numbers; the key of an entry is
# the pair of regions at the ends of the edge as they are now. An entry whose edge is gone or has
# moved matches no pair or its new pair, and both are right, so nothing is ever deleted.


def table_size(n_edges: int) -> int:
    """Number of slots, a power of two, of which so many edges fill at most half."""
    return int(max(16, 1 << (2 * n_edges - 1).bit_length()))


@njit(nogil=True, cache=True)
def fill_table(half: NDArray[np.int32], slots: NDArray[np.int32], n_live: int) -> NDArray[np.int32]:
    """A table of the edges that are left, `n_live` of them, in as few of the slots as will do."""
    size = 16
    while size < 2 * n_live:
        size *= 2
    table = slots[:size]
    table[:] = NONE
    for e in range(half.shape[0] // 2):
        if half[2 * e, REGION] != GONE:
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
