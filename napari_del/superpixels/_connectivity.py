"""From choices of clusters to superpixels in one piece.

The pixels of a cluster lie within 3 x 3 cells, so whether they hang together is a local
matter. The largest 4-connected component of each cluster keeps its id (on a tie the one whose
first pixel comes first in raster order). The pixels of all other components are given away
from their rims inwards: in each of 2 * step rounds, a pixel that touches superpixels joins the
one that holds most of its four neighbours (on a tie the lowest id). In noise, where fragments
lie among fragments, this leaves no splinters. Pixels that no superpixel reached, which takes a
mask around them, become superpixels of their own, numbered after their first pixel.

Components are found among runs, the longest stretches of a row within one cluster, of which
there are far fewer than pixels. Run r reaches from pixel begins[r] to begins[r + 1].
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import n_threads, parallel_for
from napari_del.superpixels.grid import Grid

__all__ = ["connect"]


@njit(nogil=True, cache=True)
def _count_runs(start: int, stop: int, ids: NDArray[np.int32], runs: NDArray[np.int64]) -> None:
    """Number of runs of rows `start` to `stop`, at ``runs[y + 1]``."""
    for y in range(start, stop):
        n = 1
        for x in range(ids.shape[1] - 1):
            n += ids[y, x] != ids[y, x + 1]
        runs[y + 1] = n


@njit(nogil=True, cache=True)
def _join(parent: NDArray[np.int32], r: int, s: int) -> None:
    """Join the components of two runs; the root of a component is its first run."""
    while parent[r] != r:
        parent[r] = parent[parent[r]]
        r = parent[r]
    while parent[s] != s:
        parent[s] = parent[parent[s]]
        s = parent[s]
    if r < s:
        parent[s] = r
    else:
        parent[r] = s


@njit(nogil=True, cache=True)
def _join_above(
    y: int,
    width: int,
    first: NDArray[np.int64],
    begins: NDArray[np.int32],
    labels: NDArray[np.int32],
    parent: NDArray[np.int32],
) -> None:
    """Join the runs of row `y` with those of the row above it."""
    r, s = first[y - 1], first[y]
    while r < first[y] and s < first[y + 1]:
        if labels[r] == labels[s]:
            _join(parent, r, s)
        above, here = begins[r + 1] + width, begins[s + 1]
        r += above <= here
        s += here <= above


@njit(nogil=True, cache=True)
def _runs(
    start: int,
    stop: int,
    ids: NDArray[np.int32],
    first: NDArray[np.int64],
    begins: NDArray[np.int32],
    labels: NDArray[np.int32],
    parent: NDArray[np.int32],
) -> None:
    """List the runs of rows `start` to `stop` and join those of one component."""
    width = ids.shape[1]
    # Of the pixels of a row, those where a run begins, and what follows the last of them.
    at, of = np.empty(width + 1, np.int32), np.empty(width + 1, np.int32)
    for y in range(start, stop):
        n = 0
        before = np.int32(-1)
        for x in range(width):
            # Every pixel is written, and kept if it begins a run: where runs are short, processors
            # guess branches wrong too often.
            here = ids[y, x]
            at[n] = x
            of[n] = here
            n += here != before
            before = here
        r = first[y]
        for k in range(n):
            begins[r + k] = y * width + at[k]
            labels[r + k] = of[k]
            parent[r + k] = r + k
        # The last run of this row has no end before the next row begins.
        begins[r + n] = (y + 1) * width
        if y > start:
            _join_above(y, width, first, begins, labels, parent)


@njit(nogil=True, cache=True)
def _fragments(
    begins: NDArray[np.int32],
    labels: NDArray[np.int32],
    parent: NDArray[np.int32],
    n_cells: int,
) -> NDArray[np.int32]:
    """Pixels outside the components that keep their cluster's id, in raster order."""
    n = labels.size
    sizes = np.zeros(n, np.int32)
    for r in range(n):
        # Parents come first, and their own are roots by now.
        root = parent[parent[r]]
        parent[r] = root
        sizes[root] += begins[r + 1] - begins[r]
    kept = np.full(n_cells + 1, -1, np.int32)
    for r in range(n):  # in raster order, so that only a larger component takes over
        if parent[r] == r:
            u = labels[r]
            if kept[u] < 0 or sizes[r] > sizes[kept[u]]:
                kept[u] = r
    count = 0
    for r in range(n):
        if labels[r] > 0 and parent[r] != kept[labels[r]]:
            count += begins[r + 1] - begins[r]
    pixels = np.empty(count, np.int32)
    count = 0
    for r in range(n):
        if labels[r] > 0 and parent[r] != kept[labels[r]]:
            for p in range(begins[r], begins[r + 1]):
                pixels[count] = p
                count += 1
    return pixels


@njit(nogil=True, cache=True)
def _dissolve(
    pixels: NDArray[np.int32],
    ids: NDArray[np.int32],
    step: int,
    height: int,
    width: int,
    n_cells: int,
) -> None:
    """Give the pixels of fragments to the superpixels around them; both arrays are changed."""
    n = pixels.size
    cluster = ids[pixels]
    ids[pixels] = -1
    given = np.empty(n, np.int32)
    beside = np.empty(4, np.int32)
    for _ in range(2 * step):
        if n == 0:
            break
        for s in range(n):
            p = pixels[s]
            y = p // width
            x = p - y * width
            beside[0] = ids[p - width] if y > 0 else 0
            beside[1] = ids[p - 1] if x > 0 else 0
            beside[2] = ids[p + 1] if x < width - 1 else 0
            beside[3] = ids[p + width] if y < height - 1 else 0
            best = np.int32(-1)
            most = 0
            for a in range(4):
                if beside[a] > 0:
                    votes = 0
                    for b in range(4):
                        if beside[b] == beside[a]:
                            votes += 1
                    if votes > most or (votes == most and beside[a] < best):
                        most = votes
                        best = beside[a]
            given[s] = best
        left = 0
        for s in range(n):
            if given[s] > 0:
                ids[pixels[s]] = given[s]
            else:
                pixels[left] = pixels[s]
                cluster[left] = cluster[s]
                left += 1
        n = left
    # What no superpixel reached: pieces of one cluster become superpixels of their own.
    for s in range(n):
        ids[pixels[s]] = -cluster[s]
    stack = np.empty(n, np.int32)
    for s in range(n):
        first = pixels[s]
        if ids[first] > 0:
            continue
        own = ids[first]
        number = np.int32(n_cells + 1 + first)
        ids[first] = number
        stack[0] = first
        depth = 1
        while depth > 0:
            depth -= 1
            p = stack[depth]
            y = p // width
            x = p - y * width
            for side in range(4):
                if side == 0 and y > 0:
                    q = p - width
                elif side == 1 and x > 0:
                    q = p - 1
                elif side == 2 and x < width - 1:
                    q = p + 1
                elif side == 3 and y < height - 1:
                    q = p + width
                else:
                    continue
                if ids[q] == own:
                    ids[q] = number
                    stack[depth] = q
                    depth += 1


def connect(clusters: NDArray[np.int32], grid: Grid) -> NDArray[np.int32]:
    """Make each cluster one 4-connected superpixel.

    Parameters
    ----------
    clusters : ndarray of int32, shape (Y, X)
        Cluster of each pixel, 1 + the index of its cell in raster order, 0 where masked;
        C-contiguous. It is changed and returned.
    grid : Grid
        Grid of seeds.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        Ids: 1 + index of the cell in raster order; above the number of cells for pixels cut
        off from every such superpixel; 0 where masked.
    """
    height, width = clusters.shape
    first = np.zeros(height + 1, np.int64)
    parallel_for(
        lambda a, b: _count_runs(a, b, clusters, first), height, grain=max(1, 2**18 // width)
    )
    np.cumsum(first, out=first)
    begins = np.empty(first[-1] + 1, np.int32)
    labels = np.empty(first[-1], np.int32)
    parent = np.empty(first[-1], np.int32)
    band = max(1, 2**16 // width, -(-height // (4 * n_threads())))
    tops = range(0, height, band)
    parallel_for(
        lambda a, b: [
            _runs(top, min(top + band, height), clusters, first, begins, labels, parent)
            for top in tops[a:b]
        ],
        len(tops),
    )
    for top in tops[1:]:
        _join_above(top, width, first, begins, labels, parent)
    pixels = _fragments(begins, labels, parent, grid.n_cells)
    if pixels.size:
        _dissolve(pixels, clusters.reshape(-1), grid.step, height, width, grid.n_cells)
    return clusters
