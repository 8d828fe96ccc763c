"""Images as plain arrays on disk: zarr, OME-Zarr and .npy files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_del._mapped import Mapped
from napari_del.errors import ReadError
from napari_del.io._image import ImageMetadata, OpenImage
from napari_del.io._planes import find_plane

__all__ = ["open_npy", "open_zarr"]

# More positions than this along an axis without a name are pixels, not channels.
MAX_CHANNELS = 16
# Names of axes that hold channels, in xarray and in OME-Zarr.
CHANNEL_NAMES = ("C", "CHANNEL", "CHANNELS", "BAND", "BANDS")
# How OME-Zarr and how labels files spell units.
UNITS = {
    "angstrom": "Å",
    "nanometer": "nm",
    "micrometer": "µm",
    "millimeter": "mm",
    "centimeter": "cm",
    "decimeter": "dm",
    "meter": "m",
    "kilometer": "km",
    "inch": "in",
    "foot": "ft",
}


def open_npy(path: Path, *, select: Mapping[str, int], nodata: float | None) -> OpenImage:
    """Map a .npy file into memory; see `napari_del.io.open_image`."""
    array = np.load(path.absolute(), mmap_mode="r", allow_pickle=False)
    axes = _guessed_axes(path, array.shape)
    plane, _ = find_plane(path, Mapped.of(array) or array, axes, select, "C")
    return OpenImage(plane, nodata=nodata)


def open_zarr(
    where: Path | str, *, series: int, select: Mapping[str, int], nodata: float | None
) -> OpenImage:
    """Open an array or a multiscale image in zarr format; see `napari_del.io.open_image`."""
    import zarr

    node: Any = zarr.open(str(where.absolute() if isinstance(where, Path) else where), mode="r")
    if isinstance(node, zarr.Array):
        _check_single(where, series)
        axes = _named_axes(node) or _guessed_axes(where, node.shape)
        metadata = ImageMetadata()
    else:
        node, axes, metadata = _full_resolution(where, node, series)
    plane, _ = find_plane(where, node, axes, select, "C")
    return OpenImage(plane, nodata=nodata, metadata=metadata)


def _full_resolution(
    where: Path | str, group: Any, series: int
) -> tuple[Any, list[str], ImageMetadata]:
    """The largest level of a multiscale image with its axes and geometry."""
    attributes = _ome(group)
    if "bioformats2raw.layout" in attributes:
        names = sorted(name for name in group.group_keys() if name.isdecimal())
        if str(series) not in names:
            raise ReadError(f"{where} has no series {series}; it holds {', '.join(names)}")
        group = group[str(series)]
        attributes = _ome(group)
    else:
        _check_single(where, series)
    images = attributes.get("multiscales")
    if not images:
        arrays = ", ".join(sorted(group.array_keys())) or "none"
        raise ReadError(
            f"{where} is a zarr group without a multiscale image; expected an array or an "
            f"OME-Zarr image: give one of its arrays ({arrays}) by its path"
        )
    image = images[0]
    level = image["datasets"][0]
    array = group[level["path"]]
    described = image.get("axes") or list("tczyx")[-array.ndim :]
    names = [axis["name"] if isinstance(axis, dict) else str(axis) for axis in described]
    if len(names) != array.ndim:
        raise ReadError(
            f"{where} has {len(names)} axes ({', '.join(names)}) for an array of shape "
            f"{array.shape}; expected as many"
        )
    scales = [
        step["scale"]
        for source in (image, level)
        for step in source.get("coordinateTransformations", ())
        if step.get("type") == "scale"
    ]
    return array, _capitals(names), _geometry(names, described, scales)


def _ome(group: Any) -> dict[str, Any]:
    """Attributes of OME-Zarr, which stand under a key of their own from version 0.5 on."""
    attributes = dict(group.attrs)
    return dict(attributes.get("ome", attributes))


def _geometry(
    names: list[str], axes: Sequence[Any], scales: Sequence[Sequence[float]]
) -> ImageMetadata:
    units = {
        name: axis.get("unit")
        for name, axis in zip(names, axes, strict=True)
        if isinstance(axis, dict)
    }
    unit = units.get("y")
    if unit not in UNITS or units.get("x") != unit or not scales:
        return ImageMetadata()
    factors = np.prod(np.asarray(scales, dtype=float), axis=0)
    height, width = (float(factors[names.index(name)]) for name in "yx")
    return ImageMetadata("ome", (height, width), UNITS[unit])


def _named_axes(array: Any) -> list[str] | None:
    """Axes by the names that zarr or xarray keeps; None if they do not name Y and X."""
    names = getattr(array.metadata, "dimension_names", None)
    names = names or array.attrs.get("_ARRAY_DIMENSIONS")
    if not names or any(name is None for name in names):
        return None
    axes = _capitals(names)
    return axes if {"Y", "X"} <= set(axes) else None


def _capitals(names: Sequence[str]) -> list[str]:
    capitals = [name.upper() for name in names]
    return ["C" if name in CHANNEL_NAMES else name for name in capitals]


def _guessed_axes(where: Path | str, shape: tuple[int, ...]) -> str:
    """Axes of an array that does not name them."""
    if len(shape) == 2:
        return "YX"
    if len(shape) == 3:
        return "CYX" if shape[0] <= MAX_CHANNELS < shape[2] else "YXC"
    raise ReadError(
        f"{where} has shape {shape} and does not name its axes; expected (Y, X), (Y, X, C) or "
        "(C, Y, X)"
    )


def _check_single(where: Path | str, series: int) -> None:
    if series:
        raise ReadError(f"{where} holds a single image; got series {series}")
