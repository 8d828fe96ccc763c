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

from napari_del._threads import parallel_for
from napari_del.superpixels.grid import Grid

__all__ = ["MASKED", "assign"]

MASKED = 255
# Pixels of a cell are worked on in strips of rows that stay in the first-level cache.
_STRIP = 512


@njit(nogil=True, cache=True)
def _begin(
    start: int,
    stop: int,
    features: NDArray[np.int16],
    mask: NDArray[np.bool_],
    step: int,
    offsets: NDArray[np.int32],
    choices: NDArray[np.uint8],
    sums: NDArray[Any],
) -> None:
    """Let each pixel choose its own cell, to begin with.

    Where the image cuts a cell to less than half a step, its pixels choose the cell before it,
    so that slivers get no seed of their own.
    """
    n_features, height, width = features.shape
    for i in range(start, stop):
        y0, y1 = i * step, min((i + 1) * step, height)
        above = i > 0 and 2 * (y1 - y0) < step
        for j in range(sums.shape[1]):
            x0, x1 = j * step, min((j + 1) * step, width)
            before = j > 0 and 2 * (x1 - x0) < step
            k = (1 if above else 4) - (1 if before else 0)
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if mask.size == 0 or mask[y, x]:
                        choices[y, x] = k
                        for f in range(n_features):
                            sums[i, j, k, f] += features[f, y, x]
                        sums[i, j, k, n_features] += offsets[y - y0]
                        sums[i, j, k, n_features + 1] += offsets[x - x0]
                        sums[i, j, k, n_features + 2] += 1


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
                    if 0 <= i + di < rows and 0 <= j + dj < columns:
                        part = sums[i + di, j + dj, 3 * (1 - di) + (1 - dj)]
                        if part[n_values] > 0:
                            for v in range(n_values):
                                total[v] += part[v]
                            # Positions count from the cell of the pixel; make it this cell's.
                            total[n_values - 2] += np.int64(di) * pitch * part[n_values]
                            total[n_values - 1] += np.int64(dj) * pitch * part[n_values]
                            count += part[n_values]
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
    n: int,
    values: NDArray[Any],
    weights: NDArray[Any],
    constants: NDArray[Any],
    nearest: NDArray[Any],
) -> None:
    """Least key of all candidates for each of `n` pixels; unrolled for colour images."""
    v0, v1, v2, v3, v4 = values[0], values[1], values[2], values[3], values[4]
    for p in range(n):
        a0, a1, a2, a3, a4 = v0[p], v1[p], v2[p], v3[p], v4[p]
        least = nearest.dtype.type(np.iinfo(nearest.dtype).max)
        for k in range(9):
            key = nearest.dtype.type(
                constants[k]
                + a0 * weights[k, 0]
                + a1 * weights[k, 1]
                + a2 * weights[k, 2]
                + a3 * weights[k, 3]
                + a4 * weights[k, 4]
            )
            least = key if key < least else least
        nearest[p] = least


@njit(nogil=True, cache=True)
def _nearest(
    n: int,
    values: NDArray[Any],
    weights: NDArray[Any],
    constants: NDArray[Any],
    key: NDArray[Any],
    nearest: NDArray[Any],
) -> None:
    """Least key of all candidates for each of `n` pixels."""
    for p in range(n):
        nearest[p] = np.iinfo(nearest.dtype).max
    for k in range(9):
        for p in range(n):
            key[p] = constants[k]
        for v in range(values.shape[0]):
            line = values[v]
            weight = weights[k, v]
            for p in range(n):
                key[p] += line[p] * weight
        for p in range(n):
            nearest[p] = min(nearest[p], key[p])


@njit(nogil=True, cache=True)
def _assign(
    start: int,
    stop: int,
    features: NDArray[np.int16],
    step: int,
    offsets: NDArray[np.int32],
    pitch: int,
    centres: NDArray[np.int32],
    counts: NDArray[np.int64],
    moved: NDArray[np.bool_],
    choices: NDArray[np.uint8],
    sums: NDArray[Any],
    strip: NDArray[Any],
    last: bool,
) -> None:
    """Let the pixels of cell rows `start` to `stop` choose, and move those that change in the sums.

    Squared distances are compared without the square of the pixel's own values, which is the
    same for all candidates. `strip` gives their dtype and how many pixels to take at a time.
    Sums are not needed after the `last` assignment.
    """
    n_features, height, width = features.shape
    rows, columns = counts.shape
    n_values = n_features + 2
    values = np.empty((n_values, strip.size), strip.dtype)
    key = np.empty(strip.size, strip.dtype)
    nearest = np.empty(strip.size, strip.dtype)
    weights = np.empty((9, n_values), strip.dtype)
    constants = np.empty(9, strip.dtype)
    strip_top, strip_size, strip_width = -1, -1, -1
    for i in range(start, stop):
        y0, y1 = i * step, min((i + 1) * step, height)
        for j in range(columns):
            stale = False
            for a in range(max(i - 1, 0), min(i + 2, rows)):
                for b in range(max(j - 1, 0), min(j + 2, columns)):
                    if moved[a, b]:
                        stale = True
            if not stale:
                continue
            x0, x1 = j * step, min((j + 1) * step, width)
            w = x1 - x0
            # The choice sits in the last four bits of the key, so that the least key belongs to
            # the nearest candidate and of equally near ones to that with the lowest id.
            for k in range(9):
                a = i + k // 3 - 1
                b = j + k % 3 - 1
                for v in range(n_values):
                    weights[k, v] = 0
                if a < 0 or a >= rows or b < 0 or b >= columns or counts[a, b] == 0:
                    constants[k] = np.iinfo(strip.dtype).max
                    continue
                constants[k] = k
                for v in range(n_values):
                    c = np.int64(centres[a, b, v])
                    if v == n_features:
                        c += (a - i) * pitch
                    elif v == n_features + 1:
                        c += (b - j) * pitch
                    constants[k] += 16 * c * c
                    weights[k, v] = -32 * c
            strip_rows = max(1, strip.size // w)
            for top in range(y0, y1, strip_rows):
                bottom = min(top + strip_rows, y1)
                n = (bottom - top) * w
                for f in range(n_features):
                    p = 0
                    for y in range(top, bottom):
                        for x in range(w):
                            values[f, p + x] = features[f, y, x0 + x]
                        p += w
                # Positions are the same in all cells but those that the border cuts.
                if top - y0 != strip_top or n != strip_size or w != strip_width:
                    strip_top, strip_size, strip_width = top - y0, n, w
                    p = 0
                    for y in range(top, bottom):
                        for x in range(w):
                            values[n_features, p + x] = offsets[y - y0]
                            values[n_features + 1, p + x] = offsets[x]
                        p += w
                if n_values == 5:
                    _nearest_of_five(n, values, weights, constants, nearest)
                else:
                    _nearest(n, values, weights, constants, key, nearest)
                p = 0
                for y in range(top, bottom):
                    for x in range(x0, x1):
                        old = choices[y, x]
                        new = np.uint8(nearest[p] & 15)
                        if new != old and old != MASKED:
                            choices[y, x] = new
                            if not last:
                                for v in range(n_values):
                                    sums[i, j, old, v] -= values[v, p]
                                    sums[i, j, new, v] += values[v, p]
                                sums[i, j, old, n_values] -= 1
                                sums[i, j, new, n_values] += 1
                        p += 1


def assign(
    features: NDArray[np.int16],
    mask: NDArray[np.bool_] | None,
    grid: Grid,
    pitch: int,
    iterations: int,
) -> NDArray[np.uint8]:
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
    ndarray of uint8, shape (Y, X)
        3 * (di + 1) + (dj + 1) for a pixel that chose the cluster of the cell di rows below
        and dj columns to the right of its own; 255 where masked.
    """
    n_features, height, width = features.shape
    step = grid.step
    offsets = ((np.arange(step) * 2 + 1) * pitch // (2 * step)).astype(np.int32)
    wide = distance_bound(features, pitch) >= 2**31
    number = np.int64 if wide else np.int32
    sums = np.zeros((grid.rows, grid.columns, 9, n_features + 3), sum_dtype(features, pitch, step))
    centres = np.zeros((grid.rows, grid.columns, n_features + 2), np.int32)
    counts = np.zeros((grid.rows, grid.columns), np.int64)
    moved = np.zeros((grid.rows, grid.columns), np.bool_)
    choices = np.full((height, width), MASKED, np.uint8)
    inside = np.empty((0, 0), np.bool_) if mask is None else mask
    strip = np.empty(max(_STRIP, step), number)

    grain = max(1, 2**14 // (step * width) + 1)
    parallel_for(
        lambda a, b: _begin(a, b, features, inside, step, offsets, choices, sums),
        grid.rows,
        grain=grain,
    )
    for iteration in range(iterations):
        parallel_for(
            lambda a, b: _update(a, b, sums, pitch, centres, counts, moved),
            grid.rows,
            grain=grain,
        )
        parallel_for(
            partial(
                _assign,
                features=features,
                step=step,
                offsets=offsets,
                pitch=pitch,
                centres=centres,
                counts=counts,
                moved=moved,
                choices=choices,
                sums=sums,
                strip=strip,
                last=iteration == iterations - 1,
            ),
            grid.rows,
            grain=grain,
        )
    return choices


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
