"""The graph of a store in parts, to be merged without the whole of it in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_del._threads import n_threads
from napari_del.contrast import color_contrast
from napari_del.graph import AdjacencyGraph
from napari_del.linkages import combined_weights
from napari_del.merging.parts import EdgePart
from napari_del.superpixels.grid import Grid

if TYPE_CHECKING:
    from napari_del.tiles.stored import StoredTables

__all__ = ["edge_parts"]

# Rows that are read at a time, those of a band, and the side, in cells, of squares that are merged
# at a time: they stay in the cache, and what is left of them is along their borders.
_PART_ROWS, _SIDE = 2**19, 150


def edge_parts(tables: StoredTables, linkage: str) -> tuple[Callable[[int], EdgePart], list[int]]:
    """The graph of a store in parts of about as many rows, for merging.

    Parameters
    ----------
    tables : StoredTables
        Superpixels and their graph.
    linkage : str
        "average", "contrast" or "del", which says what the weights are made of.

    Returns
    -------
    load : callable
        ``load(k)`` reads part `k`; parts are asked for in their order.
    starts : list of int
        First row of each part, and n at the end.
    """
    starts, bands = [], []
    for band, (first, stop) in zip(tables.bands, pairwise(tables.starts), strict=True):
        # Parts of a band, not of several: each band is read once, and as a whole.
        cuts = np.linspace(first, stop, -(-(stop - first) // _PART_ROWS), endpoint=False)
        starts += cuts.astype(np.int64).tolist()
        bands += [band] * cuts.size
    starts.append(tables.n)
    held: tuple[str, EdgePart, NDArray[np.signedinteger]] | None = None

    def load(k: int) -> EdgePart:
        nonlocal held
        if held is None or held[0] != bands[k]:
            held = None  # not both in memory
            found = _band_edges(tables, bands[k], linkage)
            held = bands[k], found, tables.store.read_table("nodes", bands[k], ["ids"])["ids"]
        _, band, ids = held
        if bands[k + 1 : k + 2] != [bands[k]]:
            held = None  # no other part is of this band
        part = slice(*np.searchsorted(band.edges[:, 0], starts[k : k + 2]))
        first = starts[bands.index(bands[k])]
        groups = _squares(tables, ids[starts[k] - first : starts[k + 1] - first])
        return EdgePart(band.edges[part], band.weights[part], band.lengths[part], groups)

    return load, starts


def _squares(tables: StoredTables, ids: NDArray[np.signedinteger]) -> NDArray[np.int64] | None:
    """Number of the square of cells that each of some superpixels, with ids in a row, is in."""
    grid = Grid(tables.shape, tables.step)
    if not ids.size or ids[-1] > grid.n_cells:
        return None
    # Squares are smaller in small images, so that there are some for each thread.
    side = min(_SIDE, max(1, math.isqrt(tables.n // (4 * n_threads()))))
    rows, columns = np.divmod(ids.astype(np.int64) - 1, grid.columns)
    rows -= rows[0]
    down, across = (max(1, round(n / side)) for n in (int(rows[-1]) + 1, grid.columns))
    squares: NDArray[np.int64] = rows * down // (int(rows[-1]) + 1) * across
    squares += columns * across // grid.columns
    # Behind a mask there may be more squares than superpixels.
    return squares if down * across <= ids.size else np.unique(squares, return_inverse=True)[1]


def _band_edges(tables: StoredTables, band: str, linkage: str) -> EdgePart:
    """Edges of a band, and their weights."""
    names = ["edges", "lengths", "dissimilarity"]
    if linkage != "del" and tables.has_boundary:
        names.append("boundary_sums")
    table = tables.store.read_table("edges", band, names)
    graph = AdjacencyGraph(table["edges"], table["lengths"], table.get("boundary_sums"))
    weights = combined_weights(table["dissimilarity"], graph.boundary())
    if linkage == "contrast":
        colors = _colors_of(tables, graph.edges)
        weights = combined_weights(weights, color_contrast(colors[:, 0], colors[:, 1]))
    return EdgePart(graph.edges, weights, graph.lengths)


def _colors_of(tables: StoredTables, pairs: NDArray[np.int32]) -> NDArray[np.float32]:
    """Mean colours of pairs of superpixels, (m, 2, F), of which only their bands are read."""
    record = tables.store.marker("nodes", tables.bands[-1]).arrays["colors"]
    colors = np.empty((*pairs.shape, record.shape[1]), record.dtype)
    band_of = np.searchsorted(tables.starts, pairs, side="right") - 1
    for k in np.unique(band_of).tolist():
        table = tables.store.read_table("nodes", tables.bands[k], ["colors"])
        inside = band_of == k
        colors[inside] = table["colors"][pairs[inside] - tables.starts[k]]
    return colors
