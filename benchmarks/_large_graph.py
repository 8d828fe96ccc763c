"""The region graph of an image that is never made, part by part."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del.merging.parts import EdgePart

__all__ = ["LargeGraph"]


class LargeGraph(NamedTuple):
    """About 2.9 edges a node: superpixels on a grid of `rows` x `columns` cells.

    Every cell borders on its four neighbours, and at nine of ten corners on one of two diagonal
    ones. Cells have a grey value, a field that is smooth on several scales with steps in it, and
    noise; the weight of an edge grows with the difference. All of it is hashed from positions, so
    that a part is made without the others.
    """

    rows: int
    columns: int
    rows_per_part: int = 2**18

    @property
    def n(self) -> int:
        return self.rows * self.columns

    def starts(self) -> list[int]:
        """First rows of parts of whole rows of cells, about `rows_per_part` each."""
        step = max(1, self.rows_per_part // self.columns) * self.columns
        return [*range(0, self.n, step), self.n]

    def load(self, k: int) -> EdgePart:
        start, stop = self.starts()[k : k + 2]
        edges = np.empty((4 * (stop - start), 2), np.int32)
        weights = np.empty(len(edges), np.uint32)
        lengths = np.empty(len(edges), np.int64)
        m = _fill(start, stop, self.rows, self.columns, edges, weights, lengths)
        return EdgePart(edges[:m].copy(), weights[:m].copy(), lengths[:m].copy())


@njit(nogil=True, cache=True)
def _hash(a: int, b: int) -> np.uint64:
    """The finaliser of SplitMix64 of two numbers."""
    x = np.uint64(a) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@njit(nogil=True, cache=True)
def _uniform(a: int, b: int) -> float:
    return float(_hash(a, b) >> np.uint64(11)) * 2.0**-53


@njit(nogil=True, cache=True)
def _smooth(r: int, c: int, period: int, width: int) -> float:
    """Random values at every `period`-th cell, and bilinear interpolation between them."""
    i, j = r // period, c // period
    y, x = (r % period) / period, (c % period) / period
    k = i * width + j
    top = (1 - x) * _uniform(k, period) + x * _uniform(k + 1, period)
    bottom = (1 - x) * _uniform(k + width, period) + x * _uniform(k + width + 1, period)
    return (1 - y) * top + y * bottom


@njit(nogil=True, cache=True)
def _grey(r: int, c: int, columns: int) -> float:
    width = columns + 2
    objects = np.floor(6 * _smooth(r, c, 23, width)) / 6 + _smooth(r, c, 131, width)
    return objects + 0.2 * _smooth(r, c, 5, width) + 0.05 * _uniform(r * width + c, 1)


@njit(nogil=True, cache=True)
def _fill(
    start: int,
    stop: int,
    rows: int,
    columns: int,
    edges: NDArray[np.int32],
    weights: NDArray[np.uint32],
    lengths: NDArray[np.int64],
) -> int:
    last = min(stop + columns + 1, rows * columns)
    grey = np.empty(last - start)
    for node in range(start, last):
        grey[node - start] = _grey(node // columns, node % columns, columns)
    m = 0
    for u in range(start, stop):
        r, c = u // columns, u % columns
        for v, down, across in (
            (u + 1, 0, 1),
            (u + columns - 1, 1, -1),
            (u + columns, 1, 0),
            (u + columns + 1, 1, 1),
        ):
            if r + down >= rows or not 0 <= c + across < columns:
                continue
            if down and across:
                # One of the two diagonals of a corner, or none.
                kind = _uniform(min(u, v - 1) if across == 1 else u - 1, 2)
                if not (kind < 0.45 if across == 1 else 0.45 <= kind < 0.9):
                    continue
            noise = _hash(u, down * 3 + across + 8)
            difference = abs(grey[u - start] - grey[v - start])
            difference += 0.02 * float(noise >> np.uint64(11)) * 2.0**-53
            edges[m, 0], edges[m, 1] = u, v
            weights[m] = np.uint32((1 - np.exp(-4 * difference)) * (2.0**32 - 1))
            lengths[m] = 1 + np.int64(noise % np.uint64(11))
            m += 1
    return m
