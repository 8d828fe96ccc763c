"""Disjoint sets in one array of parents, for use inside kernels."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["find", "roots", "wins"]


@njit(nogil=True, cache=True)
def find(parent: NDArray[np.int32], i: int) -> int:
    """Root of the set of `i`; halves the path on the way."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@njit(nogil=True, cache=True)
def wins(a: int, size_a: int, b: int, size_b: int) -> bool:
    """Whether representative `a` rather than `b` stands for both: the larger, then the lower."""
    return size_a > size_b or (size_a == size_b and a < b)


@njit(nogil=True, cache=True)
def roots(parent: NDArray[np.int32], rows: NDArray[np.int32]) -> NDArray[np.int32]:
    """Roots of the sets of some rows, int32 (k,); leaves `parent` as it is."""
    out = np.empty(rows.size, np.int32)
    for k in range(rows.size):
        i = rows[k]
        while parent[i] != i:
            i = parent[i]
        out[k] = i
    return out
