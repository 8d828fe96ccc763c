"""Natural images of any size, out of the photographs that come with scikit-image."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from skimage import data

__all__ = ["natural_image", "natural_rows"]


@cache
def _photographs() -> list[NDArray[np.uint8]]:
    """Photographs, cropped to one shape."""
    photographs = [data.coffee(), data.rocket(), data.astronaut(), data.chelsea()]
    height = min(photograph.shape[0] for photograph in photographs)
    width = min(photograph.shape[1] for photograph in photographs)
    return [photograph[:height, :width] for photograph in photographs]


def natural_image(height: int, width: int) -> NDArray[np.uint8]:
    """RGB picture of shape (height, width, 3): photographs side by side, mirrored in turn."""
    return natural_rows(0, height, width)


def natural_rows(first: int, stop: int, width: int) -> NDArray[np.uint8]:
    """Rows `first` to ``stop - 1`` of a picture of any height."""
    photographs = _photographs()
    tile_height, tile_width = photographs[0].shape[:2]
    columns = -(-width // tile_width)
    rows = []
    for i in range(first // tile_height, -(-stop // tile_height)):
        row = []
        for j in range(columns):
            # One is left out after each row, so that columns differ where a row holds a
            # multiple of four.
            tile = photographs[(i * (columns + 1) + j) % 4]
            row.append(tile[:: -1 if i % 2 else 1, :: -1 if j % 2 else 1])
        top = i * tile_height
        part = slice(max(0, first - top), min(stop - top, tile_height))
        rows.append(np.concatenate([tile[part] for tile in row], axis=1)[:, :width])
    return np.concatenate(rows)
