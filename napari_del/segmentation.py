"""`Segmentation`: superpixels and their graph, and the regions at any threshold."""

from __future__ import annotations

import operator
from functools import cached_property
from os import PathLike
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del import merging
from napari_del._threads import parallel_for
from napari_del.contrast import ColorMoments
from napari_del.errors import ParameterError
from napari_del.graph import AdjacencyGraph, Nodes
from napari_del.linkages import Linkages

__all__ = ["Segmentation", "load"]


@njit(nogil=True, cache=True)
def _look_up(
    start: int,
    stop: int,
    image: NDArray[np.int32],
    table: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    for y in range(start, stop):
        for x in range(image.shape[1]):
            out[y, x] = table[image[y, x]]


class Segmentation:
    """Superpixels, their graph, and the regions at any threshold.

    Made by `segment` and by `load`. When the threshold changes, nothing is computed again: a
    look-up table maps superpixels to regions.

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
        Colours of the superpixels; the linkage "learned" needs them.
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
        self._nodes = nodes
        self._graph = graph
        self._embeddings = embeddings
        self._default_thresholds = default_thresholds
        self.parameters = parameters
        step = int(parameters["step"])
        self._linkages = Linkages(
            nodes.sizes, embeddings, graph, weights, step, colors, merge_function
        )

    def __repr__(self) -> str:
        y, x = self.shape
        return (
            f"<Segmentation of {y} x {x} pixels: {self.n_superpixels} superpixels, "
            f"{len(self.edges)} edges, model {self.model}>"
        )

    @cached_property
    def superpixels(self) -> NDArray[np.int32]:
        """Superpixel id of each pixel, int32 (Y, X); 0 where masked."""
        if self.n_superpixels and self.ids[-1] == self.n_superpixels:
            return self._nodes.image
        table = np.concatenate([np.zeros(1, np.int32), self.ids])
        return self._apply(table, None)

    @property
    def ids(self) -> NDArray[np.int32]:
        """Ids in `superpixels`, ascending, int32 (n,): row i of every table is of ids[i]."""
        return self._nodes.ids

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Pixels of each superpixel, int64 (n,)."""
        return self._nodes.sizes

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """Mean embedding of each superpixel, float32 (n, D)."""
        return self._embeddings

    @property
    def edges(self) -> NDArray[np.int32]:
        """Adjacent superpixels as rows u < v of the tables, sorted, int32 (m, 2)."""
        return self._graph.edges

    @property
    def border_lengths(self) -> NDArray[np.int64]:
        """Pairs of neighbouring pixels across each edge, int64 (m,)."""
        return self._graph.lengths

    @cached_property
    def dissimilarity(self) -> NDArray[np.float64]:
        """Dissimilarity d = 1 - 2 / (1 + exp(L1)) of each edge from 0 to 1, float64 (m,)."""
        return merging.from_fixed(self._linkages.dissimilarity)

    @property
    def boundary(self) -> NDArray[np.float64] | None:
        """Mean boundary probability along each edge, float64 (m,); None if the model has none."""
        return self._linkages.boundary

    @property
    def shape(self) -> tuple[int, int]:
        """Image shape (Y, X)."""
        y, x = self._nodes.image.shape
        return y, x

    @property
    def n_superpixels(self) -> int:
        """Number of superpixels, n."""
        return int(self._nodes.ids.size)

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
        return self._default_thresholds[self._check_linkage(linkage)]

    def _check_linkage(self, linkage: str | None) -> str:
        return self._linkages.check(linkage, self.model)

    def hierarchy(self, linkage: str | None = None) -> merging.Hierarchy:
        """Partitions at all thresholds, computed when first asked for.

        Parameters
        ----------
        linkage : str, optional
            "learned": a trained function of both regions says whether they are one; only
            models that have such a function. "average": regions join along the border that is
            weakest on average; with a model that has a boundary channel, an edge weighs the
            geometric mean of the dissimilarity and the boundary probability. "del": regions
            join along any edge whose dissimilarity is within the threshold, as in the paper.
            By default `default_linkage`.

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
        linkage = self._check_linkage(linkage)
        t = self.default_threshold(linkage) if threshold is None else threshold
        if linkage == "egb":
            rows = merging.egb(
                self.edges,
                self._linkages.combined,
                self.n_superpixels,
                t,
                order=self._linkages.order(linkage),
            )
        else:
            fixed = merging.threshold_to_fixed(t)
            rows = self.hierarchy(linkage).cut(fixed)
        for name, least, sizes in (
            ("min_size", min_size, self.sizes),
            ("min_superpixels", min_superpixels, None),
        ):
            if _check_count(name, least) > 1:
                rows = merging.join_small(
                    rows,
                    self.edges,
                    self._linkages.weights(linkage),
                    np.ones(self.n_superpixels, np.int64) if sizes is None else sizes,
                    least,
                    order=self._linkages.order(linkage),
                )
        return rows

    def labels(
        self,
        threshold: float | None = None,
        linkage: str | None = None,
        min_size: int = 0,
        *,
        min_superpixels: int = 0,
        sequential: bool = True,
        out: NDArray[np.int32] | None = None,
    ) -> NDArray[np.int32]:
        """Label image of the regions at a threshold.

        Parameters
        ----------
        threshold : float, optional
            0 to 1; higher makes regions larger. By default the one that suits the model.
        linkage : str, optional
            How regions merge: "learned", "average", "del" (the paper's) or "egb" (Felzenszwalb
            and Huttenlocher's adaptive threshold), see `napari_del.merging`. By default
            `default_linkage`.
        min_size : int
            Regions of fewer pixels join a neighbour along their weakest edge.
        min_superpixels : int
            The same by number of superpixels, the paper's rule.
        sequential : bool
            If True, regions are numbered from 1 without gaps. If False, a region keeps the
            number of its largest part, so that colours stay while the threshold changes.
        out : ndarray of int32, shape (Y, X), optional
            Array to write to.

        Returns
        -------
        ndarray of int32, shape (Y, X)
            Regions from 1; 0 where masked.

        Raises
        ------
        ParameterError
            If a parameter is out of range or `out` does not fit.
        """
        rows = self.regions(threshold, linkage, min_size, min_superpixels=min_superpixels)
        numbers = merging.sequential(rows)[0] if sequential else rows + np.int32(1)
        return self._apply(np.concatenate([np.zeros(1, np.int32), numbers]), out)

    def _apply(self, table: NDArray[np.int32], out: NDArray[np.int32] | None) -> NDArray[np.int32]:
        """Image of ``table[1 + row]``, and ``table[0]`` where masked."""
        if out is None:
            out = np.empty(self.shape, np.int32)
        elif out.shape != self.shape or out.dtype != np.int32:
            raise ParameterError(
                f"out has shape {out.shape} and dtype {out.dtype}; expected {self.shape} and int32"
            )
        image = self._nodes.image
        parallel_for(
            lambda a, b: _look_up(a, b, image, table, out),
            self.shape[0],
            grain=max(1, 2**16 // self.shape[1]),
        )
        return out

    def n_regions(
        self,
        threshold: float | None = None,
        linkage: str | None = None,
        min_size: int = 0,
        *,
        min_superpixels: int = 0,
    ) -> int:
        """Number of regions that `labels` would give with the same arguments."""
        least = _check_count("min_size", min_size)
        least = max(least, _check_count("min_superpixels", min_superpixels))
        linkage = self._check_linkage(linkage)
        if linkage != "egb" and least <= 1:
            t = self.default_threshold(linkage) if threshold is None else threshold
            return self.hierarchy(linkage).n_regions(merging.threshold_to_fixed(t))
        rows = self.regions(threshold, linkage, min_size, min_superpixels=min_superpixels)
        return int(np.unique(rows).size)

    def threshold_for(self, n_regions: int, linkage: str | None = None) -> float:
        """Threshold that gives a number of regions.

        Parameters
        ----------
        n_regions : int
            At least 1.
        linkage : str, optional
            "learned", "average" or "del"; by default `default_linkage`.

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
            If the path exists, has another suffix or cannot be written.
        """
        from napari_del.io.store import write_segmentation

        write_segmentation(path, self, overwrite=overwrite)


def load(path: str | PathLike[str]) -> Segmentation:
    """Read a segmentation that `Segmentation.save` wrote.

    Parameters
    ----------
    path : path
        Folder with suffix ``.zarr``.

    Returns
    -------
    Segmentation

    Raises
    ------
    ReadError
        If there is none, or it is damaged.
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
