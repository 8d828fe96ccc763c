"""What the iterations of SLIC on the CPU know of each grid cell: out of the image and back.

All that an iteration needs of a cell lies together. Arrays of cells have a ring of empty cells
around them, so that no kernel asks whether a neighbour exists: cell (i, j) is at
[i + 1, j + 1].
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["MASKED", "WORD", "Cells", "cut", "write"]

MASKED = 255
# Pixels of a cell are compared by this many at a time.
WORD = 8


class Cells(NamedTuple):
    """What the iterations know of each cell; n pixels a cell, those beyond the image masked."""

    tiles: NDArray[np.int16]
    """Features, shape (rows + 2, columns + 2, F, n)."""
    choices: NDArray[np.uint8]
    """Choices of pixels, shape (rows + 2, columns + 2, n)."""
    words: NDArray[np.uint64]
    """The same memory as `choices`, eight pixels in one number."""
    sums: NDArray[Any]
    """Features, positions, count of pixels by choice, shape (rows + 2, columns + 2, F + 3, 9)."""
    touched: NDArray[np.bool_]
    """Whether the sums changed since they were last used, shape (rows + 2, columns + 2)."""
    centres: NDArray[Any]
    """Features and position, shape (rows + 2, columns + 2, F + 2)."""
    alive: NDArray[np.bool_]
    """Whether the cell's cluster has pixels, shape (rows + 2, columns + 2)."""
    moved: NDArray[np.bool_]
    """Whether the last update moved the centre, shape (rows + 2, columns + 2)."""
    positions: NDArray[Any]
    """Position of each pixel within its cell, shape (2, n); of a type that centres fit in too."""


@njit(nogil=True, cache=True)
def cut(
    start: int,
    stop: int,
    features: NDArray[np.int16],
    mask: NDArray[np.bool_],
    step: int,
    cells: Cells,
) -> None:
    """Cut rows of cells out of the image; each pixel first chooses its own cell.

    Where the image cuts a cell to less than half a step, its pixels choose the cell before it,
    so that slivers get no seed of their own.
    """
    n_features, height, width = features.shape
    rows, columns = cells.moved.shape[0] - 2, cells.moved.shape[1] - 2
    tiles, choices = cells.tiles, cells.choices
    flat = features.ravel()
    # Of each pixel of a cell from the cell's first: short loops along rows take twice as long.
    offsets = np.empty(step * step, np.uint64)
    for p in range(step * step):
        offsets[p] = p // step * width + p % step
    for i in range(start, stop):
        tall = min(step, height - i * step)
        above = rows > 1 and 2 * tall < step
        for j in range(columns):
            wide = min(step, width - j * step)
            before = columns > 1 and 2 * wide < step
            k = np.uint8(4 - 3 * above - before)
            if tall == step and wide == step:
                for f in range(n_features):
                    first = np.uint64((f * height + i * step) * width + j * step)
                    for p in range(offsets.size):
                        tiles[i + 1, j + 1, f, p] = flat[first + offsets[p]]
                for p in range(offsets.size):
                    choices[i + 1, j + 1, p] = k
            else:
                for y in range(tall):
                    for x in range(wide):
                        choices[i + 1, j + 1, y * step + x] = k
                        for f in range(n_features):
                            tiles[i + 1, j + 1, f, y * step + x] = features[
                                f, i * step + y, j * step + x
                            ]
            if mask.size > 0:
                for y in range(tall):
                    for x in range(wide):
                        if not mask[i * step + y, j * step + x]:
                            choices[i + 1, j + 1, y * step + x] = MASKED
            _sum_up(i + 1, j + 1, k, cells)


@njit(nogil=True, cache=True)
def _sum_up(i: int, j: int, k: int, cells: Cells) -> None:
    """Sum up a cell whose pixels all make choice `k`."""
    n_features, n = cells.tiles.shape[2:]
    count = 0
    for p in range(n):
        count += cells.choices[i, j, p] != MASKED
    cells.sums[i, j, n_features + 2, k] = count
    for f in range(n_features):
        total = 0
        for p in range(n):
            total += cells.tiles[i, j, f, p] * np.int32(cells.choices[i, j, p] != MASKED)
        cells.sums[i, j, f, k] = total
    for v in range(2):
        total = 0
        for p in range(n):
            total += cells.positions[v, p] * np.int32(cells.choices[i, j, p] != MASKED)
        cells.sums[i, j, n_features + v, k] = total


@njit(nogil=True, cache=True)
def write(i: int, step: int, choices: NDArray[np.uint8], ids: NDArray[np.int32]) -> None:
    """Write the id of the chosen cluster, 1 + its cell's index, and 0 where masked."""
    height, width = ids.shape
    columns = choices.shape[1] - 2
    beside = np.empty(9, np.int32)
    for k in range(9):
        beside[k] = 1 + (k // 3 - 1) * columns + (k % 3 - 1)
    for y in range(i * step, min((i + 1) * step, height)):
        for j in range(columns):
            own = np.int32(i * columns + j)
            for x in range(min(step, width - j * step)):
                k = choices[i + 1, j + 1, (y - i * step) * step + x]
                ids[y, j * step + x] = 0 if k == MASKED else own + beside[k]
