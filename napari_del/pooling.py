"""Sums of embeddings over superpixels, in fixed point, and their means."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import n_threads, parallel_for

__all__ = ["EMBEDDING_SCALE", "mean_embedding", "pool"]

# Fixed point of embeddings: 1.0 becomes this; values beyond +-16 are clipped.
EMBEDDING_SCALE = 2**11

# Of the loops below only the innermost are long. They go over views of one dimension, which the
# compiler turns into wide instructions, as it does not with indices that might be negative.


@njit(nogil=True, cache=True)
def _to_fixed(values: NDArray[Any], scale: np.float32, fixed: NDArray[np.int32]) -> None:
    """Round to fixed point of 16 bits, half to even, clipped."""
    low, high = np.float32(-(2**15)), np.float32(2**15 - 1)
    for c in range(fixed.size):
        value = values[c] * scale
        value = value if value > low else low
        value = value if value < high else high
        fixed[c] = np.int32(np.rint(value))


@njit(nogil=True, cache=True)
def _add(total: NDArray[Any], weight: np.int32, values: NDArray[np.int32]) -> None:
    for c in range(values.size):
        total[c] += weight * values[c]


@njit(nogil=True, cache=True)
def _pool(
    start: int,
    stop: int,
    image: NDArray[np.int32],
    values: NDArray[Any],
    rows: int,
    columns: int,
    pitch: int,
    width: int,
    scale: np.float32,
    stride: int,
    sums: NDArray[Any],
) -> None:
    """Add channels `start` to `stop` of all pixels to the sums of their nodes.

    `values` lie one after another, `width` from a pixel to the next and `pitch` from a row to the
    next. What follows in a row and belongs to one node is summed up on its own first, in 32 bits,
    which 65,536 pixels of 16 bits cannot exceed.
    """
    height, length = image.shape
    run = np.zeros(stop - start, np.int32)
    fixed = np.zeros(stop - start, np.int32)
    once = np.int32(1)
    for i in range(rows):
        y0, y1 = i * stride, min((i + 1) * stride, height)
        current = np.int32(0)
        pixels = 0
        for j in range(columns):
            x0, x1 = j * stride, min((j + 1) * stride, length)
            node = image[y0, x0]
            uniform = True
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if image[y, x] != node:
                        uniform = False
            first = i * pitch + j * width
            _to_fixed(values[first + start : first + stop], scale, fixed)
            if uniform:
                if node != current or pixels > 32768:
                    if current > 0:
                        _add(sums[current - 1, start:stop], once, run)
                    run[:] = 0
                    current, pixels = node, 0
                pixels += (y1 - y0) * (x1 - x0)
                _add(run, np.int32((y1 - y0) * (x1 - x0)), fixed)
            else:
                for y in range(y0, y1):
                    for x in range(x0, x1):
                        here = image[y, x]
                        share = np.int32(0)
                        for v in range(y0, y1):
                            for u in range(x0, x1):
                                if image[v, u] == here:
                                    if share == 0 and (v < y or (v == y and u < x)):
                                        share = np.int32(-1)  # counted at that pixel
                                    if share >= 0:
                                        share += np.int32(1)
                        if here > 0 and share > 0:
                            _add(sums[here - 1, start:stop], share, fixed)
        if current > 0:
            _add(sums[current - 1, start:stop], once, run)
        run[:] = 0


def pool(
    image: NDArray[np.int32],
    embedding: NDArray[np.float32] | NDArray[np.int16],
    stride: int,
    sums: NDArray[np.int64] | NDArray[np.int32],
) -> None:
    """Add the embeddings of pixels to the sums of their nodes, in fixed point.

    Parameters
    ----------
    image : ndarray of int32, shape (H, W)
        1 + node of each pixel, 0 where masked.
    embedding : ndarray of float32 or int16, shape (ceil(H / stride), ceil(W / stride), D)
        Output of `run_window`.
    stride : int
        Pixels of the image for one of `embedding`, in each direction.
    sums : ndarray of int64, shape (n, D)
        In units of ``1 / EMBEDDING_SCALE``; changed in place. Where no node has more than 65,536
        pixels it may be of int32.
    """
    rows, columns, channels = embedding.shape
    size: int = embedding.itemsize
    given: NDArray[Any] = embedding
    if embedding.strides[2] != size:
        given = np.ascontiguousarray(embedding)
    pitch, width = given.strides[0] // size, given.strides[1] // size
    length = (rows - 1) * pitch + (columns - 1) * width + channels
    values = np.lib.stride_tricks.as_strided(given, (length,), (size,), writeable=False)
    scale = np.float32(1 if embedding.dtype == np.int16 else EMBEDDING_SCALE)
    # Threads share the channels: each has columns of `sums` to itself.
    share = -(-channels // n_threads())

    def some(a: int, b: int) -> None:
        start, stop = a * share, min(b * share, channels)
        _pool(start, stop, image, values, rows, columns, pitch, width, scale, stride, sums)

    parallel_for(some, -(-channels // share))


def mean_embedding(
    sums: NDArray[np.int64], scale: int, sizes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Means of fixed-point sums.

    Parameters
    ----------
    sums : ndarray of int64, shape (n, D)
        In units of ``1 / scale``.
    scale : int
        Fixed point.
    sizes : ndarray of int64, shape (n,)
        Pixels of each node.

    Returns
    -------
    ndarray of float32, shape (n, D)
    """
    means = np.empty(sums.shape, np.float32)

    parallel_for(
        lambda a, b: _divide(a, b, sums, float(scale), sizes, means), len(means), grain=1024
    )
    return means


@njit(nogil=True, cache=True)
def _divide(
    start: int,
    stop: int,
    sums: NDArray[Any],
    scale: float,
    sizes: NDArray[np.int64],
    means: NDArray[np.float32],
) -> None:
    for k in range(start, stop):
        row, mean, size = sums[k], means[k], sizes[k] * scale
        for c in range(mean.size):
            mean[c] = np.float32(row[c] / size)
