"""TIFF files and the microscopy and geographic formats built on them, by tifffile."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_del.errors import ReadError
from napari_del.io._image import OpenImage
from napari_del.io._planes import Both, Converted, find_plane, nonzero
from napari_del.io._tiff_metadata import band_interpretation, nodata_value, read_metadata

__all__ = ["open_tiff"]

CHANNEL_AXES = "SC"
MAX_TRAILING_CHANNELS = 16
# Side of the parts in which a channel is looked through.
_PART = 2048


def open_tiff(
    path: Path, *, series: int, select: Mapping[str, int], nodata: float | None, whole: bool
) -> OpenImage:
    """Open one plane of a TIFF file; see `napari_del.io.open_image`.

    With `whole`, its pixels are read at once, which is quicker than to read all of it later.
    """
    with tifffile.TiffFile(path) as tif:
        if not 0 <= series < len(tif.series):
            names = ", ".join(f"{i} {s.name}".rstrip() for i, s in enumerate(tif.series))
            raise ReadError(f"{path} has no series {series}; it holds {names}")
        chosen = tif.series[series]
        page = chosen.keyframe
        _check_complete(path, chosen)
        axes, shape = _named_axes(chosen)
        array = TiffArray(path, shape, chosen.dtype, series=series)
        plane, channel = find_plane(path, array, axes, select, CHANNEL_AXES)
        data: Any = np.asarray(plane) if whole else plane
        mask: Any = _mask_page(path, tif, page, data.shape[:2]) if series == 0 else None
        if page.photometric == tifffile.PHOTOMETRIC.PALETTE and not tif.is_imagej:
            # ImageJ stores a display colour table; elsewhere the table holds the colours.
            if page.colormap is not None and len(data.shape) == 2:
                data = Converted(data, partial(_coloured, table=page.colormap))
        elif channel == "S":
            alpha = _alpha_channel(data, page, is_geotiff=tif.is_geotiff)
            if alpha is not None:
                opaque = Converted(data, partial(_opaque, alpha=alpha))
                mask = opaque if mask is None else Both(mask, opaque)
                data = Converted(data, partial(_without, channel=alpha))
        if data.dtype == np.bool_:
            data = Converted(data, _black_and_white)
        value = nodata_value(page) if nodata is None else nodata
        return OpenImage(data, mask, value, read_metadata(tif, series))


class TiffArray:
    """Pixels of a series or of a page of a TIFF file, read when they are sliced.

    It pickles as the name of the file, which is opened when the first pixels are read.

    Parameters
    ----------
    path : Path
        File.
    shape : tuple of int
        Shape to give the pixels.
    dtype : dtype
        Their data type, in the byte order of the machine.
    series, page : int
        Number of the series, or of the page.
    """

    def __init__(
        self,
        path: Path,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        *,
        series: int = 0,
        page: int | None = None,
    ) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)
        # A worker process may have another working directory.
        self._path = path.absolute()
        self._series = series
        self._page = page
        self._lock = threading.Lock()
        self._array: Any = None

    def __getstate__(self) -> dict[str, Any]:
        state = self.__dict__.copy()
        del state["_lock"]
        state["_array"] = None
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def __getitem__(self, key: tuple[int | slice, ...]) -> npt.NDArray[Any]:
        if all(
            n == 1 or (isinstance(part, slice) and part.indices(n) == (0, n, 1))
            for part, n in zip(key, self.shape, strict=True)
        ):
            with tifffile.TiffFile(self._path) as tif:
                if self._page is None:
                    whole = tif.series[self._series].asarray(level=0)
                else:
                    whole = tif.pages[self._page].asarray()
            return np.asarray(whole, dtype=self.dtype).reshape(self.shape)[key]
        return np.asarray(self._opened()[key], dtype=self.dtype)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of what is decoded at a time; None where pixels lie in the file as they are."""
        chunks = getattr(self._opened(), "chunks", None)
        return chunks if chunks is not None and len(chunks) == len(self.shape) else None

    def _opened(self) -> Any:
        with self._lock:
            if self._array is None:
                self._array = self._open()
            return self._array

    def _open(self) -> Any:
        """Map the pixels where they lie in the file as they are, else decode them by chunks."""
        import zarr

        tif = tifffile.TiffFile(self._path)
        try:
            if self._page is None:
                series = tif.series[self._series]
                if series.dataoffset is not None and series.transform is None:
                    offset, dtype = series.dataoffset, self.dtype.newbyteorder(tif.byteorder)
                    tif.close()
                    return np.memmap(self._path, dtype, "r", offset=offset, shape=self.shape)
                store = series.aszarr(level=0)
            else:
                store = tif.pages[self._page].aszarr()
            array = zarr.open_array(store, mode="r")
        except BaseException:
            tif.close()
            raise
        weakref.finalize(self, tif.close)
        return array


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


def _named_axes(series: tifffile.TiffPageSeries) -> tuple[str, tuple[int, ...]]:
    """Axes and shape of a series, with channels written last by tifffile recognised."""
    axes, shape = series.axes, tuple(series.shape)
    # imwrite of an array (Y, X, 5) does not say what its axes are, and tifffile takes the
    # last two for a plane. Pages a few pixels wide in a long stack are channels.
    if axes == "QYX" and shape[-1] <= MAX_TRAILING_CHANNELS < shape[0]:
        axes = "YXC"
    return axes, shape


def _alpha_channel(data: Any, page: tifffile.TiffPage, *, is_geotiff: bool) -> int | None:
    """Find the alpha channel among the samples of a pixel, if there is one."""
    n = int(data.shape[-1])
    extra = page.extrasamples
    alphas = [n - len(extra) + i for i, kind in enumerate(extra) if int(kind) in (1, 2)]
    if not alphas or n < 2:
        return None
    alpha = alphas[0]
    interpretation = band_interpretation(page)
    if interpretation.get(alpha, "Alpha") != "Alpha":
        return None
    # The fourth band of a satellite image is often declared to be alpha when it is near
    # infrared. A true one marks the nodata and so has two values.
    if is_geotiff and alpha not in interpretation and not _is_binary(data, alpha):
        return None
    return alpha


def _is_binary(data: Any, channel: int) -> bool:
    """Tell whether a channel has no values but 0 and one other; reads until it has more."""
    found: set[Any] = set()
    height, width = data.shape[:2]
    for top in range(0, height, _PART):
        for left in range(0, width, _PART):
            part = np.asarray(data[top : top + _PART, left : left + _PART])
            found.update(np.unique(part[..., channel]).tolist())
            if len(found - {0}) > 1:
                return False
    return True


def _mask_page(
    path: Path, tif: tifffile.TiffFile, page: tifffile.TiffPage, shape: tuple[int, ...]
) -> Converted | None:
    """Find the mask that GDAL stores in a page of its own, where there is one."""
    if not tif.is_geotiff:
        return None
    for number, other in enumerate(tif.pages):
        if other is page or not isinstance(other, tifffile.TiffPage):
            continue
        if int(other.subfiletype) == 4 and tuple(other.shape) == shape:
            assert other.dtype is not None
            array = TiffArray(path, shape, other.dtype, page=number)
            return Converted(array, nonzero)
    return None


def _coloured(index: npt.NDArray[Any], table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return (np.moveaxis(table[:, index], 0, -1) >> 8).astype(np.uint8)


def _black_and_white(data: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return data.astype(np.uint8) * np.uint8(255)


def _opaque(data: npt.NDArray[Any], alpha: int) -> npt.NDArray[np.bool_]:
    opaque: npt.NDArray[np.bool_] = data[..., alpha] > 0
    return opaque


def _without(data: npt.NDArray[Any], channel: int) -> npt.NDArray[Any]:
    rest = np.delete(data, channel, axis=-1)
    return rest[..., 0] if rest.shape[-1] == 1 else rest
