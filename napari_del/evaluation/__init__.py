"""Measures of segmentations against people's own, and readers of the data sets that hold them.

Nothing else in the package imports this one.
"""

from __future__ import annotations

from napari_del.evaluation.datasets import BSDSImage, load_bsds
from napari_del.evaluation.regions import (
    CoveringSummary,
    RegionOverlaps,
    SuperpixelContingency,
    contingency_table,
    segmentation_covering,
    summarise_covering,
)
from napari_del.evaluation.superpixels import (
    achievable_segmentation_accuracy,
    boundary_recall,
    label_boundaries,
    undersegmentation_error,
)

__all__ = [
    "BSDSImage",
    "CoveringSummary",
    "RegionOverlaps",
    "SuperpixelContingency",
    "achievable_segmentation_accuracy",
    "boundary_recall",
    "contingency_table",
    "label_boundaries",
    "load_bsds",
    "segmentation_covering",
    "summarise_covering",
    "undersegmentation_error",
]
