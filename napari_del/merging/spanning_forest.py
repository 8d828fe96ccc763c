"""The linkage ``del``: regions are the connected components of the edges up to the threshold.

The rule of the DEL paper [1]_, where every pair of adjacent superpixels whose dissimilarity is
within the threshold joins. That is single linkage, so Kruskal's minimum spanning forest [2]_
holds the partition at every threshold.

References
----------
.. [1] Y. Liu et al., "DEL: Deep Embedding Learning for Efficient Image Segmentation", IJCAI
   2018, pp. 864-870.
.. [2] J. B. Kruskal, "On the shortest spanning subtree of a graph and the traveling salesman
   problem", Proceedings of the AMS 7(1), 1956, pp. 48-50.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del.merging._edges import checked_graph, checked_order
from napari_del.merging._union_find import find, wins
from napari_del.merging.fixed_point import ONE
from napari_del.merging.hierarchy import Hierarchy

__all__ = ["merge_edges", "spanning_forest"]


def spanning_forest(
    edges: ArrayLike, weights: ArrayLike, n: int, *, order: ArrayLike | None = None
) -> Hierarchy:
    """Merge along single edges, in their total order.

    Parameters
    ----------
    edges : int32 (m, 2)
        Adjacent rows, ``u < v``, sorted, each pair once.
    weights : uint32 (m,)
        Dissimilarity of the two rows, in fixed point.
    n : int
        Number of rows.
    order : int64 (m,), optional
        ``edge_order(weights)``, where the caller has it.

    Returns
    -------
    Hierarchy
        At threshold T, two rows are in one region if a path of edges of weight at most T
        connects them.

    Raises
    ------
    ParameterError
        If the arrays do not have the shapes, dtypes and order above.

    Examples
    --------
    >>> edges = np.array([[0, 1], [1, 2], [2, 3]], np.int32)
    >>> tree = spanning_forest(edges, np.array([5, 9, 5], np.uint32), 4)
    >>> tree.cut(5)
    array([0, 0, 2, 2], dtype=int32)
    >>> tree.cut(9)
    array([0, 0, 0, 0], dtype=int32)
    """
    pairs, w, count = checked_graph(edges, weights, n)
    parent = np.arange(count, dtype=np.int32)
    height = np.full(count, ONE, dtype=np.uint32)
    merge_edges(
        pairs,
        w,
        checked_order(order, w),
        np.arange(count, dtype=np.int32),
        np.ones(count, np.int32),
        np.zeros(count, np.bool_),
        parent,
        height,
    )
    return Hierarchy(parent, height)


@njit(nogil=True, cache=True)
def merge_edges(
    edges: NDArray[np.int32],
    weights: NDArray[np.uint32],
    order: NDArray[np.int64],
    row: NDArray[np.int32],
    size: NDArray[np.int32],
    blocked: NDArray[np.bool_],
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
) -> NDArray[np.bool_]:
    """Merge along the edges of a whole graph, or of one that is a part of another.

    In a part, some nodes are blocked from the start: what lies outside, whose other edges are
    not known here. An edge with a blocked end blocks the other end too, and is left, unless a
    path of smaller edges connects both ends: then it has no place in the forest of the whole
    graph either.

    Parameters
    ----------
    edges : int32 (m, 2)
        Nodes at both ends.
    weights : uint32 (m,)
    order : int64 (m,)
        Edges in the order of merging.
    row, size : int32 (n,)
        Row in the whole graph that stands for each node, and its number of rows; the size of
        the nodes that go on is updated.
    blocked : bool (n,)
        Nodes that must not merge; updated.
    parent, height : int32, uint32 (rows,)
        The hierarchy of the whole graph; updated in the rows that are attached.

    Returns
    -------
    bool (m,)
        Edges that are left.
    """
    left = np.zeros(weights.size, np.bool_)
    # Path compression makes the search for roots fast and would destroy the hierarchy: the
    # search has a tree of its own. The root of a region is the node of the row that stands for
    # it; blocked regions that edges connect are one set here and keep their sizes.
    short_cut = np.arange(row.size).astype(np.int32)
    for e in order:
        a = find(short_cut, edges[e, 0])
        b = find(short_cut, edges[e, 1])
        if a == b:
            continue
        if blocked[a] or blocked[b]:
            blocked[a] = blocked[b] = left[e] = True
            short_cut[b] = a
            continue
        if not wins(row[a], size[a], row[b], size[b]):
            a, b = b, a
        size[a] += size[b]
        short_cut[b] = a
        parent[row[b]] = row[a]
        height[row[b]] = weights[e]
    return left
