"""The edges of a region graph: their total order and their checks."""

from __future__ import annotations

import operator

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del.errors import ParameterError

__all__ = ["checked_graph", "checked_lengths", "checked_order", "edge_order"]


def edge_order(weights: ArrayLike) -> NDArray[np.int64]:
    """Edge numbers sorted by (weight, edge number), the total order of all linkages.

    The order serves `spanning_forest`, `average`, `egb` and `join_small`; a caller that uses
    several of them, or one of them often, computes it once.

    Parameters
    ----------
    weights : uint32 (m,)

    Returns
    -------
    int64 (m,)

    Examples
    --------
    >>> edge_order(np.array([7, 3, 7, 0], np.uint32))
    array([3, 1, 0, 2])
    """
    w = _checked_weights(weights)
    # Sorting 64-bit keys that are all different is several times faster than a stable argsort.
    # All in place, because graphs are large.
    keys = w.astype(np.uint64)
    keys <<= np.uint64(32)
    keys |= np.arange(w.size, dtype=np.uint64)
    keys.sort()
    keys &= np.uint64(0xFFFFFFFF)
    return keys.view(np.int64)


def checked_graph(
    edges: ArrayLike, weights: ArrayLike, n: int
) -> tuple[NDArray[np.int32], NDArray[np.uint32], int]:
    """Edges, weights and number of nodes in the types that the kernels take.

    Raises
    ------
    ParameterError
        If shapes or dtypes do not fit, or edges are not pairs ``0 <= u < v < n`` that ascend
        lexicographically without repetition.
    """
    count = operator.index(n)
    if not 0 <= count < 2**31:
        raise ParameterError(f"the number of nodes is {count}; expected 0 to 2**31 - 1")
    pairs = np.asarray(edges)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise ParameterError(
            f"edges have shape {pairs.shape} and dtype {pairs.dtype}; expected int32 (m, 2)"
        )
    w = _checked_weights(weights)
    if len(pairs) != len(w):
        raise ParameterError(f"there are {len(pairs)} edges and {len(w)} weights; expected as many")
    # Checked before the cast, which would wrap a number that is too large.
    bad = int(_first_bad_edge(pairs, count))
    if bad >= 0:
        raise ParameterError(
            f"edge {bad} is {tuple(pairs[bad].tolist())}; expected rows u < v below {count}, "
            "sorted, each pair once"
        )
    return np.ascontiguousarray(pairs, dtype=np.int32), w, count


def checked_order(order: ArrayLike | None, weights: NDArray[np.uint32]) -> NDArray[np.int64]:
    """`order` if it has the right length, or the order of `weights` if it is None."""
    if order is None:
        return edge_order(weights)
    given = np.asarray(order)
    if given.shape != weights.shape or given.dtype != np.int64:
        raise ParameterError(
            f"order has shape {given.shape} and dtype {given.dtype}; "
            f"expected int64 {weights.shape} from edge_order(weights)"
        )
    return np.ascontiguousarray(given)


def checked_lengths(lengths: ArrayLike, weights: NDArray[np.uint32]) -> NDArray[np.int32]:
    """Border lengths in the type that the kernels take, if there are as many as weights.

    Raises
    ------
    ParameterError
        If shape or dtype do not fit, or a length is below 1 or not below 2**31.
    """
    border = np.asarray(lengths)
    if border.shape != weights.shape or border.dtype.kind not in "iu":
        raise ParameterError(
            f"border lengths have shape {border.shape} and dtype {border.dtype}; "
            f"expected int64 {weights.shape}"
        )
    if border.size and border.min() < 1:
        raise ParameterError(f"a border length is {border.min()}; expected at least 1")
    if border.size and border.max() >= 2**31:
        raise ParameterError(f"a border length is {border.max()}; expected less than 2**31")
    return np.ascontiguousarray(border, dtype=np.int32)


def _checked_weights(weights: ArrayLike) -> NDArray[np.uint32]:
    w = np.asarray(weights)
    if w.ndim != 1 or w.dtype != np.uint32:
        raise ParameterError(
            f"weights have shape {w.shape} and dtype {w.dtype}; "
            "expected uint32 (m,), as to_fixed gives them"
        )
    return np.ascontiguousarray(w)


@njit(nogil=True, cache=True)
def _first_bad_edge(edges: NDArray[np.integer], n: int) -> int:
    last_u, last_v = -1, -1
    for e in range(edges.shape[0]):
        u, v = int(np.int64(edges[e, 0])), int(np.int64(edges[e, 1]))
        if not 0 <= u < v < n or u < last_u or (u == last_u and v <= last_v):
            return e
        last_u, last_v = u, v
    return -1
