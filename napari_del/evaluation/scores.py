"""All measures of the segmentations of one image at several thresholds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_del._threads import parallel_for
from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation.boundaries import TOLERANCE, BoundaryTruth
from napari_del.evaluation.contingency import SuperpixelContingency, consecutive
from napari_del.evaluation.datasets import UNLABELLED
from napari_del.evaluation.instances import adapted_rand_error_of, object_labels
from napari_del.evaluation.objects_parts import precision_recall_of_objects_and_parts
from napari_del.evaluation.regions import (
    best_overlaps,
    rand_indices,
    variations_of_information,
)
from napari_del.segmentation import Segmentation

__all__ = ["ImageScores", "ImageTruth", "ObjectScores"]


@dataclass(frozen=True)
class ObjectScores:
    """How well regions fit the labelled objects of one image.

    Attributes
    ----------
    overlaps : float64 array, shape (thresholds, objects)
        Best intersection over union of each object with any region.
    sizes : int64 array, shape (objects,)
        Pixels of each object.
    adapted_rand_error : float64 array, shape (thresholds,)
    """

    overlaps: NDArray[np.float64]
    sizes: NDArray[np.int64]
    adapted_rand_error: NDArray[np.float64]


@dataclass(frozen=True)
class ImageScores:
    """Measures of one image at each threshold.

    Attributes
    ----------
    n_regions : int64 array, shape (thresholds,)
    boundary : int64 array, shape (thresholds, 4)
        Fields of `BoundaryCounts`.
    object_part : float64 array, shape (thresholds, 2)
        Objects-and-parts precision and recall.
    overlaps : float64 array, shape (thresholds, ground-truth regions)
        Best intersection over union of each annotator's regions with any region.
    sizes : int64 array, shape (ground-truth regions,)
        Pixels of each ground-truth region.
    rand_index, variation_of_information : float64 array, shape (thresholds,)
        Means over the annotators.
    objects : ObjectScores or None
        Where objects are labelled.
    """

    n_regions: NDArray[np.int64]
    boundary: NDArray[np.int64]
    object_part: NDArray[np.float64]
    overlaps: NDArray[np.float64]
    sizes: NDArray[np.int64]
    rand_index: NDArray[np.float64]
    variation_of_information: NDArray[np.float64]
    objects: ObjectScores | None = None


class ImageTruth:
    """What people labelled in one image, to score segmentations with.

    Parameters
    ----------
    segmentations : integer array, shape (annotators, Y, X)
        Region labels of each annotator, `UNLABELLED` or `OTHER` where there are none.
        Annotators who labelled nothing are left out.
    objects : integer array, shape (Y, X), optional
        Labelled objects from 1; 0 where there is none.
    tolerance : float
        Greatest distance of matched boundary pixels, as a share of the image's diagonal.

    Raises
    ------
    ImageError
        If shapes do not fit, or labels are not integers.
    ParameterError
        If nothing is labelled, or the tolerance is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> people = np.repeat([[0, 1], [0, 0]], 50, axis=1)[:, None] * np.ones((80, 1), int)
    >>> scores = ImageTruth(people).score_labels([people[0], people[1]])
    >>> scores.rand_index.round(2)
    array([0.75, 0.75])
    """

    def __init__(
        self,
        segmentations: NDArray[np.integer] | Sequence[NDArray[np.integer]],
        objects: NDArray[np.integer] | None = None,
        *,
        tolerance: float = TOLERANCE,
    ) -> None:
        stack = np.asarray(segmentations)
        if stack.ndim != 3 or stack.dtype.kind not in "iu":
            raise ImageError(
                f"segmentations have shape {stack.shape} and dtype {stack.dtype}; expected "
                "integers of shape (annotators, Y, X)"
            )
        self._truths = [truth for truth in stack if (truth >= 0).any()]
        if not self._truths:
            raise ParameterError("no pixel is labelled; expected regions of at least one annotator")
        self._boundaries = BoundaryTruth(self._truths, tolerance=tolerance)
        self._objects: NDArray[np.int64] | None = None
        if objects is not None and (np.asarray(objects) > 0).any():
            self._objects = object_labels(objects, np.all(stack == UNLABELLED, axis=0))

    def score_segmentation(
        self,
        segmentation: Segmentation,
        thresholds: Sequence[float] | NDArray[np.float64],
        linkage: str = "average",
    ) -> ImageScores:
        """Score the regions of a segmentation at several thresholds.

        Parameters
        ----------
        segmentation : Segmentation
        thresholds : sequence of float
            From 0 to 1.
        linkage : str
            How regions merge.

        Returns
        -------
        ImageScores
        """
        if linkage != "egb":
            segmentation.hierarchy(linkage)  # once, before threads ask for it
        superpixels = segmentation.superpixels
        masked = np.zeros(int(superpixels.min() == 0), np.int32)

        def regions(index: int) -> NDArray[np.integer]:
            rows = segmentation.regions(float(thresholds[index]), linkage)
            return np.concatenate([masked - 1, rows])

        return self._score(superpixels, regions, len(thresholds))

    def score_labels(self, labels: Sequence[NDArray[np.integer]]) -> ImageScores:
        """Score label images, one for each threshold.

        Parameters
        ----------
        labels : sequence of integer array, shape (thresholds, Y, X)
            Region labels; any values. They need not be nested.

        Returns
        -------
        ImageScores

        Raises
        ------
        ImageError
            If a shape is another than that of the ground truth, or labels are not integers.
        """
        flat = [consecutive(self._check(image))[0] for image in labels]
        # What the partitions have in common is counted once, as superpixels are.
        shape = self._boundaries.shape
        common: NDArray[np.integer] = np.zeros(shape, np.int64)
        for image in flat:
            common = consecutive(common.ravel() * (int(image.max()) + 1) + image)[0]
        _, first = np.unique(common, return_index=True)
        return self._score(common.reshape(shape), lambda index: flat[index][first], len(flat))

    def _check(self, image: NDArray[np.integer]) -> NDArray[np.integer]:
        image = np.asarray(image)
        if image.shape != self._boundaries.shape:
            raise ImageError(
                f"labels have shape {image.shape}; expected {self._boundaries.shape}, that of the "
                "ground truth"
            )
        return image

    def _score(
        self,
        superpixels: NDArray[np.integer],
        regions: Callable[[int], NDArray[np.integer]],
        n_thresholds: int,
    ) -> ImageScores:
        superpixels = self._check(superpixels)
        if n_thresholds == 0:
            raise ParameterError("there are no thresholds; expected at least one")
        rows, _ = consecutive(superpixels)
        counted = SuperpixelContingency(superpixels, self._truths)
        objects = None
        if self._objects is not None:
            objects = SuperpixelContingency(superpixels, [self._objects])
        boundary = np.zeros((n_thresholds, 4), np.int64)
        n_regions = np.zeros(n_thresholds, np.int64)
        figures = np.zeros((n_thresholds, 5))
        overlaps: list[NDArray[np.float64]] = [np.zeros(0)] * n_thresholds
        object_overlaps: list[NDArray[np.float64]] = [np.zeros(0)] * n_thresholds

        def score(start: int, stop: int) -> None:
            for index in range(start, stop):
                labels = regions(index)
                n_regions[index] = np.unique(labels).size
                boundary[index] = self._boundaries.match(labels[rows].reshape(superpixels.shape))
                table = counted.table(labels)
                overlaps[index] = best_overlaps(table)
                figures[index, :2] = precision_recall_of_objects_and_parts(table)
                figures[index, 2] = rand_indices(table).mean()
                figures[index, 3] = variations_of_information(table).mean()
                if objects is not None:
                    table = objects.table(labels)
                    object_overlaps[index] = best_overlaps(table)
                    figures[index, 4] = adapted_rand_error_of(table)

        parallel_for(score, n_thresholds)
        return ImageScores(
            n_regions=n_regions,
            boundary=boundary,
            object_part=figures[:, :2],
            overlaps=np.stack(overlaps),
            sizes=counted.truth_sizes,
            rand_index=figures[:, 2],
            variation_of_information=figures[:, 3],
            objects=None
            if objects is None
            else ObjectScores(np.stack(object_overlaps), objects.truth_sizes, figures[:, 4]),
        )
