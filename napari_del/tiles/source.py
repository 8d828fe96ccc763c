"""The image of a tiled run: any array that can be sliced, read by windows."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_del._checks import check_channels, check_image_kind, check_mask_kind
from napari_del._mapped import Mapped
from napari_del._threads import parallel_for
from napari_del.errors import ParameterError, ReadError
from napari_del.io._nodata import combine, valid_pixels
from napari_del.tiles.recent import RecentChunks

__all__ = ["Source"]

# Windows of the fingerprint in each direction, and their side in pixels.
_SAMPLES, _SAMPLE_SIDE = 8, 32


class Source:
    """An image of any size, of which windows are read.

    It can be pickled for worker processes if the image and the mask can. An `numpy.memmap`, or
    a view of one, pickles as the name of its file and its place there, and is opened again; so
    do images from `napari_del.io.open_image`. zarr and dask arrays pickle as they do by
    themselves. A plain NumPy array pickles with all its values.

    Parameters
    ----------
    image : array, shape (Y, X) or (Y, X, C)
        numpy, dask or zarr array, or anything else with shape, dtype and slicing; of any
        integer or floating dtype, or bool.
    channels : sequence of int, optional
        Channels to use, all by default.
    mask : array of bool or integer, shape (Y, X), optional
        Not 0 where a pixel takes part; as `image`, anything that can be sliced.
    nodata : float, optional
        Pixels that have this value in every channel of the image are left out. May be NaN.

    Raises
    ------
    ImageError
        If shape, dtype, channels or mask do not fit.
    ParameterError
        If `nodata` is no number.

    Examples
    --------
    >>> source = Source(np.arange(600, dtype=np.uint16).reshape(20, 30), nodata=0)
    >>> pixels, valid = source.read((slice(0, 4), slice(0, 5)))
    >>> pixels.shape, int(valid.sum())
    ((4, 5, 1), 19)
    """

    def __init__(
        self,
        image: Any,
        *,
        channels: Sequence[int] | None = None,
        mask: Any = None,
        nodata: float | None = None,
    ) -> None:
        self._image = _sliceable(image)
        self._full_shape, dtype = check_image_kind(self._image)
        self._channels = check_channels(channels, self._full_shape)
        self._mask = None if mask is None else _sliceable(mask)
        if self._mask is not None:
            check_mask_kind(self._mask, self.shape)
        try:
            self._nodata = None if nodata is None else float(nodata)
        except (TypeError, ValueError):
            raise ParameterError(f"nodata is {nodata!r}; expected a number or None") from None
        self.dtype = dtype.newbyteorder("=")
        # Windows of tasks overlap; those of dask arrays have chunks of several sizes.
        chunks = getattr(self._image, "chunks", None)
        self._recent: RecentChunks | None = None
        if isinstance(chunks, tuple) and all(isinstance(n, int) and n for n in chunks):
            pixel_bytes = dtype.itemsize * math.prod(self._full_shape[2:])
            self._recent = RecentChunks(
                self._read_image, self.shape, (chunks[0], chunks[1]), pixel_bytes
            )

    def __repr__(self) -> str:
        y, x = self.shape
        return f"<Source of {y} x {x} pixels, {self.n_channels} channels, {self.dtype}>"

    @property
    def shape(self) -> tuple[int, int]:
        """Image shape (Y, X) in pixels."""
        return self._full_shape[0], self._full_shape[1]

    @property
    def n_channels(self) -> int:
        """Number of channels that are read."""
        if self._channels is not None:
            return len(self._channels)
        return self._full_shape[2] if len(self._full_shape) == 3 else 1

    def read(
        self, window: tuple[slice, slice]
    ) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None]:
        """Read a window.

        Parameters
        ----------
        window : tuple of slice
            Rows and columns, with a start and a stop within the image.

        Returns
        -------
        pixels : ndarray, shape (h, w, C)
            The chosen channels, contiguous, in the byte order of the machine. It belongs to
            the caller. Values that are not finite are there as they are.
        valid : ndarray of bool, shape (h, w), or None
            False where the mask or nodata leaves a pixel out; None if it leaves out none.

        Raises
        ------
        ReadError
            If the window cannot be read.
        """
        every = self._read_all_channels(window)
        valid = None if self._nodata is None else valid_pixels(every, self._nodata)
        pixels = every if self._channels is None else every[..., self._channels]
        if self._recent is None or pixels.dtype != self.dtype:
            # A copy, since a map of a file would be read, and could fail, somewhere else.
            pixels = np.array(pixels, dtype=self.dtype, order="C", copy=True)
        pixels = np.ascontiguousarray(pixels)
        return pixels, combine(valid, self._read_mask(window))

    def let_go(self) -> None:
        """Hold no chunks that were read any more."""
        if self._recent is not None:
            self._recent.clear()

    def fingerprint(self) -> dict[str, Any]:
        """What tells another image from this one, at little cost for any size.

        64 windows of 32 x 32 pixels, spread evenly over the image, are hashed with all their
        channels, and those of the mask. A change that lies wholly between these windows is
        missed: retouched details may be, while another scene, another stretch of the values or
        another version of a whole file is not.

        Returns
        -------
        dict
            "shape" and "dtype" of the image, and SHA-256 "sample" and "mask_sample" (None
            without a mask); plain values, the same on every machine.

        Raises
        ------
        ReadError
            If a window cannot be read.
        """
        image, mask = hashlib.sha256(), hashlib.sha256()
        little = self.dtype.newbyteorder("<")
        windows = list(self._sample_windows())
        # Chunks of small images are held for the run. Of others these are looked at once.
        held = self._recent if self._recent is not None and self._recent.holds_all else None
        read = self._read_image if held is None else held.read
        for pixels in _samples(self._image, read, windows):
            image.update(np.ascontiguousarray(pixels, dtype=little).tobytes())
        if self._mask is not None:
            for part in _samples(self._mask, self._read_kept, windows):
                mask.update(np.packbits(part).tobytes())
        return {
            "shape": list(self._full_shape),
            "dtype": self.dtype.name,
            "sample": image.hexdigest(),
            "mask_sample": None if self._mask is None else mask.hexdigest(),
        }

    def _sample_windows(self) -> Iterator[tuple[slice, slice]]:
        rows, columns = (
            [slice(int(start), int(start) + min(_SAMPLE_SIDE, length)) for start in starts]
            for length in self.shape
            for starts in [
                np.unique(np.linspace(0, max(0, length - _SAMPLE_SIDE), _SAMPLES).astype(np.int64))
            ]
        )
        for row in rows:
            for column in columns:
                yield row, column

    def _read_all_channels(self, window: tuple[slice, slice]) -> NDArray[Any]:
        read = self._read_image if self._recent is None else self._recent.read
        array = read(window)
        return array if array.ndim == 3 else array[..., np.newaxis]

    def _read_image(self, window: tuple[slice, slice]) -> NDArray[Any]:
        key = (*window, slice(None)) if len(self._full_shape) == 3 else window
        return _read("image", self._image, key, (*_lengths(window), *self._full_shape[2:]))

    def _read_mask(self, window: tuple[slice, slice]) -> NDArray[np.bool_] | None:
        return None if self._mask is None else self._read_kept(window)

    def _read_kept(self, window: tuple[slice, slice]) -> NDArray[np.bool_]:
        kept: NDArray[np.bool_] = np.not_equal(
            _read("mask", self._mask, window, _lengths(window)), 0
        )
        return kept


def _samples(
    array: Any,
    read: Callable[[tuple[slice, slice]], NDArray[Any]],
    windows: Sequence[tuple[slice, slice]],
) -> list[NDArray[Any]]:
    """Small windows of an array, those of the same chunks read together: each is decoded once."""
    groups: dict[Any, list[int]] = {}
    for k, window in enumerate(windows):
        groups.setdefault(_chunks_of(array, window) or k, []).append(k)
    found: dict[int, NDArray[Any]] = {}
    together = list(groups.values())

    def some(start: int, stop: int) -> None:
        for group in together[start:stop]:
            y, x = (
                slice(min(s.start for s in parts), max(s.stop for s in parts))
                for parts in zip(*(windows[k] for k in group), strict=True)
            )
            around = read((y, x))
            for k in group:
                rows, columns = windows[k]
                found[k] = around[
                    rows.start - y.start : rows.stop - y.start,
                    columns.start - x.start : columns.stop - x.start,
                ].copy()

    if _chunks_of(array, windows[0]) is None:
        # Quick to read, and by whatever the caller has, which need not be made for threads.
        some(0, len(together))
    else:
        parallel_for(some, len(together))
    return [found[k] for k in range(len(windows))]


def _chunks_of(array: Any, window: tuple[slice, slice]) -> tuple[tuple[int, int], ...] | None:
    """First and last chunk of a window in each direction, or None for arrays without chunks."""
    # dask arrays may have chunks of several sizes; the largest will do to tell what is near.
    chunks = getattr(array, "chunksize", None) or getattr(array, "chunks", None)
    if not isinstance(chunks, tuple) or not all(isinstance(n, int) and n for n in chunks[:2]):
        return None
    return tuple(
        (part.start // n, (part.stop - 1) // n) for part, n in zip(window, chunks[:2], strict=True)
    )


def _sliceable(array: Any) -> Any:
    """The array itself, or what stands for it if it has no shape or pickles badly."""
    if not hasattr(array, "shape"):
        array = np.asarray(array)
    return Mapped.of(array) or array


def _lengths(window: tuple[slice, slice]) -> tuple[int, int]:
    return window[0].stop - window[0].start, window[1].stop - window[1].start


def _read(name: str, array: Any, key: tuple[slice, ...], shape: tuple[int, ...]) -> NDArray[Any]:
    """Part of an array as NumPy's, or a `ReadError` that says which part."""
    try:
        part = array[key]
        if type(part).__module__.startswith("dask."):
            # Tasks run side by side already; dask's own threads would compete with them.
            part = part.compute(scheduler="synchronous")
        read = np.asarray(part)
        if read.shape != shape:
            raise ValueError(f"got an array of shape {read.shape} in place of {shape}")
    except MemoryError:
        raise
    except Exception as error:  # whatever the library below raises
        cause = " ".join(str(error).split()) or type(error).__name__
        rows, columns = key[:2]
        raise ReadError(
            f"rows {rows.start} to {rows.stop - 1}, columns {columns.start} to "
            f"{columns.stop - 1} of the {name} cannot be read: {cause}"
        ) from error
    return read
