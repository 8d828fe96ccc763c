"""Where a threshold lies on a slider.

Most merges happen in a narrow band of thresholds, so on an even scale a finger's width of
slider would take an image from a thousand regions to three. A slider position therefore stands
for a number of regions on a logarithmic scale: equal distances multiply the number of regions
by equal factors.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

from napari_del.merging import Hierarchy, from_fixed, threshold_to_fixed

__all__ = ["EvenScale", "RegionScale", "Scale"]


class Scale(Protocol):
    """Thresholds from 0 to 1 against slider positions from 0 (finest) to 1 (coarsest)."""

    def position(self, threshold: float) -> float:
        """Slider position of a threshold."""
        ...

    def threshold(self, position: float) -> float:
        """Threshold at a slider position."""
        ...


class EvenScale:
    """Position and threshold are the same number.

    For linkages that are not nested, which have no list of merges to space evenly.

    Examples
    --------
    >>> EvenScale().position(0.25)
    0.25
    """

    def position(self, threshold: float) -> float:
        """Slider position of a threshold."""
        return min(max(threshold, 0.0), 1.0)

    def threshold(self, position: float) -> float:
        """Threshold at a slider position."""
        return min(max(position, 0.0), 1.0)


class RegionScale:
    """Position is the logarithm of the number of regions, from all superpixels to the fewest.

    Parameters
    ----------
    hierarchy : Hierarchy
        The merges that the thresholds select.

    Examples
    --------
    Four superpixels become three at height 10 and two at height 20.

    >>> tree = Hierarchy(
    ...     parent=np.array([0, 0, 0, 3], np.int32),
    ...     height=np.array([2**32 - 1, 10, 20, 2**32 - 1], np.uint32),
    ... )
    >>> scale = RegionScale(tree)
    >>> scale.position(0.0), scale.position(1.0)
    (0.0, 1.0)
    >>> tree.n_regions(threshold_to_fixed(scale.threshold(0.5)))
    3
    """

    def __init__(self, hierarchy: Hierarchy) -> None:
        self._heights = hierarchy.merge_heights
        self._finest = max(hierarchy.n, 1)
        self._range = math.log(self._finest / max(hierarchy.n - self._heights.size, 1))

    def position(self, threshold: float) -> float:
        """Slider position of a threshold: that of the number of regions it gives."""
        if self._range == 0:
            return 0.0
        limit = np.uint32(threshold_to_fixed(threshold))
        regions = self._finest - int(np.searchsorted(self._heights, limit, side="right"))
        return math.log(self._finest / regions) / self._range

    def threshold(self, position: float) -> float:
        """The smallest threshold that gives the number of regions at a position, or fewer."""
        regions = self._finest / math.exp(min(max(position, 0.0), 1.0) * self._range)
        merges = min(self._finest - round(regions), self._heights.size)
        return float(from_fixed(self._heights[merges - 1])) if merges > 0 else 0.0
