"""Open images of any size, of which parts are read when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_del.errors import NapariDelError, ReadError
from napari_del.io._arrays import open_npy, open_zarr
from napari_del.io._image import OpenImage
from napari_del.io._nodata import valid_pixels
from napari_del.io._pictures import read_picture
from napari_del.io._planes import Both, Converted, nonzero
from napari_del.io._tiff import open_tiff

__all__ = [
    "ARRAY_SUFFIXES",
    "PICTURE_SUFFIXES",
    "TIFF_SUFFIXES",
    "OpenImage",
    "check_input",
    "open_image",
    "open_mask",
    "reading",
]

TIFF_SUFFIXES = (".tif", ".tiff", ".gtif", ".btf", ".tf8", ".svs", ".ndpi", ".scn", ".lsm")
"""Suffixes of the formats read by tifffile."""

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
"""Suffixes of the formats read by Pillow."""

ARRAY_SUFFIXES = (".zarr", ".npy")
"""Suffixes of plain arrays: zarr and OME-Zarr folders, and files of NumPy."""

# Any of these lies in a folder that holds a zarr array or group.
_ZARR_FILES = ("zarr.json", ".zarray", ".zgroup")


def check_input(path: str | os.PathLike[str]) -> Path | str:
    """Check what can be told about an image file without reading it.

    Parameters
    ----------
    path : path-like
        File, zarr folder or URL of one, to be read later.

    Returns
    -------
    Path, or str for a URL
        The path.

    Raises
    ------
    ReadError
        If there is no such file, it is empty, or its suffix is not one that is read.
    """
    if "://" in str(path):
        return str(path)
    path = Path(path)
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        raise ReadError(f"{path} does not exist; expected an image file") from None
    except OSError as error:
        raise ReadError(f"{path} cannot be read: {error.strerror}") from error
    if path.is_dir():
        if any((path / name).is_file() for name in _ZARR_FILES):
            return path
        raise ReadError(f"{path} is a directory; expected an image file or a zarr folder")
    known = TIFF_SUFFIXES + PICTURE_SUFFIXES + ARRAY_SUFFIXES
    if path.suffix.lower() not in known:
        raise ReadError(
            f"{path} has suffix {path.suffix!r}; images are read from {', '.join(known)}"
        )
    if size == 0:
        raise ReadError(f"{path} is empty; expected an image file")
    return path


def open_image(
    path: str | os.PathLike[str],
    *,
    series: int = 0,
    select: Mapping[str, int] | None = None,
    nodata: float | None = None,
    whole: bool = False,
) -> OpenImage:
    """Open an image of any size; its pixels are read by parts.

    Channels come last whatever their place in the file, axes of length 1 are dropped, and
    palettes become RGB. Pixels that the file declares to be empty are excluded: those of the
    GDAL_NODATA value, of a GDAL mask page, and those of alpha 0; the alpha channel itself is
    left out.

    Formats are TIFF and those built on it (`TIFF_SUFFIXES`), of which the chunks that are
    needed are decoded, or which are mapped into memory if they are not compressed; zarr arrays
    and OME-Zarr images, of which the largest level is taken; .npy files, mapped into memory;
    and PNG and JPEG pictures, which are read at once and turned as their EXIF orientation
    says. A zarr or .npy array that does not name its axes is taken as (Y, X) or (Y, X, C), or
    as (C, Y, X) where only the first axis is as short as channels are.

    Parameters
    ----------
    path : path-like or URL
        File or zarr folder; zarr also by any URL that fsspec opens.
    series : int
        Which of the images of a file to open, counted from 0.
    select : mapping of str to int, optional
        Position along each axis of a stack that is neither Y, X nor channel, such as
        ``{"Z": 3, "T": 0}``.
    nodata : float, optional
        Exclude pixels that have this value in every channel, in place of the value that the
        file declares.
    whole : bool
        Read all pixels now; quicker where all of them are needed.

    Returns
    -------
    OpenImage
        Pixels and mask as arrays that are read when sliced, and geometry.

    Raises
    ------
    ReadError
        If the file is missing, damaged, of an unknown format, or holds a stack of which no
        plane is selected.

    Examples
    --------
    >>> import tempfile, tifffile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tifffile.imwrite(folder + "/cells.tif", np.zeros((3, 200, 300), np.uint16),
    ...                      imagej=True, metadata={"axes": "CYX"})
    ...     image = open_image(folder + "/cells.tif")
    ...     image.data.shape, image.data[100:110, :20].shape
    ((200, 300, 3), (10, 20, 3))
    """
    where = check_input(path)
    chosen = dict(select or {})
    suffix = "" if isinstance(where, str) or where.is_dir() else where.suffix.lower()
    with reading(where):
        if isinstance(where, str) or suffix in ("", ".zarr"):
            return open_zarr(where, series=series, select=chosen, nodata=nodata)
        if suffix in TIFF_SUFFIXES:
            return open_tiff(where, series=series, select=chosen, nodata=nodata, whole=whole)
        if series or (chosen and suffix != ".npy"):
            raise ReadError(
                f"{where} holds a single plane; series and select are for files that hold several"
            )
        if suffix == ".npy":
            return open_npy(where, select=chosen, nodata=nodata)
        picture = read_picture(where, nodata=None)
        return OpenImage(picture.data, picture.mask, nodata)


@contextmanager
def reading(what: object) -> Iterator[None]:
    """Turn whatever libraries raise on damaged files into a `ReadError` that names `what`."""
    try:
        yield
    except NapariDelError:
        raise
    except MemoryError as error:
        raise ReadError(f"{what} does not fit in memory") from error
    except Exception as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if "imagecodecs" in text:
            text += "; pip install imagecodecs"
        raise ReadError(f"{what} cannot be read: {text}") from error


def open_mask(path: str | os.PathLike[str]) -> Any:
    """Open a mask of any size from an image file: True where any channel differs from 0.

    Parameters
    ----------
    path : path-like or URL
        File, as for `open_image`.

    Returns
    -------
    array of bool, shape (Y, X)
        With shape, dtype and slicing; read when sliced.

    Raises
    ------
    ReadError
        As `open_image`.
    """
    image = open_image(path)
    mask = Converted(image.data, partial(_kept, nodata=image.nodata))
    return mask if image.mask is None else Both(mask, image.mask)


def _kept(data: npt.NDArray[Any], nodata: float | None) -> npt.NDArray[np.bool_]:
    kept = nonzero(data)
    valid = None if nodata is None else valid_pixels(data, nodata)
    return kept if valid is None else kept & valid
