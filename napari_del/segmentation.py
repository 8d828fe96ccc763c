"""`Segmentation`: superpixels and their graph, and the regions at any threshold."""

from __future__ import annotations

import operator
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_del import merging
from napari_del.contrast import ColorMoments
from napari_del.errors import OutputError, ParameterError
from napari_del.graph import AdjacencyGraph, Nodes
from napari_del.linkages import Cut, Linkages
from napari_del.models.info import THRESHOLDS
from napari_del.tables import MemoryTables, Tables

__all__ = ["Segmentation", "load"]


class Segmentation:
    """Superpixels, their graph, and the regions at any threshold.

    Made by `segment`, `segment_large` and `load`. When the threshold changes, nothing is computed
    again: a look-up table maps superpixels to regions.

    One of `segment_large` stays in its store. Its tables are read when first asked for;
    `superpixels`, `embeddings` and what `labels` returns are dask arrays, of which no more is
    computed than is asked for. dask's threads share what was read. Its worker processes open the
    store again, so they need to reach it, and each reads the tables it needs once.

    Parameters
    ----------
    nodes : Nodes
        Superpixels as nodes.
    graph : AdjacencyGraph
        Their adjacency.
    embeddings : ndarray of float32, shape (n, D)
        Mean embedding of each superpixel.
    weights : ndarray of uint32, shape (m,)
        Dissimilarity of each edge in fixed point.
    default_thresholds : dict of float
        Threshold to start with, for each linkage.
    parameters : dict
        What it was made with; plain values, among them the superpixel step.
    colors : ColorMoments, optional
        Colours of the superpixels; the linkages "learned" and "contrast" need them.
    merge_function : MergeFunction, optional
        The model's function for the linkage "learned".
    """

    def __init__(
        self,
        nodes: Nodes,
        graph: AdjacencyGraph,
        embeddings: NDArray[np.float32],
        weights: NDArray[np.uint32],
        default_thresholds: dict[str, float],
        parameters: dict[str, Any],
        *,
        colors: ColorMoments | None = None,
        merge_function: merging.MergeFunction | None = None,
    ) -> None:
        self._tables: Tables = MemoryTables(nodes, graph, embeddings, weights, colors)
        self._linkages = Linkages(self._tables, int(parameters["step"]), merge_function)
        self._default_thresholds = default_thresholds
        self.parameters = parameters

    @classmethod
    def from_tables(
        cls,
        tables: Tables,
        linkages: Linkages,
        default_thresholds: dict[str, float],
        parameters: dict[str, Any],
    ) -> Segmentation:
        """A segmentation of tables that are somewhere else than in memory.

        Other parameters are those of `Segmentation`.
        """
        segmentation = cls.__new__(cls)
        segmentation._tables = tables
        segmentation._linkages = linkages
        segmentation._default_thresholds = default_thresholds
        segmentation.parameters = parameters
        return segmentation

    def __repr__(self) -> str:
        y, x = self.shape
        return (
            f"<Segmentation of {y} x {x} pixels: {self.n_superpixels} superpixels, "
            f"{self._tables.n_edges} edges, model {self.model}>"
        )

    @property
    def superpixels(self) -> Any:
        """Superpixel id of each pixel, int32 (Y, X); 0 where masked.

        A dask array if the segmentation is in a store; int64 where ids need it.
        """
        return self._tables.superpixels

    @property
    def ids(self) -> NDArray[np.signedinteger]:
        """Ids in `superpixels`, ascending, same type, (n,): row i of every table is of ids[i]."""
        return self._tables.ids

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Pixels of each superpixel, int64 (n,)."""
        return self._tables.sizes

    @property
    def embeddings(self) -> Any:
        """Mean embedding of each superpixel, float32 (n, D); a dask array of a store."""
        return self._tables.embeddings

    @property
    def edges(self) -> NDArray[np.int32]:
        """Adjacent superpixels as rows u < v of the tables, sorted, int32 (m, 2)."""
        return self._tables.edges

    @property
    def border_lengths(self) -> NDArray[np.int64]:
        """Pairs of neighbouring pixels across each edge, int64 (m,)."""
        return self._tables.lengths

    @cached_property
    def dissimilarity(self) -> NDArray[np.float64]:
        """Dissimilarity d = 1 - 2 / (1 + exp(L1)) of each edge from 0 to 1, float64 (m,)."""
        return merging.from_fixed(self._tables.dissimilarity)

    @property
    def boundary(self) -> NDArray[np.float64] | None:
        """Mean boundary probability along each edge, float64 (m,); None if the model has none."""
        return self._tables.boundary

    @property
    def shape(self) -> tuple[int, int]:
        """Image shape (Y, X)."""
        return self._tables.shape

    @property
    def n_superpixels(self) -> int:
        """Number of superpixels, n."""
        return self._tables.n

    @property
    def model(self) -> str:
        """Name of the model, or the path that was given for it."""
        return str(self.parameters["model"])

    @property
    def linkages(self) -> tuple[str, ...]:
        """Linkages that there are for the model, its default first."""
        return self._linkages.names

    @property
    def default_linkage(self) -> str:
        """Linkage that suits the model: "learned" if it has a function for it, or "average"."""
        return self.linkages[0]

    def default_threshold(self, linkage: str | None = None) -> float:
        """Threshold that suits the model and a linkage, from 0 to 1."""
        linkage = self._check_linkage(linkage)
        # Stores and files of before a linkage came have no threshold for it.
        return self._default_thresholds.get(linkage, THRESHOLDS[linkage])

    def _check_linkage(self, linkage: str | None) -> str:
        return self._linkages.check(linkage, self.model)

    def hierarchy(self, linkage: str | None = None) -> merging.Hierarchy:
        """Partitions at all thresholds, computed when first asked for.

        In a store, "average", "contrast" and "del" are merged part by part and kept there if it
        may be written to. "learned" and "egb" need the tables in memory.

        Parameters
        ----------
        linkage : str, optional
            "learned": a trained function of both regions says whether they are one; only
            models that have such a function. "average": regions join along the border that is
            weakest on average; with a model that has a boundary channel, an edge weighs the
            geometric mean of the dissimilarity and the boundary probability. "contrast": the
            same, with the geometric mean of that and the contrast of colours
            (`napari_del.contrast.color_contrast`), for kinds of images that the model never
            met; only models with a boundary channel have it. "del": regions join along any edge
            whose dissimilarity is within the threshold, as in the paper. By default
            `default_linkage`.

        Returns
        -------
        napari_del.merging.Hierarchy
            Over the rows of the tables.

        Raises
        ------
        ParameterError
            If the linkage is not known or not there for the model, or is "egb", which is not
            nested.
        """
        linkage = self._check_linkage(linkage)
        if linkage == "egb":
            raise ParameterError(
                "linkage 'egb' has no hierarchy, because its partitions are not nested: use "
                "labels(threshold, 'egb'), or 'average' or 'del'"
            )
        return self._linkages.hierarchy(linkage)

    def regions(
        self,
        threshold: float | None = None,
        linkage: str | None = None,
        min_size: int = 0,
        *,
        min_superpixels: int = 0,
    ) -> NDArray[np.int32]:
        """Region of each superpixel, as the row of one that stands for it.

        Parameters
        ----------
        threshold, linkage, min_size, min_superpixels
            As for `labels`.

        Returns
        -------
        ndarray of int32, shape (n,)
            Row of the representative of each superpixel's region.
        """
        return self._linkages.regions(self._cut(threshold, linkage, min_size, min_superpixels))

    def _cut(
        self,
        threshold: float | None,
        linkage: str | None,
        min_size: int,
        min_superpixels: int,
        sequential: bool = True,
    ) -> Cut:
        """The partition of these arguments, checked."""
        linkage = self._check_linkage(linkage)
        t = self.default_threshold(linkage) if threshold is None else threshold
        merging.threshold_to_fixed(t)  # says what is wrong with it before anything is computed
        return Cut(
            t,
            linkage,
            _check_count("min_size", min_size),
            _check_count("min_superpixels", min_superpixels),
            sequential,
        )

    def labels(
        self,
        threshold: float | None = None,
        linkage: str | None = None,
        min_size: int = 0,
        *,
        min_superpixels: int = 0,
        sequential: bool = True,
        out: NDArray[np.int32] | None = None,
    ) -> Any:
        """Label image of the regions at a threshold.

        Parameters
        ----------
        threshold : float, optional
            0 to 1; higher makes regions larger. By default the one that suits the model.
        linkage : str, optional
            How regions merge: "learned", "average", "contrast", "del" (the paper's) or "egb"
            (Felzenszwalb and Huttenlocher's adaptive threshold), see `napari_del.merging`. By
            default `default_linkage`.
        min_size : int
            Regions of fewer pixels join a neighbour along their weakest edge.
        min_superpixels : int
            The same by number of superpixels, the paper's rule.
        sequential : bool
            If True, regions are numbered from 1 without gaps. If False, a region keeps the
            number of its largest part, so that colours stay while the threshold changes.
        out : ndarray of int32, shape (Y, X), optional
            Array to write to, which is then returned.

        Returns
        -------
        ndarray of int32, shape (Y, X)
            Regions from 1; 0 where masked. Of a store, a dask array with the chunks that are
            stored: a window costs its chunks, and, if `sequential` or a least size is set, one
            pass over all superpixels for each threshold.

        Raises
        ------
        ParameterError
            If a parameter is out of range or `out` does not fit.
        """
        cut = self._cut(threshold, linkage, min_size, min_superpixels, sequential)
        return self._tables.labels(self._linkages, cut, out)

    def n_regions(
        self,
        threshold: float | None = None,
        linkage: str | None = None,
        min_size: int = 0,
        *,
        min_superpixels: int = 0,
    ) -> int:
        """Number of regions that `labels` would give with the same arguments."""
        cut = self._cut(threshold, linkage, min_size, min_superpixels)
        if cut.is_nested:
            fixed = merging.threshold_to_fixed(cut.threshold)
            return self._linkages.hierarchy(cut.linkage).n_regions(fixed)
        return int(np.unique(self._linkages.regions(cut)).size)

    def threshold_for(self, n_regions: int, linkage: str | None = None) -> float:
        """Threshold that gives a number of regions.

        Parameters
        ----------
        n_regions : int
            At least 1.
        linkage : str, optional
            Any but "egb"; by default `default_linkage`.

        Returns
        -------
        float
            The smallest threshold with at most `n_regions` regions; if the image falls into
            more separate parts than that, the smallest with the fewest.

        Raises
        ------
        ParameterError
            If `n_regions` is below 1, or the linkage has no hierarchy.
        """
        fixed = self.hierarchy(linkage).threshold_for(_check_count("n_regions", n_regions, 1))
        return float(merging.from_fixed(fixed))

    def save(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the segmentation to a folder in zarr format, to be read by `load`.

        Parameters
        ----------
        path : path
            Folder with suffix ``.zarr``.
        overwrite : bool
            Whether to replace what is there.

        Raises
        ------
        OutputError
            If the path exists, has another suffix or cannot be written, or if the segmentation
            is in a store already.
        """
        if self._tables.url is not None:
            raise OutputError(
                f"{path} is not needed: the segmentation is in {self._tables.url} already; copy "
                "that folder to have another"
            )
        from napari_del.io.store import write_segmentation

        write_segmentation(path, self, overwrite=overwrite)


def load(path: str | PathLike[str]) -> Segmentation:
    """Read a segmentation that `Segmentation.save` wrote, or open that of `segment_large`.

    Parameters
    ----------
    path : path or str
        Folder with suffix ``.zarr``, or the URL of a store of `segment_large`.

    Returns
    -------
    Segmentation
        In memory, or in the store, which is only read.

    Raises
    ------
    ReadError
        If there is none, or it is damaged or not complete.
    StoreError
        If a store of `segment_large` is of another version.
    """
    from napari_del.io.store import read_segmentation

    return read_segmentation(path)


def _check_count(name: str, value: int, least: int = 0) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least:
        raise ParameterError(f"{name} is {value!r}; expected a whole number of at least {least}")
    return number
