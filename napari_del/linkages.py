"""The linkages of one segmentation: which there are, their weights, hierarchies and partitions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_del import merging
from napari_del.contrast import color_contrast
from napari_del.errors import ParameterError

if TYPE_CHECKING:
    from napari_del.tables import Tables

__all__ = ["Cut", "Linkages", "combined_weights"]


class Cut(NamedTuple):
    """A partition, and how its regions are numbered; arguments as of `Segmentation.labels`."""

    threshold: float
    linkage: str
    min_size: int = 0
    min_superpixels: int = 0
    sequential: bool = True

    @property
    def is_nested(self) -> bool:
        """Whether a hierarchy alone tells the region of a superpixel, without all others."""
        return self.linkage != "egb" and max(self.min_size, self.min_superpixels) <= 1


def combined_weights(
    weights: NDArray[np.uint32], other: NDArray[np.float64] | None
) -> NDArray[np.uint32]:
    """Geometric mean of the weights of edges and of what else is known of them.

    Parameters
    ----------
    weights : ndarray of uint32, shape (m,)
        In fixed point.
    other : ndarray of float64, shape (m,), or None
        From 0 to 1: the mean boundary probability along each edge, or its contrast.

    Returns
    -------
    ndarray of uint32, shape (m,)
        In fixed point; the weights themselves where there is nothing else.
    """
    if other is None:
        return weights
    return merging.to_fixed(np.sqrt(merging.from_fixed(weights) * other))


class Linkages:
    """Hierarchies of a segmentation by linkage, each computed when first asked for.

    Parameters
    ----------
    tables : Tables
        Superpixels and their graph.
    step : int
        Superpixel step.
    function : MergeFunction or None
        The model's function for the linkage "learned".
    """

    def __init__(self, tables: Tables, step: int, function: merging.MergeFunction | None) -> None:
        self.function = function
        self._tables = tables
        self._step = step
        self._hierarchies: dict[str, merging.Hierarchy] = {}
        self._orders: dict[str, NDArray[np.int64]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Linkages that there are for the model, its default first."""
        missing: tuple[str, ...] = ()
        if not (self._tables.has_colors and self._tables.has_boundary):
            missing = "learned", "contrast"
        elif self.function is None:
            missing = ("learned",)
        return tuple(name for name in merging.LINKAGES if name not in missing)

    def check(self, linkage: str | None, model: str) -> str:
        """A linkage that there is, the default for None."""
        if linkage is None:
            return self.names[0]
        if linkage not in merging.LINKAGES:
            raise ParameterError(
                f"linkage {linkage!r} is not known; expected one of {', '.join(merging.LINKAGES)}"
            )
        if linkage not in self.names:
            lacking = "trained merge function" if linkage == "learned" else "boundary channel"
            raise ParameterError(
                f"linkage {linkage!r} is not there for model {model}, which has no {lacking}; "
                f"expected one of {', '.join(self.names)}"
            )
        return linkage

    @cached_property
    def combined(self) -> NDArray[np.uint32]:
        """Dissimilarity together with the boundary channel if there is one, uint32 (m,)."""
        return combined_weights(self._tables.dissimilarity, self._tables.boundary)

    @cached_property
    def contrasted(self) -> NDArray[np.uint32]:
        """`combined` together with the contrast of colours, uint32 (m,); where there are any."""
        colors = self._tables.colors
        assert colors is not None
        u, v = self._tables.edges.T
        return combined_weights(self.combined, color_contrast(colors.means[u], colors.means[v]))

    def weights(self, linkage: str) -> NDArray[np.uint32]:
        """Weight of each edge, uint32 (m,)."""
        if linkage == "del":
            return self._tables.dissimilarity
        return self.contrasted if linkage == "contrast" else self.combined

    def order(self, linkage: str) -> NDArray[np.int64]:
        """Edges in ascending order of weight, int64 (m,)."""
        if linkage == "contrast":
            kind = linkage
        else:
            kind = "d" if linkage == "del" or not self._tables.has_boundary else "both"
        if kind not in self._orders:
            self._orders[kind] = merging.edge_order(self.weights(linkage))
        return self._orders[kind]

    def hierarchy(self, linkage: str) -> merging.Hierarchy:
        """Partitions at all thresholds; the linkage is any but "egb"."""
        if linkage not in self._hierarchies:
            self._hierarchies[linkage] = self._merge(linkage)
        return self._hierarchies[linkage]

    def _merge(self, linkage: str) -> merging.Hierarchy:
        edges, n = self._tables.edges, self._tables.n
        if linkage == "del":
            return merging.spanning_forest(
                edges, self._tables.dissimilarity, n, order=self.order(linkage)
            )
        if linkage in ("average", "contrast"):
            return merging.average(
                edges, self.weights(linkage), self._tables.lengths, n, order=self.order(linkage)
            )
        assert self.function is not None
        return merging.learned(self.tables(), self.function)

    def tables(self) -> merging.SuperpixelTables:
        """What the linkage "learned" is told; of models with a boundary channel only."""
        tables = self._tables
        colors, boundary = tables.colors, tables.boundary
        assert colors is not None and boundary is not None
        return merging.SuperpixelTables(
            tables.sizes,
            np.asarray(tables.embeddings),
            colors.means,
            colors.squares,
            tables.edges,
            tables.lengths,
            merging.from_fixed(tables.dissimilarity),
            boundary,
            self._step**2,
        )

    def regions(self, cut: Cut) -> NDArray[np.int32]:
        """Row that stands for the region of each superpixel, int32 (n,)."""
        linkage = cut.linkage
        if linkage == "egb":
            rows = merging.egb(
                self._tables.edges,
                self.combined,
                self._tables.n,
                cut.threshold,
                order=self.order(linkage),
            )
        else:
            rows = self.hierarchy(linkage).cut(merging.threshold_to_fixed(cut.threshold))
        for least, by_pixels in ((cut.min_size, True), (cut.min_superpixels, False)):
            if least > 1:
                rows = merging.join_small(
                    rows,
                    self._tables.edges,
                    self.weights(linkage),
                    self._tables.sizes if by_pixels else np.ones(self._tables.n, np.int64),
                    least,
                    order=self.order(linkage),
                )
        return rows

    def numbers(self, cut: Cut) -> NDArray[np.int32]:
        """Number of the region of each superpixel in a label image, int32 (n,)."""
        rows = self.regions(cut)
        return merging.sequential(rows)[0] if cut.sequential else rows + np.int32(1)

    def numbers_of(self, cut: Cut, rows: NDArray[np.signedinteger]) -> NDArray[np.int32]:
        """Numbers of some superpixels: without a look at the others, if the cut allows it.

        Parameters
        ----------
        cut : Cut
            The partition.
        rows : ndarray of int, shape (k,)
            Rows of the superpixels.

        Returns
        -------
        ndarray of int32, shape (k,)
            The same as ``numbers(cut)[rows]``.
        """
        if cut.sequential or not cut.is_nested:
            numbers: NDArray[np.int32] = self.numbers(cut)[rows]
            return numbers
        fixed = merging.threshold_to_fixed(cut.threshold)
        return self.hierarchy(cut.linkage).region_of(rows, fixed) + np.int32(1)
