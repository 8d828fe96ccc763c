"""Joining of regions that are too small, along their weakest edges.

The clean-up step of Felzenszwalb and Huttenlocher [1]_, which the DEL paper [2]_ uses as well.

References
----------
.. [1] P. F. Felzenszwalb, D. P. Huttenlocher, "Efficient Graph-Based Image Segmentation",
   International Journal of Computer Vision 59(2), 2004, pp. 167-181.
.. [2] Y. Liu et al., "DEL: Deep Embedding Learning for Efficient Image Segmentation", IJCAI
   2018, pp. 864-870.
"""

from __future__ import annotations

import operator

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del.errors import ParameterError
from napari_del.merging._edges import checked_graph, checked_order
from napari_del.merging._union_find import find, wins
from napari_del.merging.hierarchy import checked_representatives

__all__ = ["join_small"]


def join_small(
    representatives: ArrayLike,
    edges: ArrayLike,
    weights: ArrayLike,
    sizes: ArrayLike,
    min_size: int,
    *,
    order: ArrayLike | None = None,
) -> NDArray[np.int32]:
    """Join every region below a size with a neighbour.

    Edges are taken in their total order, and the two regions across an edge join if either is
    smaller than `min_size` by then.

    Parameters
    ----------
    representatives : int32 (n,)
        Row that stands for the region of each row.
    edges : int32 (m, 2)
        Adjacent rows, ``u < v``, sorted, each pair once.
    weights : uint32 (m,)
        Dissimilarity of the two rows, in fixed point.
    sizes : int64 (n,)
        Size of each row: its pixels, or 1 to count superpixels.
    min_size : int
        Least size of a region, in the unit of `sizes`. 0 and 1 change nothing.
    order : int64 (m,), optional
        ``edge_order(weights)``, where the caller has it: most of the time goes into it.

    Returns
    -------
    int32 (n,)
        Representative of the region of each row: that of the larger part (in `sizes`), the
        lower row if equal. Only a region without any neighbour is still smaller than `min_size`.

    Raises
    ------
    ParameterError
        If the arrays do not have the shapes, dtypes and order above, or `min_size` is negative.

    Examples
    --------
    >>> edges = np.array([[0, 1], [1, 2]], np.int32)
    >>> weights = np.array([9, 5], np.uint32)
    >>> alone = np.array([0, 1, 2], np.int32)
    >>> join_small(alone, edges, weights, np.array([64, 10, 64]), min_size=20)
    array([0, 2, 2], dtype=int32)
    """
    rows = checked_representatives(representatives)
    pairs, w, n = checked_graph(edges, weights, rows.size)
    size = np.asarray(sizes)
    if size.shape != (n,) or size.dtype != np.int64:
        raise ParameterError(
            f"sizes have shape {size.shape} and dtype {size.dtype}; expected int64 ({n},)"
        )
    least = operator.index(min_size)
    if least < 0:
        raise ParameterError(f"the minimum size is {least}; expected at least 0")
    parent = rows.copy()
    _join(pairs, checked_order(order, w), np.ascontiguousarray(size), least, parent)
    return parent


@njit(nogil=True, cache=True)
def _join(
    edges: NDArray[np.int32],
    order: NDArray[np.int64],
    row_size: NDArray[np.int64],
    min_size: int,
    parent: NDArray[np.int32],
) -> None:
    n = parent.size
    size = np.zeros(n, np.int64)
    for i in range(n):
        size[parent[i]] += row_size[i]
    n_small = 0
    for i in range(n):
        if parent[i] == i and size[i] < min_size:
            n_small += 1
    for e in order:
        if n_small == 0:
            break
        a = find(parent, edges[e, 0])
        b = find(parent, edges[e, 1])
        if a == b or (size[a] >= min_size and size[b] >= min_size):
            continue
        if not wins(a, size[a], b, size[b]):
            a, b = b, a
        n_small -= int(size[a] < min_size) + int(size[b] < min_size)
        parent[b] = a
        size[a] += size[b]
        n_small += int(size[a] < min_size)
    for i in range(n):
        parent[i] = find(parent, i)
