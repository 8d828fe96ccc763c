"""A hierarchy of regions that gives the partition at any threshold at once.

The tree is that of a union by size without path compression, where every node keeps the weight
at which it was attached [1]_. Weights never decrease on the way up, so the region of a node at
threshold T is found by climbing while the weight is at most T, and a path has at most log2(n)
steps because every step at least doubles the size of the region. Two integers a node hold all
partitions; no node needs another node's answer, so any subset can be looked up by itself.

References
----------
.. [1] R. E. Tarjan, J. van Leeuwen, "Worst-case Analysis of Set Union Algorithms", Journal of
   the ACM 31(2), 1984, pp. 245-281.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del._threads import parallel_for
from napari_del.errors import ParameterError
from napari_del.merging.fixed_point import ONE

__all__ = ["Hierarchy", "sequential"]

# Nodes below which a second thread costs more than it saves.
_GRAIN = 16384


@dataclass(frozen=True, eq=False)
class Hierarchy:
    """All partitions of `n` superpixels that a linkage gives, from the finest to the coarsest.

    Partitions are nested: a region at one threshold lies within one region at any higher
    threshold. The representative of a region is the row of one of its superpixels, that of the
    larger part at each merge (number of superpixels; the lower row if equal), so most
    superpixels keep their representative when the threshold rises.

    Parameters
    ----------
    parent : int32 (n,)
        Row to which each row was attached; its own row for a root.
    height : uint32 (n,)
        Weight at which each row was attached, in fixed point; ``2**32 - 1`` for a root, which
        is never attached, not even at that threshold.

    Examples
    --------
    Row 1 joins row 0 at weight 10, row 2 joins both at weight 20, and row 3 is on its own.

    >>> tree = Hierarchy(
    ...     parent=np.array([0, 0, 0, 3], np.int32),
    ...     height=np.array([2**32 - 1, 10, 20, 2**32 - 1], np.uint32),
    ... )
    >>> tree.cut(15)
    array([0, 0, 2, 3], dtype=int32)
    >>> tree.n_regions(15)
    3
    >>> tree.threshold_for(2)
    20
    """

    parent: NDArray[np.int32]
    height: NDArray[np.uint32]

    def __post_init__(self) -> None:
        parent, height = np.asarray(self.parent), np.asarray(self.height)
        if (
            parent.ndim != 1
            or parent.shape != height.shape
            or parent.dtype != np.int32
            or height.dtype != np.uint32
        ):
            raise ParameterError(
                f"parent is {parent.dtype} {parent.shape} and height {height.dtype} "
                f"{height.shape}; expected int32 (n,) and uint32 (n,)"
            )
        if parent.size and not (0 <= parent.min() and parent.max() < parent.size):
            raise ParameterError(
                f"parents go from {parent.min()} to {parent.max()}; "
                f"expected rows 0 to {parent.size - 1}"
            )
        object.__setattr__(self, "parent", np.ascontiguousarray(parent))
        object.__setattr__(self, "height", np.ascontiguousarray(height))

    @property
    def n(self) -> int:
        """Number of superpixels."""
        return int(self.parent.size)

    @cached_property
    def merge_heights(self) -> NDArray[np.uint32]:
        """Heights of all merges, ascending: uint32 (n - number of roots,)."""
        is_root = self.parent == np.arange(self.n, dtype=np.int32)
        return np.sort(self.height[~is_root])

    def cut(self, threshold: int) -> NDArray[np.int32]:
        """Representative of the region of every superpixel.

        Parameters
        ----------
        threshold : int
            In fixed point, as `threshold_to_fixed` gives it.

        Returns
        -------
        int32 (n,)
            Rows; those of the representatives are their own.

        Raises
        ------
        ParameterError
            If `threshold` is outside 0 to ``2**32 - 1``.
        """
        limit = _checked(threshold)
        out = np.empty(self.n, dtype=np.int32)
        parallel_for(
            lambda start, stop: _cut(self.parent, self.height, limit, out, start, stop),
            self.n,
            grain=_GRAIN,
        )
        return out

    def region_of(self, rows: ArrayLike, threshold: int) -> NDArray[np.int32]:
        """Representative of the region of some superpixels, the same as ``cut(threshold)[rows]``.

        Parameters
        ----------
        rows : int (k,)
            Rows from 0 to n - 1.
        threshold : int
            In fixed point.

        Returns
        -------
        int32 (k,)

        Raises
        ------
        ParameterError
            If a row or `threshold` is out of range.
        """
        limit = _checked(threshold)
        out = np.array(rows, ndmin=1)  # a copy: replaced in place by the representatives
        if out.ndim != 1 or (out.size and out.dtype.kind not in "iu"):
            raise ParameterError(
                f"rows have shape {out.shape} and dtype {out.dtype}; expected int (k,)"
            )
        if out.size and not (0 <= out.min() and out.max() < self.n):
            raise ParameterError(
                f"rows go from {out.min()} to {out.max()}; expected 0 to {self.n - 1}"
            )
        out = out.astype(np.int32)
        parallel_for(
            lambda start, stop: _climb(self.parent, self.height, limit, out, start, stop),
            out.size,
            grain=_GRAIN,
        )
        return out

    def n_regions(self, threshold: int) -> int:
        """Number of regions, without computing them.

        Parameters
        ----------
        threshold : int
            In fixed point.

        Returns
        -------
        int
        """
        merges = np.searchsorted(self.merge_heights, np.uint32(_checked(threshold)), side="right")
        return self.n - int(merges)

    def threshold_for(self, n_regions: int) -> int:
        """The smallest threshold that gives at most `n_regions` regions.

        Merges of equal height happen together, so there may be fewer regions than asked for.

        Parameters
        ----------
        n_regions : int
            At least 1.

        Returns
        -------
        int
            In fixed point. Where the graph has more than `n_regions` connected components, so
            that no threshold gives so few, the smallest threshold that gives the fewest.

        Raises
        ------
        ParameterError
            If `n_regions` is below 1.
        """
        wanted = operator.index(n_regions)
        if wanted < 1:
            raise ParameterError(f"the number of regions is {wanted}; expected at least 1")
        heights = self.merge_heights
        merges = min(self.n - wanted, heights.size)
        return int(heights[merges - 1]) if merges > 0 else 0


def sequential(representatives: ArrayLike) -> tuple[NDArray[np.int32], int]:
    """Number the regions of a partition from 1, in order of their first row.

    Parameters
    ----------
    representatives : int32 (n,)
        Row that stands for the region of each row, as `Hierarchy.cut` gives it.

    Returns
    -------
    labels : int32 (n,)
        1 to k.
    k : int
        Number of regions.

    Raises
    ------
    ParameterError
        If `representatives` are not rows.

    Examples
    --------
    >>> sequential(np.array([3, 1, 1, 3], np.int32))
    (array([1, 2, 2, 1], dtype=int32), 2)
    """
    rows = checked_representatives(representatives)
    labels = np.empty_like(rows)
    k: int = _number(rows, labels)
    return labels, k


def checked_representatives(representatives: ArrayLike) -> NDArray[np.int32]:
    """Representatives as a contiguous array, if they are rows of themselves."""
    rows = np.asarray(representatives)
    if rows.ndim != 1 or rows.dtype != np.int32:
        raise ParameterError(
            f"representatives have shape {rows.shape} and dtype {rows.dtype}; expected int32 (n,)"
        )
    if rows.size and not (0 <= rows.min() and rows.max() < rows.size):
        raise ParameterError(
            f"representatives go from {rows.min()} to {rows.max()}; "
            f"expected rows 0 to {rows.size - 1}"
        )
    bad = np.flatnonzero(rows[rows] != rows)
    if bad.size:
        raise ParameterError(
            f"row {bad[0]} is represented by row {rows[bad[0]]}, which is itself represented by "
            f"row {rows[rows[bad[0]]]}; expected a representative to stand for itself"
        )
    return np.ascontiguousarray(rows)


def _checked(threshold: int) -> int:
    value = operator.index(threshold)
    if not 0 <= value <= ONE:
        raise ParameterError(
            f"the fixed-point threshold is {value}; expected 0 to {ONE}, "
            "as threshold_to_fixed gives it"
        )
    return value


@njit(nogil=True, cache=True)
def _cut(
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
    threshold: int,
    out: NDArray[np.int32],
    start: int,
    stop: int,
) -> None:
    for i in range(start, stop):
        out[i] = i
    _climb(parent, height, threshold, out, start, stop)


@njit(nogil=True, cache=True)
def _climb(
    parent: NDArray[np.int32],
    height: NDArray[np.uint32],
    threshold: int,
    out: NDArray[np.int32],
    start: int,
    stop: int,
) -> None:
    for i in range(start, stop):
        node = out[i]
        while parent[node] != node and height[node] <= threshold:
            node = parent[node]
        out[i] = node


@njit(nogil=True, cache=True)
def _number(rows: NDArray[np.int32], labels: NDArray[np.int32]) -> int:
    number = np.zeros(rows.size, np.int32)
    k = 0
    for i in range(rows.size):
        if number[rows[i]] == 0:
            k += 1
            number[rows[i]] = k
        labels[i] = number[rows[i]]
    return k
