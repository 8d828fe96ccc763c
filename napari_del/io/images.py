"""Read one two-dimensional image from a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_del.errors import NapariDelError, ReadError
from napari_del.io._image import GeoTag, Image, ImageMetadata
from napari_del.io._pictures import read_picture
from napari_del.io._tiff import read_tiff

__all__ = [
    "PICTURE_SUFFIXES",
    "TIFF_SUFFIXES",
    "GeoTag",
    "Image",
    "ImageMetadata",
    "check_input",
    "read_image",
    "read_mask",
]

TIFF_SUFFIXES = (".tif", ".tiff", ".gtif", ".btf", ".tf8", ".svs", ".ndpi", ".scn", ".lsm")
"""Suffixes of the formats read by tifffile."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Suffixes of the formats read by Pillow."""


def check_input(path: str | os.PathLike[str]) -> Path:
    """Check what can be told about an image file without reading it.

    Parameters
    ----------
    path : path-like
        File to be read later.

    Returns
    -------
    Path
        The path.

    Raises
    ------
    ReadError
        If there is no such file, it is empty, or its suffix is not one that is read.
    """
    path = Path(path)
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ReadError(f"{path} does not exist; expected an image file") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}") from error
    if stat.S_ISDIR(status.st_mode):
        raise ReadError(f"{path} is a directory; expected an image file")
    known = TIFF_SUFFIXES + PICTURE_SUFFIXES
    if path.suffix.lower() not in known:
        raise ReadError(
            f"{path} has suffix {path.suffix!r}; images are read from {', '.join(known)}"
        )
    if status.st_size == 0:
        raise ReadError(f"{path} is empty; expected an image file")
    return path


def read_image(
    path: str | os.PathLike[str],
    *,
    series: int = 0,
    select: Mapping[str, int] | None = None,
    nodata: float | None = None,
) -> Image:
    """Read an image from a TIFF, PNG or JPEG file.

    Channels come last whatever their place in the file, axes of length 1 are dropped, and
    palettes become RGB. Pixels that the file declares to be empty are excluded by the mask:
    those of the GDAL_NODATA value, of a GDAL mask page, and those of alpha 0; the alpha
    channel itself is left out. PNG and JPEG pictures are turned as their EXIF orientation
    says, so that labels match what viewers show.

    Parameters
    ----------
    path : path-like
        File to read; see `TIFF_SUFFIXES` and `PICTURE_SUFFIXES`.
    series : int
        Which of the images of a TIFF file to read, counted from 0.
    select : mapping of str to int, optional
        Position to read along each axis of a TIFF stack that is neither Y, X nor channel,
        such as ``{"Z": 3, "T": 0}``.
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
    path = check_input(path)
    try:
        if path.suffix.lower() in TIFF_SUFFIXES:
            return read_tiff(path, series=series, select=dict(select or {}), nodata=nodata)
        if series or select:
            raise ReadError(f"{path} holds a single plane; series and select are for TIFF files")
        return read_picture(path, nodata=nodata)
    except NapariDelError:
        raise
    except MemoryError as error:
        raise ReadError(f"{path} does not fit in memory") from error
    except Exception as error:  # decoders raise whatever they like on damaged files
        text = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in text:
            text += "; pip install imagecodecs"
        raise ReadError(f"{path} cannot be read: {text}") from error


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
    channels = image.data if image.data.ndim == 3 else image.data[..., np.newaxis]
    mask: npt.NDArray[np.bool_] = np.any(channels != 0, axis=-1)
    return mask if image.mask is None else mask & image.mask
