"""Measures of segmentations against people's own, and readers of the data sets that hold them.

`ImageTruth` holds what people labelled in an image and scores its segmentations; `summarise`
puts the scores of a data set together; `evaluate_model` does both for a model. What each
figure means is in docs/evaluation.md.
"""

from __future__ import annotations

from napari_del.evaluation.boundaries import (
    BoundaryCounts,
    BoundaryTruth,
    f_measure,
    thin_boundaries,
)
from napari_del.evaluation.contingency import (
    RegionTable,
    SuperpixelContingency,
    contingency_table,
)
from napari_del.evaluation.datasets import AnnotatedImage, held_out, load_bsds, load_pairs, load_set
from napari_del.evaluation.evaluate import evaluate, evaluate_model, thresholds_for
from napari_del.evaluation.instances import adapted_rand_error, mean_best_iou, object_covering
from napari_del.evaluation.objects_parts import objects_and_parts
from napari_del.evaluation.regions import (
    probabilistic_rand_index,
    segmentation_covering,
    variation_of_information,
)
from napari_del.evaluation.scores import ImageScores, ImageTruth, ObjectScores
from napari_del.evaluation.summary import Evaluation, Figure, summarise
from napari_del.evaluation.superpixels import (
    achievable_segmentation_accuracy,
    boundary_recall,
    label_boundaries,
    undersegmentation_error,
)

__all__ = [
    "AnnotatedImage",
    "BoundaryCounts",
    "BoundaryTruth",
    "Evaluation",
    "Figure",
    "ImageScores",
    "ImageTruth",
    "ObjectScores",
    "RegionTable",
    "SuperpixelContingency",
    "achievable_segmentation_accuracy",
    "adapted_rand_error",
    "boundary_recall",
    "contingency_table",
    "evaluate",
    "evaluate_model",
    "f_measure",
    "held_out",
    "label_boundaries",
    "load_bsds",
    "load_pairs",
    "load_set",
    "mean_best_iou",
    "object_covering",
    "objects_and_parts",
    "probabilistic_rand_index",
    "segmentation_covering",
    "summarise",
    "thin_boundaries",
    "thresholds_for",
    "undersegmentation_error",
    "variation_of_information",
]
