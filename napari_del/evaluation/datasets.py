"""Readers of data sets with people's own segmentations."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from napari_del.errors import ReadError

__all__ = ["BSDSImage", "load_bsds"]


class BSDSImage(NamedTuple):
    """One image of BSDS500 with the regions that its annotators drew."""

    name: str
    """Number of the image in the data set, as text."""
    image: NDArray[np.uint8]
    """RGB, shape (Y, X, 3)."""
    segmentations: NDArray[np.int16]
    """Region labels from 0, shape (annotators, Y, X)."""


def load_bsds(folder: str | PathLike[str], *, limit: int | None = None) -> Iterator[BSDSImage]:
    """Read a split of BSDS500: pictures `<id>.jpg`, each with its labels `<id>.npz` beside it.

    Parameters
    ----------
    folder : path
        The split; the array ``seg`` of each ``.npz`` holds the labels, shape
        (annotators, Y, X).
    limit : int, optional
        Read this many images at most, evenly spaced over the sorted names.

    Returns
    -------
    iterator of BSDSImage
        In the order of the names; each image is read when it is asked for.

    Raises
    ------
    ReadError
        If the folder holds no labels, or a file cannot be read or does not fit its picture.
    """
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise ReadError(f"{folder} holds no .npz labels; expected a split of BSDS500")
    if limit is not None and limit < len(paths):
        paths = [paths[i * len(paths) // limit] for i in range(limit)]
    # Checked at the call, not at the first image, so that a wrong folder is noticed at once.
    return (_read(path) for path in paths)


def _read(path: Path) -> BSDSImage:
    picture = path.with_suffix(".jpg")
    try:
        image = iio.imread(picture)
        # Opened here: np.load leaves a damaged file open.
        with path.open("rb") as stream, np.load(stream) as arrays:
            segmentations = arrays["seg"]
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        reason = str(error).splitlines()[0]
        raise ReadError(f"{path.stem} in {path.parent} cannot be read: {reason}") from error
    if image.ndim != 3 or segmentations.shape[1:] != image.shape[:2]:
        raise ReadError(
            f"{path} has labels of shape {segmentations.shape}, {picture.name} has shape "
            f"{image.shape}; expected (annotators, Y, X) and (Y, X, 3)"
        )
    return BSDSImage(path.stem, image, segmentations)
