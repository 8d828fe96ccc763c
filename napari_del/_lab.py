"""CIELAB in integer arithmetic, the same on every machine."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import parallel_for

__all__ = ["to_lab"]

_CURVE = 2**14


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


# One step after another for a whole row, in 32 bits, which hold every number here: so each of them
# is vectorised. numba computes with 64 bits unless told otherwise at every step.


@njit(nogil=True, cache=True)
def _weigh(
    light: NDArray[np.int32],
    weights: NDArray[np.int32],
    root: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    """Root of the weighted sum of red, green and blue, for each pixel of a row."""
    short = np.int32
    most, half, shift = short(root.size - 1), short(1 << 13), short(14)
    # 16 + 12 bits of fraction down to the 14 of the curve.
    for x in range(out.size):
        total = short(weights[0] * light[0, x])
        total = short(total + short(weights[1] * light[1, x]))
        total = short(total + short(weights[2] * light[2, x]))
        out[x] = min(short(short(total + half) >> shift), most)
    for x in range(out.size):
        # Numbers without a sign need no test for negative ones.
        out[x] = root[np.uint32(out[x])]


@njit(nogil=True, cache=True)
def _lab_rows(
    start: int,
    stop: int,
    rgb: NDArray[np.uint8],
    linear: NDArray[np.int32],
    xyz: NDArray[np.int32],
    root: NDArray[np.int32],
    unit: int,
    lab: NDArray[np.int16],
) -> None:
    short = np.int32
    width = rgb.shape[1]
    half, shift, black = short(1 << 14), short(15), short(16 * unit)
    scales = short(116 * unit), short(500 * unit), short(200 * unit)
    light, roots = np.empty((3, width), np.int32), np.empty((3, width), np.int32)
    for y in range(start, stop):
        for x in range(width):
            light[0, x] = linear[rgb[y, x, 0]]
            light[1, x] = linear[rgb[y, x, 1]]
            light[2, x] = linear[rgb[y, x, 2]]
        for k in range(3):
            _weigh(light, xyz[k], root, roots[k])
        for x in range(width):
            fx, fy, fz = roots[0, x], roots[1, x], roots[2, x]
            lab[0, y, x] = short(short(short(scales[0] * fy) + half) >> shift) - black
            lab[1, y, x] = short(short(scales[1] * short(fx - fy)) + half) >> shift
            lab[2, y, x] = short(short(scales[2] * short(fy - fz)) + half) >> shift


def to_lab(rgb: NDArray[np.uint8], unit: int) -> NDArray[np.int16]:
    """CIELAB (D65) of an 8-bit sRGB image in integer arithmetic.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
        C-contiguous.
    unit : int
        Value that stands for one unit of L, a and b, at most 100.

    Returns
    -------
    ndarray of int16, shape (3, Y, X)
        Planes of L, a and b.
    """
    lab = np.empty((3, *rgb.shape[:2]), np.int16)
    parallel_for(
        lambda a, b: _lab_rows(a, b, rgb, _LINEAR, _XYZ, _ROOT, unit, lab),
        rgb.shape[0],
        grain=max(1, 2**15 // rgb.shape[1]),
    )
    return lab
