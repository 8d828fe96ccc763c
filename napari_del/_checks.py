"""Whether images, masks and channels are what can be segmented; no pixel is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from napari_del.errors import ImageError

__all__ = ["check_channels", "check_image_kind", "check_mask_kind"]


def check_image_kind(image: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Check the shape and the dtype of an image.

    Parameters
    ----------
    image : array
        Anything with a shape and a dtype.

    Returns
    -------
    shape : tuple of int
        (Y, X) or (Y, X, C).
    dtype : dtype
        Of integers, floating-point numbers or bool.

    Raises
    ------
    ImageError
        If it has other dimensions, no pixel, or another dtype.
    """
    shape, dtype = _kind("image", image)
    if len(shape) not in (2, 3):
        raise ImageError(
            f"image has {len(shape)} dimensions, shape {shape}; expected (Y, X) or (Y, X, C): "
            "select one plane"
        )
    if 0 in shape:
        raise ImageError(f"image has shape {shape}; expected at least one pixel and one channel")
    if dtype.kind not in "buif":
        raise ImageError(
            f"image has dtype {dtype}; expected bool, integer or floating-point numbers: convert it"
        )
    return shape, dtype


def check_channels(channels: Sequence[int] | None, shape: tuple[int, ...]) -> list[int] | None:
    """Check that an image has some channels.

    Parameters
    ----------
    channels : sequence of int or None
        Indices from 0.
    shape : tuple of int
        Of the image, (Y, X) or (Y, X, C).

    Returns
    -------
    list of int or None
        The same; None for all channels.

    Raises
    ------
    ImageError
        If there are none, or the image has no such channel.
    """
    if channels is None:
        return None
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
    return [int(c) for c in chosen]


def check_mask_kind(mask: Any, shape: tuple[int, int]) -> None:
    """Check the shape and the dtype of a mask.

    Parameters
    ----------
    mask : array
        Anything with a shape and a dtype.
    shape : tuple of int
        Image shape (Y, X).

    Raises
    ------
    ImageError
        If the mask has another shape, or a dtype that is neither bool nor integer.
    """
    found, dtype = _kind("mask", mask)
    if found != shape:
        raise ImageError(
            f"mask has shape {found}; expected {shape}, the shape of the image in pixels"
        )
    if dtype.kind not in "bui":
        raise ImageError(f"mask has dtype {dtype}; expected bool: compare it with a value")


def _kind(name: str, array: Any) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        return tuple(int(n) for n in array.shape), np.dtype(array.dtype)
    except (AttributeError, TypeError, ValueError) as error:
        raise ImageError(
            f"{name} is a {type(array).__name__}, whose shape or dtype NumPy does not know "
            f"({error}); expected an array"
        ) from error
