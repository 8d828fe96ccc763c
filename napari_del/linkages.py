"""The linkages of one segmentation: which there are, their weights, and their hierarchies."""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_del import merging
from napari_del.contrast import ColorMoments
from napari_del.errors import ParameterError
from napari_del.graph import AdjacencyGraph

__all__ = ["Linkages"]


class Linkages:
    """Hierarchies of a segmentation by linkage, each computed when first asked for.

    Parameters
    ----------
    sizes, embeddings
        As in `napari_del.merging.SuperpixelTables`.
    graph : AdjacencyGraph
        Edges, lengths of borders, and the boundary along them if the model has it.
    weights : ndarray of uint32, shape (m,)
        Dissimilarity of each edge in fixed point.
    step : int
        Superpixel step.
    colors : ColorMoments or None
        Colours of the superpixels.
    function : MergeFunction or None
        The model's function for the linkage "learned".
    """

    def __init__(
        self,
        sizes: NDArray[np.int64],
        embeddings: NDArray[np.float32],
        graph: AdjacencyGraph,
        weights: NDArray[np.uint32],
        step: int,
        colors: ColorMoments | None,
        function: merging.MergeFunction | None,
    ) -> None:
        self.dissimilarity = weights
        self.colors = colors
        self.function = function
        self._sizes = sizes
        self._embeddings = embeddings
        self.boundary = graph.boundary()
        self._edges = graph.edges
        self._lengths = graph.lengths
        self._step = step
        self._hierarchies: dict[str, merging.Hierarchy] = {}
        self._orders: dict[str, NDArray[np.int64]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """Linkages that there are for the model, its default first."""
        if self.function is None or self.colors is None or self.boundary is None:
            return tuple(name for name in merging.LINKAGES if name != "learned")
        return merging.LINKAGES

    def check(self, linkage: str | None, model: str) -> str:
        """A linkage that there is, the default for None."""
        if linkage is None:
            return self.names[0]
        if linkage not in merging.LINKAGES:
            raise ParameterError(
                f"linkage {linkage!r} is not known; expected one of {', '.join(merging.LINKAGES)}"
            )
        if linkage not in self.names:
            raise ParameterError(
                f"linkage {linkage!r} is not there for model {model}, which has no trained "
                f"merge function; expected one of {', '.join(self.names)}"
            )
        return linkage

    @cached_property
    def combined(self) -> NDArray[np.uint32]:
        """With a boundary channel, its geometric mean with the dissimilarity, uint32 (m,)."""
        if self.boundary is None:
            return self.dissimilarity
        d = merging.from_fixed(self.dissimilarity)
        return merging.to_fixed(np.sqrt(d * self.boundary))

    def weights(self, linkage: str) -> NDArray[np.uint32]:
        """Weight of each edge, uint32 (m,)."""
        return self.dissimilarity if linkage == "del" else self.combined

    def order(self, linkage: str) -> NDArray[np.int64]:
        """Edges in ascending order of weight, int64 (m,)."""
        kind = "d" if linkage == "del" or self.boundary is None else "both"
        if kind not in self._orders:
            self._orders[kind] = merging.edge_order(self.weights(linkage))
        return self._orders[kind]

    def hierarchy(self, linkage: str) -> merging.Hierarchy:
        """Partitions at all thresholds; the linkage is any but "egb"."""
        if linkage not in self._hierarchies:
            self._hierarchies[linkage] = self._merge(linkage)
        return self._hierarchies[linkage]

    def _merge(self, linkage: str) -> merging.Hierarchy:
        n = self._sizes.size
        if linkage == "del":
            return merging.spanning_forest(
                self._edges, self.dissimilarity, n, order=self.order(linkage)
            )
        if linkage == "average":
            return merging.average(
                self._edges, self.combined, self._lengths, n, order=self.order(linkage)
            )
        assert self.function is not None
        return merging.learned(self.tables(), self.function)

    def tables(self) -> merging.SuperpixelTables:
        """What the linkage "learned" is told; of models with a boundary channel only."""
        assert self.colors is not None and self.boundary is not None
        return merging.SuperpixelTables(
            self._sizes,
            self._embeddings,
            self.colors.means,
            self.colors.squares,
            self._edges,
            self._lengths,
            merging.from_fixed(self.dissimilarity),
            self.boundary,
            self._step**2,
        )
