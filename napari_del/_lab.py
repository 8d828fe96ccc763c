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


def to_lab(rgb: NDArray[np.uint8], unit: int) -> NDArray[np.int16]:
    """CIELAB (D65) of an 8-bit sRGB image in integer arithmetic.

    Parameters
    ----------
    rgb : ndarray of uint8, shape (Y, X, 3)
        C-contiguous.
    unit : int
        Value that stands for one unit of L, a and b.

    Returns
    -------
    ndarray of int16, shape (3, Y, X)
        Planes of L, a and b.
    """
    lab = np.empty((3, *rgb.shape[:2]), np.int16)
    parallel_for(
        lambda a, b: _lab_rows(a, b, rgb, _LINEAR, _XYZ, _ROOT, _CURVE, unit, lab),
        rgb.shape[0],
        grain=max(1, 2**15 // rgb.shape[1]),
    )
    return lab
