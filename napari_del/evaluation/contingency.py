"""Pixels that regions share with people's regions, counted once per superpixel.

All measures of regions in this package depend on these counts alone, so any merging of the
superpixels is scored without going back to the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation.datasets import UNLABELLED

__all__ = ["RegionTable", "SuperpixelContingency", "contingency_table"]


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
    _check_shapes(first, second)
    rows, n_rows = consecutive(first)
    columns, n_columns = consecutive(second)
    return _count(rows, columns, n_rows, n_columns)


@dataclass(frozen=True)
class RegionTable:
    """Pixels that each ground-truth region shares with each region of a segmentation.

    Pixels labelled `UNLABELLED` are in none of the counts; those labelled `OTHER`, which are
    known to lie outside of all ground-truth regions, are in `region_sizes` alone. Entries that
    are not 0 are listed in the order of the ground-truth regions.

    Attributes
    ----------
    truth : int64 array, shape (k,)
        Ground-truth region of each entry; regions of all annotators one after another.
    region : int64 array, shape (k,)
        Region of the segmentation of each entry.
    counts : int64 array, shape (k,)
        Pixels that the two share.
    annotator : int64 array, shape (ground-truth regions,)
        Whose region each ground-truth region is.
    truth_sizes : int64 array, shape (ground-truth regions,)
        Pixels of each ground-truth region.
    region_sizes : int64 array, shape (annotators, regions)
        Pixels of each region that are not `UNLABELLED`.
    """

    truth: NDArray[np.int64]
    region: NDArray[np.int64]
    counts: NDArray[np.int64]
    annotator: NDArray[np.int64]
    truth_sizes: NDArray[np.int64]
    region_sizes: NDArray[np.int64]

    @classmethod
    def from_labels(
        cls, segmentation: NDArray[np.integer], ground_truths: Sequence[NDArray[np.integer]]
    ) -> RegionTable:
        """Count the pixels of two-dimensional label images.

        Parameters
        ----------
        segmentation : integer array, shape (Y, X)
            Region labels; any values.
        ground_truths : sequence of integer array, shape (annotators, Y, X)
            Region labels of each annotator; below 0 where nothing is labelled.

        Returns
        -------
        RegionTable

        Raises
        ------
        ImageError, ParameterError
            As `SuperpixelContingency` does.

        Examples
        --------
        >>> import numpy as np
        >>> table = RegionTable.from_labels(np.array([[7, 7, 9, 9]]), [np.array([[0, 1, -1, -2]])])
        >>> table.counts, table.region_sizes
        (array([1, 1]), array([[2, 1]]))
        """
        counted = SuperpixelContingency(segmentation, ground_truths)
        return counted.table(np.arange(counted.ids.size))

    @property
    def annotators(self) -> int:
        """Number of annotators."""
        return int(self.region_sizes.shape[0])

    @property
    def entry_annotator(self) -> NDArray[np.int64]:
        """Whose ground-truth region each entry is of; shape (k,)."""
        return self.annotator[self.truth]

    @cached_property
    def labelled_sizes(self) -> NDArray[np.int64]:
        """Pixels of each region within ground-truth regions; shape (annotators, regions)."""
        sizes = np.zeros_like(self.region_sizes)
        np.add.at(sizes, (self.entry_annotator, self.region), self.counts)
        return sizes

    def per_annotator(self, values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
        """Sum values of the ground-truth regions over each annotator; shape (annotators,)."""
        return sums(self.annotator, values, self.annotators)


class SuperpixelContingency:
    """Ground truths counted once per superpixel, to score any merging without the pixels.

    Parameters
    ----------
    superpixels : integer array, shape (Y, X)
        Superpixel ids; any values, 0 being one as any other.
    ground_truths : sequence of integer array, shape (annotators, Y, X)
        Region labels of each annotator; below 0 where nothing is labelled, see
        `napari_del.evaluation.datasets`.

    Attributes
    ----------
    ids : integer array, shape (n,)
        The superpixel ids, ascending: the order of the rows that `table` expects.
    truth_sizes : int64 array, shape (ground-truth regions,)
        Pixels of each ground-truth region, annotator after annotator.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.
    ParameterError
        If there is no annotator, or one has labelled nothing.

    Examples
    --------
    >>> import numpy as np
    >>> superpixels = np.array([[1, 1, 4, 9]])
    >>> counted = SuperpixelContingency(superpixels, [np.array([[0, 0, 0, 1]])])
    >>> counted.table([1, 1, 2]).counts
    array([3, 1])
    """

    def __init__(
        self, superpixels: NDArray[np.integer], ground_truths: Sequence[NDArray[np.integer]]
    ) -> None:
        if len(ground_truths) == 0:
            raise ParameterError("ground_truths is empty; expected at least one annotator")
        superpixels = np.asarray(superpixels)
        columns, n_columns = consecutive(superpixels)
        tables, known = [], []
        for number, truth in enumerate(ground_truths):
            truth = np.asarray(truth)
            _check_shapes(truth, superpixels)
            labelled = truth.ravel() >= 0
            if not labelled.any():
                raise ParameterError(
                    f"ground truth {number} has no label of 0 or above; leave out annotators "
                    "who labelled nothing"
                )
            rows, n_rows = consecutive(truth.ravel()[labelled])
            tables.append(_count(rows, columns[labelled], n_rows, n_columns))
            known.append(np.bincount(columns[truth.ravel() != UNLABELLED], minlength=n_columns))
        self.ids: NDArray[np.integer] = np.unique(superpixels)
        self._table = sparse.vstack(tables).tocoo()
        self._known = np.stack(known)
        numbers = [table.shape[0] for table in tables]
        self._annotator = np.repeat(np.arange(len(tables)), numbers)
        sizes = [table.sum(axis=1) for table in tables]
        self.truth_sizes: NDArray[np.int64] = np.concatenate(sizes)

    def table(self, regions: NDArray[np.integer]) -> RegionTable:
        """Count the pixels that the ground-truth regions share with merged superpixels.

        Parameters
        ----------
        regions : integer array, shape (n,)
            The region of each superpixel in the order of `ids`; any values.

        Returns
        -------
        RegionTable

        Raises
        ------
        ParameterError
            If there is not one region per superpixel.
        """
        regions = np.asarray(regions)
        if regions.shape != self.ids.shape:
            raise ParameterError(
                f"regions have shape {regions.shape}; expected one per superpixel, {self.ids.shape}"
            )
        columns, n_regions = consecutive(regions)
        rows, superpixel = self._table.coords
        # The conversion to rows adds up the entries of one place.
        table = sparse.csr_array(
            (self._table.data, (rows, columns[superpixel])),
            shape=(self.truth_sizes.size, n_regions),
        )
        truth = np.repeat(np.arange(self.truth_sizes.size), np.diff(table.indptr))
        region = table.indices.astype(np.int64)
        sizes = np.stack([sums(columns, known, n_regions) for known in self._known])
        return RegionTable(
            truth,
            region,
            table.data,
            self._annotator,
            self.truth_sizes,
            sizes.astype(np.int64),
        )


def sums(
    index: NDArray[np.integer], values: NDArray[np.float64] | NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """Sum the values of each index below `n`; exact for whole numbers below 2**53."""
    # Without values to add up, numpy returns integers.
    return np.bincount(index, weights=values, minlength=n).astype(np.float64)


def consecutive(labels: NDArray[np.integer]) -> tuple[NDArray[np.integer], int]:
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


def _count(
    rows: NDArray[np.integer], columns: NDArray[np.integer], n_rows: int, n_columns: int
) -> sparse.csr_array:
    ones = np.ones(rows.size, dtype=np.int64)
    # The conversion to rows adds up the entries of one place.
    return sparse.csr_array((ones, (rows, columns)), shape=(n_rows, n_columns))


def _check_shapes(first: NDArray[np.integer], second: NDArray[np.integer]) -> None:
    if first.shape != second.shape:
        raise ImageError(
            f"label images have shapes {first.shape} and {second.shape}; expected one shape"
        )
