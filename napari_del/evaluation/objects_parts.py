"""Objects-and-parts precision and recall of Pont-Tuset and Marques.

A region and a ground-truth region that overlap by at least `gamma_object` of each are an
object on both sides. A region that lies by `gamma_object` of its area in a ground-truth region
and fills at least `gamma_part` of it is a part of it; and a ground-truth region may be a part of
a region likewise. Objects count 1 and parts count `beta`. What is neither counts by how far it
is fragmented: the share of it that regions of the other side fill which lie within it. Small
regions that together make the last hundredth of the image are left out. With several
annotators, a region counts as the best that it is to any of them, and fragmentation is the
mean over them.

References
----------
.. [1] J. Pont-Tuset and F. Marques, "Measures and Meta-Measures for the Supervised Evaluation
   of Image Segmentation", CVPR, 2013, :DOI:`10.1109/CVPR.2013.277`
.. [2] J. Pont-Tuset and F. Marques, "Supervised Evaluation of Image Segmentation and Object
   Proposal Techniques", IEEE TPAMI 38(7), 2016, :DOI:`10.1109/TPAMI.2015.2481406`
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_del.evaluation.contingency import RegionTable, sums

__all__ = ["objects_and_parts", "precision_recall_of_objects_and_parts"]

# Regions count, from the largest down, until they make this share of the image.
AREA = 0.99


def objects_and_parts(
    segmentation: NDArray[np.integer],
    ground_truths: Sequence[NDArray[np.integer]],
    *,
    gamma_object: float = 0.9,
    gamma_part: float = 0.25,
    beta: float = 0.1,
) -> tuple[float, float]:
    """Objects-and-parts precision and recall of a segmentation.

    Parameters
    ----------
    segmentation : integer array, shape (Y, X)
        Labels; any values.
    ground_truths : sequence of integer array, shape (annotators, Y, X)
        Labels; below 0 where nothing is labelled.
    gamma_object, gamma_part : float
        Least overlaps of objects and of parts, as shares of a region; above 0.5 the first.
    beta : float
        What a part counts, where an object counts 1.

    Returns
    -------
    precision, recall : float
        In [0, 1], more is better.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.
    ParameterError
        If an annotator has labelled nothing.

    Examples
    --------
    One of two ground-truth regions is an object; the other falls into two parts:

    >>> import numpy as np
    >>> objects_and_parts(np.array([[7, 7, 8, 9]]), [np.array([[0, 0, 1, 1]])], beta=0.25)
    (0.5, 1.0)
    """
    return precision_recall_of_objects_and_parts(
        RegionTable.from_labels(segmentation, ground_truths),
        gamma_object=gamma_object,
        gamma_part=gamma_part,
        beta=beta,
    )


def precision_recall_of_objects_and_parts(
    table: RegionTable,
    *,
    gamma_object: float = 0.9,
    gamma_part: float = 0.25,
    beta: float = 0.1,
) -> tuple[float, float]:
    """Objects-and-parts precision and recall out of counts of shared pixels.

    Parameters
    ----------
    table : RegionTable
    gamma_object, gamma_part, beta
        As for `objects_and_parts`.

    Returns
    -------
    precision, recall : float
    """
    n_truth, n_regions = table.truth_sizes.size, table.region_sizes.shape[1]
    # A region that lies outside of all ground-truth regions is neither right nor wrong.
    region_counts = _large(table.labelled_sizes.sum(axis=0))
    truth_counts = np.zeros(n_truth, dtype=bool)
    for annotator in range(table.annotators):
        own = table.annotator == annotator
        truth_counts[own] = _large(table.truth_sizes[own])

    of_truth = table.counts / table.truth_sizes[table.truth]
    of_region = table.counts / table.region_sizes[table.entry_annotator, table.region]
    counts = truth_counts[table.truth] & region_counts[table.region]
    objects = counts & (of_truth >= gamma_object) & (of_region >= gamma_object)
    region_parts = counts & ~objects & (of_region >= gamma_object) & (of_truth >= gamma_part)
    truth_parts = counts & ~objects & (of_truth >= gamma_object) & (of_region >= gamma_part)
    # Small regions are no objects and no parts, but they fill what they lie in.
    inside_truth = (of_region >= gamma_object) & (of_truth < gamma_object)
    inside_region = (of_truth >= gamma_object) & (of_region < gamma_object)
    filled_truth = sums(table.truth[inside_truth], of_truth[inside_truth], n_truth)
    filled_region = sums(table.region[inside_region], of_region[inside_region], n_regions)
    precision = _score(
        table.region[objects],
        table.region[region_parts],
        filled_region / table.annotators,
        region_counts,
        beta,
    )
    recall = _score(
        table.truth[objects], table.truth[truth_parts], filled_truth, truth_counts, beta
    )
    return precision, recall


def _score(
    objects: NDArray[np.int64],
    parts: NDArray[np.int64],
    filled: NDArray[np.float64],
    counts: NDArray[np.bool_],
    beta: float,
) -> float:
    """Mean over the regions that count of what each one is worth."""
    worth = filled.copy()
    worth[parts] = beta
    worth[objects] = 1.0
    return float(worth[counts].sum() / np.count_nonzero(counts))


def _large(sizes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which regions are left when the smallest, of a hundredth of the area, are taken away."""
    order = np.lexsort((np.arange(sizes.size), sizes))[::-1]
    before = np.cumsum(sizes[order]) - sizes[order]
    large = np.zeros(sizes.size, dtype=bool)
    large[order] = (before < AREA * sizes.sum()) & (sizes[order] > 0)
    return large
