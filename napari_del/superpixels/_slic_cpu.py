"""Iterations of integer SLIC on the CPU.

A pixel of grid cell (i, j) chooses among the clusters of cells (i +- 1, j +- 1), so its choice
fits in one byte: 3 * (di + 1) + (dj + 1). Sums are kept per cell and choice. A cell none of
whose nine centres moved would come to the same choices and sums again and is left as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import n_threads, parallel_for
from napari_del.superpixels._cells import MASKED, WORD, Cells, cut, write
from napari_del.superpixels.grid import Grid

__all__ = ["assign", "distance_bound", "magnitudes"]


@njit(nogil=True, cache=True)
def _update(i: int, pitch: int, cells: Cells) -> None:
    """Move the centres of row `i` to the mean of their pixels, rounded half up."""
    columns = cells.moved.shape[1] - 2
    sums, centres, touched = cells.sums, cells.centres, cells.touched
    n_features = sums.shape[2] - 3
    for j in range(1, columns + 1):
        changed = False
        if (
            touched[i - 1, j - 1]
            | touched[i - 1, j]
            | touched[i - 1, j + 1]
            | touched[i, j - 1]
            | touched[i, j]
            | touched[i, j + 1]
            | touched[i + 1, j - 1]
            | touched[i + 1, j]
            | touched[i + 1, j + 1]
        ):
            count = np.int64(0)
            down = np.int64(0)
            right = np.int64(0)
            for k in range(9):
                di, dj = k // 3, k % 3
                share = np.int64(sums[i + di - 1, j + dj - 1, n_features + 2, 8 - k])
                count += share
                down += (di - 1) * share
                right += (dj - 1) * share
            # A cluster that lost its last pixel stays dead: its old centre attracts nothing.
            changed = (count > 0) != cells.alive[i, j]
            cells.alive[i, j] = count > 0
            if count > 0:
                for v in range(n_features + 2):
                    total = np.int64(0)
                    for k in range(9):
                        total += sums[i + k // 3 - 1, j + k % 3 - 1, v, 8 - k]
                    # Positions count from the cell of the pixel; make it this cell's.
                    if v == n_features:
                        total += pitch * down
                    if v == n_features + 1:
                        total += pitch * right
                    # Exact: the quotient of numbers below 2 ** 53 that is no whole number differs
                    # from one by more than the rounding of the division.
                    mean = np.int64(np.floor(np.float64(2 * total + count) / np.float64(2 * count)))
                    changed |= mean != centres[i, j, v]
                    centres[i, j, v] = mean
        cells.moved[i, j] = changed


@njit(nogil=True, cache=True)
def _nearest_of_five(
    tile: NDArray[np.int16],
    positions: NDArray[Any],
    weights: NDArray[Any],
    constants: NDArray[Any],
    nearest: NDArray[Any],
) -> None:
    """Least key of all candidates for each pixel of a cell; unrolled for colour images."""
    number = nearest.dtype.type
    first, second, third = tile[0], tile[1], tile[2]
    rows, columns = positions[0], positions[1]
    for p in range(nearest.size):
        v0 = number(first[p])
        v1 = number(second[p])
        v2 = number(third[p])
        v3 = number(rows[p])
        v4 = number(columns[p])
        least = number(np.iinfo(nearest.dtype).max)
        for k in range(9):
            # numba would go on with 64 bits if it were not told otherwise at every step.
            product = number(v0 * number(weights[k, 0]))
            product = number(product + number(v1 * number(weights[k, 1])))
            product = number(product + number(v2 * number(weights[k, 2])))
            product = number(product + number(v3 * number(weights[k, 3])))
            product = number(product + number(v4 * number(weights[k, 4])))
            least = min(least, number(constants[k] - number(product << 5)))
        nearest[p] = least


@njit(nogil=True, cache=True)
def _nearest(
    i: int,
    j: int,
    cells: Cells,
    weights: NDArray[Any],
    constants: NDArray[Any],
    key: NDArray[Any],
    nearest: NDArray[Any],
) -> None:
    """Least key of all candidates for each pixel of a cell."""
    tiles, positions = cells.tiles, cells.positions
    n_features = tiles.shape[2]
    for p in range(nearest.size):
        nearest[p] = np.iinfo(nearest.dtype).max
    for k in range(9):
        number = nearest.dtype.type
        row, column = number(weights[k, n_features]), number(weights[k, n_features + 1])
        for p in range(nearest.size):
            key[p] = constants[k] - 32 * (positions[0, p] * row + positions[1, p] * column)
        for f in range(n_features):
            weight = number(32 * number(weights[k, f]))
            for p in range(nearest.size):
                key[p] -= tiles[i, j, f, p] * weight
        for p in range(nearest.size):
            nearest[p] = min(nearest[p], key[p])


@njit(nogil=True, cache=True)
def _choose(i: int, pitch: int, cells: Cells) -> None:
    """Let the pixels of the cells of row `i` choose, and move those that change in the sums.

    Squared distances are compared without the square of the pixel's own values, which is the
    same for all candidates.
    """
    moved, choices, words = cells.moved, cells.choices, cells.words
    sums, centres = cells.sums, cells.centres
    n_features, n = cells.tiles.shape[2:]
    n_values = n_features + 2
    number = centres.dtype.type
    weights = np.empty((9, n_values), cells.positions.dtype)
    constants = np.empty(9, centres.dtype)
    nearest = np.empty(n, centres.dtype)
    key = np.empty(n, centres.dtype)
    fresh = np.empty(n, np.uint8)
    fresh_words = fresh.view(np.uint64)
    changed = np.empty(n + 1, np.uint64)
    for j in range(1, moved.shape[1] - 1):
        cells.touched[i, j] = False
        if not (
            moved[i - 1, j - 1]
            | moved[i - 1, j]
            | moved[i - 1, j + 1]
            | moved[i, j - 1]
            | moved[i, j]
            | moved[i, j + 1]
            | moved[i + 1, j - 1]
            | moved[i + 1, j]
            | moved[i + 1, j + 1]
        ):
            continue
        # The choice sits in the last four bits of the key, so that the least key belongs to
        # the nearest candidate and of equally near ones to that with the lowest id.
        for k in range(9):
            a, b = i + k // 3 - 1, j + k % 3 - 1
            if not cells.alive[a, b]:
                for v in range(n_values):
                    weights[k, v] = 0
                constants[k] = np.iinfo(nearest.dtype).max
                continue
            square = number(0)
            for v in range(n_features):
                c = centres[a, b, v]
                square += c * c
                weights[k, v] = c
            row = number(centres[a, b, n_features] + (k // 3 - 1) * pitch)
            column = number(centres[a, b, n_features + 1] + (k % 3 - 1) * pitch)
            weights[k, n_features] = row
            weights[k, n_features + 1] = column
            constants[k] = 16 * (square + row * row + column * column) + k
        if n_features == 3:
            _nearest_of_five(cells.tiles[i, j], cells.positions, weights, constants, nearest)
        else:
            _nearest(i, j, cells, weights, constants, key, nearest)
        for p in range(n):
            old = choices[i, j, p]
            fresh[p] = old if old == MASKED else np.uint8(nearest[p] & 15)
        n_changed = 0
        for w in range(fresh_words.size):
            if fresh_words[w] != words[i, j, w]:
                for p in range(WORD * w, WORD * (w + 1)):
                    changed[n_changed] = p
                    n_changed += fresh[p] != choices[i, j, p]
        if n_changed == 0:
            continue
        cells.touched[i, j] = True
        for v in range(n_values + 1):
            for q in range(n_changed):
                p = changed[q]
                if v < n_features:
                    value = np.int32(cells.tiles[i, j, v, p])
                elif v < n_values:
                    value = np.int32(cells.positions[v - n_features, p])
                else:
                    value = np.int32(1)
                sums[i, j, v, choices[i, j, p]] -= value
                sums[i, j, v, fresh[p]] += value
        for w in range(fresh_words.size):
            words[i, j, w] = fresh_words[w]


# A row's centres follow from the sums of the rows beside it. The first and last row of a band are
# therefore left to be updated when all bands are through; of the others the centres move as soon
# as the choices no longer need the old ones, so that an iteration passes once over the cells.


@njit(nogil=True, cache=True)
def _begin(
    start: int,
    stop: int,
    features: NDArray[np.int16],
    mask: NDArray[np.bool_],
    step: int,
    pitch: int,
    cells: Cells,
) -> None:
    """Cut out cell rows `start` to `stop` and place the centres of all but the outer two."""
    cut(start, stop, features, mask, step, cells)
    for i in range(start + 1, stop - 1):
        _update(i + 1, pitch, cells)


@njit(nogil=True, cache=True)
def _iterate(start: int, stop: int, pitch: int, cells: Cells) -> None:
    """Choices of cell rows `start` to `stop`, then the centres of all but the outer two."""
    for i in range(start, stop):
        _choose(i + 1, pitch, cells)
        if i > start + 1:
            _update(i, pitch, cells)


@njit(nogil=True, cache=True)
def _update_between(tops: NDArray[np.int64], pitch: int, cells: Cells) -> None:
    """Move the centres on both sides of where bands end, and of the first and last row."""
    rows = cells.moved.shape[0] - 2
    for t in range(tops.size):
        if tops[t] > 0:
            _update(tops[t], pitch, cells)
        # A band of a single row has its one row on either side.
        if tops[t] < rows and (t + 1 == tops.size or tops[t + 1] > tops[t] + 1):
            _update(tops[t] + 1, pitch, cells)


@njit(nogil=True, cache=True)
def _finish(
    start: int, stop: int, pitch: int, step: int, cells: Cells, ids: NDArray[np.int32]
) -> None:
    """Last choices of cell rows `start` to `stop`, written as ids."""
    for i in range(start, stop):
        _choose(i + 1, pitch, cells)
        write(i, step, cells.choices, ids)


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
    step, rows = grid.step, grid.rows
    n = -(-(step * step) // WORD) * WORD
    # Where distances fit in 32 bits, what they are made of fits in 16, which is a quarter faster.
    largest = magnitudes(features)
    is_wide = distance_bound(largest, pitch) >= 2**31
    along = (np.arange(step) * 2 + 1) * pitch // (2 * step)
    positions = np.zeros((2, n), np.int32 if is_wide else np.int16)
    positions[:, : step * step] = np.repeat(along, step), np.tile(along, step)
    ring = (rows + 2, grid.columns + 2)
    number = np.int64 if is_wide else np.int32
    choices = np.full((*ring, n), MASKED, np.uint8)
    cells = Cells(
        tiles=np.zeros((*ring, n_features, n), np.int16),
        choices=choices,
        words=choices.view(np.uint64),
        sums=np.zeros((*ring, n_features + 3, 9), sum_dtype(largest, pitch, step)),
        touched=np.ones(ring, np.bool_),
        centres=np.zeros((*ring, n_features + 2), number),
        alive=np.zeros(ring, np.bool_),
        moved=np.zeros(ring, np.bool_),
        positions=positions,
    )
    inside = np.zeros((0, 0), np.bool_) if mask is None else mask
    # Parts of about half a millisecond or more, since waking a thread costs a tenth of that, and
    # of several rows, since two of each wait for the end of the pass.
    size = max(8, 2**14 // (step * width) + 1, -(-rows // (4 * n_threads())))
    tops = np.append(np.arange(0, rows, size), rows)

    def in_bands(kernel: Callable[..., None], *args: Any) -> None:
        def some(a: int, b: int) -> None:
            for t in range(a, b):
                kernel(tops[t], tops[t + 1], *args)

        parallel_for(some, len(tops) - 1)

    in_bands(_begin, features, inside, step, pitch, cells)
    for _ in range(iterations - 1):
        _update_between(tops, pitch, cells)
        in_bands(_iterate, pitch, cells)
    _update_between(tops, pitch, cells)
    ids = np.empty((height, width), np.int32)
    in_bands(_finish, pitch, step, cells, ids)
    return ids


def magnitudes(features: NDArray[np.int16]) -> NDArray[np.int64]:
    """Greatest absolute value of each feature plane, shape (F,)."""
    found: list[tuple[int, int, int]] = []

    def some(start: int, stop: int) -> None:
        for k in range(start, stop):
            part = features[k % len(features), tops[k // len(features)]]
            found.append((k % len(features), -int(part.min()), int(part.max())))

    height, width = features.shape[1:]
    size = max(1, 2**18 // max(1, width))
    tops = [slice(top, min(top + size, height)) for top in range(0, height, size)]
    parallel_for(some, len(features) * len(tops))
    largest = np.zeros(len(features), np.int64)
    for k, *ends in found:
        largest[k] = max(largest[k], *ends)
    return largest


def distance_bound(largest: NDArray[np.int64], pitch: int) -> int:
    """Bound of what comes up in a comparison of distances, to choose the width of integers.

    Parameters
    ----------
    largest : ndarray of int64, shape (F,)
        As `magnitudes` tells.
    pitch : int
        What a distance of one step counts.

    Returns
    -------
    int
    """
    return 3 * (int((largest**2).sum()) + 2 * (3 * pitch) ** 2) * 16


def sum_dtype(largest: NDArray[np.int64], pitch: int, step: int) -> type[np.signedinteger]:
    """Integer type that holds the sum of a cell's features and positions."""
    most = max(int(largest.max(initial=0)), pitch)
    return np.int32 if most * step * step < 2**31 else np.int64
