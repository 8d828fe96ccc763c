"""How well regions fit what people labelled in a set of images, at each setting of a method."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_del.evaluation.contingency import RegionTable, SuperpixelContingency
from napari_del.evaluation.datasets import UNLABELLED, AnnotatedImage
from napari_del.evaluation.instances import object_labels
from napari_del.evaluation.regions import best_overlaps

__all__ = ["MEASURES", "Counts", "SetScores", "best_unions", "majorities"]

MEASURES = ("best_iou", "best_iou_by_image", "covering", "covering_by_image")
"""`best_iou`: mean over the objects of the best IoU with any region; `covering`: mean over the
labelled pixels of the best IoU of the pixel's region in the ground truth, which in sets whose
background is left open is that of its object. "by_image": means of each image, then of those."""


class Counts:
    """Pixels that the segments of one image share with what people labelled in it."""

    def __init__(self, segments: NDArray[np.integer], image: AnnotatedImage) -> None:
        truths = [truth for truth in image.segmentations if (truth >= 0).any()]
        self.n = 0
        self._regions = self._objects = None
        if truths:
            self._regions = SuperpixelContingency(segments, truths)
            self.n = self._regions.ids.size
        if image.objects is not None and image.objects.any():
            unlabelled = np.all(image.segmentations == UNLABELLED, axis=0)
            self._objects = SuperpixelContingency(
                segments, [object_labels(image.objects, unlabelled)]
            )

    def tables(
        self, merged: NDArray[np.integer] | None = None
    ) -> tuple[RegionTable | None, RegionTable | None]:
        """Tables of the ground-truth regions and of the objects, None where there are none.

        `merged` is the region of each segment; without it each segment is a region.
        """
        rows = np.arange(self.n) if merged is None else merged
        regions = None if self._regions is None else self._regions.table(rows)
        return regions, None if self._objects is None else self._objects.table(rows)


@dataclass
class SetScores:
    """Scores of one method on the images of a set, added up."""

    n_settings: int
    images: int = 0
    objects: int = 0
    _sums: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    _totals: dict[str, float] = field(default_factory=dict)

    def add(self, overlaps: Iterable[tuple[Any, Any, int]]) -> None:
        """Add an image: for each setting best IoUs of regions, of objects, and region count.

        Both best IoUs are pairs of the IoUs and the sizes of what they are of, or None.
        """
        self.images += 1
        for index, (regions, objects, count) in enumerate(overlaps):
            if regions is not None:
                best, sizes = regions
                self._add("covering", index, float(best @ sizes), float(sizes.sum()))
            if objects is not None:
                best, _ = objects
                self._add("best_iou", index, float(best.sum()), best.size)
                self.objects += best.size if index == 0 else 0
            self._count("regions", index, count, 1)

    def _add(self, measure: str, index: int, covered: float, total: float) -> None:
        self._count(measure, index, covered, total)
        self._count(f"{measure}_by_image", index, covered / total, 1)

    def _count(self, name: str, index: int, value: float, total: float) -> None:
        self._sums.setdefault(name, np.zeros(self.n_settings))[index] += value
        if index == 0:
            self._totals[name] = self._totals.get(name, 0.0) + total

    def to_json(self) -> dict[str, list[float]]:
        """Each measure that there is, at each setting."""
        return {
            name: (self._sums[name] / self._totals[name]).round(5).tolist()
            for name in (*MEASURES, "regions")
            if name in self._sums
        }


def overlaps_of(
    tables: tuple[RegionTable | None, RegionTable | None],
) -> tuple[Any, Any]:
    """What `SetScores.add` takes of both tables."""
    pairs = [None if t is None else (best_overlaps(t), t.truth_sizes) for t in tables]
    return pairs[0], pairs[1]


def majorities(table: RegionTable) -> NDArray[np.float64]:
    """IoU of each ground-truth region with the superpixels that have most of their pixels in it.

    A superpixel that lies more outside of all regions than in any one is of none.
    """
    size = table.region_sizes[table.entry_annotator, table.region]
    inside = table.labelled_sizes[table.entry_annotator, table.region]
    place = table.entry_annotator * table.region_sizes.shape[1] + table.region
    most = np.zeros(table.region_sizes.size, np.int64)
    most[place] = size - inside  # what lies outside of all regions
    np.maximum.at(most, place, table.counts)
    owned = table.counts >= most[place]
    n = table.truth_sizes.size
    shared = np.bincount(table.truth[owned], table.counts[owned], n)
    outside = np.bincount(table.truth[owned], (size - table.counts)[owned], n)
    iou: NDArray[np.float64] = shared / (table.truth_sizes + outside)
    return iou


def best_unions(table: RegionTable) -> NDArray[np.float64]:
    """Greatest IoU of each ground-truth region with any union of superpixels.

    The best union holds all superpixels whose share inside is above some value, because one
    more makes the IoU greater as long as its ratio of pixels inside to pixels outside is above
    the IoU. Each region chooses for itself, so no merging does better, and few do as well.
    """
    size = table.region_sizes[table.entry_annotator, table.region]
    order = np.lexsort((-table.counts / size, table.truth))
    starts = np.searchsorted(table.truth, np.arange(table.truth_sizes.size))
    counts, outside = table.counts[order], (size - table.counts)[order]
    truth = table.truth  # sorted, and the order keeps it so

    def running(values: NDArray[np.int64]) -> NDArray[np.int64]:
        total = np.cumsum(values)
        return total - (total - values)[starts][truth]

    iou = running(counts) / (table.truth_sizes[truth] + running(outside))
    best: NDArray[np.float64] = np.maximum.reduceat(iou, starts)
    return best
