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

__all__ = ["QUOTIENT", "first", "less", "pop", "push", "set_key", "set_keys", "sift_down"]

# Columns of the keys, uint32 (m, 4): the fraction, and the smallest original edge.
QUOTIENT, REMAINDER, LENGTH, ORIGINAL = 0, 1, 2, 3


@njit(nogil=True, cache=True)
def set_keys(keys: NDArray[np.uint32], quotients: NDArray[np.uint32]) -> None:
    """Set the keys of edges whose means are whole numbers."""
    for e in range(quotients.size):
        keys[e, QUOTIENT] = quotients[e]
        keys[e, REMAINDER] = 0
        keys[e, LENGTH] = 1
        keys[e, ORIGINAL] = e


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


# The heap is an array of uint64: an edge, with its quotient in the upper half, so that nearly all
# comparisons need nothing but the heap. Every entry has four below it, side by side in memory.
_EDGE = np.uint64(0xFFFFFFFF)


@njit(nogil=True, cache=True)
def _entry(keys: NDArray[np.uint32], e: int) -> np.uint64:
    return (np.uint64(keys[e, QUOTIENT]) << np.uint64(32)) | np.uint64(e)


@njit(nogil=True, cache=True)
def _before(keys: NDArray[np.uint32], a: np.uint64, b: np.uint64) -> bool:
    if a >> np.uint64(32) != b >> np.uint64(32):
        return bool(a < b)
    return bool(less(keys, np.int64(a & _EDGE), np.int64(b & _EDGE)))


@njit(nogil=True, cache=True)
def first(heap: NDArray[np.uint64]) -> int:
    """The first edge of a heap."""
    return int(np.int64(heap[0] & _EDGE))


@njit(nogil=True, cache=True)
def push(heap: NDArray[np.uint64], length: int, keys: NDArray[np.uint32], e: int) -> int:
    """Put edge `e` into a heap of `length` edges; returns the steps taken."""
    steps = 1
    i = length
    entry = _entry(keys, e)
    while i > 0:
        up = (i - 1) >> 2
        if not _before(keys, entry, heap[up]):
            break
        heap[i] = heap[up]
        i = up
        steps += 1
    heap[i] = entry
    return steps


@njit(nogil=True, cache=True)
def sift_down(heap: NDArray[np.uint64], length: int, keys: NDArray[np.uint32], e: int) -> int:
    """Put edge `e` in place of the first edge of a heap; returns the steps taken."""
    steps = 1
    i = 0
    entry = _entry(keys, e)
    while True:
        least = 4 * i + 1
        if least >= length:
            break
        for down in range(least + 1, min(least + 4, length)):
            if _before(keys, heap[down], heap[least]):
                least = down
            steps += 1
        if not _before(keys, heap[least], entry):
            break
        heap[i] = heap[least]
        i = least
    heap[i] = entry
    return steps


@njit(nogil=True, cache=True)
def pop(heap: NDArray[np.uint64], length: int, keys: NDArray[np.uint32]) -> int:
    """Take the first edge out of a heap of `length` edges; returns the steps taken."""
    if length == 1:
        return 1
    steps: int = sift_down(heap, length - 1, keys, np.int64(heap[length - 1] & _EDGE))
    return steps
