"""One-to-one matching of nearby pixels at minimum cost."""

from __future__ import annotations

import heapq

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["match_pixels"]

# Distances are compared as integers, in hundredths of a pixel.
SCALE = 100
# To leave a pixel alone costs as much as this many pairs at the greatest distance, so that
# hardly ever a pixel is left alone that could be matched.
ALONE = 100
FAR = np.int64(1) << 60


def match_pixels(
    first: NDArray[np.integer], second: NDArray[np.integer], distance: float, n_second: int
) -> NDArray[np.int32]:
    """Match pixels one to one within a distance, as many as possible, at least total distance.

    Parameters
    ----------
    first : integer array, shape (n, 2)
        Pixels (y, x).
    second : int32 array, shape (Y, X)
        The number of each pixel of the other set from 0, and -1 elsewhere.
    distance : float
        Greatest Euclidean distance of a pair, in pixels.
    n_second : int
        Number of pixels in `second`.

    Returns
    -------
    int32 array, shape (n,)
        For each pixel of `first` the number of its partner, or -1.
    """
    radius = int(distance)
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    lengths = np.hypot(y, x)
    near = lengths <= distance
    costs = np.rint(SCALE * lengths[near]).astype(np.int64)
    order = np.argsort(costs, kind="stable")
    offsets = np.stack([y[near], x[near]], axis=1)[order].astype(np.int64)
    alone = max(int(SCALE * ALONE * distance), 1)
    starts, partners, prices = _candidates(
        first.astype(np.int64), second.astype(np.int32), offsets, costs[order]
    )
    pairs: NDArray[np.int32] = _assign(starts, partners, prices, n_second, alone)
    return pairs


@njit(nogil=True, cache=True)
def _candidates(
    first: NDArray[np.int64],
    second: NDArray[np.int32],
    offsets: NDArray[np.int64],
    costs: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Pairs within reach, in compressed rows; those of a row by ascending cost."""
    n = first.shape[0]
    height, width = second.shape
    starts = np.zeros(n + 1, np.int64)
    partners = np.empty(0, np.int32)
    prices = np.empty(0, np.int64)
    for fill in range(2):  # once to count, once to write
        if fill:
            partners = np.empty(starts[n], np.int32)
            prices = np.empty(starts[n], np.int64)
        k = 0
        for i in range(n):
            for o in range(offsets.shape[0]):
                y = first[i, 0] + offsets[o, 0]
                x = first[i, 1] + offsets[o, 1]
                if 0 <= y < height and 0 <= x < width and second[y, x] >= 0:
                    if fill:
                        partners[k] = second[y, x]
                        prices[k] = costs[o]
                    k += 1
            starts[i + 1] = k
    return starts, partners, prices


@njit(nogil=True, cache=True)
def _assign(
    starts: NDArray[np.int64],
    partners: NDArray[np.int32],
    prices: NDArray[np.int64],
    n_columns: int,
    alone: int,
) -> NDArray[np.int32]:
    """Assignment of rows to columns at least cost, `alone` being the cost of an open row.

    Shortest augmenting paths with potentials (Jonker and Volgenant, 1987). A search ends where
    it meets a free column, or a row that had better stay alone; the potentials see to it that
    searches stay short also where rows compete for too few columns.
    """
    n = starts.size - 1
    row_potential = np.empty(n, np.int64)
    column_potential = np.zeros(n_columns, np.int64)
    row_of = np.full(n_columns, -1, np.int32)
    column_of = np.full(n, -1, np.int32)
    for i in range(n):
        row_potential[i] = alone
        if starts[i] < starts[i + 1]:
            row_potential[i] = min(alone, prices[starts[i]])  # the nearest comes first
            for e in range(starts[i], starts[i + 1]):
                if prices[e] > row_potential[i]:
                    break
                if row_of[partners[e]] < 0:
                    row_of[partners[e]] = i
                    column_of[i] = partners[e]
                    break

    length = np.full(n_columns, FAR, np.int64)
    previous = np.empty(n_columns, np.int32)
    settled = np.zeros(n_columns, np.bool_)
    seen = np.empty(n_columns, np.int32)
    order = np.empty(n_columns, np.int32)
    heap = [np.int64(0)]
    for root in range(n):
        if column_of[root] >= 0 or starts[root] == starts[root + 1]:
            continue
        heap.clear()
        n_seen = 0
        n_settled = 0
        row = np.int32(root)
        here = np.int64(0)
        least_alone = FAR
        open_row = row
        column = np.int32(-1)
        while True:
            if here + alone - row_potential[row] < least_alone:
                least_alone = here + alone - row_potential[row]
                open_row = row
            for e in range(starts[row], starts[row + 1]):
                j = partners[e]
                to = here + prices[e] - row_potential[row] - column_potential[j]
                if not settled[j] and to < length[j] and to < least_alone:
                    if length[j] == FAR:
                        seen[n_seen] = j
                        n_seen += 1
                    length[j] = to
                    previous[j] = row
                    heapq.heappush(heap, to * n_columns + j)
            column = np.int32(-1)
            while len(heap) > 0:
                top = heapq.heappop(heap)
                j = np.int32(top % n_columns)
                # An entry is stale where a shorter way was found after it.
                if not settled[j] and length[j] == top // n_columns:
                    column = j
                    break
            if column < 0 or length[column] >= least_alone:
                column = np.int32(-1)
                break
            if row_of[column] < 0:
                break
            settled[column] = True
            order[n_settled] = column
            n_settled += 1
            here = length[column]
            row = row_of[column]

        end = least_alone if column < 0 else length[column]
        row_potential[root] += end
        for k in range(n_settled):
            j = order[k]
            column_potential[j] -= end - length[j]
            row_potential[row_of[j]] += end - length[j]
        if column < 0 and open_row != root:
            column = column_of[open_row]
            column_of[open_row] = -1
        while column >= 0:  # give each column on the way back to the row before it
            row = previous[column]
            before = column_of[row]
            column_of[row] = column
            row_of[column] = row
            column = np.int32(-1) if row == root else before
        for k in range(n_seen):
            length[seen[k]] = FAR
            settled[seen[k]] = False
    return column_of
