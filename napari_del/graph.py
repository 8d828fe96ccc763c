"""The region adjacency graph of superpixels and the dissimilarity of neighbours.

Superpixels are nodes, numbered from 0 in ascending order of id. Two of them are adjacent if a
pixel of one is a 4-neighbour of a pixel of the other. Lengths and sums are integers, so that
they add up in any order.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._look_up import look_up
from napari_del._threads import n_threads, parallel_for
from napari_del.merging import to_fixed

__all__ = [
    "BOUNDARY_SCALE",
    "AdjacencyGraph",
    "Nodes",
    "adjacency",
    "count_ids",
    "dissimilarity",
    "number_nodes",
]

# Fixed point of boundary probabilities: 1.0 becomes this.
BOUNDARY_SCALE = 2**15


@dataclass(frozen=True)
class Nodes:
    """Superpixels as the nodes of a graph.

    Attributes
    ----------
    image : ndarray of int32, shape (Y, X)
        1 + node of each pixel, 0 where masked.
    ids : ndarray of int32 or int64, shape (n,)
        Superpixel id of each node, ascending.
    sizes : ndarray of int64, shape (n,)
        Pixels of each node.
    """

    image: NDArray[np.int32]
    ids: NDArray[np.int32] | NDArray[np.int64]
    sizes: NDArray[np.int64]


def number_nodes(superpixels: NDArray[np.int32]) -> Nodes:
    """Number superpixels without gaps, in the order of their ids.

    Parameters
    ----------
    superpixels : ndarray of int32, shape (Y, X)
        Ids, 0 where masked.

    Returns
    -------
    Nodes
        Shares memory with `superpixels` where its ids have no gaps.
    """
    counts = np.zeros(int(superpixels.max(initial=0)) + 1, np.int64)
    count_ids(superpixels, counts)
    counts[0] = 0
    ids = np.flatnonzero(counts).astype(np.int32)
    sizes = counts[ids]
    if ids.size and ids[-1] == ids.size:
        return Nodes(superpixels, ids, sizes)
    number = np.zeros(counts.size - 1, np.int32)
    number[ids - 1] = np.arange(1, ids.size + 1, dtype=np.int32)
    return Nodes(look_up(superpixels, number), ids, sizes)


def count_ids(superpixels: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
    """Add the pixels of each id; `numpy.bincount` would first copy the image as 64-bit integers."""
    lock = threading.Lock()

    def some(start: int, stop: int) -> None:
        own = np.zeros_like(counts)
        _count(superpixels[start:stop], own)
        with lock:
            counts[...] += own

    if n_threads() == 1:
        _count(superpixels, counts)
    else:
        height, width = superpixels.shape
        parallel_for(some, height, grain=max(-(-height // n_threads()), 2**19 // max(1, width)))


@njit(nogil=True, cache=True)
def _count(superpixels: NDArray[np.int32], counts: NDArray[np.int64]) -> None:
    for y in range(superpixels.shape[0]):
        for x in range(superpixels.shape[1]):
            counts[superpixels[y, x]] += 1


@dataclass(frozen=True)
class AdjacencyGraph:
    """Edges between adjacent superpixels, sorted by their two nodes.

    Attributes
    ----------
    edges : ndarray of int32, shape (m, 2)
        Nodes u < v.
    lengths : ndarray of int64, shape (m,)
        Length of the common border: the number of pairs of 4-neighbours across it.
    boundary_sums : ndarray of int64, shape (m,), or None
        Boundary probability, summed over both pixels of each pair, in units of
        ``1 / BOUNDARY_SCALE``.
    """

    edges: NDArray[np.int32]
    lengths: NDArray[np.int64]
    boundary_sums: NDArray[np.int64] | None

    def boundary(self) -> NDArray[np.float64] | None:
        """Mean boundary probability along each edge, shape (m,), or None."""
        if self.boundary_sums is None:
            return None
        return self.boundary_sums / (2.0 * BOUNDARY_SCALE * np.maximum(self.lengths, 1))


@njit(nogil=True, cache=True)
def _find_pairs(
    start: int,
    stop: int,
    columns: int,
    image: NDArray[np.int32],
    boundary: NDArray[Any],
    stride: int,
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    weight: NDArray[np.int32],
    counts: NDArray[np.int32],
) -> int:
    """Write the nodes of each pair of rows `start` to `stop` and the row below, and the boundary.

    The left or upper pixel of a pair lies in the first `columns` columns. `counts` has the pairs
    of each lower node; how many there are in all is returned.
    """
    height, width = image.shape
    with_boundary = weight.size > 0
    k = 0
    for y in range(start, stop):
        row = image[y]
        # Pixels at the end of the image are their own neighbours beyond it.
        below = image[min(y + 1, height - 1)]
        for x in range(columns):
            a, right, down = row[x], row[min(x + 1, width - 1)], below[x]
            if a == 0 or (right == a and down == a):
                continue
            for side in range(2):
                b = down if side else right
                if b == a or b == 0:
                    continue
                u = min(a, b) - 1
                low[k] = u
                high[k] = max(a, b) - 1
                counts[u] += 1
                if with_boundary:
                    weight[k] = (
                        boundary[y // stride, x // stride]
                        + boundary[(y + side) // stride, (x + 1 - side) // stride]
                    )
                k += 1
    return k


@njit(nogil=True, cache=True)
def _group_pairs(
    n: int,
    low: NDArray[np.int32],
    high: NDArray[np.int32],
    weight: NDArray[np.int32],
    position: NDArray[np.int64],
    other: NDArray[np.int32],
    weights: NDArray[np.int32],
) -> None:
    """Write the higher node of each of `n` pairs, and its weight, to the lower node's part."""
    with_boundary = weight.size > 0
    for k in range(n):
        u = low[k]
        p = position[u]
        other[p] = high[k]
        if with_boundary:
            weights[p] = weight[k]
        position[u] = p + 1


@njit(nogil=True, cache=True)
def _merge_pairs(
    start: int,
    stop: int,
    offsets: NDArray[np.int64],
    other: NDArray[np.int32],
    weight: NDArray[np.int32],
    lengths: NDArray[np.int64],
    sums: NDArray[np.int64],
    degree: NDArray[np.int64],
) -> None:
    """Reduce the pairs of nodes `start` to `stop` to one entry a neighbour, sorted, in place."""
    with_boundary = weight.size > 0
    for u in range(start, stop):
        first = offsets[u]
        n = 0
        for p in range(first, offsets[u + 1]):
            v = other[p]
            w = np.int64(weight[p]) if with_boundary else np.int64(0)
            # Neighbours are few and mostly the one just met; entries stay sorted.
            s = first + n
            while s > first and other[s - 1] > v:
                s -= 1
            if s > first and other[s - 1] == v:
                lengths[s - 1] += 1
                sums[s - 1] += w
                continue
            for t in range(first + n, s, -1):
                other[t] = other[t - 1]
                lengths[t] = lengths[t - 1]
                sums[t] = sums[t - 1]
            other[s] = v
            lengths[s] = 1
            sums[s] = w
            n += 1
        degree[u] = n


@njit(nogil=True, cache=True)
def _gather(
    start: int,
    stop: int,
    offsets: NDArray[np.int64],
    starts: NDArray[np.int64],
    other: NDArray[np.int32],
    lengths: NDArray[np.int64],
    sums: NDArray[np.int64],
    edges: NDArray[np.int32],
    out_lengths: NDArray[np.int64],
    out_sums: NDArray[np.int64],
) -> None:
    for u in range(start, stop):
        for t in range(starts[u + 1] - starts[u]):
            e = starts[u] + t
            edges[e, 0] = u
            edges[e, 1] = other[offsets[u] + t]
            out_lengths[e] = lengths[offsets[u] + t]
            out_sums[e] = sums[offsets[u] + t]


def adjacency(
    nodes: Nodes,
    boundary: NDArray[np.uint16] | None = None,
    *,
    stride: int = 1,
    inner: tuple[int, int] | None = None,
) -> AdjacencyGraph:
    """Find all pairs of adjacent superpixels.

    Parameters
    ----------
    nodes : Nodes
        Superpixels.
    boundary : ndarray of uint16, shape (at least Y / stride, X / stride), optional
        Boundary probability in units of ``1 / BOUNDARY_SCALE``.
    stride : int
        Pixels of the image for one of `boundary`, in each direction.
    inner : tuple of int, optional
        Only pairs whose left or upper pixel lies in the first so many rows and columns count;
        of a part of an image, those that no other part counts. By default all.

    Returns
    -------
    AdjacencyGraph
        Edges, the lengths of common borders, and the sums of `boundary` along them.
    """
    n = nodes.ids.size
    # Each band of rows has pairs of its own, and places of its own among those of a node.
    height, columns = nodes.image.shape if inner is None else inner
    bands = min(n_threads(), height)
    rows = [height * band // bands for band in range(bands + 1)]
    probability = np.empty((0, 0), np.int32) if boundary is None else boundary
    counts = np.zeros((bands, n), np.int32)
    found: list[tuple[int, NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]]
    found = [(0, *np.empty((3, 0), np.int32))] * bands

    def find(first: int, last: int) -> None:
        for k in range(first, last):
            # Room for the most that there may be; what is not used takes no memory.
            most = 2 * (rows[k + 1] - rows[k]) * columns
            low, high = np.empty(most, np.int32), np.empty(most, np.int32)
            weight = np.empty(0 if boundary is None else most, np.int32)
            size = _find_pairs(
                rows[k],
                rows[k + 1],
                columns,
                nodes.image,
                probability,
                stride,
                low,
                high,
                weight,
                counts[k],
            )
            found[k] = size, low, high, weight

    parallel_for(find, bands)
    offsets = np.zeros(n + 1, np.int64)
    np.cumsum(counts.sum(axis=0, dtype=np.int64), out=offsets[1:])
    places = offsets[:-1] + np.cumsum(counts, axis=0, dtype=np.int64) - counts
    n_pairs = int(offsets[-1])
    other = np.empty(n_pairs, np.int32)
    weight = np.empty(0 if boundary is None else n_pairs, np.int32)
    parallel_for(
        lambda a, b: [_group_pairs(*found[k], places[k], other, weight) for k in range(a, b)],
        bands,
    )
    found.clear()
    lengths = np.empty(n_pairs, np.int64)
    sums = np.empty(n_pairs, np.int64)
    degree = np.zeros(n, np.int64)
    parallel_for(
        lambda a, b: _merge_pairs(a, b, offsets, other, weight, lengths, sums, degree),
        n,
        grain=2**10,
    )
    starts = np.concatenate([[0], np.cumsum(degree)])
    m = int(starts[-1])
    edges = np.empty((m, 2), np.int32)
    edge_lengths = np.empty(m, np.int64)
    edge_sums = np.empty(m, np.int64)
    parallel_for(
        lambda a, b: _gather(
            a, b, offsets, starts, other, lengths, sums, edges, edge_lengths, edge_sums
        ),
        n,
        grain=2**12,
    )
    return AdjacencyGraph(edges, edge_lengths, None if boundary is None else edge_sums)


@njit(nogil=True, cache=True)
def _distances(
    start: int,
    stop: int,
    edges: NDArray[np.int32],
    embeddings: NDArray[np.float32],
    out: NDArray[np.float64],
) -> None:
    for e in range(start, stop):
        u, v = edges[e]
        total = 0.0
        for c in range(embeddings.shape[1]):
            total += abs(np.float64(embeddings[u, c]) - np.float64(embeddings[v, c]))
        out[e] = np.tanh(total / 2)


def dissimilarity(edges: NDArray[np.int32], embeddings: NDArray[np.float32]) -> NDArray[np.uint32]:
    r"""Dissimilarity of adjacent superpixels, d = 1 - 2 / (1 + exp(||v_i - v_j||_1)).

    Parameters
    ----------
    edges : ndarray of int32, shape (m, 2)
        Pairs of nodes.
    embeddings : ndarray of float32, shape (n, D)
        Mean embedding of each node.

    Returns
    -------
    ndarray of uint32, shape (m,)
        Fixed point as in `napari_del.merging`: 0 to 2**32 - 1 for 0 to 1.

    References
    ----------
    Liu et al., "DEL: Deep Embedding Learning for Efficient Image Segmentation", IJCAI 2018.
    """
    out = np.empty(edges.shape[0], np.float64)
    # 1 - 2 / (1 + exp(x)) = tanh(x / 2), which keeps its digits where x is small.
    parallel_for(lambda a, b: _distances(a, b, edges, embeddings, out), out.size, grain=2**12)
    return to_fixed(out)
