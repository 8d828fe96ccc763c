"""Superpixels by integer SLIC on a global grid.

Achanta et al., "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", TPAMI 2012,
with the search of gSLICr (Ren, Prisacariu and Reid, 2015): a pixel looks at the clusters of
the 3 x 3 grid cells around it. Everything is computed in integers, and a pixel's superpixel
depends on pixels a bounded number of cells away, so that the result is the same on every
device and for every way to cut an image into tiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_del.errors import ImageError, ParameterError
from napari_del.normalise import UNIT, normalise
from napari_del.superpixels.grid import Grid, check_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

__all__ = [
    "DEFAULT_COMPACTNESS",
    "DEFAULT_ITERATIONS",
    "Grid",
    "check_compactness",
    "slic",
    "slic_features",
]

DEFAULT_COMPACTNESS = 10.0
DEFAULT_ITERATIONS = 5


def check_compactness(compactness: float) -> float:
    """Return `compactness` as a float, or raise `ParameterError` if it is out of its range."""
    if not 0 < compactness <= 1000:
        raise ParameterError(
            f"compactness is {compactness!r}; expected a number above 0, at most 1000"
        )
    return float(compactness)


def slic_features(
    features: NDArray[np.int16],
    *,
    step: int = 8,
    compactness: float = DEFAULT_COMPACTNESS,
    iterations: int = DEFAULT_ITERATIONS,
    mask: NDArray[np.bool_] | None = None,
    device: str | torch.device = "cpu",
) -> NDArray[np.int32]:
    """Superpixels of integer feature planes.

    Parameters
    ----------
    features : ndarray of int16, shape (F, Y, X)
        Planes as `napari_del.normalise.normalise` makes them, 16 for a unit of CIELAB.
    step, compactness, iterations, device
        As for `slic`.
    mask : ndarray of bool, shape (Y, X), optional
        True where a pixel takes part.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        Ids as `slic` gives them.
    """
    step = check_step(step)
    compactness = check_compactness(compactness)
    if isinstance(iterations, bool) or int(iterations) != iterations or not 1 <= iterations <= 50:
        raise ParameterError(f"iterations is {iterations!r}; expected a whole number from 1 to 50")
    grid = Grid(features.shape[1:], step)
    if grid.largest_id >= 2**31 - 1:
        raise ImageError(
            f"image has {grid.shape[0]} x {grid.shape[1]} pixels; expected fewer than "
            f"{2**31 - 1 - grid.n_cells} in one piece: use segment_large, which cuts it up"
        )
    # One step of distance counts as much as `compactness` units of colour.
    pitch = max(1, round(compactness * UNIT))
    if str(device).startswith("cuda"):
        from napari_del.models.device import resolve_device, turn_on
        from napari_del.superpixels._slic_torch import assign as assign_torch

        gpu = resolve_device(device)
        with turn_on(gpu):
            clusters = assign_torch(features, mask, grid, pitch, int(iterations), gpu)
    else:
        from napari_del.superpixels._slic_cpu import assign

        clusters = assign(features, mask, grid, pitch, int(iterations))
    from napari_del.superpixels._connectivity import connect

    return connect(clusters, grid)


def slic(
    image: ArrayLike,
    step: int = 8,
    *,
    compactness: float = DEFAULT_COMPACTNESS,
    iterations: int = DEFAULT_ITERATIONS,
    channels: Sequence[int] | None = None,
    mask: ArrayLike | None = None,
    device: str | torch.device = "cpu",
) -> NDArray[np.int32]:
    """Cut an image into superpixels of about `step` x `step` pixels.

    Parameters
    ----------
    image : array_like, shape (Y, X) or (Y, X, C)
        Grey, colour (three channels; compared in CIELAB) or any number of channels, of an
        integer or floating dtype.
    step : int
        Distance of neighbouring seeds in pixels, 4 to 256.
    compactness : float
        Weight of distance in the image against colour: a distance of `step` pixels counts as
        much as this many units of CIELAB, as in `skimage.segmentation.slic`. Channels of
        other images are compared on a scale from 0 to 100.
    iterations : int
        Number of assignments.
    channels : sequence of int, optional
        Channels to use, all by default.
    mask : array_like of bool, shape (Y, X), optional
        True where a pixel takes part.
    device : str or torch.device
        "cpu", or a CUDA device; the result is the same.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        Id of the superpixel of each pixel, 0 where masked. A superpixel is 4-connected. Ids
        are a function of the position on the grid, so that gaps are possible.

    Raises
    ------
    ImageError
        If the image or the mask cannot be used.
    ParameterError
        If a parameter is out of its range.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_del import slic
    >>> image = np.zeros((16, 24), np.uint8)
    >>> image[:, 12:] = 200
    >>> slic(image, step=8)[0]
    array([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3,
           3, 3], dtype=int32)
    """
    check_step(step)
    normalised = normalise(image, channels=channels, mask=mask)
    return slic_features(
        normalised.features,
        step=step,
        compactness=compactness,
        iterations=iterations,
        mask=normalised.valid,
        device=device,
    )
