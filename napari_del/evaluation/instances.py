"""Measures of regions against labelled objects, where the rest of the image is background.

A segmentation divides background as it likes: only the pixels of objects, and what regions add
to them, count.

References
----------
.. [1] I. Arganda-Carreras et al., "Crowdsourcing the creation of image segmentation algorithms
   for connectomics", Frontiers in Neuroanatomy 9, 2015, :DOI:`10.3389/fnana.2015.00142`
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_del.errors import ImageError
from napari_del.evaluation.contingency import RegionTable
from napari_del.evaluation.datasets import OTHER, UNLABELLED
from napari_del.evaluation.regions import best_overlaps

__all__ = [
    "adapted_rand_error",
    "adapted_rand_error_of",
    "mean_best_iou",
    "object_covering",
    "object_labels",
]


def mean_best_iou(segmentation: NDArray[np.integer], objects: NDArray[np.integer]) -> float:
    """Mean over the objects of the best intersection over union with any region.

    Parameters
    ----------
    segmentation : integer array, shape (Y, X)
        Region labels; any values.
    objects : integer array, shape (Y, X)
        Objects from 1; 0 is background, and a negative label is not labelled.

    Returns
    -------
    float
        In (0, 1], more is better; each object counts the same.

    Raises
    ------
    ImageError
        If the shapes differ, a dtype is not an integer one, or there are no objects.

    Examples
    --------
    >>> import numpy as np
    >>> mean_best_iou(np.array([[4, 4, 5, 5]]), np.array([[1, 0, 2, 2]]))
    0.75
    """
    return float(best_overlaps(_table(segmentation, objects)).mean())


def object_covering(segmentation: NDArray[np.integer], objects: NDArray[np.integer]) -> float:
    """Mean over the pixels of objects of the best overlap that the pixel's object reaches.

    Parameters
    ----------
    segmentation, objects : integer array, shape (Y, X)
        As for `mean_best_iou`.

    Returns
    -------
    float
        In (0, 1], more is better; each object counts by its pixels.

    Raises
    ------
    ImageError
        As for `mean_best_iou`.

    Examples
    --------
    >>> import numpy as np
    >>> object_covering(np.array([[4, 4, 5, 5]]), np.array([[1, 0, 2, 2]]))
    0.8333...
    """
    table = _table(segmentation, objects)
    return float(best_overlaps(table) @ table.truth_sizes / table.truth_sizes.sum())


def adapted_rand_error(segmentation: NDArray[np.integer], objects: NDArray[np.integer]) -> float:
    """Adapted Rand error: 1 - F of the pairs of object pixels that are together [1]_.

    Parameters
    ----------
    segmentation, objects : integer array, shape (Y, X)
        As for `mean_best_iou`.

    Returns
    -------
    float
        In [0, 1], less is better. Pixels outside of objects do not count.

    Raises
    ------
    ImageError
        As for `mean_best_iou`.

    Examples
    --------
    >>> import numpy as np
    >>> adapted_rand_error(np.array([[4, 4, 5, 5]]), np.array([[1, 1, 2, 2]]))
    0.0
    """
    return adapted_rand_error_of(_table(segmentation, objects))


def adapted_rand_error_of(table: RegionTable) -> float:
    """Adapted Rand error out of counts of shared pixels; `table` is of one annotator."""
    pixels = float(table.truth_sizes.sum())
    both = float((table.counts.astype(np.float64) ** 2).sum()) - pixels
    truth = float((table.truth_sizes.astype(np.float64) ** 2).sum()) - pixels
    regions = float((table.labelled_sizes.astype(np.float64) ** 2).sum()) - pixels
    # No pair of pixels is together in either: nothing is wrong.
    return 1 - 2 * both / (truth + regions) if truth + regions > 0 else 0.0


def object_labels(
    objects: NDArray[np.integer], unlabelled: NDArray[np.bool_] | None = None
) -> NDArray[np.int64]:
    """Objects as a ground truth whose regions are the objects alone.

    Parameters
    ----------
    objects : integer array, shape (Y, X)
        Objects from 1, 0 where there is none, negative where nothing is labelled.
    unlabelled : bool array, shape (Y, X), optional
        Further pixels that are not labelled.

    Returns
    -------
    int64 array, shape (Y, X)
        Objects as they are; `OTHER` where there is none; `UNLABELLED` elsewhere.
    """
    objects = np.asarray(objects)
    if objects.dtype.kind not in "iu":
        raise ImageError(f"objects have dtype {objects.dtype}; expected integers")
    labels = np.where(objects == 0, OTHER, objects).astype(np.int64)
    labels[objects < 0] = UNLABELLED
    if unlabelled is not None:
        labels[unlabelled & (objects <= 0)] = UNLABELLED
    return labels


def _table(segmentation: NDArray[np.integer], objects: NDArray[np.integer]) -> RegionTable:
    labels = object_labels(objects)
    if not (labels >= 0).any():
        raise ImageError("objects are all 0 or below; expected at least one object")
    return RegionTable.from_labels(segmentation, [labels])
