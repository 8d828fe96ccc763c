"""From an image of any dtype to what superpixels and networks take in.

Values are quantised here, once, with statistics of the whole image. Everything after this
step is a function of integers.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import ArrayLike, NDArray

from napari_del._threads import parallel_for
from napari_del.errors import ImageError, NonFiniteWarning

__all__ = ["UNIT", "NormalisedImage", "check_mask", "normalise"]

# Feature values per unit of CIELAB: L = 100 becomes 1600.
UNIT = 16
# The part of the values that a stretch leaves out at either end, in per cent.
PERCENTILES = (0.1, 99.9)
# Percentiles of floating-point images are taken from about this many pixels of a fixed lattice.
_SAMPLE = 2**22
_CURVE = 2**14


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


def _transfer_curves() -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """sRGB to linear light, and linear light to the cube root of CIELAB, as integer tables."""
    srgb = np.arange(256) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    t = np.arange(_CURVE + 1) / _CURVE
    root = np.where(t > (6 / 29) ** 3, np.cbrt(t), t * (29 / 6) ** 2 / 3 + 4 / 29)
    return (
        np.rint(linear * 2**16).astype(np.int32),
        np.rint(root * 2**15).astype(np.int32),
    )


# IEC 61966-2-1 primaries, each row divided by the D65 white (CIE 1931 2 degree observer).
_XYZ = np.rint(
    np.array(
        [
            [0.412453, 0.357580, 0.180423],
            [0.212671, 0.715160, 0.072169],
            [0.019334, 0.119193, 0.950227],
        ]
    )
    / np.array([[0.95047], [1.0], [1.08883]])
    * 2**12
).astype(np.int32)
_LINEAR, _ROOT = _transfer_curves()


@njit(nogil=True, cache=True)
def _lab_rows(
    start: int,
    stop: int,
    rgb: NDArray[np.uint8],
    linear: NDArray[np.int32],
    xyz: NDArray[np.int32],
    root: NDArray[np.int32],
    curve: int,
    unit: int,
    lab: NDArray[np.int16],
) -> None:
    half = 1 << 13
    for y in range(start, stop):
        for x in range(rgb.shape[1]):
            r = np.int64(linear[rgb[y, x, 0]])
            g = np.int64(linear[rgb[y, x, 1]])
            b = np.int64(linear[rgb[y, x, 2]])
            # 16 + 12 bits of fraction down to the 14 of the curve.
            u = min((xyz[0, 0] * r + xyz[0, 1] * g + xyz[0, 2] * b + half) >> 14, curve)
            v = min((xyz[1, 0] * r + xyz[1, 1] * g + xyz[1, 2] * b + half) >> 14, curve)
            w = min((xyz[2, 0] * r + xyz[2, 1] * g + xyz[2, 2] * b + half) >> 14, curve)
            fx = np.int64(root[u])
            fy = np.int64(root[v])
            fz = np.int64(root[w])
            lab[0, y, x] = ((116 * unit * fy + (1 << 14)) >> 15) - 16 * unit
            lab[1, y, x] = (500 * unit * (fx - fy) + (1 << 14)) >> 15
            lab[2, y, x] = (200 * unit * (fy - fz) + (1 << 14)) >> 15


def _to_lab(rgb: NDArray[np.uint8]) -> NDArray[np.int16]:
    """CIELAB (D65) of an 8-bit sRGB image in integer arithmetic, as planes."""
    lab = np.empty((3, *rgb.shape[:2]), np.int16)
    parallel_for(
        lambda a, b: _lab_rows(a, b, rgb, _LINEAR, _XYZ, _ROOT, _CURVE, UNIT, lab),
        rgb.shape[0],
        grain=max(1, 2**15 // rgb.shape[1]),
    )
    return lab


def _check_image(image: ArrayLike, channels: Sequence[int] | None) -> NDArray[np.generic]:
    """The image as an array (Y, X, C) of an integer or floating dtype, or an `ImageError`."""
    shape = tuple(getattr(image, "shape", None) or np.shape(image))
    if len(shape) not in (2, 3):
        raise ImageError(
            f"image has {len(shape)} dimensions, shape {shape}; expected (Y, X) or (Y, X, C): "
            "select one plane"
        )
    if 0 in shape:
        raise ImageError(f"image has shape {shape}; expected at least one pixel and one channel")
    dtype = np.dtype(getattr(image, "dtype", None) or np.asarray(image).dtype)
    if dtype.kind not in "buif":
        raise ImageError(
            f"image has dtype {dtype}; expected bool, integer or floating-point numbers: convert it"
        )
    if channels is not None:
        n = shape[2] if len(shape) == 3 else 1
        chosen = list(channels)
        if not chosen:
            raise ImageError(f"channels is empty; expected indices from 0 to {n - 1}")
        for c in chosen:
            if isinstance(c, bool) or c not in range(n):
                raise ImageError(
                    f"channel {c!r} does not exist; expected indices from 0 to {n - 1}, because "
                    f"the image has shape {shape}"
                )
        if len(shape) == 3:
            indices = [int(c) for c in chosen]
            source: Any = image if hasattr(image, "shape") else np.asarray(image)
            # zarr arrays take a list of indices, beside a slice, under this name alone.
            image = getattr(source, "oindex", source)[..., indices]
    array = np.asarray(image)
    if array.ndim == 2:
        array = array[..., np.newaxis]
    return array


def check_mask(mask: ArrayLike | None, shape: tuple[int, int]) -> NDArray[np.bool_] | None:
    """The mask as a boolean array of `shape`, or an `ImageError` that says how it differs."""
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.shape != shape:
        raise ImageError(
            f"mask has shape {array.shape}; expected {shape}, the shape of the image in pixels"
        )
    if array.dtype.kind not in "bui":
        raise ImageError(f"mask has dtype {array.dtype}; expected bool: compare it with a value")
    return np.ascontiguousarray(array != 0)


def _limits(
    array: NDArray[np.generic], valid: NDArray[np.bool_] | None, *, joint: bool
) -> NDArray[np.float64]:
    """Percentiles of the valid pixels, shape (2, C); equal for all channels if `joint`."""
    height, width, n_channels = array.shape
    lattice = max(1, int(np.ceil(np.sqrt(height * width / _SAMPLE))))
    sample = array[::lattice, ::lattice]
    inside = None if valid is None else valid[::lattice, ::lattice]
    if inside is not None and not inside.any():  # the lattice missed every valid pixel
        sample, inside = array, valid
    values = sample.reshape(-1, n_channels) if inside is None else sample[inside]
    if values.size == 0:
        return np.zeros((2, n_channels))
    axis = None if joint else 0
    limits = np.percentile(values.astype(np.float64, copy=False), PERCENTILES, axis=axis)
    limits = limits.reshape(2, -1)
    if (limits[0] == limits[1]).any():
        # A small object on an even ground lies wholly in what the percentiles leave out.
        values = array.reshape(-1, n_channels) if valid is None else array[valid]
        ends = np.stack([values.min(axis=axis), values.max(axis=axis)]).reshape(2, -1)
        limits = np.where(limits[0] == limits[1], ends.astype(np.float64), limits)
    return np.broadcast_to(limits, (2, n_channels))


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
    array = _check_image(image, channels)
    height, width, n_channels = array.shape
    valid = check_mask(mask, (height, width))
    if array.dtype.kind == "f":
        finite = np.isfinite(array).all(axis=2)
        n_bad = finite.size - int(np.count_nonzero(finite))
        if n_bad == finite.size:
            raise ImageError("image has no pixel with finite values; expected numbers, not NaN")
        if n_bad:
            warnings.warn(
                f"{n_bad} of {finite.size} pixels are NaN or infinite and are treated as nodata",
                NonFiniteWarning,
                stacklevel=3,
            )
            valid = finite if valid is None else valid & finite
            array = np.where(finite[..., np.newaxis], array, array.dtype.type(0))
        if array.dtype.itemsize < 4:
            array = array.astype(np.float32)
    elif array.dtype.kind == "b":
        array = array.astype(np.uint8) * np.uint8(255)

    if n_channels == 3:
        if array.dtype == np.uint8:
            rgb = np.ascontiguousarray(array)
        else:
            low, high = _limits(array, valid, joint=True)
            rgb = np.rint(_stretch(array, low, high) * 255).astype(np.uint8)
        return NormalisedImage(_to_lab(rgb), rgb, valid)

    low, high = _limits(array, valid, joint=False)
    unit = _stretch(array, low, high)
    features = np.rint(unit * (100 * UNIT)).astype(np.int16)
    grey = np.rint(unit * 255).astype(np.uint8)
    # A network sees three channels: one is shown as grey, of more the first three.
    shown = [min(c, n_channels - 1) for c in range(3)]
    return NormalisedImage(
        np.ascontiguousarray(np.moveaxis(features, 2, 0)),
        np.ascontiguousarray(grey[..., shown]),
        valid,
    )


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
