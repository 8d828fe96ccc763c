"""Read one two-dimensional image from a file into memory."""

from __future__ import annotations

import os
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from napari_del.io._image import GeoTag, Image, ImageMetadata
from napari_del.io._planes import nonzero
from napari_del.io.lazy import open_image, reading

__all__ = ["GeoTag", "Image", "ImageMetadata", "read_image", "read_mask"]


def read_image(
    path: str | os.PathLike[str],
    *,
    series: int = 0,
    select: Mapping[str, int] | None = None,
    nodata: float | None = None,
) -> Image:
    """Read an image from a TIFF, PNG, JPEG, zarr or .npy file into memory.

    Channels come last whatever their place in the file, axes of length 1 are dropped, and
    palettes become RGB. Pixels that the file declares to be empty are excluded by the mask:
    those of the GDAL_NODATA value, of a GDAL mask page, and those of alpha 0; the alpha
    channel itself is left out. PNG and JPEG pictures are turned as their EXIF orientation
    says, so that labels match what viewers show.

    Parameters
    ----------
    path : path-like
        File to read; see `napari_del.io.open_image`, which reads the same formats by parts.
    series : int
        Which of the images of a file to read, counted from 0.
    select : mapping of str to int, optional
        Position to read along each axis of a stack that is neither Y, X nor channel, such as
        ``{"Z": 3, "T": 0}``.
    nodata : float, optional
        Exclude pixels that have this value in every channel, in place of the value that the
        file declares.

    Returns
    -------
    Image
        Pixels, mask and geometry.

    Raises
    ------
    ReadError
        If the file is missing, damaged, of an unknown format, or holds a stack of which no
        plane is selected.

    Examples
    --------
    >>> import tempfile, tifffile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(folder + "/cells.tif", np.zeros((3, 20, 30), np.uint16),
    ...                      imagej=True, metadata={"axes": "CYX"})
    ...     read_image(folder + "/cells.tif").data.shape
    (20, 30, 3)
    """
    with reading(path):
        return open_image(path, series=series, select=select, nodata=nodata, whole=True).load()


def read_mask(path: str | os.PathLike[str]) -> npt.NDArray[np.bool_]:
    """Read a mask from an image file: True where any channel differs from 0.

    Parameters
    ----------
    path : path-like
        File to read, as for `read_image`.

    Returns
    -------
    ndarray of bool
        Shape (Y, X).

    Raises
    ------
    ReadError
        As `read_image`.
    """
    image = read_image(path)
    mask = nonzero(image.data)
    return mask if image.mask is None else mask & image.mask
