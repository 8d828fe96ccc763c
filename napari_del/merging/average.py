"""The linkage ``average``: the two regions with the smallest mean along their border merge next.

The weight of two regions is the mean weight of the edges between their superpixels, each
weighted by the length of its border: average linkage [1]_ on the region adjacency graph. A
merge never makes a weight smaller than the smaller of the two that it combines, and weights are
compared exactly and totally, so the hierarchy is the same for every order of merging in which
each merge joins regions that are nearest to each other (reducibility [2]_).

References
----------
.. [1] R. R. Sokal, C. D. Michener, "A statistical method for evaluating systematic
   relationships", University of Kansas Science Bulletin 38, 1958, pp. 1409-1438.
.. [2] F. Murtagh, "A Survey of Recent Advances in Hierarchical Clustering Algorithms", The
   Computer Journal 26(4), 1983, pp. 354-359.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del.errors import ParameterError
from napari_del.merging._edges import checked_graph, checked_order
from napari_del.merging._mean_queue import QUOTIENT, less, new_keys, pop, push, set_key, sift_down
from napari_del.merging._region_graph import (
    DEGREE,
    FIRST,
    FOLLOWING,
    REGION,
    hang,
    look_up,
    new_graph,
    new_table,
    unhang,
)
from napari_del.merging._union_find import wins
from napari_del.merging.fixed_point import ONE
from napari_del.merging.hierarchy import Hierarchy

__all__ = ["average"]


def average(
    edges: ArrayLike,
    weights: ArrayLike,
    lengths: ArrayLike,
    n: int,
    *,
    order: ArrayLike | None = None,
) -> Hierarchy:
    """Merge the two regions with the smallest mean weight along their border, again and again.

    Means are compared as exact fractions. Of equal means, the border that contains the lowest
    original edge number comes first.

    Parameters
    ----------
    edges : int32 (m, 2)
        Adjacent rows, ``u < v``, sorted, each pair once.
    weights : uint32 (m,)
        Dissimilarity of the two rows, in fixed point.
    lengths : int64 (m,)
        Length of the common border, at least 1; less than 2**31 in all.
    n : int
        Number of rows.
    order : int64 (m,), optional
        ``edge_order(weights)``, where the caller has it.

    Returns
    -------
    Hierarchy
        The height of a merge is the mean weight of the border, rounded down.

    Raises
    ------
    ParameterError
        If the arrays do not have the shapes, dtypes, order and range above.

    Examples
    --------
    Rows 0 and 1 merge first; the mean weight of row 2 to both is (3 * 10 + 1 * 50) / 4.

    >>> edges = np.array([[0, 1], [0, 2], [1, 2]], np.int32)
    >>> weights = np.array([5, 10, 50], np.uint32)
    >>> tree = average(edges, weights, np.array([4, 3, 1]), 3)
    >>> tree.merge_heights
    array([ 5, 20], dtype=uint32)
    """
    pairs, w, count = checked_graph(edges, weights, n)
    border = np.asarray(lengths)
    if border.shape != w.shape or border.dtype.kind not in "iu":
        raise ParameterError(
            f"border lengths have shape {border.shape} and dtype {border.dtype}; "
            f"expected int64 {w.shape}"
        )
    if border.size and border.min() < 1:
        raise ParameterError(f"a border length is {border.min()}; expected at least 1")
    # So that weight times length, summed, fits 64 bits. The largest is looked at first because
    # the sum itself may overflow.
    if border.size and (border.max() >= 2**31 or border.sum(dtype=np.int64) >= 2**31):
        raise ParameterError(
            f"the border lengths sum to {sum(border.tolist())}; expected less than 2**31"
        )
    parent = np.arange(count, dtype=np.int32)
    height = np.full(count, ONE, dtype=np.uint32)
    ordered = checked_order(order, w)
    _merge(pairs, w, border.astype(np.int64), ordered, parent, height)
    return Hierarchy(parent, height)


@njit(nogil=True, cache=True)
def _merge(
    edges: NDArray[np.int32],
    weights: NDArray[np.uint32],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
) -> int:
    """Fill `parent` and `height`; return the number of elementary steps.

    Original edges wait in their sorted order, and only edges whose mean has changed go to a
    heap. An edge that changes keeps its old place until it comes first: a merge never makes a
    mean smaller than both of those that it combines, so the old place is never too late, and
    an edge that changes many times in between is moved once.
    """
    n, m = parent.size, weights.size
    half, lists = new_graph(edges, n)
    table = new_table(half, m)
    used = live = m
    keys = new_keys(weights)
    total = np.empty(m, np.int64)
    for e in range(m):
        total[e] = np.int64(weights[e]) * lengths[e]
    count = lengths.copy()
    original = np.arange(m).astype(np.int32)
    changed = np.zeros(m, np.bool_)
    # A region is known by the node whose list it took over; here are its row and size.
    row = np.arange(n).astype(np.int32)
    size = np.ones(n, np.int32)
    heap = np.empty(m, np.int32)
    waiting, position, steps = 0, 0, 0

    while True:
        # Bring both fronts to edges that are there and whose keys are up to date.
        while position < m:
            e = int(order[position])
            if half[2 * e, REGION] >= 0:
                if not changed[e]:
                    break
                set_key(keys, e, total[e], count[e], original[e])
                changed[e] = False
                steps += push(heap, waiting, keys, e)
                waiting += 1
            position += 1
            steps += 1
        while waiting > 0:
            e = int(heap[0])
            if half[2 * e, REGION] < 0:
                steps += pop(heap, waiting, keys)
                waiting -= 1
            elif changed[e]:
                set_key(keys, e, total[e], count[e], original[e])
                changed[e] = False
                steps += sift_down(heap, waiting, keys, e)
            else:
                break
        if position < m and (waiting == 0 or less(keys, order[position], heap[0])):
            e = int(order[position])
        elif waiting > 0:
            e = int(heap[0])
        else:
            return steps

        kept, gone = half[2 * e, REGION], half[2 * e + 1, REGION]
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
        unhang(half, lists, 2 * e)
        unhang(half, lists, 2 * e + 1)
        live -= 1

        if 4 * (used + lists[gone, DEGREE]) > 3 * table.size:
            steps += table.size + m
            table = new_table(half, live)
            used = live
        h = int(lists[gone, FIRST])
        while h >= 0:
            following = int(half[h, FOLLOWING])
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
                total[e] += total[f]
                count[e] += count[f]
                original[e] = min(original[e], original[f])
                changed[e] = True
                unhang(half, lists, 2 * f)
                unhang(half, lists, 2 * f + 1)
                live -= 1
            if e == h >> 1:
                unhang(half, lists, h)
                hang(half, lists, h, kept)
                table[slot] = e
            h = following
