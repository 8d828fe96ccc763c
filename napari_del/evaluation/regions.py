"""Covering of ground-truth regions by a segmentation, per threshold and over a data set.

The covering of a ground truth G by a segmentation S of N pixels is

    C(S -> G) = 1/N * sum over R in G of |R| * max over R' in S of |R & R'| / |R | R'|

the mean over all pixels of the best overlap that the pixel's ground-truth region reaches [1]_.

References
----------
.. [1] P. Arbelaez, M. Maire, C. Fowlkes and J. Malik, "Contour Detection and Hierarchical
   Image Segmentation", IEEE TPAMI 33(5), 2011, :DOI:`10.1109/TPAMI.2010.161`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_del.errors import ImageError, ParameterError

__all__ = [
    "CoveringSummary",
    "RegionOverlaps",
    "SuperpixelContingency",
    "contingency_table",
    "segmentation_covering",
    "summarise_covering",
]


def contingency_table(first: NDArray[np.integer], second: NDArray[np.integer]) -> sparse.csr_array:
    """Count the pixels that two label images share, label by label.

    Parameters
    ----------
    first, second : integer array of one shape
        Labels; any values, 0 being a label as any other.

    Returns
    -------
    sparse.csr_array of int64, shape (labels in `first`, labels in `second`)
        Entry (i, j) is the number of pixels of the i-th label of `first`, in ascending order,
        that have the j-th label of `second`. No row and no column is empty.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.

    Examples
    --------
    >>> import numpy as np
    >>> contingency_table(np.array([[1, 1, 5]]), np.array([[0, 3, 3]])).toarray()
    array([[1, 1],
           [0, 1]])
    """
    first, second = np.asarray(first), np.asarray(second)
    if first.shape != second.shape:
        raise ImageError(
            f"label images have shapes {first.shape} and {second.shape}; expected one shape"
        )
    rows, n_rows = _consecutive(first)
    columns, n_columns = _consecutive(second)
    ones = np.ones(rows.size, dtype=np.int64)
    # The conversion to rows adds up the entries of one place.
    return sparse.csr_array((ones, (rows, columns)), shape=(n_rows, n_columns))


def segmentation_covering(
    segmentation: NDArray[np.integer], ground_truth: NDArray[np.integer]
) -> float:
    """Covering of a ground truth by a segmentation, C(S -> G) in Arbelaez et al. (2011).

    Parameters
    ----------
    segmentation, ground_truth : integer array of one shape
        Labels; any values, 0 being a region as any other.

    Returns
    -------
    float
        In (0, 1]; 1 where the two are the same partition. Not symmetric.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 1, 2]])
    >>> segmentation_covering(np.array([[7, 7, 9, 9]]), truth)
    0.625
    """
    table = contingency_table(ground_truth, segmentation)
    sizes = table.sum(axis=1)
    overlaps = _best_overlaps(table, sizes)
    return float(np.dot(sizes, overlaps) / sizes.sum())


@dataclass(frozen=True)
class RegionOverlaps:
    """Best overlaps that each ground-truth region of one image reaches at each threshold.

    Attributes
    ----------
    overlaps : float64 array, shape (thresholds, regions)
        Best intersection over union; regions of all annotators one after another.
    sizes : int64 array, shape (regions,)
        Pixels of each ground-truth region.
    """

    overlaps: NDArray[np.float64]
    sizes: NDArray[np.int64]

    def covering(self) -> NDArray[np.float64]:
        """Covering at each threshold, mean over the annotators; shape (thresholds,)."""
        covering: NDArray[np.float64] = self.overlaps @ self.sizes / self.sizes.sum()
        return covering


@dataclass(frozen=True)
class CoveringSummary:
    """Covering over a data set.

    As the BSDS benchmark does, annotators are pooled: each (image, annotator) pair counts
    by its pixels, so where images are of one size the figures are plain means over all pairs.

    Attributes
    ----------
    covering : float64 array, shape (thresholds,)
        Covering at each threshold.
    ods : float
        Covering at the best single threshold for the whole set ("optimal data set scale").
    ods_index : int
        Which threshold that is; the first of equals.
    ois : float
        Covering with the best threshold of each image ("optimal image scale").
    best : float
        Covering with the best region of any threshold for each ground-truth region.
    """

    covering: NDArray[np.float64]
    ods: float
    ods_index: int
    ois: float
    best: float


def summarise_covering(images: Iterable[RegionOverlaps]) -> CoveringSummary:
    """Pool the overlaps of the images of a data set.

    Parameters
    ----------
    images : iterable of RegionOverlaps
        One of each image, all of the same thresholds.

    Returns
    -------
    CoveringSummary

    Raises
    ------
    ParameterError
        If there are no images, or their numbers of thresholds differ.
    """
    images = list(images)
    thresholds = sorted({image.overlaps.shape[0] for image in images})
    if len(thresholds) != 1:
        raise ParameterError(
            f"images have {thresholds} thresholds; expected at least one image, and the same "
            "number of thresholds for all"
        )
    covered = np.stack([image.overlaps @ image.sizes for image in images])
    best = sum(float(image.overlaps.max(axis=0) @ image.sizes) for image in images)
    pixels = sum(int(image.sizes.sum()) for image in images)
    covering = covered.sum(axis=0) / pixels
    index = int(np.argmax(covering))
    return CoveringSummary(
        covering=covering,
        ods=float(covering[index]),
        ods_index=index,
        ois=float(covered.max(axis=1).sum() / pixels),
        best=best / pixels,
    )


class SuperpixelContingency:
    """Ground truths counted once per superpixel, to score any merging without the pixels.

    Parameters
    ----------
    superpixels : integer array, shape (Y, X)
        Superpixel ids; any values, 0 being one as any other.
    ground_truths : sequence of integer array, shape (annotators, Y, X)
        Region labels of each annotator.

    Attributes
    ----------
    ids : integer array, shape (n,)
        The superpixel ids, ascending: the order of the rows that `overlaps` expects.
    sizes : int64 array, shape (regions,)
        Pixels of each ground-truth region, annotator after annotator.

    Examples
    --------
    >>> import numpy as np
    >>> superpixels = np.array([[1, 1, 4, 9]])
    >>> counted = SuperpixelContingency(superpixels, [np.array([[0, 0, 0, 1]])])
    >>> counted.overlaps([[1, 1, 2], [1, 1, 1]]).covering()
    array([1.   , 0.625])
    """

    def __init__(
        self, superpixels: NDArray[np.integer], ground_truths: Sequence[NDArray[np.integer]]
    ) -> None:
        if len(ground_truths) == 0:
            raise ParameterError("ground_truths is empty; expected at least one annotator")
        tables = [contingency_table(truth, superpixels) for truth in ground_truths]
        self.ids: NDArray[np.integer] = np.unique(superpixels)
        self._table = sparse.vstack(tables).tocoo()
        self._annotators = len(tables)
        self.sizes: NDArray[np.int64] = np.concatenate([t.sum(axis=1) for t in tables])

    def overlaps(self, regions: Iterable[NDArray[np.integer]]) -> RegionOverlaps:
        """Best overlap of each ground-truth region with the regions at each threshold.

        Parameters
        ----------
        regions : iterable of integer array, shape (thresholds, n)
            At each threshold, the region of each superpixel in the order of `ids`.

        Returns
        -------
        RegionOverlaps

        Raises
        ------
        ParameterError
            If a threshold's regions are not one per superpixel.
        """
        rows = [self._overlaps(np.asarray(labels)) for labels in regions]
        return RegionOverlaps(np.stack(rows), self.sizes)

    def _overlaps(self, labels: NDArray[np.integer]) -> NDArray[np.float64]:
        if labels.shape != self.ids.shape:
            raise ParameterError(
                f"regions have shape {labels.shape}; expected one per superpixel, {self.ids.shape}"
            )
        columns, n_regions = _consecutive(labels)
        truth, superpixel = self._table.coords
        table = sparse.csr_array(
            (self._table.data, (truth, columns[superpixel])),
            shape=(self._table.shape[0], n_regions),
        )
        return _best_overlaps(table, self.sizes, annotators=self._annotators)


def _best_overlaps(
    table: sparse.csr_array, sizes: NDArray[np.int64], *, annotators: int = 1
) -> NDArray[np.float64]:
    """Greatest intersection over union in each row of a table without empty rows.

    Rows of several annotators stand below one another, so a column's sum counts each pixel
    once per annotator.
    """
    rows = np.repeat(np.arange(table.shape[0]), np.diff(table.indptr))
    columns = table.sum(axis=0) // annotators
    union = sizes[rows] + columns[table.indices] - table.data
    best: NDArray[np.float64] = np.maximum.reduceat(table.data / union, table.indptr[:-1])
    return best


def _consecutive(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer], int]:
    """Labels flattened and renumbered from 0 in ascending order, and how many there are."""
    if labels.dtype.kind not in "iu" or labels.size == 0:
        raise ImageError(
            f"label image has dtype {labels.dtype} and shape {labels.shape}; expected integers "
            "and at least one pixel"
        )
    low, high = int(labels.min()), int(labels.max())
    if high - low <= 4 * labels.size:
        # Counting is several times faster than sorting, and ids are dense as a rule.
        shifted = labels.ravel().astype(np.int64) - low
        present = np.bincount(shifted, minlength=high - low + 1) > 0
        numbers = np.cumsum(present) - 1
        return numbers[shifted], int(numbers[-1]) + 1
    values, inverse = np.unique(labels, return_inverse=True)
    return inverse.ravel(), values.size
