"""Where a segmentation has its superpixels and tables from: memory, or a store."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_del._look_up import look_up
from napari_del.contrast import ColorMoments
from napari_del.errors import ParameterError
from napari_del.graph import AdjacencyGraph, Nodes

if TYPE_CHECKING:
    from napari_del.linkages import Cut, Linkages

__all__ = ["MemoryTables", "Tables", "check_out"]


class Tables(Protocol):
    """Superpixels and their graph, as `Segmentation` and `Linkages` read them.

    Row i of every table of superpixels is of ``ids[i]``. Images and embeddings are numpy arrays
    in memory and dask arrays of a store.
    """

    @property
    def url(self) -> str | None:
        """Where the store is; None in memory."""

    @property
    def shape(self) -> tuple[int, int]:
        """Image shape (Y, X)."""

    @property
    def n(self) -> int:
        """Number of superpixels."""

    @property
    def n_edges(self) -> int:
        """Number of edges, m."""

    @property
    def has_boundary(self) -> bool:
        """Whether there is a boundary along edges."""

    @property
    def has_colors(self) -> bool:
        """Whether there are colours of superpixels."""

    @property
    def superpixels(self) -> Any:
        """Superpixel id of each pixel, (Y, X); 0 where masked."""

    @property
    def ids(self) -> NDArray[np.signedinteger]:
        """Ids of superpixels, ascending, (n,)."""

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Pixels of each superpixel, (n,)."""

    @property
    def embeddings(self) -> Any:
        """Mean embedding of each superpixel, float32 (n, D)."""

    @property
    def colors(self) -> ColorMoments | None:
        """Colours of superpixels, where there are any."""

    @property
    def edges(self) -> NDArray[np.int32]:
        """Adjacent rows u < v, sorted, (m, 2)."""

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Length of the border of each edge, (m,)."""

    @property
    def boundary_sums(self) -> NDArray[np.int64] | None:
        """As in `napari_del.graph.AdjacencyGraph`, (m,), where there is a boundary."""

    @property
    def boundary(self) -> NDArray[np.float64] | None:
        """Mean boundary probability along each edge, (m,), where there is one."""

    @property
    def dissimilarity(self) -> NDArray[np.uint32]:
        """Dissimilarity of each edge in fixed point, (m,)."""

    def labels(self, linkages: Linkages, cut: Cut, out: NDArray[np.int32] | None) -> Any:
        """Label image of a partition, int32 (Y, X), into `out` if that is given."""


class MemoryTables:
    """Superpixels and tables in memory.

    Parameters
    ----------
    nodes : Nodes
        Superpixels as nodes.
    graph : AdjacencyGraph
        Their adjacency.
    embeddings : ndarray of float32, shape (n, D)
        Mean embedding of each superpixel.
    dissimilarity : ndarray of uint32, shape (m,)
        Of each edge, in fixed point.
    colors : ColorMoments or None
        Colours of the superpixels.
    """

    url = None

    def __init__(
        self,
        nodes: Nodes,
        graph: AdjacencyGraph,
        embeddings: NDArray[np.float32],
        dissimilarity: NDArray[np.uint32],
        colors: ColorMoments | None,
    ) -> None:
        self._nodes = nodes
        self._graph = graph
        self.ids = nodes.ids
        self.sizes = nodes.sizes
        self.embeddings = embeddings
        self.colors = colors
        self.edges = graph.edges
        self.lengths = graph.lengths
        self.boundary_sums = graph.boundary_sums
        self.dissimilarity = dissimilarity
        y, x = nodes.image.shape
        self.shape: tuple[int, int] = (y, x)
        self.n = int(nodes.ids.size)
        self.n_edges = len(graph.edges)
        self.has_boundary = graph.boundary_sums is not None
        self.has_colors = colors is not None

    @cached_property
    def superpixels(self) -> NDArray[np.int32]:
        """Superpixel id of each pixel; the image of nodes itself where ids have no gaps."""
        if self.n and self.ids[-1] == self.n:
            return self._nodes.image
        return look_up(self._nodes.image, self.ids.astype(np.int32, copy=False))

    @cached_property
    def boundary(self) -> NDArray[np.float64] | None:
        """Mean boundary probability along each edge."""
        return self._graph.boundary()

    def labels(
        self, linkages: Linkages, cut: Cut, out: NDArray[np.int32] | None
    ) -> NDArray[np.int32]:
        """Label image of a partition, into `out` if that is given."""
        if out is not None:
            check_out(out, self.shape)
        return look_up(self._nodes.image, linkages.numbers(cut), out)


def check_out(out: NDArray[np.int32], shape: tuple[int, int]) -> None:
    """Raise `ParameterError` unless an array can take a label image."""
    if out.shape != shape or out.dtype != np.int32:
        raise ParameterError(
            f"out has shape {out.shape} and dtype {out.dtype}; expected {shape} and int32"
        )
