"""Measures of regions against people's regions: covering, Rand index, variation of information.

The covering of a ground truth G by a segmentation S of N pixels is

    C(S -> G) = 1/N * sum over R in G of |R| * max over R' in S of |R & R'| / |R | R'|

the mean over all pixels of the best overlap that the pixel's ground-truth region reaches [1]_.
The Rand index is the share of all pairs of pixels on which the two agree, whether the two
pixels are of one region or not; its mean over several annotators is the probabilistic Rand
index [2]_. The variation of information is H(S|G) + H(G|S), what is left to tell of each one
when the other is known [3]_; here in bits, and less is better.

References
----------
.. [1] P. Arbelaez, M. Maire, C. Fowlkes and J. Malik, "Contour Detection and Hierarchical
   Image Segmentation", IEEE TPAMI 33(5), 2011, :DOI:`10.1109/TPAMI.2010.161`
.. [2] R. Unnikrishnan, C. Pantofaru and M. Hebert, "Toward Objective Evaluation of Image
   Segmentation Algorithms", IEEE TPAMI 29(6), 2007, :DOI:`10.1109/TPAMI.2007.1046`
.. [3] M. Meila, "Comparing clusterings: an information based distance", Journal of
   Multivariate Analysis 98(5), 2007, :DOI:`10.1016/j.jmva.2006.11.013`
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_del.evaluation.contingency import RegionTable, sums

__all__ = [
    "best_overlaps",
    "probabilistic_rand_index",
    "rand_indices",
    "segmentation_covering",
    "variation_of_information",
    "variations_of_information",
]


def best_overlaps(table: RegionTable) -> NDArray[np.float64]:
    """Greatest intersection over union of each ground-truth region with any region.

    Parameters
    ----------
    table : RegionTable

    Returns
    -------
    float64 array, shape (ground-truth regions,)
        In (0, 1].
    """
    region_sizes = table.region_sizes[table.entry_annotator, table.region]
    union = table.truth_sizes[table.truth] + region_sizes - table.counts
    starts = np.searchsorted(table.truth, np.arange(table.truth_sizes.size))
    best: NDArray[np.float64] = np.maximum.reduceat(table.counts / union, starts)
    return best


def rand_indices(table: RegionTable) -> NDArray[np.float64]:
    """Rand index against each annotator.

    Parameters
    ----------
    table : RegionTable

    Returns
    -------
    float64 array, shape (annotators,)
        In [0, 1]; 1 for one and the same partition.
    """
    pixels = table.per_annotator(table.truth_sizes)
    both = sums(table.entry_annotator, _square(table.counts), pixels.size)
    truth = table.per_annotator(_square(table.truth_sizes))
    regions = _square(table.labelled_sizes).sum(axis=1)
    # Ordered pairs that one partition joins and the other separates, out of all.
    differing = truth + regions - 2 * both
    indices: NDArray[np.float64] = 1 - differing / np.maximum(pixels * (pixels - 1), 1)
    return indices


def variations_of_information(table: RegionTable) -> NDArray[np.float64]:
    """Variation of information against each annotator, in bits.

    Parameters
    ----------
    table : RegionTable

    Returns
    -------
    float64 array, shape (annotators,)
        At least 0; 0 for one and the same partition.
    """
    pixels = table.per_annotator(table.truth_sizes)
    # An entry adds to H(S|G) by its share of the ground-truth region, to H(G|S) by that of
    # the region.
    of_truth = table.counts / table.truth_sizes[table.truth]
    of_region = table.counts / table.labelled_sizes[table.entry_annotator, table.region]
    information = -table.counts * (np.log2(of_truth) + np.log2(of_region))
    total = sums(table.entry_annotator, information, pixels.size)
    variations: NDArray[np.float64] = total / pixels + 0.0  # no negative zero
    return variations


def segmentation_covering(
    segmentation: NDArray[np.integer], ground_truth: NDArray[np.integer]
) -> float:
    """Covering of a ground truth by a segmentation, C(S -> G) in Arbelaez et al. (2011).

    Parameters
    ----------
    segmentation : integer array, shape (Y, X)
        Labels; any values, 0 being a region as any other.
    ground_truth : integer array, shape (Y, X)
        Labels; below 0 where nothing is labelled.

    Returns
    -------
    float
        In (0, 1]; 1 where the two are the same partition. Not symmetric.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.
    ParameterError
        If nothing is labelled.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 1, 2]])
    >>> segmentation_covering(np.array([[7, 7, 9, 9]]), truth)
    0.625
    """
    table = RegionTable.from_labels(segmentation, [ground_truth])
    return float(np.dot(table.truth_sizes, best_overlaps(table)) / table.truth_sizes.sum())


def probabilistic_rand_index(
    segmentation: NDArray[np.integer], ground_truths: Sequence[NDArray[np.integer]]
) -> float:
    """Rand index of a segmentation, mean over the annotators.

    Parameters
    ----------
    segmentation : integer array, shape (Y, X)
        Labels; any values.
    ground_truths : sequence of integer array, shape (annotators, Y, X)
        Labels; below 0 where nothing is labelled.

    Returns
    -------
    float
        In [0, 1], more is better.

    Raises
    ------
    ImageError, ParameterError
        As `segmentation_covering`.

    Examples
    --------
    >>> import numpy as np
    >>> probabilistic_rand_index(np.array([[7, 7, 9]]), [np.array([[0, 1, 1]])])
    0.3333...
    """
    return float(rand_indices(RegionTable.from_labels(segmentation, ground_truths)).mean())


def variation_of_information(
    segmentation: NDArray[np.integer], ground_truths: Sequence[NDArray[np.integer]]
) -> float:
    """Variation of information of a segmentation in bits, mean over the annotators.

    Parameters
    ----------
    segmentation : integer array, shape (Y, X)
        Labels; any values.
    ground_truths : sequence of integer array, shape (annotators, Y, X)
        Labels; below 0 where nothing is labelled.

    Returns
    -------
    float
        At least 0, less is better.

    Raises
    ------
    ImageError, ParameterError
        As `segmentation_covering`.

    Examples
    --------
    >>> import numpy as np
    >>> variation_of_information(np.array([[7, 7, 9, 9]]), [np.array([[3, 3, 3, 3]])])
    1.0
    """
    table = RegionTable.from_labels(segmentation, ground_truths)
    return float(variations_of_information(table).mean())


def _square(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    # Squares of counts above three thousand million would overflow int64.
    return counts.astype(np.float64) ** 2
