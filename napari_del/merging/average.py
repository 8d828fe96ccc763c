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
from numpy.typing import ArrayLike, NDArray

from napari_del.errors import ParameterError
from napari_del.merging._edges import checked_graph, checked_lengths, checked_order
from napari_del.merging._mean_merging import merge_means, prepare
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
        Length of the common border, at least 1; less than 2**31 between any two regions.
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
    if w.size >= 2**30:  # half edges are numbered in 32 bits
        raise ParameterError(
            f"there are {w.size} edges; expected less than 2**30: use average_in_parts"
        )
    border = checked_lengths(lengths, w)
    parent = np.arange(count, dtype=np.int32)
    height = np.full(count, ONE, dtype=np.uint32)
    _merge(pairs, w, border, checked_order(order, w), parent, height)
    return Hierarchy(parent, height)


def _merge(
    edges: NDArray[np.int32],
    weights: NDArray[np.uint32],
    lengths: NDArray[np.int32],
    order: NDArray[np.int64],
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
) -> int:
    """Fill `parent` and `height`; return the number of elementary steps."""
    n = parent.size
    total = np.multiply(weights, lengths, dtype=np.int64)
    _, steps = merge_means(
        # The order may be another linkage's too.
        prepare(edges, weights, total, lengths, order.copy(), n),
        total,
        lengths.copy(),
        np.arange(n, dtype=np.int32),
        np.ones(n, np.int32),
        np.zeros(n, np.bool_),
        parent,
        height,
    )
    return steps
