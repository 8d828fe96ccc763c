"""The linkage ``learned``: a trained function of two regions says whether they are one.

Superpixels are first merged by ``average`` linkage up to a fine level. For the regions there,
a small trained network gives each adjacent pair the probability that people separate the two
(see `napari_del.merging.region_pairs` for what it is told); ``average`` linkage goes on with
these up to the next level, where the regions, larger by then, are looked at again, and so on.
Large regions of mixed texture merge by what they are as a whole, not by the edge between two of
their superpixels. Agglomeration that learns what the merging itself meets goes back to [1]_
and [2]_; here regions are looked at again at few fixed levels instead of after every merge, so
that each level is one `average` hierarchy, with its exact and order-independent result.

The levels and the function belong to a model and are fixed before anything is merged, so one
hierarchy holds the partitions at all thresholds.

References
----------
.. [1] J. Nunez-Iglesias, R. Kennedy, T. Parag, J. Shi, D. B. Chklovskii, "Machine Learning of
   Hierarchical Clustering to Segment 2D and 3D Images", PLoS ONE 8(8), 2013,
   :DOI:`10.1371/journal.pone.0071715`
.. [2] T. Liu, M. Seyedhosseini, T. Tasdizen, "Image Segmentation Using Hierarchical Merge Tree",
   IEEE Transactions on Image Processing 25(10), 2016, :DOI:`10.1109/TIP.2016.2592704`
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import parallel_for
from napari_del.errors import ParameterError
from napari_del.merging.average import average
from napari_del.merging.fixed_point import ONE, to_fixed
from napari_del.merging.hierarchy import Hierarchy
from napari_del.merging.region_pairs import FEATURES, SuperpixelTables, region_pairs

__all__ = ["MergeFunction", "Stage", "first_stage", "learned", "next_stage", "stages"]

# Thresholds of the finished hierarchy at which the last level begins; those before share the
# rest equally. What people would call a segmentation lies in the last level.
_LAST_LEVEL = 0.4
# Features are cut off at this many standard deviations.
_REACH = 6.0
# Pairs of regions that the function is asked about at a time.
_PAIRS = 2**10


@dataclass(frozen=True)
class MergeFunction:
    """Probability that two adjacent regions are separate, and the levels to ask for it at.

    Several networks of fully connected layers with rectified linear units; the mean of their
    answers goes through a logistic function.

    Attributes
    ----------
    mean, scale : ndarray of float64, shape (f,)
        Mean and standard deviation of the first features of `region_pairs`; a function that was
        trained when there were fewer goes on without those that came after.
    weights : tuple of ndarray of float32, shape (networks, outputs, inputs)
        Of each layer.
    biases : tuple of ndarray of float32, shape (networks, outputs)
        Of each layer.
    levels : tuple of float
        Thresholds of the levels: the first on the mean edge weight, the following on the mean
        probability.
    """

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: tuple[NDArray[np.float32], ...]
    biases: tuple[NDArray[np.float32], ...]
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        width = self.mean.size
        networks = len(self.weights[0]) if self.weights else 0
        fits = self.mean.shape == (width,) and self.scale.shape == (width,) and networks > 0
        for weight, bias in zip(self.weights, self.biases, strict=True):
            outputs = bias.shape[-1] if bias.ndim else 0
            fits &= weight.shape == (networks, outputs, width) and bias.shape == (networks, outputs)
            width = outputs
        known = 1 <= self.mean.size <= len(FEATURES)
        if not (known and fits and width == 1 and self.levels):
            raise ParameterError(
                f"a merge function has layers of shapes {[w.shape for w in self.weights]} and "
                f"levels {self.levels} for {self.mean.size} features; expected layers of one or "
                f"more networks, from at most {len(FEATURES)} features to 1 number, and at least "
                "one level"
            )

    def __call__(self, features: NDArray[np.float64]) -> NDArray[np.float64]:
        """Probability that the regions of each pair are separate.

        Parameters
        ----------
        features : ndarray of float64, shape (p, len(FEATURES))
            See `region_pairs`; columns beyond those that the function knows are not looked at.

        Returns
        -------
        ndarray of float64, shape (p,)
        """
        out = np.empty(len(features), np.float64)
        known = self.mean.size
        across = [np.ascontiguousarray(w.transpose(0, 2, 1), np.float32) for w in self.weights]
        biases = [np.ascontiguousarray(bias, np.float32) for bias in self.biases]
        networks, last = len(across[0]), len(across) - 1

        def run(start: int, stop: int) -> None:
            # A few pairs at a time, so that their layers stay in the cache.
            for first in range(start, stop, _PAIRS):
                part = features[first : min(first + _PAIRS, stop), :known]
                values = np.clip((part - self.mean) / self.scale, -_REACH, _REACH)
                inputs = values.astype(np.float32)
                answer = np.zeros(len(part))
                for network in range(networks):
                    held = inputs
                    for number, (weight, bias) in enumerate(zip(across, biases, strict=True)):
                        held = _layer(held, weight[network], bias[network], number < last)
                    answer += held[:, 0]
                out[first : first + len(part)] = 1 / (1 + np.exp(-answer / networks))

        parallel_for(run, len(features), grain=_PAIRS)
        return out

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """Arrays by name, to be kept in a weights file."""
        named = {"mean": self.mean, "scale": self.scale, "levels": np.array(self.levels)}
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            named[f"{number}.weight"] = weight
            named[f"{number}.bias"] = bias
        return {name: value.astype(np.float32) for name, value in named.items()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.floating]]) -> MergeFunction:
        """The function of arrays that `tensors` gave.

        Raises
        ------
        KeyError
            If an array is missing.
        ParameterError
            If the arrays do not fit each other.
        """
        layers = range(sum(name.endswith(".weight") for name in tensors))
        return cls(
            np.asarray(tensors["mean"], np.float64),
            np.asarray(tensors["scale"], np.float64),
            tuple(np.asarray(tensors[f"{number}.weight"], np.float32) for number in layers),
            tuple(np.asarray(tensors[f"{number}.bias"], np.float32) for number in layers),
            tuple(np.asarray(tensors["levels"], np.float64).tolist()),
        )


@njit(nogil=True, cache=True)
def _layer(
    values: NDArray[np.float32],
    across: NDArray[np.float32],
    bias: NDArray[np.float32],
    rectify: bool,
) -> NDArray[np.float32]:
    """One layer, each sum in the same order for every pair, as a matrix product may not be."""
    inputs, outputs = across.shape
    out = np.empty((values.shape[0], outputs), np.float32)
    for p in range(values.shape[0]):
        for o in range(outputs):
            out[p, o] = bias[o]
        for i in range(inputs):
            value = values[p, i]
            if value != 0:
                for o in range(outputs):
                    out[p, o] += across[i, o] * value
        if rectify:
            for o in range(outputs):
                out[p, o] = max(out[p, o], np.float32(0))
    return out


class Stage(NamedTuple):
    """Regions at the beginning of a level, and how they merge.

    Attributes
    ----------
    rows : ndarray of int32, shape (k,)
        Superpixel that stands for each region.
    of_row : ndarray of int32, shape (n,)
        Region of each superpixel.
    hierarchy : Hierarchy
        Over the regions.
    """

    rows: NDArray[np.int32]
    of_row: NDArray[np.int32]
    hierarchy: Hierarchy


def first_stage(tables: SuperpixelTables) -> Stage:
    """Superpixels, and how they merge by their edges."""
    n = len(tables.sizes)
    rows = np.arange(n, dtype=np.int32)
    tree = average(tables.edges, to_fixed(tables.edge_weights()), tables.lengths, n)
    return Stage(rows, rows, tree)


def next_stage(
    tables: SuperpixelTables, function: MergeFunction, stage: Stage, level: float
) -> Stage:
    """The regions of a stage at a level, and how they merge by the function.

    Parameters
    ----------
    tables : SuperpixelTables
        Superpixels and their edges.
    function : MergeFunction
        What to ask about pairs of regions; its own levels are not looked at.
    stage : Stage
        The stage before.
    level : float
        Threshold at which that ends.

    Returns
    -------
    Stage
    """
    regions = stage.hierarchy.cut(int(to_fixed(level)))
    kept, number = np.unique(regions, return_inverse=True)
    rows, of_row = stage.rows[kept], number.astype(np.int32)[stage.of_row]
    found = region_pairs(tables, of_row, rows.size)
    weights = to_fixed(function(found.features))
    return Stage(rows, of_row, average(found.pairs, weights, found.lengths, rows.size))


def stages(tables: SuperpixelTables, function: MergeFunction) -> Iterator[Stage]:
    """The stages between the levels of a function, one after another."""
    stage = first_stage(tables)
    yield stage
    for level in function.levels:
        stage = next_stage(tables, function, stage, level)
        yield stage


def learned(tables: SuperpixelTables, function: MergeFunction) -> Hierarchy:
    """Merge superpixels, and look at the regions again at each level of a trained function.

    Parameters
    ----------
    tables : SuperpixelTables
        Superpixels and their edges.
    function : MergeFunction
        The function and its levels.

    Returns
    -------
    Hierarchy
        Over the superpixels. Levels follow one another on the scale of heights: those before
        the last share the heights up to 0.4 equally, the last has the rest.
    """
    n = len(tables.sizes)
    parent = np.arange(n, dtype=np.int32)
    height = np.full(n, ONE, np.uint32)
    count = len(function.levels)
    starts = [ONE * _LAST_LEVEL * number / count for number in range(count + 1)]
    for number, (rows, _, tree) in enumerate(stages(tables, function)):
        top = int(to_fixed(function.levels[number])) if number < count else ONE
        stop = int(starts[number + 1]) if number < count else ONE
        start = int(starts[number])
        attached = (tree.parent != np.arange(rows.size, dtype=np.int32)) & (tree.height <= top)
        parent[rows[attached]] = rows[tree.parent[attached]]
        # Both factors are below 2**32, so that the product fits.
        share = tree.height[attached].astype(np.uint64) * np.uint64(stop - start)
        height[rows[attached]] = (np.uint64(start) + share // np.uint64(max(top, 1))).astype(
            np.uint32
        )
    return Hierarchy(parent, height)
