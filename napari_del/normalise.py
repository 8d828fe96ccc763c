"""From an image of any dtype to what superpixels and networks take in.

Values are quantised here, once, with statistics of the whole image. Everything after this
step is a function of integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_del._checks import check_channels, check_image_kind, check_mask_kind
from napari_del._lab import to_lab
from napari_del.errors import ImageError, NonFiniteWarning

__all__ = [
    "UNIT",
    "NormalisedImage",
    "check_mask",
    "clean",
    "displayed",
    "is_stretched",
    "lattice_spacing",
    "lattice_values",
    "normalise",
    "quantise",
    "stretch_limits",
    "value_range",
    "warn_of_nodata",
]

# Feature values per unit of CIELAB: L = 100 becomes 1600.
UNIT = 16
# The part of the values that a stretch leaves out at either end, in per cent.
PERCENTILES = (0.1, 99.9)
# Percentiles of floating-point images are taken from about this many pixels of a fixed lattice.
_SAMPLE = 2**22


@dataclass(frozen=True)
class NormalisedImage:
    """An image, quantised.

    Attributes
    ----------
    features : ndarray of int16, shape (F, Y, X)
        Planes for superpixels, 16 for one unit of CIELAB: L, a and b for colour images, else
        one plane for each channel from 0 to 1600.
    display : ndarray of uint8, shape (Y, X, 3)
        Network input: red, green and blue.
    valid : ndarray of bool, shape (Y, X), or None
        False where the mask or a value that is not finite excludes a pixel; None if all take
        part.
    """

    features: NDArray[np.int16]
    display: NDArray[np.uint8]
    valid: NDArray[np.bool_] | None


def _read(image: ArrayLike, channels: Sequence[int] | None) -> NDArray[np.generic]:
    """The image as an array (Y, X, C) of an integer or floating dtype, or an `ImageError`."""
    source: Any = image if hasattr(image, "shape") else np.asarray(image)
    shape, _ = check_image_kind(source)
    chosen = check_channels(channels, shape)
    if chosen is not None and len(shape) == 3:
        # zarr arrays take a list of indices, beside a slice, under this name alone.
        source = getattr(source, "oindex", source)[..., chosen]
    array = np.asarray(source)
    return array[..., np.newaxis] if array.ndim == 2 else array


def check_mask(mask: ArrayLike | None, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask as a boolean array of `shape`, or an `ImageError` that says how it differs."""
    if mask is None:
        return None
    array = np.asarray(mask)
    check_mask_kind(array, shape)
    return np.ascontiguousarray(array != 0)


def clean(
    array: NDArray[np.generic], valid: NDArray[np.bool_] | None
) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None, int]:
    """Mask pixels that are no numbers, and give the others a dtype that can be quantised.

    Parameters
    ----------
    array : ndarray, shape (Y, X, C)
        Image or part of one, of any integer or floating dtype, or bool.
    valid : ndarray of bool, shape (Y, X), or None
        True where a pixel takes part; None if all do.

    Returns
    -------
    array : ndarray, shape (Y, X, C)
        0 where a pixel has a value that is not finite.
    valid : ndarray of bool, shape (Y, X), or None
        Also False there.
    n_bad : int
        Number of such pixels.
    """
    n_bad = 0
    if array.dtype.kind == "f":
        finite = np.isfinite(array).all(axis=2)
        n_bad = finite.size - int(np.count_nonzero(finite))
        if n_bad:
            valid = finite if valid is None else valid & finite
            array = np.where(finite[..., np.newaxis], array, array.dtype.type(0))
        if array.dtype.itemsize < 4:
            array = array.astype(np.float32)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)
    return array, valid, n_bad


def is_stretched(n_channels: int, dtype: np.dtype[Any]) -> bool:
    """Whether images of this kind are stretched; colour images of 8 bits are taken as they are."""
    return not (n_channels == 3 and dtype in (np.uint8, np.bool_))


def lattice_spacing(shape: tuple[int, int]) -> int:
    """Distance in pixels, in each direction, of the pixels that percentiles are taken from."""
    return max(1, int(np.ceil(np.sqrt(shape[0] * shape[1] / _SAMPLE))))


def lattice_values(
    array: NDArray[np.generic],
    valid: NDArray[np.bool_] | None,
    spacing: int,
    origin: tuple[int, int] = (0, 0),
) -> NDArray[np.generic]:
    """Valid pixels of the lattice that lie in a part of the image, shape (k, C).

    Parameters
    ----------
    array, valid
        Part of the image as `clean` gives it.
    spacing : int
        Of the lattice, see `lattice_spacing`.
    origin : tuple of int
        First row and column of the part in the image.
    """
    rows, columns = (slice(-first % spacing, None, spacing) for first in origin)
    sample = array[rows, columns]
    if valid is None:
        return sample.reshape(-1, array.shape[2])
    return sample[valid[rows, columns]]


def value_range(
    array: NDArray[np.generic], valid: NDArray[np.bool_] | None
) -> NDArray[np.float64] | None:
    """Least and largest value of each channel over the valid pixels, shape (2, C), if any."""
    values = array.reshape(-1, array.shape[2]) if valid is None else array[valid]
    if not len(values):
        return None
    return np.stack([values.min(axis=0), values.max(axis=0)]).astype(np.float64)


def stretch_limits(
    values: NDArray[np.generic], ends: Callable[[], NDArray[np.float64] | None]
) -> NDArray[np.float64]:
    """Range of values that is stretched, shape (2, C); equal for all of three channels.

    Parameters
    ----------
    values : ndarray, shape (k, C)
        `lattice_values` of the whole image, in any order.
    ends : callable
        Gives the `value_range` of the whole image; called only if it is needed.

    Returns
    -------
    ndarray of float64, shape (2, C)
        The `PERCENTILES`. A channel in which both are equal has its whole range: a small
        object on an even ground lies wholly in what the percentiles leave out. So has an image
        whose valid pixels the lattice missed.
    """
    n_channels = values.shape[1]
    axis = None if n_channels == 3 else 0
    if len(values):
        limits = np.percentile(values.astype(np.float64, copy=False), PERCENTILES, axis=axis)
        limits = limits.reshape(2, -1)
    else:
        limits = np.zeros((2, 1 if axis is None else n_channels))
    if (limits[0] == limits[1]).any():
        found = ends()
        if found is not None:
            if axis is None:
                found = np.array([[found[0].min()], [found[1].max()]])
            limits = np.where(limits[0] == limits[1], found, limits)
    return np.broadcast_to(limits, (2, n_channels))


def displayed(array: NDArray[np.generic], limits: NDArray[np.float64] | None) -> NDArray[np.uint8]:
    """What a network sees of an image or a part of one: red, green and blue.

    Parameters
    ----------
    array : ndarray, shape (Y, X, C)
        As `clean` gives it.
    limits : ndarray of float64, shape (2, C), or None
        As `stretch_limits` gives them; None for images that are taken as they are.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """
    if limits is None:
        return np.ascontiguousarray(array.astype(np.uint8, copy=False))
    return _display(_stretch(array, limits[0], limits[1]))


def _display(unit: NDArray[np.floating]) -> NDArray[np.uint8]:
    bytes_ = np.rint(unit * 255).astype(np.uint8)
    # A network sees three channels: one is shown as grey, of more the first three.
    shown = [min(c, unit.shape[2] - 1) for c in range(3)]
    return bytes_ if unit.shape[2] == 3 else np.ascontiguousarray(bytes_[..., shown])


def quantise(
    array: NDArray[np.generic],
    valid: NDArray[np.bool_] | None,
    limits: NDArray[np.float64] | None,
) -> NormalisedImage:
    """Quantise an image or a part of one, each pixel by itself.

    Parameters
    ----------
    array, valid
        As `clean` gives them.
    limits : ndarray of float64, shape (2, C), or None
        As for `displayed`.

    Returns
    -------
    NormalisedImage
    """
    if array.shape[2] == 3:
        rgb = displayed(array, limits)
        return NormalisedImage(to_lab(rgb, UNIT), rgb, valid)
    assert limits is not None  # only images of three channels are taken as they are
    unit = _stretch(array, limits[0], limits[1])
    features = np.rint(unit * (100 * UNIT)).astype(np.int16)
    return NormalisedImage(np.ascontiguousarray(np.moveaxis(features, 2, 0)), _display(unit), valid)


def warn_of_nodata(n_bad: int, n_pixels: int, *, stacklevel: int) -> None:
    """Tell of pixels that are not finite, or raise `ImageError` if no other is left."""
    if n_bad == n_pixels:
        raise ImageError("image has no pixel with finite values; expected numbers, not NaN")
    if n_bad:
        warnings.warn(
            f"{n_bad} of {n_pixels} pixels are NaN or infinite and are treated as nodata",
            NonFiniteWarning,
            stacklevel=stacklevel + 1,
        )


def normalise(
    image: ArrayLike, *, channels: Sequence[int] | None = None, mask: ArrayLike | None = None
) -> NormalisedImage:
    """Quantise an image for superpixels and networks.

    Colour images of 8 bits are taken as they are. Of all others the range from the 0.1 to the
    99.9 percentile of the valid pixels is stretched: one range for the three channels of a
    colour image, so that colours stay, else one for each channel.

    Parameters
    ----------
    image : array_like, shape (Y, X) or (Y, X, C)
        Image of any integer or floating dtype. Three channels are taken as red, green, blue.
    channels : sequence of int, optional
        Channels to use, all by default.
    mask : array_like of bool, shape (Y, X), optional
        True where a pixel takes part.

    Returns
    -------
    NormalisedImage
        Integer planes, network input and valid pixels.

    Raises
    ------
    ImageError
        If shape, dtype, channels or mask do not fit, or no value is finite.

    Warns
    -----
    NonFiniteWarning
        If some pixels are NaN or infinite; they are masked.
    """
    given = _read(image, channels)
    shape = given.shape[:2]
    array, valid, n_bad = clean(given, check_mask(mask, shape))
    warn_of_nodata(n_bad, shape[0] * shape[1], stacklevel=3)
    if not is_stretched(given.shape[2], given.dtype):
        return quantise(array, valid, None)
    values = lattice_values(array, valid, lattice_spacing(shape))
    limits = stretch_limits(values, lambda: value_range(array, valid))
    return quantise(array, valid, limits)


def _stretch(
    array: NDArray[np.generic], low: NDArray[np.float64], high: NDArray[np.float64]
) -> NDArray[np.floating]:
    """Values from `low` to `high` mapped to 0 to 1, clipped; a constant channel becomes 0."""
    # 32-bit floats hold differences of 16-bit integers exactly; wider values want 64 bits.
    dtype = np.float32 if array.dtype.itemsize <= 2 else np.float64
    span = high - low
    scale = np.divide(1.0, span, out=np.zeros_like(span), where=span > 0)
    # Clipped first, so that a huge value that stands for nodata does not overflow.
    unit: NDArray[np.floating] = np.clip(array, low.astype(dtype), high.astype(dtype))
    unit -= low.astype(dtype)
    unit *= scale.astype(dtype)
    np.minimum(unit, 1, out=unit)
    return unit
