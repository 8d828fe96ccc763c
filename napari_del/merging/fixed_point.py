"""Dissimilarities and thresholds as 32-bit integers.

Integers compare and add up exactly, so a partition does not depend on the machine or on the
order in which sums are taken.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_del.errors import ParameterError

__all__ = ["ONE", "from_fixed", "threshold_to_fixed", "to_fixed"]

ONE = 2**32 - 1
"""The integer that stands for a dissimilarity of 1."""


def to_fixed(values: ArrayLike) -> NDArray[np.uint32]:
    """Dissimilarities from 0 to 1 as fixed-point integers, rounded half up.

    Parameters
    ----------
    values : array_like of float
        Numbers from 0 to 1, of any shape.

    Returns
    -------
    ndarray of uint32
        Same shape; 0 to ``2**32 - 1``.

    Raises
    ------
    ParameterError
        If a value is NaN or outside 0 to 1.

    Examples
    --------
    >>> to_fixed([0.0, 0.5, 1.0])
    array([         0, 2147483648, 4294967295], dtype=uint32)
    """
    d = np.asarray(values, dtype=np.float64)
    outside = ~((d >= 0) & (d <= 1))  # True for NaN too
    if outside.any():
        raise ParameterError(
            f"a dissimilarity is {float(d[outside][0])!r}; expected numbers from 0 to 1"
        )
    return np.floor(d * ONE + 0.5).astype(np.uint32)


def from_fixed(weights: ArrayLike) -> NDArray[np.float64]:
    """Fixed-point integers as numbers from 0 to 1.

    The inverse of both `to_fixed` and `threshold_to_fixed`, so that a height read from a
    hierarchy and given back as a threshold takes in the merge of that height.

    Parameters
    ----------
    weights : array_like of int
        0 to ``2**32 - 1``, of any shape.

    Returns
    -------
    ndarray of float64
        Same shape.

    Examples
    --------
    >>> int(to_fixed(from_fixed(12345)))
    12345
    """
    # Dividing by 2**32 - 1 and multiplying by it gives every one of the 2**32 integers back,
    # without rounding to the one below, which is not so for divisors in general.
    d: NDArray[np.float64] = np.asarray(weights, dtype=np.float64) / ONE
    return d


def threshold_to_fixed(threshold: float) -> int:
    """A threshold from 0 to 1 as a fixed-point integer, rounded down.

    Parameters
    ----------
    threshold : float
        0 to 1.

    Returns
    -------
    int
        0 to ``2**32 - 1``.

    Raises
    ------
    ParameterError
        If `threshold` is not a number from 0 to 1.

    Examples
    --------
    >>> threshold_to_fixed(1.0) == 2**32 - 1
    True
    >>> threshold_to_fixed(1.5)
    Traceback (most recent call last):
    ...
    napari_del.errors.ParameterError: threshold is 1.5; expected a number from 0 to 1
    """
    return math.floor(checked_threshold(threshold) * ONE)


def checked_threshold(threshold: float) -> float:
    """`threshold` as a float, if it is a number from 0 to 1."""
    try:
        value = float(threshold)
    except (TypeError, ValueError):
        value = math.nan
    if not 0 <= value <= 1:  # False for NaN too
        raise ParameterError(f"threshold is {threshold!r}; expected a number from 0 to 1")
    return value
