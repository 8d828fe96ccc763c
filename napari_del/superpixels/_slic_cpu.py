"""Iterations of integer SLIC on the CPU.

A pixel of grid cell (i, j) chooses among the clusters of cells (i +- 1, j +- 1), so its choice
fits in one byte: 3 * (di + 1) + (dj + 1). Sums are kept per cell and choice. A cell none of
whose nine centres moved would come to the same choices and sums again and is left as it is.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from scipy import ndimage

from napari_del._threads import parallel_for
from napari_del.superpixels.grid import Grid

__all__ = ["MASKED", "assign"]

MASKED = 255


def _by_cells(planes: NDArray[Any], grid: Grid) -> NDArray[Any]:
    """Planes (F, Y, X) cell by cell, (rows, columns, F, step * step), zero beyond the image.

    What a cell's choice needs lies together then, whatever the step.
    """
    n, height, width = planes.shape
    rows, columns, step = grid.rows, grid.columns, grid.step
    lack = ((0, 0), (0, rows * step - height), (0, columns * step - width))
    whole = np.pad(planes, lack) if any(after for _, after in lack) else planes
    view = whole.reshape(n, rows, step, columns, step).transpose(1, 3, 0, 2, 4)
    cells = np.empty(view.shape, planes.dtype)

    def copy(start: int, stop: int) -> None:
        cells[start:stop] = view[start:stop]

    parallel_for(copy, rows)
    return cells.reshape(rows, columns, n, step * step)


def _first_choices(
    mask: NDArray[np.bool_] | None, grid: Grid, shape: tuple[int, int]
) -> NDArray[np.uint8]:
    """Choices to begin with, (rows, columns, step * step): each pixel chooses its own cell.

    Where the image cuts a cell to less than half a step, its pixels choose the cell before it,
    so that slivers get no seed of their own. Pixels beyond the image count as masked.
    """
    height, width = shape
    cell = np.full((grid.rows, grid.columns), 4, np.uint8)
    last_height = height - (grid.rows - 1) * grid.step
    last_width = width - (grid.columns - 1) * grid.step
    if grid.rows > 1 and 2 * last_height < grid.step:
        cell[-1] -= 3
    if grid.columns > 1 and 2 * last_width < grid.step:
        cell[:, -1] -= 1
    choices = np.repeat(cell[..., np.newaxis], grid.step**2, axis=2)
    if mask is not None:
        choices[~_by_cells(mask[np.newaxis], grid)[:, :, 0]] = MASKED
    square = choices.reshape(*cell.shape, grid.step, grid.step)
    square[-1, :, last_height:] = MASKED
    square[:, -1, :, last_width:] = MASKED
    return choices


@njit(nogil=True, cache=True)
def _sum_up(
    start: int,
    stop: int,
    tiles: NDArray[np.int16],
    positions: NDArray[np.int32],
    choices: NDArray[np.uint8],
    sums: NDArray[Any],
) -> None:
    """Sum up cells whose pixels all make one choice, as they do to begin with."""
    n_features, n = tiles.shape[2:]
    for i in range(start, stop):
        for j in range(tiles.shape[1]):
            k = np.uint8(MASKED)
            count = 0
            for p in range(n):
                if choices[i, j, p] != MASKED:
                    k = choices[i, j, p]
                    count += 1
            if count == 0:
                continue
            sums[i, j, k, n_features + 2] = count
            for f in range(n_features):
                total = np.int64(0)
                for p in range(n):
                    if choices[i, j, p] != MASKED:
                        total += tiles[i, j, f, p]
                sums[i, j, k, f] = total
            for v in range(2):
                total = np.int64(0)
                for p in range(n):
                    if choices[i, j, p] != MASKED:
                        total += positions[v, p]
                sums[i, j, k, n_features + v] = total


@njit(nogil=True, cache=True)
def _update(
    start: int,
    stop: int,
    sums: NDArray[Any],
    pitch: int,
    centres: NDArray[np.int32],
    counts: NDArray[np.int64],
    moved: NDArray[np.bool_],
) -> None:
    """Move each centre to the mean of its pixels, rounded half up, and note whether it moved."""
    rows, columns = sums.shape[:2]
    n_values = sums.shape[3] - 1
    total = np.empty(n_values, np.int64)
    for i in range(start, stop):
        for j in range(columns):
            total[:] = 0
            count = np.int64(0)
            for di in range(-1, 2):
                for dj in range(-1, 2):
                    a, b, k = i + di, j + dj, 3 * (1 - di) + (1 - dj)
                    if a < 0 or a >= rows or b < 0 or b >= columns:
                        continue
                    share = np.int64(sums[a, b, k, n_values])
                    if share > 0:
                        count += share
                        for v in range(n_values):
                            total[v] += sums[a, b, k, v]
                        # Positions count from the cell of the pixel; make it this cell's.
                        total[n_values - 2] += di * pitch * share
                        total[n_values - 1] += dj * pitch * share
            # A cluster that lost its last pixel stays dead: its old centre attracts nothing.
            changed = (count > 0) != (counts[i, j] > 0)
            if count > 0:
                for v in range(n_values):
                    mean = (2 * total[v] + count) // (2 * count)
                    if mean != centres[i, j, v]:
                        changed = True
                        centres[i, j, v] = mean
            counts[i, j] = count
            moved[i, j] = changed


@njit(nogil=True, cache=True)
def _nearest_of_five(
    i: int,
    j: int,
    tiles: NDArray[np.int16],
    positions: NDArray[np.int32],
    weights: NDArray[Any],
    constants: NDArray[Any],
    nearest: NDArray[Any],
) -> None:
    """Least key of all candidates for each pixel of a cell; unrolled for colour images."""
    for p in range(nearest.size):
        v0 = np.int32(tiles[i, j, 0, p])
        v1 = np.int32(tiles[i, j, 1, p])
        v2 = np.int32(tiles[i, j, 2, p])
        v3 = positions[0, p]
        v4 = positions[1, p]
        least = nearest.dtype.type(np.iinfo(nearest.dtype).max)
        for k in range(9):
            key = nearest.dtype.type(
                constants[k]
                + v0 * weights[k, 0]
                + v1 * weights[k, 1]
                + v2 * weights[k, 2]
                + v3 * weights[k, 3]
                + v4 * weights[k, 4]
            )
            least = key if key < least else least
        nearest[p] = least


@njit(nogil=True, cache=True)
def _nearest(
    i: int,
    j: int,
    tiles: NDArray[np.int16],
    positions: NDArray[np.int32],
    weights: NDArray[Any],
    constants: NDArray[Any],
    key: NDArray[Any],
    nearest: NDArray[Any],
) -> None:
    """Least key of all candidates for each pixel of a cell."""
    n_features = tiles.shape[2]
    for p in range(nearest.size):
        nearest[p] = np.iinfo(nearest.dtype).max
    for k in range(9):
        row, column = weights[k, n_features], weights[k, n_features + 1]
        for p in range(nearest.size):
            key[p] = constants[k] + positions[0, p] * row + positions[1, p] * column
        for f in range(n_features):
            weight = weights[k, f]
            for p in range(nearest.size):
                key[p] += tiles[i, j, f, p] * weight
        for p in range(nearest.size):
            nearest[p] = min(nearest[p], key[p])


@njit(nogil=True, cache=True)
def _assign(
    start: int,
    stop: int,
    tiles: NDArray[np.int16],
    positions: NDArray[np.int32],
    pitch: int,
    centres: NDArray[np.int32],
    counts: NDArray[np.int64],
    stale: NDArray[np.bool_],
    choices: NDArray[np.uint8],
    sums: NDArray[Any],
    zero: NDArray[Any],
    last: bool,
) -> None:
    """Let the pixels of cell rows `start` to `stop` choose, and move those that change in the sums.

    Squared distances are compared without the square of the pixel's own values, which is the
    same for all candidates. `zero` gives their dtype. Sums are not needed after the `last`
    assignment.
    """
    rows, columns, n_features, n = tiles.shape
    n_values = n_features + 2
    key = np.empty(n, zero.dtype)
    nearest = np.empty(n, zero.dtype)
    weights = np.zeros((9, n_values), zero.dtype)
    constants = np.empty(9, zero.dtype)
    for i in range(start, stop):
        for j in range(columns):
            if not stale[i, j]:
                continue
            # The choice sits in the last four bits of the key, so that the least key belongs to
            # the nearest candidate and of equally near ones to that with the lowest id.
            for k in range(9):
                di, dj = k // 3 - 1, k % 3 - 1
                a, b = i + di, j + dj
                if a < 0 or a >= rows or b < 0 or b >= columns or counts[a, b] == 0:
                    for v in range(n_values):
                        weights[k, v] = 0
                    constants[k] = np.iinfo(zero.dtype).max
                    continue
                square = np.int64(0)
                for v in range(n_features):
                    c = np.int64(centres[a, b, v])
                    square += c * c
                    weights[k, v] = -32 * c
                row = np.int64(centres[a, b, n_features]) + di * pitch
                column = np.int64(centres[a, b, n_features + 1]) + dj * pitch
                weights[k, n_features] = -32 * row
                weights[k, n_features + 1] = -32 * column
                constants[k] = 16 * (square + row * row + column * column) + k
            if n_features == 3:
                _nearest_of_five(i, j, tiles, positions, weights, constants, nearest)
            else:
                _nearest(i, j, tiles, positions, weights, constants, key, nearest)
            for p in range(n):
                old = choices[i, j, p]
                new = np.uint8(nearest[p] & 15)
                if new != old and old != MASKED:
                    choices[i, j, p] = new
                    if not last:
                        for f in range(n_features):
                            sums[i, j, old, f] -= tiles[i, j, f, p]
                            sums[i, j, new, f] += tiles[i, j, f, p]
                        for v in range(2):
                            sums[i, j, old, n_features + v] -= positions[v, p]
                            sums[i, j, new, n_features + v] += positions[v, p]
                        sums[i, j, old, n_values] -= 1
                        sums[i, j, new, n_values] += 1


@njit(nogil=True, cache=True)
def _clusters(
    start: int, stop: int, choices: NDArray[np.uint8], step: int, ids: NDArray[np.int32]
) -> None:
    """Write the id of the chosen cluster, 1 + its cell's index, and 0 where masked."""
    height, width = ids.shape
    columns = choices.shape[1]
    for i in range(start, stop):
        for y in range(i * step, min((i + 1) * step, height)):
            for j in range(columns):
                own = i * columns + j + 1
                p = (y - i * step) * step
                for x in range(j * step, min((j + 1) * step, width)):
                    k = np.int32(choices[i, j, p])
                    ids[y, x] = 0 if k == MASKED else own + (k // 3 - 1) * columns + (k % 3 - 1)
                    p += 1


def assign(
    features: NDArray[np.int16],
    mask: NDArray[np.bool_] | None,
    grid: Grid,
    pitch: int,
    iterations: int,
) -> NDArray[np.int32]:
    """Choose a cluster for each pixel.

    Parameters
    ----------
    features : ndarray of int16, shape (F, Y, X)
        Feature planes.
    mask : ndarray of bool, shape (Y, X), or None
        True where a pixel takes part.
    grid : Grid
        Grid of seeds.
    pitch : int
        What a distance of one step counts, in units of the features.
    iterations : int
        Number of assignments, at least 1.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        1 + index of the cluster's cell in raster order; 0 where masked.
    """
    n_features, height, width = features.shape
    step, shape = grid.step, (grid.rows, grid.columns)
    along = ((np.arange(step) * 2 + 1) * pitch // (2 * step)).astype(np.int32)
    positions = np.stack([np.repeat(along, step), np.tile(along, step)])
    tiles = _by_cells(features, grid)
    choices = _first_choices(mask, grid, (height, width))
    sums = np.zeros((*shape, 9, n_features + 3), sum_dtype(features, pitch, step))
    centres = np.zeros((*shape, n_features + 2), np.int32)
    counts = np.zeros(shape, np.int64)
    moved = np.zeros(shape, np.bool_)
    zero = np.zeros(0, np.int64 if distance_bound(features, pitch) >= 2**31 else np.int32)

    # Parts of about half a millisecond or more: waking a thread costs a tenth of that.
    grain = max(1, 2**14 // (step * width) + 1)
    parallel_for(
        lambda a, b: _sum_up(a, b, tiles, positions, choices, sums),
        grid.rows,
        grain=grain,
    )
    for iteration in range(iterations):
        parallel_for(
            lambda a, b: _update(a, b, sums, pitch, centres, counts, moved),
            grid.rows,
            grain=max(1, 2**12 // grid.columns),
        )
        parallel_for(
            partial(
                _assign,
                tiles=tiles,
                positions=positions,
                pitch=pitch,
                centres=centres,
                counts=counts,
                stale=ndimage.binary_dilation(moved, np.ones((3, 3), np.bool_)),
                choices=choices,
                sums=sums,
                zero=zero,
                last=iteration == iterations - 1,
            ),
            grid.rows,
            grain=grain,
        )
    ids = np.empty((height, width), np.int32)
    parallel_for(lambda a, b: _clusters(a, b, choices, step, ids), grid.rows, grain=grain)
    return ids


def distance_bound(features: NDArray[np.int16], pitch: int) -> int:
    """Bound of what comes up in a comparison of distances, to choose the width of integers."""
    squares = sum(
        max(abs(int(plane.min(initial=0))), abs(int(plane.max(initial=0)))) ** 2
        for plane in features
    )
    return 3 * (squares + 2 * (3 * pitch) ** 2) * 16


def sum_dtype(features: NDArray[np.int16], pitch: int, step: int) -> type[np.signedinteger]:
    """Integer type that holds the sum of a cell's features and positions."""
    largest = max(int(np.abs(features).max(initial=0)), pitch)
    return np.int32 if largest * step * step < 2**31 else np.int64
