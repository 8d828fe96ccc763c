"""A priority queue of edges by exact mean, for use inside kernels.

The mean weight of a border is the fraction total / length. It is kept as quotient and
remainder, so that two means compare exactly in 64 bits: first the quotients, then the
fractions ``remainder / length`` by cross-multiplication, both factors below 2**31. Equal means
are ordered by the smallest number among the original edges that make up the border.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["QUOTIENT", "less", "new_keys", "pop", "push", "set_key", "sift_down"]

# Columns of the keys, uint32 (m, 4): the fraction, and the smallest original edge.
QUOTIENT, REMAINDER, LENGTH, ORIGINAL = 0, 1, 2, 3


@njit(nogil=True, cache=True)
def new_keys(weights: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The keys of original edges, whose means are whole numbers."""
    keys = np.empty((weights.size, 4), np.uint32)
    for e in range(weights.size):
        set_key(keys, e, np.int64(weights[e]), 1, e)
    return keys


@njit(nogil=True, cache=True)
def set_key(keys: NDArray[np.uint32], e: int, total: int, length: int, original: int) -> None:
    """Set the key of edge `e`, which must not be in the heap, or be its first edge."""
    keys[e, QUOTIENT] = total // length
    keys[e, REMAINDER] = total % length
    keys[e, LENGTH] = length
    keys[e, ORIGINAL] = original


@njit(nogil=True, cache=True)
def less(keys: NDArray[np.uint32], e: int, f: int) -> bool:
    """Whether edge `e` comes before edge `f`."""
    if keys[e, QUOTIENT] != keys[f, QUOTIENT]:
        return bool(keys[e, QUOTIENT] < keys[f, QUOTIENT])
    left = np.int64(keys[e, REMAINDER]) * np.int64(keys[f, LENGTH])
    right = np.int64(keys[f, REMAINDER]) * np.int64(keys[e, LENGTH])
    if left != right:
        return bool(left < right)
    return bool(keys[e, ORIGINAL] < keys[f, ORIGINAL])


@njit(nogil=True, cache=True)
def push(heap: NDArray[np.int32], length: int, keys: NDArray[np.uint32], e: int) -> int:
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
def sift_down(heap: NDArray[np.int32], length: int, keys: NDArray[np.uint32], e: int) -> int:
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
def pop(heap: NDArray[np.int32], length: int, keys: NDArray[np.uint32]) -> int:
    """Take the first edge out of a heap of `length` edges; returns the steps taken."""
    if length == 1:
        return 1
    steps: int = sift_down(heap, length - 1, keys, heap[length - 1])
    return steps
