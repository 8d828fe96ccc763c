"""Natural images of any size, out of the photographs that come with scikit-image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage import data

__all__ = ["natural_image"]


def natural_image(height: int, width: int) -> NDArray[np.uint8]:
    """RGB picture of shape (height, width, 3): photographs side by side, mirrored in turn."""
    photographs = [data.coffee(), data.rocket(), data.astronaut(), data.chelsea()]
    tile_height = min(photograph.shape[0] for photograph in photographs)
    tile_width = min(photograph.shape[1] for photograph in photographs)
    rows = []
    number = 0
    for i in range(-(-height // tile_height)):
        row = []
        for j in range(-(-width // tile_width)):
            tile = photographs[number % 4][:tile_height, :tile_width]
            row.append(tile[:: -1 if i % 2 else 1, :: -1 if j % 2 else 1])
            number += 1
        rows.append(np.concatenate(row, axis=1))
        number += 1  # so that columns differ where a row holds a multiple of four
    return np.ascontiguousarray(np.concatenate(rows)[:height, :width])
