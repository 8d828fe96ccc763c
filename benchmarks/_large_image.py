"""Natural images of up to gigapixels, as zarr arrays on disk."""

from __future__ import annotations

import math
from pathlib import Path

import zarr
from zarr.codecs import ZstdCodec

from benchmarks._images import natural_rows

__all__ = ["large_image", "shape_of_megapixels"]

_CHUNK = 1024


def shape_of_megapixels(megapixels: float) -> tuple[int, int]:
    """Height and width of a nearly square image; its sides are multiples of nothing."""
    height = round(math.sqrt(megapixels * 1e6))
    return height, round(megapixels * 1e6 / height)


def large_image(folder: Path, megapixels: float) -> Path:
    """Folder of a zarr array of uint8, shape (Y, X, 3), that is written if it is not there.

    It is written row of chunks by row of chunks, and never in memory as a whole.
    """
    height, width = shape_of_megapixels(megapixels)
    path = folder / f"natural-{height}x{width}.zarr"
    if path.exists():
        return path
    # Under its name only when it is whole.
    unfinished = folder / f".{path.name}"
    array = zarr.create_array(
        unfinished,
        shape=(height, width, 3),
        dtype="u1",
        chunks=(_CHUNK, _CHUNK, 3),
        compressors=ZstdCodec(level=1),
        overwrite=True,
    )
    for first in range(0, height, _CHUNK):
        stop = min(first + _CHUNK, height)
        array[first:stop] = natural_rows(first, stop, width)
    return unfinished.rename(path)
