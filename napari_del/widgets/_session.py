"""The state behind the result controls: one segmentation and how it is cut into regions.

Knows nothing of Qt or napari, so that it is tested without either.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal

from napari_del.errors import ParameterError
from napari_del.merging import LINKAGES, from_fixed
from napari_del.segmentation import Segmentation
from napari_del.widgets._scale import EvenScale, RegionScale, Scale

__all__ = ["NESTED_LINKAGES", "Session", "Settings"]

NESTED_LINKAGES = tuple(name for name in LINKAGES if name != "egb")


@dataclass(frozen=True)
class Settings:
    """How a segmentation is cut into regions.

    Parameters
    ----------
    threshold : float
        Largest dissimilarity at which regions join, 0 to 1.
    linkage : str
        One of `napari_del.merging.LINKAGES`.
    min_size : int
        Regions of fewer pixels join a neighbour.
    """

    threshold: float
    linkage: str
    min_size: int = 0


class Session:
    """A segmentation and the settings its labels are drawn with.

    Parameters
    ----------
    segmentation : Segmentation
        What a run gave.
    settings : Settings, optional
        To begin with; by default the model's default linkage and threshold.

    Attributes
    ----------
    changed : psygnal.Signal
        Emitted with the new `Settings` when they differ from those before.
    """

    changed = Signal(Settings)

    def __init__(self, segmentation: Segmentation, settings: Settings | None = None) -> None:
        self.segmentation = segmentation
        if settings is None:
            linkage = segmentation.default_linkage
            settings = Settings(segmentation.default_threshold(linkage), linkage)
        self._settings = settings
        # Thresholds of different linkages cannot be compared: each linkage keeps its own.
        self._thresholds = {settings.linkage: settings.threshold}
        self._scales: dict[str, Scale] = {}

    @property
    def settings(self) -> Settings:
        """The settings in force."""
        return self._settings

    def prepare(self, linkage: str | None = None) -> None:
        """Compute what the controls need to answer at once; for a background thread.

        Builds the hierarchy of a linkage and makes one pass over all that a slider calls, so
        that compiling a kernel for the first time does not hold up the first drag.

        Parameters
        ----------
        linkage : str, optional
            By default the linkage in force.
        """
        linkage = linkage or self._settings.linkage
        if linkage in self._scales:
            return
        scale: Scale
        if linkage in NESTED_LINKAGES:
            scale = RegionScale(self.segmentation.hierarchy(linkage))
        else:
            scale = EvenScale()
        self.segmentation.n_regions(self.threshold_of(linkage), linkage, 2)
        self.segmentation.labels(self.threshold_of(linkage), linkage, 2, sequential=False)
        self._scales[linkage] = scale

    def is_prepared(self, linkage: str) -> bool:
        """Whether a change to this linkage needs no further computation."""
        return linkage in self._scales

    def threshold_of(self, linkage: str) -> float:
        """Threshold last used with a linkage, or else the model's default."""
        if linkage not in self._thresholds:
            self._thresholds[linkage] = self.segmentation.default_threshold(linkage)
        return self._thresholds[linkage]

    @property
    def scale(self) -> Scale:
        """Slider scale of the linkage in force."""
        self.prepare()
        return self._scales[self._settings.linkage]

    @property
    def position(self) -> float:
        """Slider position of the threshold in force, 0 (finest) to 1 (coarsest)."""
        return self.scale.position(self._settings.threshold)

    def move_to(self, position: float) -> None:
        """Set the threshold by slider position."""
        self.set_threshold(self.scale.threshold(position))

    def set_threshold(self, threshold: float) -> None:
        """Set the threshold, 0 to 1."""
        self._update(replace(self._settings, threshold=threshold))

    def set_min_size(self, min_size: int) -> None:
        """Set the minimum size of a region, in pixels."""
        self._update(replace(self._settings, min_size=min_size))

    def set_linkage(self, linkage: str) -> None:
        """Set the linkage, with the threshold last used with it."""
        self.prepare(linkage)
        threshold = self.threshold_of(linkage)
        self._update(replace(self._settings, linkage=linkage, threshold=threshold))

    def _update(self, settings: Settings) -> None:
        if settings != self._settings:
            self._settings = settings
            self._thresholds[settings.linkage] = settings.threshold
            self.changed.emit(settings)

    def n_regions(self) -> int:
        """Number of regions with the settings in force."""
        s = self._settings
        return self.segmentation.n_regions(s.threshold, s.linkage, s.min_size)

    def select(self, n_regions: int) -> None:
        """Set the threshold that gives a number of regions, or the nearest below it.

        Parameters
        ----------
        n_regions : int
            At least 1.

        Raises
        ------
        ParameterError
            If it is below 1, or the linkage is not nested.
        """
        s = self._settings
        if s.linkage not in NESTED_LINKAGES:
            nested = [name for name in self.segmentation.linkages if name in NESTED_LINKAGES]
            raise ParameterError(
                f"linkage is {s.linkage!r}, which has no threshold for a number of regions; "
                f"expected one of {', '.join(nested)}"
            )
        if s.min_size == 0 or n_regions < 1:
            self.set_threshold(self.segmentation.threshold_for(n_regions, s.linkage))
            return
        # Small regions join others, so the hierarchy alone does not tell how many are left.
        heights = self.segmentation.hierarchy(s.linkage).merge_heights
        thresholds = [0.0, *(float(t) for t in np.unique(from_fixed(heights)))]

        def fewer(threshold: float) -> int:
            return -self.segmentation.n_regions(threshold, s.linkage, s.min_size)

        found = bisect_left(thresholds, -n_regions, key=fewer)
        self.set_threshold(thresholds[min(found, len(thresholds) - 1)])

    def labels(
        self, out: NDArray[np.int32] | None = None, settings: Settings | None = None
    ) -> NDArray[np.int32]:
        """Label image, int32 (Y, X), in which regions keep their numbers while a slider moves.

        Parameters
        ----------
        out : int32 (Y, X), optional
            Written to and returned; a new array by default.
        settings : Settings, optional
            By default those in force.

        Returns
        -------
        int32 (Y, X)
            0 where the image is left out.
        """
        s = settings or self._settings
        labels: NDArray[np.int32] = self.segmentation.labels(
            s.threshold, s.linkage, s.min_size, sequential=False, out=out
        )
        return labels
