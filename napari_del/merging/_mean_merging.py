"""Merging by mean weight along the border, of a whole graph or of one that is a part of another.

In a part, some nodes are blocked from the start: what lies outside, whose other edges are not
known here. When the smallest edge that is left has a blocked end, what its other end merges with
depends on what is outside, and so that one is blocked too. Every merge that is left joins two
regions each of which is the nearest to the other in the whole graph, and no other merge comes
between them, because none makes a mean smaller (reducibility): it is a merge of the whole.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del.errors import ParameterError
from napari_del.merging._mean_queue import (
    QUOTIENT,
    first,
    less,
    pop,
    push,
    set_key,
    set_keys,
    sift_down,
)
from napari_del.merging._region_graph import (
    DEGREE,
    FIRST,
    FOLLOWING,
    GONE,
    REGION,
    drop,
    fill_table,
    hang,
    hang_all,
    look_up,
    table_size,
)
from napari_del.merging._union_find import wins

__all__ = ["LONGEST", "Prepared", "border_too_long", "merge_means", "prepare"]

LONGEST = 2**31 - 1
"""Longest border: with weights of 32 bits, sums of weight times length fit 63 bits, and means
compare exactly in 64."""

_TOO_LONG = -1


def border_too_long() -> ParameterError:
    """What to raise where two regions have a border longer than LONGEST."""
    return ParameterError(
        f"the border between two regions is longer than {LONGEST}; expected lengths in pixels, "
        "less than 2**31 between any two regions"
    )


class Prepared(NamedTuple):
    """A graph that is ready to be merged, see `prepare`.

    Attributes
    ----------
    half : ndarray of int32, shape (2m, 2)
        Nodes at the ends of each edge in column REGION.
    lists : ndarray of int32, shape (n, 2)
        Half edges of each node.
    keys : ndarray of uint32, shape (m, 4)
        Of the queue.
    changed : ndarray of bool, shape (m,)
        Edges whose mean is not the one in `keys`.
    order : ndarray of int64, shape (m,)
        Edges by mean, rounded down.
    """

    half: NDArray[np.int32]
    lists: NDArray[np.int32]
    keys: NDArray[np.uint32]
    changed: NDArray[np.bool_]
    order: NDArray[np.int64]


def prepare(
    edges: NDArray[np.int32],
    floors: NDArray[np.uint32],
    total: NDArray[np.int64],
    length: NDArray[np.int32],
    order: NDArray[np.int64],
    n: int,
) -> Prepared:
    """What `merge_means` starts with; edges and floors are not needed any more then.

    Parameters
    ----------
    edges : int32 (m, 2)
        Nodes at both ends, in ascending order of the smallest original edge in each.
    floors : uint32 (m,)
        Means, rounded down.
    total : int64 (m,)
        Sum of weight times length along each border.
    length : int32 (m,)
        Length of each border.
    order : int64 (m,)
        ``edge_order(floors)``. `merge_means` overwrites it.
    n : int
        Number of nodes.

    Returns
    -------
    Prepared
    """
    m = total.size
    # All large arrays are made by NumPy, which asks for large pages of memory where the system
    # has them; memory is read all over the place, and finding a small page takes as long.
    prepared = Prepared(
        np.empty((2 * m, 2), np.int32),
        np.empty((n, 2), np.int32),
        np.empty((m, 4), np.uint32),
        np.multiply(floors, length, dtype=np.int64) != total,
        order,
    )
    hang_all(edges, prepared.half, prepared.lists)
    set_keys(prepared.keys, floors)
    return prepared


def merge_means(
    prepared: Prepared,
    total: NDArray[np.int64],
    length: NDArray[np.int32],
    row: NDArray[np.int32],
    size: NDArray[np.int32],
    blocked: NDArray[np.bool_],
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
) -> tuple[NDArray[np.int32], int]:
    """Merge the two regions with the smallest mean again and again, until all left are blocked.

    Parameters
    ----------
    prepared : Prepared
        The graph. Its arrays are overwritten: ``half`` has, in column REGION, the nodes at the ends
        of each edge as they are in the end, or GONE. Of two nodes that merged, the one with more
        neighbours goes on.
    total : int64 (m,)
        Sum of weight times length along each border; updated.
    length : int32 (m,)
        Length of each border; updated.
    row, size : int32 (n,)
        Row in the whole graph that stands for each node, and its number of rows; updated.
    blocked : bool (n,)
        Nodes that must not merge; updated.
    parent, height : int32, uint32 (rows,)
        The hierarchy of the whole graph; updated in the rows that are attached.

    Returns
    -------
    smallest : int32 (m,)
        The smallest of the edges given that each edge is made of.
    steps : int
        Number of elementary steps.

    Raises
    ------
    ParameterError
        If a border becomes longer than LONGEST.

    Notes
    -----
    Edges wait in their given order, and only edges whose mean has changed go to a heap. An edge
    that changes keeps its old place until it comes first: a merge never makes a mean smaller
    than both of those that it combines, so the old place is never too late, and an edge that
    changes many times in between is moved once. A mean that is no whole number at the start
    waits at the place of its floor, which is not too late either.

    An edge goes to the heap when its place in the order has been passed, so the heap is never
    longer than what has been passed of the order, and takes that place.
    """
    m = total.size
    smallest = np.arange(m, dtype=np.int32)
    steps = _merge(
        total,
        length,
        prepared.order,
        row,
        size,
        blocked,
        parent,
        height,
        prepared.half,
        prepared.lists,
        np.empty(table_size(m), np.int32),
        prepared.keys,
        prepared.changed,
        smallest,
        prepared.order.view(np.uint64),
    )
    if steps == _TOO_LONG:
        raise border_too_long()
    return smallest, steps


@njit(nogil=True, cache=True)
def _merge(
    total: NDArray[np.int64],
    length: NDArray[np.int32],
    order: NDArray[np.int64],
    row: NDArray[np.int32],
    size: NDArray[np.int32],
    blocked: NDArray[np.bool_],
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
    half: NDArray[np.int32],
    lists: NDArray[np.int32],
    slots: NDArray[np.int32],
    keys: NDArray[np.uint32],
    changed: NDArray[np.bool_],
    smallest: NDArray[np.int32],
    heap: NDArray[np.uint64],
) -> int:
    m = total.size
    table = fill_table(half, slots, m)
    used = live = m
    # A region is known by the node whose list it took over.
    waiting, position, steps = 0, 0, 0

    while True:
        # Bring both fronts to edges that are there and whose keys are up to date.
        while position < m:
            e = int(order[position])
            if half[2 * e, REGION] != GONE:
                if not changed[e]:
                    break
                set_key(keys, e, total[e], length[e], smallest[e])
                changed[e] = False
                steps += push(heap, waiting, keys, e)
                waiting += 1
            position += 1
            steps += 1
        while waiting > 0:
            e = first(heap)
            if half[2 * e, REGION] == GONE:
                steps += pop(heap, waiting, keys)
                waiting -= 1
            elif changed[e]:
                set_key(keys, e, total[e], length[e], smallest[e])
                changed[e] = False
                steps += sift_down(heap, waiting, keys, e)
            else:
                break
        from_heap = position == m or (waiting > 0 and less(keys, first(heap), order[position]))
        if not from_heap:
            e = int(order[position])
            position += 1
        elif waiting > 0:
            e = first(heap)
            steps += pop(heap, waiting, keys)
            waiting -= 1
        else:
            return steps

        kept, gone = half[2 * e, REGION], half[2 * e + 1, REGION]
        if blocked[kept] or blocked[gone]:
            # Neither changes any more, and nor does this edge.
            blocked[kept] = blocked[gone] = True
            continue
        if lists[kept, DEGREE] < lists[gone, DEGREE]:
            kept, gone = gone, kept
        a, b = row[kept], row[gone]
        if not wins(a, size[kept], b, size[gone]):
            a, b = b, a
        # Heights never decrease: by the above, no mean of now is below one of before.
        parent[b] = a
        height[b] = keys[e, QUOTIENT]
        row[kept] = a
        size[kept] += size[gone]
        drop(half, lists, e)
        live -= 1

        if 4 * (used + lists[gone, DEGREE]) > 3 * table.size:
            steps += table.size + m
            table = fill_table(half, slots, live)
            used = live
        h = int(lists[gone, FIRST])
        while h >= 0:
            following = int(half[h, FOLLOWING])
            steps += 1
            if half[h, REGION] != GONE:
                slot, probes = look_up(half, table, kept, half[h ^ 1, REGION])
                steps += probes
                e = h >> 1
                f = int(table[slot])
                if f < 0:
                    used += 1
                elif less(keys, f, e):
                    e, f = f, e
                # Now e is the one that stays, at its earlier place in the queue.
                if f >= 0:
                    if np.int64(length[e]) + length[f] > LONGEST:
                        return _TOO_LONG
                    total[e] += total[f]
                    length[e] += length[f]
                    smallest[e] = min(smallest[e], smallest[f])
                    changed[e] = True
                    drop(half, lists, f)
                    live -= 1
                if e == h >> 1:
                    hang(half, lists, h, kept)
                    lists[kept, DEGREE] += 1
                    table[slot] = e
            h = following
