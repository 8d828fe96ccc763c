"""The linkage ``egb``: efficient graph-based segmentation with an adaptive threshold.

Two regions join where the edge between them is small against the variation inside each of
them [1]_. Partitions at different thresholds are not nested, so there is no hierarchy.

References
----------
.. [1] P. F. Felzenszwalb, D. P. Huttenlocher, "Efficient Graph-Based Image Segmentation",
   International Journal of Computer Vision 59(2), 2004, pp. 167-181.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del.merging._edges import checked_graph, checked_order
from napari_del.merging._union_find import find, wins
from napari_del.merging.fixed_point import ONE, checked_threshold

__all__ = ["egb"]


def egb(
    edges: ArrayLike,
    weights: ArrayLike,
    n: int,
    threshold: float,
    *,
    order: ArrayLike | None = None,
) -> NDArray[np.int32]:
    """Merge along single edges, in order of weight, where the adaptive threshold allows it.

    Regions A and B join at an edge of weight w if

        w <= min(Int(A) + k / |A|, Int(B) + k / |B|)

    where Int(A) is the largest weight along which A has grown, ``|A|`` its number of
    superpixels, and ``k = threshold / (1 - threshold)`` in the unit of the weights.

    Parameters
    ----------
    edges : int32 (m, 2)
        Adjacent rows, ``u < v``, sorted, each pair once.
    weights : uint32 (m,)
        Dissimilarity of the two rows, in fixed point.
    n : int
        Number of rows.
    threshold : float
        0 to 1: 0 joins only what is equal, 1 all that is connected.
    order : int64 (m,), optional
        ``edge_order(weights)``, where the caller has it.

    Returns
    -------
    int32 (n,)
        Representative of the region of each row.

    Raises
    ------
    ParameterError
        If the arrays do not have the shapes, dtypes and order above, or `threshold` is not a
        number from 0 to 1.

    Examples
    --------
    >>> edges = np.array([[0, 1], [1, 2], [2, 3]], np.int32)
    >>> egb(edges, np.array([0, 2**31, 0], np.uint32), 4, 0.2)
    array([0, 0, 2, 2], dtype=int32)
    """
    pairs, w, count = checked_graph(edges, weights, n)
    t = Fraction(checked_threshold(threshold))
    # With k at this limit k / |A| is at least the largest weight, so that everything joins;
    # above it the sums in the kernel would not fit 64 bits.
    limit = ONE * max(count, 1)
    k = limit if t == 1 else min(int(t / (1 - t) * ONE), limit)
    parent = np.arange(count, dtype=np.int32)
    _merge(pairs, w, checked_order(order, w), k, parent)
    return parent


@njit(nogil=True, cache=True)
def _merge(
    edges: NDArray[np.int32],
    weights: NDArray[np.uint32],
    order: NDArray[np.int64],
    k: int,
    parent: NDArray[np.int32],
) -> None:
    size = np.ones(parent.size, np.int64)
    # Int(A) + k / |A|. Rounding k / |A| down changes no comparison with an integer.
    allowed = np.full(parent.size, k, np.int64)
    for e in order:
        a = find(parent, edges[e, 0])
        b = find(parent, edges[e, 1])
        w = np.int64(weights[e])
        if a == b or w > allowed[a] or w > allowed[b]:
            continue
        if not wins(a, size[a], b, size[b]):
            a, b = b, a
        parent[b] = a
        size[a] += size[b]
        allowed[a] = w + k // size[a]
    for i in range(parent.size):
        parent[i] = find(parent, i)
