"""Numbers of superpixels, painted on the image by a table."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import parallel_for

__all__ = ["look_up"]

Id = TypeVar("Id", np.int32, np.int64)


def look_up(
    image: NDArray[np.int32], numbers: NDArray[Id], out: NDArray[Id] | None = None
) -> NDArray[Id]:
    """Give each superpixel of an image its number.

    Parameters
    ----------
    image : ndarray of int32, shape (Y, X)
        1 + row of each pixel, 0 where masked.
    numbers : ndarray of int32 or int64, shape (n,)
        Of each row.
    out : ndarray of the type of `numbers`, shape (Y, X), optional
        Array to write to.

    Returns
    -------
    ndarray of the type of `numbers`, shape (Y, X)
        0 where masked.
    """
    table = np.concatenate([np.zeros(1, numbers.dtype), numbers])
    found = np.empty(image.shape, numbers.dtype) if out is None else out
    parallel_for(
        lambda a, b: _look_up(a, b, image, table, found),
        image.shape[0],
        grain=max(1, 2**16 // max(1, image.shape[1])),
    )
    return found


@njit(nogil=True, cache=True)
def _look_up(
    start: int,
    stop: int,
    image: NDArray[np.int32],
    table: NDArray[Id],
    out: NDArray[Id],
) -> None:
    for y in range(start, stop):
        for x in range(image.shape[1]):
            out[y, x] = table[image[y, x]]
