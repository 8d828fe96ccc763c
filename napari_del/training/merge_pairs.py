"""Pairs of regions as merging meets them: what a merge function learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_del.merging import Hierarchy, from_fixed, to_fixed
from napari_del.merging.learned import MergeFunction, first_stage, next_stage, stages
from napari_del.merging.region_pairs import SuperpixelTables, region_pairs
from napari_del.training.samples import share_apart

__all__ = [
    "FEWEST",
    "REACH",
    "MergeSample",
    "PairTable",
    "cuts",
    "labelled_pairs",
    "partitions",
    "weights_of",
    "with_levels",
]

FEWEST = 4
"""Regions of the coarsest partitions that are learned from."""

REACH = 6.0
"""Standard deviations at which features are cut off, as a `MergeFunction` does."""

# Partitions within the last level.
_WITHIN_LAST = 6


class MergeSample(NamedTuple):
    """Superpixels of one training image, and what annotators say of them.

    Attributes
    ----------
    tables : SuperpixelTables
        As the merging gets them.
    majority : ndarray of int64, shape (A, n)
        Label of each superpixel for each annotator, see `majority_labels`.
    """

    tables: SuperpixelTables
    majority: NDArray[np.int64]


class PairTable(NamedTuple):
    """Pairs of regions to learn from.

    Attributes
    ----------
    features : ndarray of float32, shape (p, len(FEATURES))
        See `region_pairs`; 32-bit, as hundreds of images have tens of millions of pairs.
    apart : ndarray of float32, shape (p,)
        How far the two are to be told apart, 0 to 1.
    weight : ndarray of float32, shape (p,)
        How much each counts.
    """

    features: NDArray[np.float32]
    apart: NDArray[np.float32]
    weight: NDArray[np.float32]


def cuts(
    tree: Hierarchy, most: float, fewest: float, count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Partitions of a hierarchy into numbers of regions drawn at random.

    Parameters
    ----------
    tree : Hierarchy
        Over the rows.
    most, fewest : float
        Bounds of the numbers of regions.
    count : int
        Number of partitions.
    rng : numpy.random.Generator
        Source of chance.

    Yields
    ------
    ndarray of int, shape (n,)
        Region of each row, from 0 on.
    """
    low, high = np.log(max(fewest, 2)), np.log(max(most, fewest + 1, 3))
    for wanted in np.exp(rng.uniform(low, high, count)):
        yield np.unique(tree.cut(tree.threshold_for(int(wanted))), return_inverse=True)[1]


def partitions(
    tables: SuperpixelTables, function: MergeFunction, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Partitions of an image that a function leads to.

    Parameters
    ----------
    tables : SuperpixelTables
        Superpixels of the image.
    function : MergeFunction
        With its levels.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    list of ndarray of int, shape (n,)
        Region of each superpixel at the beginning of each level, and at places within.
    """
    of_row = np.arange(len(tables.sizes))
    found = []
    trees = [stage.hierarchy for stage in stages(tables, function)]
    levels = [int(to_fixed(level)) for level in function.levels]
    for tree, level in zip(trees, levels, strict=False):
        left = tree.n_regions(level)
        if of_row.size > tree.n:  # the first level is that of `average`, which has been seen
            found += [cut[of_row] for cut in cuts(tree, tree.n, left, 1, rng)]
        of_row = np.unique(tree.cut(level), return_inverse=True)[1][of_row]
        found.append(of_row)
    last = trees[-1]
    found += [cut[of_row] for cut in cuts(last, last.n, FEWEST, _WITHIN_LAST, rng)]
    return found


def weights_of(known: NDArray[np.float32]) -> NDArray[np.float32]:
    """Weight of each pair of a partition: one into few regions counts nearly as much as many.

    Parameters
    ----------
    known : ndarray of float32, shape (p,)
        Share of the annotators who say anything of each pair.

    Returns
    -------
    ndarray of float32, shape (p,)
    """
    weight: NDArray[np.float32] = (known / max(len(known), 1) ** 0.75).astype(np.float32)
    return weight


def labelled_pairs(sample: MergeSample, regions: NDArray[np.intp]) -> PairTable:
    """Pairs of adjacent regions, and what annotators say of them.

    Parameters
    ----------
    sample : MergeSample
        Training image.
    regions : ndarray of int, shape (n,)
        Region of each superpixel.

    Returns
    -------
    PairTable
        What nobody knows has no weight.
    """
    k = int(regions.max()) + 1
    found = region_pairs(sample.tables, regions, k)
    majority = np.stack(
        [_majority(regions, row, sample.tables.sizes, k) for row in sample.majority]
    )
    apart, known = share_apart(majority, found.pairs)
    return PairTable(found.features.astype(np.float32), apart, weights_of(known))


def _majority(
    of_row: NDArray[np.intp], labels: NDArray[np.int64], sizes: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Label of most of the pixels of each region."""
    values, column = np.unique(labels, return_inverse=True)
    table = np.bincount(of_row * values.size + column, sizes, k * values.size)
    most: NDArray[np.int64] = values[table.reshape(k, values.size).argmax(axis=1)]
    return most


def with_levels(
    tables: Sequence[SuperpixelTables], function: MergeFunction, shares: Sequence[float]
) -> MergeFunction:
    """Choose one level after another, since each depends on those before.

    Parameters
    ----------
    tables : sequence of SuperpixelTables
        Superpixels of each image.
    function : MergeFunction
        Its own levels are not looked at.
    shares : sequence of float
        Regions left at each level over all images, as a share of the superpixels.

    Returns
    -------
    MergeFunction
        The same with its levels.
    """
    reached = [first_stage(each) for each in tables]
    total = sum(stage.hierarchy.n for stage in reached)
    levels: list[float] = []
    for share in shares:
        if levels:
            reached = [
                next_stage(each, function, stage, levels[-1])
                for each, stage in zip(tables, reached, strict=True)
            ]
        levels.append(_level([stage.hierarchy for stage in reached], share * total))
    return replace(function, levels=tuple(levels))


def _level(trees: Sequence[Hierarchy], regions: float) -> float:
    """Threshold that leaves so many regions in all."""
    heights = np.sort(np.concatenate([tree.merge_heights for tree in trees]))
    if heights.size == 0:  # each image is one region already
        return 0.0
    merges = min(max(sum(tree.n for tree in trees) - round(regions), 1), heights.size)
    return float(from_fixed(heights[merges - 1]))
