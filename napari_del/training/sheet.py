"""A sheet of pictures that shows what a network makes of a few images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.models.lite import DelLite
from napari_del.overlay import overlay
from napari_del.pipeline import segment
from napari_del.training.weights import write_whole

__all__ = ["boundary_probability", "picture_sheet", "write_sheet"]

_TILE = 320
_GAP = 4
_PAPER = 255


def boundary_probability(network: DelLite, image: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Probability that a region ends at each pixel.

    Parameters
    ----------
    network : DelLite
        Network, on any device.
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.

    Returns
    -------
    ndarray of float32, shape (Y, X)
        From 0 to 1.
    """
    device = next(network.parameters()).device
    height, width = image.shape[:2]
    lack = [(0, -height % network.stride), (0, -width % network.stride), (0, 0)]
    padded = torch.from_numpy(np.pad(image, lack, mode="symmetric"))
    with torch.no_grad():
        _, logits = network(padded.permute(2, 0, 1)[None].float().to(device))
        assert logits is not None
        full = F.interpolate(
            logits.sigmoid(), scale_factor=float(network.output_stride), mode="bilinear"
        )
    found: NDArray[np.float32] = full[0, 0, :height, :width].cpu().numpy()
    return found


def picture_sheet(
    network: DelLite,
    model: str | Path,
    images: Sequence[AnnotatedImage],
    *,
    threshold: float | None = None,
    step: int = 8,
) -> NDArray[np.uint8]:
    """Show images beside what a network makes of them.

    Parameters
    ----------
    network : DelLite
        Network.
    model : str or path
        Its weights file.
    images : sequence of AnnotatedImage
        uint8 RGB; one row each. Of large images the middle is shown.
    threshold : float, optional
        Threshold of the regions; the model's default if not given.
    step : int
        Superpixel step.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
        In four columns the image, the boundary probability, the regions, and the regions of
        the first annotator, dark where nothing is labelled.
    """
    rows = []
    for item in images:
        window = tuple(
            slice(max(0, (side - _TILE) // 2), max(0, (side - _TILE) // 2) + _TILE)
            for side in item.segmentations.shape[1:]
        )
        image = np.ascontiguousarray(np.asarray(item.image, np.uint8)[window])
        truth = item.segmentations[0][window]
        boundary = np.rint(boundary_probability(network, image) * 255).astype(np.uint8)
        regions = segment(image, model=model, step=step, device="cpu").labels(threshold)
        drawn = overlay(image, truth.astype(np.int64) + 3, fill=0.5)
        drawn[truth < 0] //= 3
        rows.append(
            [
                _tile(picture)
                for picture in (
                    image,
                    np.repeat(boundary[..., np.newaxis], 3, axis=2),
                    overlay(image, regions, fill=0.5),
                    drawn,
                )
            ]
        )
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def write_sheet(path: Path, sheet: NDArray[np.uint8]) -> None:
    """Write a sheet as PNG.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    write_whole(path, iio.imwrite("<bytes>", sheet, extension=".png"))


def _tile(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    tile = np.full((_TILE + _GAP, _TILE + _GAP, 3), _PAPER, np.uint8)
    tile[: picture.shape[0], : picture.shape[1]] = picture
    return tile
