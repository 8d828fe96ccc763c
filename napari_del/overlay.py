"""Pictures of a segmentation: the borders of regions drawn over the image."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage as ndi

from napari_del.errors import ImageError, NonFiniteWarning, ParameterError
from napari_del.normalise import normalise

__all__ = ["overlay"]

COLOUR = (255, 225, 60)
# What is left of the brightness beside a line, so that it stands out on bright ground too.
SHADE = 0.45
# Lines are as wide as to be seen when the whole picture is shown on a screen of this size.
SCREEN = 1500


def overlay(
    image: ArrayLike,
    labels: NDArray[np.integer[Any]],
    *,
    channels: Sequence[int] | None = None,
    mask: ArrayLike | None = None,
    colour: tuple[int, int, int] = COLOUR,
    width: int | None = None,
    fill: float = 0.0,
) -> NDArray[np.uint8]:
    """Draw the borders of regions over the image.

    The image is shown as the networks see it: colour images of 8 bits as they are, others
    stretched to the range of their values. Lines have a darkened edge, which makes them
    readable on bright ground.

    Parameters
    ----------
    image : array_like, shape (Y, X) or (Y, X, C)
        Image of any integer or floating dtype.
    labels : ndarray of int, shape (Y, X)
        Regions.
    channels : sequence of int, optional
        Channels to show; of more than three the first three are shown.
    mask : array_like of bool, shape (Y, X), optional
        True where a pixel counts for the range of the values.
    colour : tuple of int
        Red, green and blue of the lines, 0 to 255.
    width : int, optional
        Width of the lines in pixels. By default 1, and more in images beyond 3000 pixels.
    fill : float
        Opacity of the mean colours of the regions, 0 to 1; at 0 the image is seen between the
        lines.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        Picture.

    Raises
    ------
    ImageError
        If the image cannot be shown or `labels` is of another shape.
    ParameterError
        If `fill` or `width` is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.repeat([[1, 1, 1, 2, 2, 2]], 4, axis=0)
    >>> overlay(np.zeros((4, 6, 3), np.uint8), labels)[0, :, 0]
    array([  0,   0, 255,   0,   0,   0], dtype=uint8)
    """
    if not 0 <= fill <= 1:
        raise ParameterError(f"fill is {fill}; expected an opacity from 0 to 1")
    if width is not None and width < 1:
        raise ParameterError(f"width is {width}; expected at least 1 pixel")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonFiniteWarning)  # the segmentation has said so
        picture = normalise(image, channels=channels, mask=mask).display.copy()
    labels = np.asarray(labels)
    if labels.shape != picture.shape[:2]:
        raise ImageError(
            f"labels have shape {labels.shape}; expected {picture.shape[:2]}, that of the image"
        )
    if fill:
        picture = _fill(picture, labels, fill)
    width = max(1, max(labels.shape) // SCREEN) if width is None else width
    lines = _borders(labels)
    if width > 1:
        lines = ndi.maximum_filter(lines, size=width)
    shade = ndi.maximum_filter(lines, size=2 * (1 + width // 3) + 1)
    np.multiply(picture, SHADE, out=picture, where=shade[..., np.newaxis], casting="unsafe")
    picture[lines] = colour
    return picture


def _borders(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Pixels whose right or lower neighbour lies in another region: lines of one pixel."""
    lines = np.zeros(labels.shape, np.bool_)
    lines[:-1] = labels[:-1] != labels[1:]
    lines[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return lines


def _fill(
    picture: NDArray[np.uint8], labels: NDArray[np.integer[Any]], opacity: float
) -> NDArray[np.uint8]:
    """Blend each region with its mean colour."""
    numbers = labels.ravel()
    sizes = np.maximum(np.bincount(numbers), 1)
    blended = np.empty_like(picture)
    for c in range(picture.shape[2]):
        mean = np.bincount(numbers, weights=picture[..., c].ravel()) / sizes
        blended[..., c] = np.rint((1 - opacity) * picture[..., c] + opacity * mean[labels])
    return blended
