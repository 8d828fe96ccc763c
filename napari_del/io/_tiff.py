"""TIFF files and the microscopy and geographic formats built on them, by tifffile."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_del.errors import ReadError
from napari_del.io._image import Image
from napari_del.io._nodata import combine, valid_pixels
from napari_del.io._tiff_metadata import band_interpretation, nodata_value, read_metadata

__all__ = ["read_tiff"]

CHANNEL_AXES = "SC"
MAX_TRAILING_CHANNELS = 16


def read_tiff(path: Path, *, series: int, select: dict[str, int], nodata: float | None) -> Image:
    """Read one plane of a TIFF file; see `napari_del.io.read_image`."""
    with tifffile.TiffFile(path) as tif:
        if not 0 <= series < len(tif.series):
            names = ", ".join(f"{i} {s.name}".rstrip() for i, s in enumerate(tif.series))
            raise ReadError(f"{path} has no series {series}; it holds {names}")
        chosen = tif.series[series]
        page = chosen.keyframe
        _check_complete(path, chosen)
        data, channels_last = _read_plane(path, chosen, select)
        mask = _mask_page(tif, page, data.shape[:2]) if series == 0 else None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not tif.is_imagej:
            # ImageJ stores a display colour table; elsewhere the table holds the colours.
            if page.colormap is not None and data.ndim == 2:
                data = (np.moveaxis(page.colormap[:, data], 0, -1) >> 8).astype(np.uint8)
        elif channels_last:
            data, opaque = _split_alpha(data, page, is_geotiff=tif.is_geotiff)
            mask = combine(mask, opaque)
        value = nodata_value(page) if nodata is None else nodata
        if value is not None:
            mask = combine(mask, valid_pixels(data, value))
        if data.dtype == np.bool_:
            data = data.astype(np.uint8) * np.uint8(255)
        # Kernels and tensors take arrays in the byte order of the machine.
        data = np.ascontiguousarray(data, dtype=data.dtype.newbyteorder("="))
        return Image(data, combine(mask, None), read_metadata(tif, series))


def _check_complete(path: Path, series: tifffile.TiffPageSeries) -> None:
    """Raise if pixels lie beyond the end of the file, before they are read."""
    for page in series.pages:
        if page is None:
            continue
        ends = zip(page.dataoffsets, page.databytecounts, strict=False)
        end = max((offset + count for offset, count in ends), default=0)
        size = page.parent.filehandle.size
        if end > size:
            raise ReadError(
                f"{path} is truncated: it has {size} bytes, and its pixels end at byte {end}"
            )


def _read_plane(
    path: Path, series: tifffile.TiffPageSeries, select: dict[str, int]
) -> tuple[npt.NDArray[Any], bool]:
    """Read (Y, X) or (Y, X, C); also tell whether the last axis holds samples of a pixel."""
    axes, shape = _named_axes(series)
    if "Y" not in axes or "X" not in axes:
        raise ReadError(f"{path} has axes {axes} of shape {shape}; expected axes Y and X")
    select = {axis.upper(): position for axis, position in select.items()}
    unknown = [axis for axis in select if axis not in axes or axis in "YX"]
    if unknown:
        raise ReadError(f"{path} has axes {axes}; axis {unknown[0]} cannot be selected")
    for axis, position in select.items():
        length = shape[axes.index(axis)]
        if not 0 <= position < length:
            raise ReadError(
                f"{path} has positions 0 to {length - 1} along axis {axis}; got {position}"
            )

    channel = next((a for a in CHANNEL_AXES if a in axes and _is_open(a, axes, shape, select)), "")
    open_axes = [
        axis
        for axis in axes
        if axis not in "YX" and axis != channel and _is_open(axis, axes, shape, select)
    ]
    if open_axes:
        example = ",".join(f"{axis}=0" for axis in open_axes)
        raise ReadError(
            f"{path} is a stack with axes {axes} of shape {shape}; "
            f"choose one plane of it, such as select {example}"
        )
    kept = [axis for axis in axes if axis in "YX" or axis == channel]
    if select:
        import zarr  # reads the selected planes alone

        store = series.aszarr(level=0)
        array = zarr.open_array(store, mode="r")
        index = tuple(slice(None) if axis in kept else select.get(axis, 0) for axis in axes)
        data = np.asarray(array[index])
    else:
        data = np.asarray(series.asarray(level=0)).reshape(shape)
        data = data[tuple(slice(None) if axis in kept else 0 for axis in axes)]
    order = [kept.index(axis) for axis in ("Y", "X", *([channel] if channel else []))]
    return data.transpose(order), channel == "S"


def _named_axes(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Axes and shape of a series, with channels written last by tifffile recognised."""
    axes, shape = series.axes, tuple(series.shape)
    # imwrite of an array (Y, X, 5) does not say what its axes are, and tifffile takes the
    # last two for a plane. Pages a few pixels wide in a long stack are channels.
    if axes == "QYX" and shape[-1] <= MAX_TRAILING_CHANNELS < shape[0]:
        axes = "YXC"
    return axes, shape


def _is_open(axis: str, axes: str, shape: tuple[int, ...], select: dict[str, int]) -> bool:
    return axis not in select and shape[axes.index(axis)] > 1


def _split_alpha(
    data: npt.NDArray[Any], page: tifffile.TiffPage, *, is_geotiff: bool
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
    """Take the alpha channel off, if there is one, and tell where it is not 0."""
    n = data.shape[-1]
    extra = page.extrasamples
    alphas = [n - len(extra) + i for i, kind in enumerate(extra) if int(kind) in (1, 2)]
    if not alphas or n < 2:
        return data, None
    alpha = alphas[0]
    interpretation = band_interpretation(page)
    if interpretation.get(alpha, "Alpha") != "Alpha":
        return data, None
    values = data[..., alpha]
    # The fourth band of a satellite image is often declared to be alpha when it is near
    # infrared. A true one marks the nodata and so has two values.
    two_values = not is_geotiff or np.isin(values, (0, values.max())).all()
    if alpha not in interpretation and not two_values:
        return data, None
    rest = np.delete(data, alpha, axis=-1)
    return (rest[..., 0] if n == 2 else rest), values > 0


def _mask_page(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, shape: tuple[int, ...]
) -> npt.NDArray[np.bool_] | None:
    """Read the mask that GDAL stores in a page of its own, where there is one."""
    if not tif.is_geotiff:
        return None
    for other in tif.pages:
        if other is page or not isinstance(other, tifffile.TiffPage):
            continue
        if int(other.subfiletype) == 4 and tuple(other.shape) == shape:
            return np.asarray(other.asarray() != 0)
    return None
