"""Training images of several data sets, drawn so that no set drowns the others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_del.errors import ParameterError
from napari_del.evaluation.datasets import UNLABELLED, AnnotatedImage
from napari_del.normalise import normalise
from napari_del.training.augment import crop, paste, recolour, turn
from napari_del.training.synthetic import composite, texture_patches

__all__ = ["Mixture", "TrainingSet", "prepare"]


@dataclass(frozen=True)
class TrainingSet:
    """Images of one kind, and how they are drawn.

    Attributes
    ----------
    name : str
        Name of the set.
    images : sequence of AnnotatedImage
        Images as uint8 RGB, see `prepare`.
    weight : float
        Share of the training samples, relative to those of other sets.
    scales : tuple of float
        Least and largest scale at which images are shown.
    strength : float
        How much colours and sharpness are changed, see `recolour`.
    crowding : float
        Images are drawn in proportion to the number of their regions to this power: 0 draws all
        alike, 1 shows each region as often as any other.
    merge_weight : float, optional
        Share of the images of `Mixture.whole`, relative to those of other sets; as `weight` by
        default.
    pasting : float
        Share of the samples over which regions of up to three others of the set are pasted, see
        `paste`.
    """

    name: str
    images: Sequence[AnnotatedImage] = field(repr=False)
    weight: float = 1.0
    scales: tuple[float, float] = (0.7, 1.5)
    strength: float = 1.0
    crowding: float = 0.0
    merge_weight: float | None = None
    pasting: float = 0.0


def prepare(images: Iterable[AnnotatedImage]) -> list[AnnotatedImage]:
    """Bring images to what a network sees of them: uint8 RGB.

    Pixels that are NaN or infinite count as unlabelled.

    Parameters
    ----------
    images : iterable of AnnotatedImage
        Images as they are read.

    Returns
    -------
    list of AnnotatedImage
    """
    prepared = []
    for item in images:
        normalised = normalise(item.image)
        labels = item.segmentations
        if normalised.valid is not None:
            labels = np.where(normalised.valid, labels, np.int32(UNLABELLED))
        prepared.append(item._replace(image=normalised.display, segmentations=labels))
    return prepared


class Mixture:
    """Draws training images at random, the same at each position for a seed.

    Parameters
    ----------
    sets : sequence of TrainingSet
        What to draw from.
    synthetic : float
        Share of composites, relative to the weights of the sets, see `composite`.
    composites : str
        Their kind, one of `COMPOSITES`.
    size : tuple of int
        Height and width of samples; less where an image is smaller.
    seed : int
        Seed of everything drawn by chance.

    Raises
    ------
    ParameterError
        If there are no images, or weights are negative or all 0.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        *,
        synthetic: float = 0.0,
        composites: str = "mixed",
        size: tuple[int, int] = (320, 320),
        seed: int = 0,
    ) -> None:
        for item in sets:
            if not item.images:
                raise ParameterError(f"set {item.name!r} has no images; expected at least one")
        weights = np.array([item.weight for item in sets] + [synthetic], np.float64)
        if not (weights >= 0).all() or weights.sum() <= 0:
            raise ParameterError(
                f"weights of sets are {weights.tolist()}; expected numbers of at least 0, not all 0"
            )
        self.sets = tuple(sets)
        self.composites = composites
        self.size = size
        self.seed = seed
        self._share = weights / weights.sum()
        merged = [item.weight if item.merge_weight is None else item.merge_weight for item in sets]
        self._merge_share = np.array([*merged, synthetic], np.float64)
        self._of_image = [_shares(item) for item in sets]
        self._patches: list[NDArray[np.uint8]] = []
        if synthetic > 0:
            for item in sets:
                self._patches += texture_patches(_spread(item.images, 200))
            if not self._patches:
                raise ParameterError(
                    "no labelled region is large enough to cut textures from; expected regions "
                    "of 20 x 20 pixels, or no synthetic images"
                )

    def whole(self, count: int, names: Sequence[str] = ()) -> list[AnnotatedImage]:
        """Whole images, rather than windows of them, in the shares of the sets' merge weights.

        Each image of a set comes once as it is before any comes again, then turned, scaled and
        recoloured. Composites come last.

        Parameters
        ----------
        count : int
            Number of images.
        names : sequence of str
            Sets to take them from; all and composites by default.

        Returns
        -------
        list of AnnotatedImage

        Raises
        ------
        ParameterError
            If there is no set of a name.
        """
        known = [data.name for data in self.sets]
        for name in names:
            if name not in known:
                raise ParameterError(
                    f"set {name!r} is not known; expected one of {', '.join(known)}"
                )
        chosen: list[AnnotatedImage] = []
        kept = np.array([not names or name in names for name in known] + [not names])
        shares = np.where(kept, self._merge_share, 0)
        shares /= max(shares.sum(), 1e-12)
        for data, share in zip(self.sets, shares, strict=False):
            wanted = round(share * count)
            if wanted == 0:
                continue
            chosen += _spread(data.images, wanted)
            for number in range(wanted - len(data.images)):
                rng = np.random.default_rng([self.seed, 3, len(chosen)])
                item = data.images[number % len(data.images)]
                image, labels = _varied(item, data, (2**30, 2**30), rng)
                chosen.append(item._replace(image=image, segmentations=labels, objects=None))
        for _ in range(count - len(chosen) if self._patches and not names else 0):
            rng = np.random.default_rng([self.seed, 3, len(chosen)])
            image, labels = composite(self.size, self._patches, rng, self.composites)
            chosen.append(AnnotatedImage("composite", recolour(image, rng), labels))
        return chosen

    def draw(self, position: int) -> tuple[str, NDArray[np.uint8], NDArray[np.int32]]:
        """Draw the image of a position in the order of training.

        Parameters
        ----------
        position : int
            From 0; each gives another image.

        Returns
        -------
        name : str
            Name of the set and of the image.
        image : ndarray of uint8, shape (Y, X, 3)
        segmentations : ndarray of int32, shape (A, Y, X)
        """
        rng = np.random.default_rng([self.seed, 1, position])
        chosen = int(rng.choice(self._share.size, p=self._share))
        if chosen == len(self.sets):
            image, labels = composite(self.size, self._patches, rng, self.composites)
            return "composite", recolour(image, rng), labels
        data = self.sets[chosen]
        share = self._of_image[chosen]
        count = len(data.images)
        drawn = rng.integers(count) if share is None else rng.choice(count, p=share)
        item = data.images[int(drawn)]
        image, labels = _varied(item, data, self.size, rng)
        if data.pasting > 0 and rng.random() < data.pasting:
            for _ in range(int(rng.integers(1, 4))):
                other = _varied(data.images[int(rng.integers(count))], data, self.size, rng)
                image, labels = paste(image, labels, *other, rng)
        return f"{data.name} {item.name}", image, labels


def _shares(data: TrainingSet) -> NDArray[np.float64] | None:
    """Share of the samples of a set that each image has; None where all have the same."""
    if data.crowding == 0:
        return None
    regions = [
        sum(np.unique(labels[labels >= 0]).size for labels in item.segmentations)
        / len(item.segmentations)
        for item in data.images
    ]
    share = np.maximum(regions, 1) ** data.crowding
    return np.asarray(share / share.sum())


def _varied(
    item: AnnotatedImage, data: TrainingSet, size: tuple[int, int], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """A window of an image at another scale, turned and recoloured."""
    low, high = np.log(data.scales)
    scale = float(np.exp(rng.uniform(low, high)))
    whole = np.asarray(item.image, np.uint8)
    image, labels = whole, item.segmentations
    for _ in range(4):
        image, labels = crop(whole, item.segmentations, size, scale, rng)
        # A window within one region teaches nothing.
        if labels.max() > labels.min():
            break
    image, labels = turn(image, labels, rng)
    return recolour(image, rng, strength=data.strength), np.ascontiguousarray(labels)


def _spread(items: Sequence[AnnotatedImage], most: int) -> list[AnnotatedImage]:
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]
