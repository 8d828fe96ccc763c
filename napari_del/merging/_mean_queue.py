"""A priority queue of edges by exact mean, for use inside kernels.

The mean weight of a border is the fraction total / length. It is kept as quotient and
remainder, so that two means compare exactly in 64 bits: first the quotients, then the
fractions ``remainder / length`` by cross-multiplication, both factors below 2**31. Equal means
are ordered by the smallest number among the original edges that make up the border.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["Keys", "less", "new_keys", "pop", "push", "set_key", "sift_down"]


class Keys(NamedTuple):
    """What edges are compared by."""

    quotient: NDArray[np.uint32]  # (m,)
    remainder: NDArray[np.int32]  # (m,)
    length: NDArray[np.int32]  # (m,) denominator of the fraction
    original: NDArray[np.int32]  # (m,) smallest original edge


@njit(nogil=True, cache=True)
def new_keys(weights: NDArray[np.uint32]) -> Keys:
    """The keys of original edges, whose means are whole numbers."""
    m = weights.size
    return Keys(
        weights.copy(),
        np.zeros(m, np.int32),
        np.ones(m, np.int32),
        np.arange(m).astype(np.int32),
    )


@njit(nogil=True, cache=True)
def set_key(keys: Keys, e: int, total: int, length: int, original: int) -> None:
    """Set the key of edge `e`, which must not be in the heap."""
    keys.quotient[e] = total // length
    keys.remainder[e] = total % length
    keys.length[e] = length
    keys.original[e] = original


@njit(nogil=True, cache=True)
def less(keys: Keys, e: int, f: int) -> bool:
    """Whether edge `e` comes before edge `f`."""
    if keys.quotient[e] != keys.quotient[f]:
        return bool(keys.quotient[e] < keys.quotient[f])
    left = np.int64(keys.remainder[e]) * np.int64(keys.length[f])
    right = np.int64(keys.remainder[f]) * np.int64(keys.length[e])
    if left != right:
        return bool(left < right)
    return bool(keys.original[e] < keys.original[f])


@njit(nogil=True, cache=True)
def push(heap: NDArray[np.int32], length: int, keys: Keys, e: int) -> int:
    """Put edge `e` into a heap of `length` edges; returns the steps taken."""
    steps = 1
    i = length
    while i > 0:
        up = (i - 1) // 2
        if not less(keys, e, heap[up]):
            break
        heap[i] = heap[up]
        i = up
        steps += 1
    heap[i] = e
    return steps


@njit(nogil=True, cache=True)
def sift_down(heap: NDArray[np.int32], length: int, keys: Keys, e: int) -> int:
    """Put edge `e` in place of the first edge of a heap; returns the steps taken."""
    steps = 1
    i = 0
    while True:
        down = 2 * i + 1
        if down >= length:
            break
        if down + 1 < length and less(keys, heap[down + 1], heap[down]):
            down += 1
        if not less(keys, heap[down], e):
            break
        heap[i] = heap[down]
        i = down
        steps += 1
    heap[i] = e
    return steps


@njit(nogil=True, cache=True)
def pop(heap: NDArray[np.int32], length: int, keys: Keys) -> int:
    """Take the first edge out of a heap of `length` edges; returns the steps taken."""
    if length == 1:
        return 1
    steps: int = sift_down(heap, length - 1, keys, heap[length - 1])
    return steps
