"""Colours of superpixels: what plain contrast says beside a network's embedding."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import n_threads, parallel_for
from napari_del.graph import Nodes
from napari_del.merging.region_pairs import color_scale
from napari_del.normalise import UNIT

__all__ = ["ColorMoments", "color_contrast", "color_moments", "color_sums"]

# Difference of colours, in the units of CIELAB, whose contrast is a half. Of 10, 20 and 40 the best
# on images of kinds that a network never met, see docs/models.md.
_HALF = 40.0


class ColorMoments(NamedTuple):
    """Mean colour of each superpixel, and mean square.

    Attributes
    ----------
    means, squares : ndarray of float32, shape (n, F)
        Of the features that superpixels are made of: CIELAB for colour images, else each
        channel from 0 to 100.
    """

    means: NDArray[np.float32]
    squares: NDArray[np.float32]


@njit(nogil=True, cache=True)
def _sum_up(
    image: NDArray[np.int32],
    plane: NDArray[np.int16],
    sums: NDArray[np.int64],
    squares: NDArray[np.int64],
) -> None:
    for y in range(image.shape[0]):
        current = image[y, 0]
        total = square = np.int64(0)
        for x in range(image.shape[1]):
            node = image[y, x]
            # Neighbours in a row mostly are of one node: their sum stays in a register.
            if node != current:
                sums[current] += total
                squares[current] += square
                current = node
                total = square = np.int64(0)
            value = np.int64(plane[y, x])
            total += value
            square += value * value
        sums[current] += total
        squares[current] += square


def color_sums(
    features: NDArray[np.int16], nodes: Nodes
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums over each superpixel of its features and of their squares.

    Parameters
    ----------
    features : ndarray of int16, shape (F, Y, X)
        See `napari_del.normalise.NormalisedImage`.
    nodes : Nodes
        Superpixels.

    Returns
    -------
    sums, squares : ndarray of int64, shape (n, F)
    """
    planes, n = len(features), nodes.ids.size
    # Bands of rows, so that one plane of a grey image keeps all threads busy.
    height = nodes.image.shape[0]
    bands = min(n_threads(), height)
    rows = [height * band // bands for band in range(bands + 1)]
    sums = np.zeros((bands, planes, n + 1), np.int64)
    squares = np.zeros_like(sums)

    def run(start: int, stop: int) -> None:
        for part in range(start, stop):
            band, plane = divmod(part, planes)
            own = slice(rows[band], rows[band + 1])
            _sum_up(nodes.image[own], features[plane, own], sums[band, plane], squares[band, plane])

    parallel_for(run, bands * planes)
    return sums.sum(axis=0)[:, 1:].T, squares.sum(axis=0)[:, 1:].T


def color_moments(
    sums: NDArray[np.int64], squares: NDArray[np.int64], sizes: NDArray[np.int64]
) -> ColorMoments:
    """Mean colour of each superpixel, and mean square.

    Parameters
    ----------
    sums, squares : ndarray of int64, shape (n, F)
        As `color_sums` gives them.
    sizes : ndarray of int64, shape (n,)
        Pixels of each superpixel.

    Returns
    -------
    ColorMoments
    """
    pixels = sizes[:, np.newaxis].astype(np.float64)
    return ColorMoments(
        np.ascontiguousarray((sums / (pixels * UNIT)).astype(np.float32)),
        np.ascontiguousarray((squares / (pixels * UNIT**2)).astype(np.float32)),
    )


def color_contrast(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float64]:
    """Contrast of mean colours: their difference e as e / (e + 40), from 0 to 1.

    Parameters
    ----------
    first, second : ndarray of float32, shape (m, F)
        Mean colours of the two superpixels of each edge.

    Returns
    -------
    ndarray of float64, shape (m,)
        Of CIELAB colours e is the distance, CIE 1976; of other channels their root mean square
        difference.
    """
    difference = first.astype(np.float64) - second
    size = color_scale(first.shape[1]) * np.sqrt((difference**2).sum(axis=1))
    contrast: NDArray[np.float64] = size / (size + _HALF)
    return contrast
