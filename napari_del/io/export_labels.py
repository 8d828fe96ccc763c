"""Label images of any size: tiled TIFF and OME-Zarr, written window by window."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_del.errors import OutputError
from napari_del.io._image import ImageMetadata
from napari_del.io._windows import Window, in_order, read, side_of, windows

if TYPE_CHECKING:
    import zarr

__all__ = ["label_range", "write_ome_zarr", "write_tiles"]

Progress = Callable[[int, int], object]

# Side of the tiles of a TIFF file and of the chunks of OME-Zarr, in pixels.
TILE = 512
CHUNK = 1024
# Names of units in OME-Zarr; what is not among them is written without a unit.
_UNITS = {
    "pm": "picometer",
    "Å": "angstrom",
    "nm": "nanometer",
    "µm": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "dm": "decimeter",
    "m": "meter",
    "km": "kilometer",
    "in": "inch",
    "ft": "foot",
}


class _Labels:
    """Windows of a label image in the type of the file, checked, and told to `progress`."""

    def __init__(
        self, labels: Any, dtype: np.dtype[Any], highest: int, progress: Progress | None, total: int
    ) -> None:
        self.array = labels
        self.shape: tuple[int, int] = (int(labels.shape[0]), int(labels.shape[1]))
        self.dtype = dtype
        self._highest = highest
        self._progress = progress
        self._total = total
        self._done = 0

    def read(self, window: Window, step: int = 1) -> NDArray[Any]:
        """A window of every `step`-th pixel of the image."""
        index = tuple(slice(s.start * step, s.stop * step, step) for s in window)
        part = read(self.array, index)
        low, high = int(part.min()), int(part.max())
        if low < 0 or high > self._highest:
            raise OutputError(f"labels run from {low} to {high}; expected 0 to {self._highest}")
        return part.astype(self.dtype, copy=False)

    def tell(self, pixels: int) -> None:
        """So many pixels more are computed."""
        self._done += pixels
        if self._progress is not None:
            self._progress(self._done, self._total)


def label_range(labels: Any) -> tuple[int, int]:
    """Lowest and highest label of an image that is gone through window by window."""

    def ends(window: Window) -> tuple[int, int]:
        part = read(labels, window)
        return int(part.min()), int(part.max())

    found = list(in_order(ends, windows(labels.shape[:2], side_of(labels, 1))))
    return min(low for low, _ in found), max(high for _, high in found)


def levels(shape: tuple[int, int], side: int) -> list[tuple[int, int]]:
    """Shapes of a pyramid of every second pixel, down to one that fits in a square."""
    found = [shape]
    while max(found[-1]) > side:
        y, x = found[-1]
        found.append((-(-y // 2), -(-x // 2)))
    return found


def write_tiles(
    writer: tifffile.TiffWriter,
    labels: Any,
    dtype: np.dtype[Any],
    highest: int,
    *,
    pyramid: bool,
    progress: Progress | None,
    **arguments: Any,
) -> None:
    """Write a label image as tiles, and a pyramid of it as SubIFDs.

    Parameters
    ----------
    writer : TiffWriter
        Where to.
    labels : array, shape (Y, X)
        numpy or dask array, read by windows. For each level of the pyramid it is read again,
        with a step.
    dtype : dtype
        Of the file.
    highest : int
        Highest label that is allowed.
    pyramid : bool
        Whether to add levels of every second pixel, until one fits in a tile.
    progress : callable or None
        Called as ``progress(done, total)`` with numbers of pixels.
    **arguments
        For `tifffile.TiffWriter.write`, of the full size.
    """
    shapes = levels((labels.shape[0], labels.shape[1]), TILE) if pyramid else [labels.shape]
    source = _Labels(labels, dtype, highest, progress, sum(y * x for y, x in shapes))
    for level, shape in enumerate(shapes):
        own = {**arguments, "subifds": len(shapes) - 1} if level == 0 else {"subfiletype": 1}
        writer.write(
            _tiles(source, shape, 2**level),
            shape=shape,
            dtype=dtype,
            tile=(TILE, TILE),
            photometric="minisblack",
            compression="zlib",
            software=False,
            **{"metadata": None, **own},
        )


def _tiles(source: _Labels, shape: tuple[int, int], step: int) -> Iterator[bytes]:
    """Compressed tiles of a level in the order of the file: one row of windows is held."""
    side = max(TILE, side_of(source.array, TILE * step) // step)

    def compress(window: Window) -> list[list[bytes]]:
        part = source.read(window, step)
        return [[_tile(part[y:, x:]) for x in _starts(part, 1)] for y in _starts(part, 0)]

    row: list[list[list[bytes]]] = []
    places = windows(shape, side)
    for window, found in zip(places, in_order(compress, places), strict=True):
        row.append(found)
        # Before its tiles: nobody asks for more once the last tile is there.
        source.tell((window[0].stop - window[0].start) * (window[1].stop - window[1].start))
        if window[1].stop == shape[1]:
            for line in range(len(row[0])):
                for part in row:
                    yield from part[line]
            row = []


def _starts(part: NDArray[Any], axis: int) -> range:
    return range(0, part.shape[axis], TILE)


def _tile(part: NDArray[Any]) -> bytes:
    """The first tile of a part, whole also where the image ends."""
    part = part[:TILE, :TILE]
    tile = np.zeros((TILE, TILE), part.dtype)
    tile[: part.shape[0], : part.shape[1]] = part
    return zlib.compress(tile.tobytes())


def write_ome_zarr(
    folder: Path,
    labels: Any,
    dtype: np.dtype[Any],
    highest: int,
    metadata: ImageMetadata,
    *,
    progress: Progress | None,
) -> None:
    """Write a label image with a pyramid as OME-Zarr 0.5.

    Every level has every second pixel of the one before, so no label is made up.

    Parameters
    ----------
    folder : Path
        Folder that does not exist.
    labels : array, shape (Y, X)
        numpy or dask array, read once by windows.
    dtype : dtype
        Of the arrays.
    highest : int
        Highest label that is allowed.
    metadata : ImageMetadata
        For the size of pixels.
    progress : callable or None
        Called as ``progress(done, total)`` with numbers of pixels.
    """
    import zarr  # takes long, and most labels are written as TIFF

    shapes = levels((labels.shape[0], labels.shape[1]), CHUNK)
    size = metadata.pixel_size or (1.0, 1.0)
    unit = _UNITS.get(metadata.unit or "") if metadata.pixel_size is not None else None
    axes = [
        {"name": name, "type": "space", **({} if unit is None else {"unit": unit})} for name in "yx"
    ]
    datasets = [
        {
            "path": str(level),
            "coordinateTransformations": [
                {"type": "scale", "scale": [length * 2**level for length in size]}
            ],
        }
        for level in range(len(shapes))
    ]
    multiscale = {"name": "labels", "axes": axes, "datasets": datasets, "type": "nearest"}
    group = zarr.create_group(
        folder,
        zarr_format=3,
        attributes={"ome": {"version": "0.5", "multiscales": [multiscale], "image-label": {}}},
    )
    source = _Labels(labels, dtype, highest, progress, sum(y * x for y, x in shapes))
    before: zarr.Array[Any] | None = None
    for level, shape in enumerate(shapes):
        array = group.create_array(
            str(level), shape=shape, dtype=dtype, chunks=(CHUNK, CHUNK), dimension_names=["y", "x"]
        )
        _fill(array, source, before)
        before = array


def _fill(array: zarr.Array[Any], source: _Labels, before: zarr.Array[Any] | None) -> None:
    """Write a level: the image itself, or every second pixel of the level before."""

    def copy(window: Window) -> int:
        if before is None:
            part = source.read(window)
        else:
            y, x = (slice(2 * s.start, 2 * s.stop, 2) for s in window)
            part = np.asarray(before[y, x])
        array[window] = part
        return part.size

    side = side_of(source.array, CHUNK) if before is None else CHUNK
    for pixels in in_order(copy, windows((array.shape[0], array.shape[1]), side)):
        source.tell(pixels)
