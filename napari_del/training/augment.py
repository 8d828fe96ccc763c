"""Versions of a training image that another camera, microscope or satellite could have taken.

References
----------
.. [1] G. Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance
   Segmentation", CVPR 2021
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch.nn import functional as F

__all__ = ["crop", "paste", "recolour", "turn"]

# Least and largest share of a picture that a region which is pasted takes, and the shortest side.
_PASTED, _SHORTEST = (0.015, 0.4), 8
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def turn(
    image: NDArray[np.uint8], segmentations: NDArray[np.int32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Turn an image and its labels by quarter turns, and mirror every second one.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.
    segmentations : ndarray of int32, shape (A, Y, X)
        Labels of each annotator.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    image, segmentations
        Views; Y and X may have changed places.
    """
    turns = int(rng.integers(4))
    image = np.rot90(image, turns)
    segmentations = np.rot90(segmentations, turns, axes=(1, 2))
    if rng.random() < 0.5:
        image, segmentations = image[:, ::-1], segmentations[:, :, ::-1]
    return image, segmentations


def crop(
    image: NDArray[np.uint8],
    segmentations: NDArray[np.int32],
    size: tuple[int, int],
    scale: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Cut out a window at random and bring it to another scale.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.
    segmentations : ndarray of int32, shape (A, Y, X)
        Labels of each annotator.
    size : tuple of int
        Height and width of the result; less where the scaled image is smaller.
    scale : float
        Pixels of the result for one of the image.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    image, segmentations
        New arrays. Labels are taken at the nearest pixel.
    """
    height, width = image.shape[:2]
    tall = min(height, max(1, round(size[0] / scale)))
    wide = min(width, max(1, round(size[1] / scale)))
    y, x = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    image = np.ascontiguousarray(image[y : y + tall, x : x + wide])
    segmentations = segmentations[:, y : y + tall, x : x + wide]
    out = (max(1, min(size[0], round(tall * scale))), max(1, min(size[1], round(wide * scale))))
    if out == (tall, wide):
        return image, np.ascontiguousarray(segmentations)
    planes = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    planes = F.interpolate(planes, out, mode="bilinear", antialias=True, align_corners=False)
    resized = planes[0].permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8).numpy()
    rows = ((np.arange(out[0]) + 0.5) * tall / out[0]).astype(np.intp)
    columns = ((np.arange(out[1]) + 0.5) * wide / out[1]).astype(np.intp)
    return resized, segmentations[:, rows[:, np.newaxis], columns]


def paste(
    image: NDArray[np.uint8],
    segmentations: NDArray[np.int32],
    other: NDArray[np.uint8],
    other_segmentations: NDArray[np.int32],
    rng: np.random.Generator,
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Paste a region of another image over an image, as an object that stands before it [1]_.

    Few images give many in this way, whose borders are known as well as those of either: what
    is beside a region no longer tells what it is.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.
    segmentations : ndarray of int32, shape (A, Y, X)
        Labels of each annotator.
    other : ndarray of uint8, shape (y, x, 3)
        Image that a region is taken from, of 1.5 to 40 % of it.
    other_segmentations : ndarray of int32, shape (B, y, x)
        Its labels. The outline is that of one annotator; what the others see within is pasted
        too, for each annotator of `image` from one of `other`.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    image, segmentations
        New arrays; the ones that were given if `other` has no such region, or nearly all of it
        would lie outside.
    """
    outline = other_segmentations[int(rng.integers(len(other_segmentations)))]
    regions, counts = np.unique(outline[outline >= 0], return_counts=True)
    least, most = (share * outline.size for share in _PASTED)
    regions = regions[(counts > least) & (counts < most)]
    if not regions.size:
        return image, segmentations
    inside = outline == regions[int(rng.integers(regions.size))]
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    inside, other, other_segmentations = inside[box], other[box], other_segmentations[:, *box]
    places, parts = [], []
    for side, length in zip(inside.shape, segmentations.shape[1:], strict=True):
        # At most a third of it hangs over the upper or left side, two thirds over the others.
        start = int(rng.integers(-(side // 3), max(length - 2 * side // 3, 1)))
        place = slice(max(start, 0), min(start + side, length))
        places.append(place)
        parts.append(slice(place.start - start, place.stop - start))
    if any(place.stop - place.start < _SHORTEST for place in places):
        return image, segmentations
    here, part = (places[0], places[1]), (parts[0], parts[1])
    # A soft edge, as a lens would give it.
    soft = ndimage.gaussian_filter(inside.astype(np.float32), rng.uniform(0.4, 1.0))
    image, segmentations = image.copy(), segmentations.copy()
    behind = image[here].astype(np.float32)
    before = other[part].astype(np.float32)
    image[here] = np.rint(behind + soft[part][..., np.newaxis] * (before - behind))
    first, turn_of = segmentations.max() + 1, int(rng.integers(len(other_segmentations)))
    for number, labels in enumerate(segmentations):
        pasted = other_segmentations[(number + turn_of) % len(other_segmentations)][part]
        numbered = np.where(pasted >= 0, pasted + first, pasted)
        labels[here] = np.where(inside[part], numbered, labels[here])
    return image, segmentations


def recolour(
    image: NDArray[np.uint8], rng: np.random.Generator, *, strength: float = 1.0
) -> NDArray[np.uint8]:
    """Change colours, contrast and sharpness, and add noise.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.
    rng : numpy.random.Generator
        Source of chance.
    strength : float
        0 for small changes of colour and brightness only; up to 1, with growing probability,
        also grey and inverted images, other colours, uneven light, blur and noise.

    Returns
    -------
    ndarray of uint8, shape (Y, X, 3)
    """

    def happens(probability: float) -> bool:
        return bool(rng.random() < probability * strength)

    value = image.astype(np.float32) / 255
    if happens(0.2):  # dim or bright images use a small part of the range
        gamma = np.exp(rng.uniform(-0.9, 0.9))
    else:
        gamma = np.exp(rng.uniform(-0.3, 0.3))
    value = value ** np.float32(gamma)
    if happens(0.15):  # false colours: stains, infrared bands
        mix = rng.dirichlet(np.full(3, 0.5), size=3).astype(np.float32)
        value = value @ mix.T
    grey = value @ _LUMA
    saturation = 0.0 if rng.random() < 0.1 + 0.15 * strength else rng.uniform(0.6, 1.3)
    value = grey[..., np.newaxis] * np.float32(1 - saturation) + value * np.float32(saturation)
    if happens(0.15):
        value = 1 - value
    if happens(0.15):  # uneven light
        field = rng.normal(size=(4, 4)).astype(np.float32)
        zoom = (image.shape[0] / 4, image.shape[1] / 4)
        field = ndimage.zoom(field, zoom, order=1, grid_mode=True, mode="nearest")
        value = value * np.exp(0.25 * field)[..., np.newaxis]
    contrast = 0.5 if happens(0.1) else 1.0
    gain = contrast * rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, size=3)
    value = (value - 0.5) * gain.astype(np.float32) + np.float32(0.5 + rng.uniform(-0.08, 0.08))
    if happens(0.2):
        sigma = rng.uniform(0.4, 1.4)
        value = ndimage.gaussian_filter(value, (sigma, sigma, 0), truncate=2.5)
    if happens(0.35):
        deviation = np.float32(np.exp(rng.uniform(np.log(0.005), np.log(0.08))))
        alike = rng.random() < 0.5  # one sensor behind all channels, or one each
        shape = (*value.shape[:2], 1 if alike else 3)
        value = value + deviation * rng.standard_normal(shape, np.float32)
    return np.clip(np.rint(value * 255), 0, 255).astype(np.uint8)
