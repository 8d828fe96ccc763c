"""Superpixel ids of a part of an image and of the whole."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del.graph import Nodes, number_nodes
from napari_del.superpixels.grid import Grid
from napari_del.tiles.plan import Area

__all__ = ["number_part", "number_places", "to_whole"]

# Cells around a part whose superpixels may reach into it, and one to spare.
_REACH = 4


def to_whole(
    ids: NDArray[np.integer], part: Grid, origin: tuple[int, int], whole: Grid
) -> NDArray[np.int64]:
    """Ids in the whole image of superpixels that were computed in a part of it.

    Parameters
    ----------
    ids : ndarray of int, shape (k,)
        Ids as `slic_features` gives them for the part; 0 stays 0.
    part : Grid
        Grid of the part.
    origin : tuple of int
        First row and column of the part, multiples of the step.
    whole : Grid
        Grid of the whole image.

    Returns
    -------
    ndarray of int64, shape (k,)
        In the same order: ascending if `ids` are.
    """
    number = np.asarray(ids, np.int64)
    i, j = np.divmod(number - 1, part.columns)
    cells = 1 + (i + origin[0] // part.step) * whole.columns + j + origin[1] // part.step
    # Superpixels without a cell are numbered after their first pixel.
    y, x = np.divmod(number - part.n_cells - 1, part.shape[1])
    others = whole.n_cells + 1 + (y + origin[0]) * whole.shape[1] + x + origin[1]
    out: NDArray[np.int64] = np.where(number <= part.n_cells, cells, others)
    out[number == 0] = 0
    return out


def number_part(superpixels: NDArray[np.integer], area: Area, grid: Grid) -> Nodes:
    """Number the superpixels of a part of an image without gaps, in the order of their ids.

    Parameters
    ----------
    superpixels, area, grid
        As for `number_places`.

    Returns
    -------
    Nodes
        With ids of the whole image, int64.
    """
    image, ids = number_places(superpixels, area, grid)
    nodes = number_nodes(image)
    return Nodes(nodes.image, ids[nodes.ids - 1], nodes.sizes)


def number_places(
    superpixels: NDArray[np.integer], area: Area, grid: Grid
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Number the places for superpixels in and around a part of an image, in the order of ids.

    Parameters
    ----------
    superpixels : ndarray of int32 or int64, shape (h, w)
        Ids in the whole image, 0 where masked.
    area : tuple of slice
        Where the part lies.
    grid : Grid
        Grid of the whole image.

    Returns
    -------
    image : ndarray of int32, shape (h, w)
        1 + place of each pixel, 0 where masked.
    ids : ndarray of int64, shape (k,)
        Id in the whole image of each place that is in `image`; for places that are not, any
        number.
    """
    top = max(0, area[0].start // grid.step - _REACH)
    left = max(0, area[1].start // grid.step - _REACH)
    rows = area[0].stop // grid.step + _REACH + 1 - top
    columns = area[1].stop // grid.step + _REACH + 1 - left
    others = np.unique(superpixels[superpixels > grid.n_cells]).astype(np.int64)
    image = np.empty(superpixels.shape, np.int32)
    _to_part(superpixels, grid.n_cells, grid.columns, top, left, rows, columns, others, image)
    i = np.arange(top, top + rows, dtype=np.int64)[:, np.newaxis]
    j = np.arange(left, left + columns, dtype=np.int64)
    return image, np.concatenate([(1 + i * grid.columns + j).ravel(), others])


@njit(nogil=True, cache=True)
def _to_part(
    superpixels: NDArray[np.integer],
    n_cells: int,
    whole_columns: int,
    top: int,
    left: int,
    rows: int,
    columns: int,
    others: NDArray[np.int64],
    out: NDArray[np.int32],
) -> None:
    """Number cells within the part, and after them superpixels that have none."""
    for y in range(superpixels.shape[0]):
        before = np.int64(0)
        number = np.int32(0)
        for x in range(superpixels.shape[1]):
            here = np.int64(superpixels[y, x])
            if here != before:
                before = here
                if here == 0:
                    number = np.int32(0)
                elif here > n_cells:
                    place = np.searchsorted(others, here)
                    number = np.int32(rows * columns + 1 + place)
                else:
                    i = (here - 1) // whole_columns
                    j = (here - 1) - i * whole_columns
                    number = np.int32((i - top) * columns + j - left + 1)
            out[y, x] = number
