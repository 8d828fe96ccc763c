"""From choices of clusters to superpixels in one piece.

The pixels of a cluster lie within 3 x 3 cells, so whether they hang together is a local
matter. The largest 4-connected component of each cluster keeps its id (on a tie the one whose
first pixel comes first in raster order). The pixels of all other components are given away
from their rims inwards: in each of 2 * step rounds, a pixel that touches superpixels joins the
one that holds most of its four neighbours (on a tie the lowest id). In noise, where fragments
lie among fragments, this leaves no splinters. Pixels that no superpixel reached, which takes a
mask around them, become superpixels of their own, numbered after their first pixel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import n_threads, parallel_for
from napari_del.superpixels.grid import Grid

__all__ = ["connect"]


@njit(nogil=True, cache=True)
def _root(parent: NDArray[np.int32], p: int) -> int:
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = parent[p]
    return p


@njit(nogil=True, cache=True)
def _join(parent: NDArray[np.int32], p: int, q: int) -> None:
    p = _root(parent, p)
    q = _root(parent, q)
    if p < q:
        parent[q] = p
    else:
        parent[p] = q


@njit(nogil=True, cache=True)
def _components(
    start: int, stop: int, ids: NDArray[np.int32], width: int, parent: NDArray[np.int32]
) -> None:
    """Connect pixels of rows `start` to `stop`; the root of a component is its first pixel."""
    for y in range(start, stop):
        for x in range(width):
            p = y * width + x
            here = ids[p]
            left = x > 0 and ids[p - 1] == here
            parent[p] = parent[p - 1] if left else p
            if y > start and ids[p - width] == here:
                if not left:
                    parent[p] = _root(parent, p - width)
                elif ids[p - width - 1] != here:
                    _join(parent, p, p - width)


@njit(nogil=True, cache=True)
def _components_across(
    y: int, ids: NDArray[np.int32], width: int, parent: NDArray[np.int32]
) -> None:
    """Connect row `y` to the row above it."""
    for p in range(y * width, (y + 1) * width):
        if ids[p] == ids[p - width]:
            _join(parent, p, p - width)


@njit(nogil=True, cache=True)
def _flatten(start: int, stop: int, parent: NDArray[np.int32]) -> None:
    for p in range(start, stop):
        q = p
        while parent[q] != q:
            q = parent[q]
        parent[p] = q


@njit(nogil=True, cache=True)
def _split_clusters(
    ids: NDArray[np.int32], parent: NDArray[np.int32], n_cells: int
) -> NDArray[np.int32]:
    """List the components of clusters that have several, by first pixel, and number them.

    The number s of such a component takes the place of its first pixel's parent, as ``-1 - s``.
    """
    n = 0
    for p in range(ids.size):
        if parent[p] == p:
            n += 1
    roots = np.empty(n, np.int32)
    n = 0
    for p in range(ids.size):
        if parent[p] == p:
            roots[n] = p
            n += 1
    pieces = np.zeros(n_cells + 1, np.int32)
    for r in range(n):
        pieces[ids[roots[r]]] += 1
    pieces[0] = 0  # what is masked has no superpixel
    n_split = 0
    for r in range(n):
        p = roots[r]
        if pieces[ids[p]] > 1:
            parent[p] = -1 - n_split
            roots[n_split] = p
            n_split += 1
    return roots[:n_split]


@njit(nogil=True, cache=True)
def _component(parent: NDArray[np.int32], p: int) -> int:
    """Number of the pixel's component, or -1 if its cluster is in one piece."""
    q = parent[p]
    if q >= 0:
        q = parent[q]
    return -1 - q if q < 0 else -1


@njit(nogil=True, cache=True)
def _sizes(start: int, stop: int, parent: NDArray[np.int32], n: int) -> NDArray[np.int64]:
    """Pixels of each numbered component among pixels `start` to `stop`."""
    sizes = np.zeros(n, np.int64)
    for p in range(start, stop):
        s = _component(parent, p)
        if s >= 0:
            sizes[s] += 1
    return sizes


@njit(nogil=True, cache=True)
def _is_fragment(
    ids: NDArray[np.int32], roots: NDArray[np.int32], sizes: NDArray[np.int64], n_cells: int
) -> NDArray[np.bool_]:
    """Whether each numbered component is another than the one that keeps its cluster's id."""
    kept = np.full(n_cells + 1, -1, np.int32)
    for s in range(roots.size):  # in raster order, so that only a larger component takes over
        u = ids[roots[s]]
        if kept[u] < 0 or sizes[s] > sizes[kept[u]]:
            kept[u] = s
    fragment = np.ones(roots.size, np.bool_)
    fragment[kept[kept >= 0]] = False
    return fragment


@njit(nogil=True, cache=True)
def _loose_pixels(
    start: int, stop: int, parent: NDArray[np.int32], fragment: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """Pixels of fragments among pixels `start` to `stop`."""
    n = 0
    for p in range(start, stop):
        s = _component(parent, p)
        if s >= 0 and fragment[s]:
            n += 1
    pixels = np.empty(n, np.int32)
    n = 0
    for p in range(start, stop):
        s = _component(parent, p)
        if s >= 0 and fragment[s]:
            pixels[n] = p
            n += 1
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
    ids = clusters.reshape(-1)
    rows = max(1, 2**16 // width)
    parent = np.empty(ids.size, np.int32)
    band = max(rows, -(-height // (4 * n_threads())))
    tops = range(0, height, band)
    parallel_for(
        lambda a, b: [
            _components(tops[t], min(tops[t] + band, height), ids, width, parent)
            for t in range(a, b)
        ],
        len(tops),
    )
    for top in tops[1:]:
        _components_across(top, ids, width, parent)
    parallel_for(lambda a, b: _flatten(a, b, parent), ids.size, grain=2**17)
    roots = _split_clusters(ids, parent, grid.n_cells)
    if roots.size:
        parts: dict[int, NDArray[Any]] = {}

        def count(start: int, stop: int) -> None:
            parts[start] = _sizes(start, stop, parent, roots.size)

        def collect(start: int, stop: int) -> None:
            parts[start] = _loose_pixels(start, stop, parent, fragment)

        parallel_for(count, ids.size, grain=2**17)
        fragment = _is_fragment(ids, roots, np.sum(list(parts.values()), axis=0), grid.n_cells)
        parts.clear()
        parallel_for(collect, ids.size, grain=2**17)
        pixels = np.concatenate([parts[start] for start in sorted(parts)])
        _dissolve(pixels, ids, grid.step, height, width, grid.n_cells)
    return clusters
