"""Readers of data sets with people's own segmentations.

Sets differ in what their labels say. Some label every pixel (natural images), some label
objects on a background that is one thing (nuclei on a slide), some label one kind of object
and leave open what the rest is made of (solar panels). `AnnotatedImage` says it for each pixel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Literal, NamedTuple
from zipfile import BadZipFile

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_del.errors import ParameterError, ReadError

__all__ = [
    "FOLDS",
    "OTHER",
    "SETS",
    "UNLABELLED",
    "AnnotatedImage",
    "held_out",
    "load_bsds",
    "load_pairs",
    "load_set",
    "set_names",
]

UNLABELLED = -1
"""Label of a pixel of which nothing is known."""
OTHER = -2
"""Label of a pixel that belongs to none of the labelled regions; to what else is not known."""
FOLDS = 5
"""Parts of a set; one is held out from training."""

Meaning = Literal["instances", "classes", "objects"]
_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
# Specks of fewer pixels come from the compression of masks, not from people.
_LEAST_OBJECT = 16


class AnnotatedImage(NamedTuple):
    """One image with the regions that its annotators drew."""

    name: str
    """Name of the image in its data set."""
    image: NDArray[np.generic]
    """Grey or colour, shape (Y, X) or (Y, X, C)."""
    segmentations: NDArray[np.int32]
    """Region labels from 0, shape (annotators, Y, X); `UNLABELLED` and `OTHER` are negative."""
    objects: NDArray[np.int32] | None = None
    """Instances of labelled objects from 1, 0 where there is none, shape (Y, X)."""


class _Layout(NamedTuple):
    images: str
    labels: str
    meaning: Meaning | None


SETS: dict[str, _Layout] = {
    "dsb2018": _Layout("images", "labels", "instances"),
    "em_isbi2012": _Layout("images", "regions", "instances"),
    "glas_subset": _Layout("images", "labels", "instances"),
    "wbc": _Layout("images", "labels", "classes"),
    "rs_gsi_solar": _Layout("images", "labels", "objects"),
    "rs_gsi_road": _Layout("images", "labels", "objects"),
    "amazon_forest_s2": _Layout("images", "labels", "classes"),
    "rs_flood_area": _Layout("images", "labels", "objects"),
}
"""Sets that `load_set` knows by the name of their folder, and what their labels mean.

"instances": 0 is the background, one region; each other value is one object.
"classes": each connected part of a class is one region; those of class 0 are no objects.
"objects": each connected part of what is not 0 is an object; the rest is `OTHER`.
"""
_OWN = _Layout("images", "labels", None)


def set_names(folder: str | PathLike[str]) -> list[str]:
    """Names of the images of a data set, sorted.

    Parameters
    ----------
    folder : path
        As for `load_set`.

    Returns
    -------
    list of str

    Raises
    ------
    ReadError
        If there is nothing to read, or a picture has no labels.
    """
    folder = Path(folder)
    if any(folder.glob("*.npz")):
        return sorted(path.stem for path in folder.glob("*.npz"))
    layout = SETS.get(folder.name, _OWN)
    return sorted(_pairs(folder, layout.images, layout.labels))


def load_set(
    folder: str | PathLike[str],
    *,
    names: Iterable[str] | None = None,
    limit: int | None = None,
) -> Iterator[AnnotatedImage]:
    """Read a data set by its folder.

    Parameters
    ----------
    folder : path
        A folder named as one of `SETS`, a split of BSDS500, or any folder that `load_pairs`
        reads.
    names : iterable of str, optional
        Which images to read, of those that `set_names` gives; all by default.
    limit : int, optional
        Read this many images at most, evenly spaced over the sorted names.

    Returns
    -------
    iterator of AnnotatedImage
        In the order of the names; each image is read when it is asked for.

    Raises
    ------
    ReadError
        If there is nothing to read, or a file cannot be read or does not fit its picture.
    """
    folder = Path(folder)
    if any(folder.glob("*.npz")):
        return load_bsds(folder, names=names, limit=limit)
    images, labels, meaning = SETS.get(folder.name, _OWN)
    return load_pairs(
        folder, images=images, labels=labels, meaning=meaning, names=names, limit=limit
    )


def held_out(names: list[str], data_set: str, fold: int = FOLDS - 1) -> NDArray[np.bool_]:
    """Which images of a set are kept from training: every fifth by sorted name.

    Tiles of ``rs_gsi_solar`` and ``rs_gsi_road`` are flips and turns of numbered sources; they
    are sorted by that number, so that one source is not on both sides.

    Parameters
    ----------
    names : list of str
        Names of all images of the set.
    data_set : str
        Name of the set.
    fold : int
        Which of every five, from 0; by default the last. Five trainings, each with another,
        hold out each image once.

    Returns
    -------
    ndarray of bool, shape (len(names),)
        True where the image is held out.

    Raises
    ------
    ParameterError
        If `fold` is not 0 to 4.
    """
    if fold not in range(FOLDS):
        raise ParameterError(f"fold is {fold}; expected a whole number from 0 to {FOLDS - 1}")
    keys: list[tuple[int, str]]
    if data_set.startswith("rs_gsi"):
        keys = [(int(name.rsplit("_", 1)[-1]), "") for name in names]
    else:
        keys = [(0, name) for name in names]
    order = {key: place for place, key in enumerate(sorted(set(keys)))}
    return np.array([order[key] % FOLDS == fold for key in keys], np.bool_)


def load_pairs(
    folder: str | PathLike[str],
    *,
    images: str = "images",
    labels: str = "labels",
    meaning: Meaning | None = None,
    names: Iterable[str] | None = None,
    limit: int | None = None,
) -> Iterator[AnnotatedImage]:
    """Read a folder of pictures and label pictures of the same names.

    Parameters
    ----------
    folder : path
        Holds the two folders below.
    images, labels : str
        Folders of the pictures and of their labels; PNG, JPEG or TIFF.
    meaning : {"instances", "classes", "objects"}, optional
        What labels mean, see `SETS`. Without it 0 is not labelled and each other value is a
        region, as in a painted Labels layer.
    names : iterable of str, optional
        Which images to read; all by default.
    limit : int, optional
        Read this many images at most, evenly spaced over the sorted names.

    Returns
    -------
    iterator of AnnotatedImage
        In the order of the names.

    Raises
    ------
    ReadError
        If there are no pictures, a picture has no labels, or a file cannot be read or does not
        fit its picture.
    """
    pairs = _pairs(Path(folder), images, labels)
    chosen = spread(_chosen(sorted(pairs), names, folder), limit)
    return (_read_pair(name, *pairs[name], meaning) for name in chosen)


def _pairs(folder: Path, images: str, labels: str) -> dict[str, tuple[Path, Path]]:
    """Picture and labels of each name."""
    pictures, truths = _files(folder / images), _files(folder / labels)
    lacking = sorted(pictures.keys() - truths.keys())
    if lacking:
        raise ReadError(
            f"{pictures[lacking[0]]} has no labels in {folder / labels}; expected a file "
            f"named {lacking[0]} with one of the suffixes {', '.join(_SUFFIXES)}"
        )
    return {name: (path, truths[name]) for name, path in pictures.items()}


def _chosen(
    there: list[str], names: Iterable[str] | None, folder: str | PathLike[str]
) -> list[str]:
    """The names that are asked for, in their order."""
    if names is None:
        return there
    wanted = set(names)
    lacking = sorted(wanted - set(there))
    if lacking:
        raise ReadError(f"{folder} holds no image {lacking[0]!r}; expected one of {len(there)}")
    return [name for name in there if name in wanted]


def _files(folder: Path) -> dict[str, Path]:
    found = {
        path.stem: path
        for path in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if path.suffix.lower() in _SUFFIXES
    }
    if not found:
        raise ReadError(f"{folder} holds no pictures; expected files {', '.join(_SUFFIXES)}")
    return found


def spread(items: list[str], limit: int | None) -> list[str]:
    """So many of the items at most, evenly spaced."""
    if limit is None or limit >= len(items):
        return items
    if limit < 1:
        raise ParameterError(f"limit is {limit}; expected at least 1 image")
    return [items[i * len(items) // limit] for i in range(limit)]


def _imread(path: Path) -> NDArray[np.generic]:
    try:
        picture: NDArray[np.generic] = iio.imread(path)
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ReadError(f"{path} cannot be read: {reason}") from error
    return picture


def _read_pair(name: str, picture: Path, truth: Path, meaning: Meaning | None) -> AnnotatedImage:
    image, labels = _imread(picture), _imread(truth)
    if labels.ndim != 2 or labels.dtype.kind not in "biu":
        raise ReadError(
            f"{truth} has shape {labels.shape} and dtype {labels.dtype}; expected labels: one "
            "plane of integers"
        )
    if image.shape[:2] != labels.shape:
        raise ReadError(
            f"{truth} has shape {labels.shape}, {picture.name} has {image.shape[:2]}; expected "
            "labels of the same height and width"
        )
    regions, objects = regions_of(labels.astype(np.int64), meaning)
    return AnnotatedImage(name, image, regions[np.newaxis], objects)


def regions_of(
    labels: NDArray[np.int64], meaning: Meaning | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Region labels and objects of a label image, see `SETS`.

    Parameters
    ----------
    labels : ndarray of int64, shape (Y, X)
        Labels as they are in the file.
    meaning : {"instances", "classes", "objects"} or None
        What they mean.

    Returns
    -------
    regions, objects : ndarray of int32, shape (Y, X)
        As in `AnnotatedImage`.
    """
    if meaning in (None, "instances"):
        values, flat = np.unique(labels, return_inverse=True)
        parts = flat.reshape(labels.shape).astype(np.int32)
        background = np.flatnonzero(values == 0)
    else:
        parts = np.zeros(labels.shape, np.int32)
        values = np.unique(labels)
        number, background = 0, np.zeros(0, np.int64)
        for value in values:
            found, count = ndimage.label(labels == value, np.ones((3, 3), np.int8))
            if value == 0:
                background = np.arange(number, number + count)
            parts[found > 0] = found[found > 0] + (number - 1)
            number += count
    sizes = np.bincount(parts.ravel())
    is_background = np.isin(np.arange(sizes.size), background)
    speck = ~is_background & (sizes < _LEAST_OBJECT)
    if meaning is None:
        speck[:] = False
    kept = ~is_background & ~speck
    number_of = np.cumsum(kept).astype(np.int32)
    objects = np.where(kept, number_of, 0).astype(np.int32)[parts]
    table = np.arange(sizes.size, dtype=np.int32)
    table[speck] = UNLABELLED
    if meaning is None:
        table[is_background] = UNLABELLED
    elif meaning == "objects":
        table[is_background] = OTHER
    return table[parts], objects


def load_bsds(
    folder: str | PathLike[str],
    *,
    names: Iterable[str] | None = None,
    limit: int | None = None,
) -> Iterator[AnnotatedImage]:
    """Read a split of BSDS500: pictures `<id>.jpg`, each with its labels `<id>.npz` beside it.

    Parameters
    ----------
    folder : path
        The split; the array ``seg`` of each ``.npz`` holds the labels, shape
        (annotators, Y, X).
    names : iterable of str, optional
        Which images to read; all by default.
    limit : int, optional
        Read this many images at most, evenly spaced over the sorted names.

    Returns
    -------
    iterator of AnnotatedImage
        In the order of the names; each image is read when it is asked for.

    Raises
    ------
    ReadError
        If the folder holds no labels, or a file cannot be read or does not fit its picture.
    """
    paths = {path.stem: path for path in Path(folder).glob("*.npz")}
    if not paths:
        raise ReadError(f"{folder} holds no .npz labels; expected a split of BSDS500")
    chosen = spread(_chosen(sorted(paths), names, folder), limit)
    # Checked at the call, not at the first image, so that a wrong folder is noticed at once.
    return (_read_bsds(paths[name]) for name in chosen)


def _read_bsds(path: Path) -> AnnotatedImage:
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
    return AnnotatedImage(path.stem, image, segmentations.astype(np.int32))
