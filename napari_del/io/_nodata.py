"""Masks of the pixels that hold no data."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["combine", "valid_pixels"]


def valid_pixels(data: npt.NDArray[Any], nodata: float) -> npt.NDArray[np.bool_] | None:
    """Pixels of which at least one channel differs from `nodata`.

    Parameters
    ----------
    data : ndarray
        (Y, X) or (Y, X, C).
    nodata : float
        Value of empty pixels; may be NaN.

    Returns
    -------
    ndarray of bool or None
        Shape (Y, X); None if the data type cannot hold `nodata`.
    """
    nodata = float(nodata)
    if math.isnan(nodata):
        if data.dtype.kind != "f":
            return None
        valid = ~np.isnan(data)
    elif data.dtype.kind == "f":
        # Files state the value in decimal digits; the pixels hold it rounded to their type.
        with np.errstate(over="ignore"):
            valid = data != data.dtype.type(nodata)
    else:
        if data.dtype.kind not in "iu" or not nodata.is_integer():
            return None
        limits = np.iinfo(data.dtype)
        if not limits.min <= nodata <= limits.max:
            return None
        valid = data != data.dtype.type(int(nodata))
    reduced: npt.NDArray[np.bool_] = valid.any(axis=-1) if valid.ndim == 3 else valid
    return reduced


def combine(
    first: npt.NDArray[np.bool_] | None, second: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.bool_] | None:
    """Pixels that both masks keep; None where that is all of them."""
    if first is None or second is None:
        mask = second if first is None else first
    else:
        mask = first & second
    return None if mask is None or bool(mask.all()) else mask
