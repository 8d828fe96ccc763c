"""What one training image teaches a network: the terms of its loss, and their gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_del.errors import NapariDelError
from napari_del.models.lite import DelLite
from napari_del.training.losses import DEFAULT_SHARES, ClassShares, boundary_loss, pair_loss
from napari_del.training.regions import merged_regions
from napari_del.training.samples import Sample, distant_pairs, make_sample
from napari_del.training.settings import TrainingSettings

__all__ = ["Learner", "Source", "check_number", "reach_of", "sample_losses"]


class Source(Protocol):
    """Where training images come from, such as a `Mixture`."""

    def draw(self, position: int) -> tuple[str, NDArray[np.uint8], NDArray[np.int32]]:
        """Name, image (Y, X, 3) and segmentations (A, Y, X) of a position, always the same."""
        ...


def reach_of(settings: TrainingSettings) -> float:
    """Standard deviation, in pixels along either axis, of the way between distant superpixels."""
    return 6.0 * settings.superpixel_step


def sample_losses(
    network: DelLite,
    sample: Sample,
    settings: TrainingSettings,
    rng: np.random.Generator,
    *,
    shares: ClassShares = DEFAULT_SHARES,
    precision: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """The terms of the loss of one sample, without their weights.

    Parameters
    ----------
    network : DelLite
        Network in training.
    sample : Sample
        Training image, on the device of the network.
    settings : TrainingSettings
        Terms whose weight is 0 are left out.
    rng : numpy.random.Generator
        Source of chance, for distant pairs and for the level of merging.
    shares : ClassShares
        Shares of the classes over all training images.
    precision : torch.dtype, optional
        Compute convolutions in this type on a GPU. The losses are always of 32 bits.

    Returns
    -------
    dict of Tensor
        Scalars "pairs", "boundary", and if wanted "distant" and "regions".
    """
    with torch.autocast(sample.image.device.type, dtype=precision, enabled=precision is not None):
        embedding, logits = network(sample.image)
    assert logits is not None
    pixels = embedding[0].float().flatten(1).T.contiguous()
    means = torch.sparse.mm(sample.pooling, pixels)
    h, w = sample.boundary.shape
    logits = logits[0, 0, :h, :w].float()
    adjacent = sample.adjacent
    terms = {
        "pairs": pair_loss(
            means, adjacent.nodes, adjacent.apart, adjacent.weight, prior=shares.adjacent
        ),
        "boundary": boundary_loss(
            logits, sample.boundary, sample.boundary_weight, prior=shares.boundary
        ),
    }
    if settings.distant_weight > 0:
        count = len(adjacent.nodes)
        distant = distant_pairs(sample, count, reach_of(settings), rng)
        terms["distant"] = pair_loss(
            means, distant.nodes, distant.apart, distant.weight, prior=shares.distant
        )
    # Outputs that are no numbers cannot be merged; the loss is none either, and ends the run.
    finite = bool(torch.isfinite(terms["pairs"] + terms["boundary"]))
    if settings.region_weight > 0 and finite:
        regions = merged_regions(sample, means, logits, network.output_stride, rng)
        pairs = regions.pairs
        terms["regions"] = pair_loss(
            regions.means(means), pairs.nodes, pairs.apart, pairs.weight, prior=shares.regions
        )
    return terms


@dataclass(frozen=True)
class Learner:
    """A network, and the images that it learns from one at a time.

    Attributes
    ----------
    network : DelLite
        Network in training, on the device to compute on.
    source : Source
        Training images.
    settings : TrainingSettings
        How to train.
    shares : ClassShares
        Shares of the classes over all training images.
    precision : torch.dtype, optional
        Compute convolutions in this type on a GPU.
    """

    network: DelLite
    source: Source
    settings: TrainingSettings
    shares: ClassShares = DEFAULT_SHARES
    precision: torch.dtype | None = None

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    def parameters(self) -> list[torch.nn.Parameter]:
        """What is trained."""
        return [p for p in self.network.parameters() if p.requires_grad]

    def prepare(self, position: int) -> tuple[str, Sample]:
        """Draw an image, and compute what does not depend on the network.

        Parameters
        ----------
        position : int
            In the order of training, from 0.

        Returns
        -------
        name : str
            Name of the image.
        sample : Sample
            On the CPU.
        """
        name, image, labels = self.source.draw(position)
        sample = make_sample(
            image,
            labels,
            stride=DelLite.stride,
            output_stride=DelLite.output_stride,
            step=self.settings.superpixel_step,
        )
        return name, sample

    def learn(self, position: int, name: str, sample: Sample, scale: float) -> dict[str, float]:
        """Add the gradient of an image's loss, over the number of images of a step, to the others.

        Parameters
        ----------
        position : int
            In the order of training.
        name : str
            Name of the image.
        sample : Sample
            The image, see `prepare`.
        scale : float
            Factor of the gradient.

        Returns
        -------
        dict of float
            Terms of the loss.

        Raises
        ------
        NapariDelError
            If the loss is not a number.
        """
        settings = self.settings
        factors = {
            "pairs": 1.0,
            "boundary": settings.boundary_weight,
            "distant": settings.distant_weight,
            "regions": settings.region_weight,
        }
        device = self.device
        # Each position draws its own numbers, so that a resumed run draws the same.
        rng = np.random.default_rng([settings.seed, 2, position])
        terms = sample_losses(
            self.network,
            sample.to(device),
            settings,
            rng,
            shares=self.shares,
            precision=self.precision,
        )
        start = torch.zeros((), device=device)
        loss = sum((factors[key] * term for key, term in terms.items()), start) / settings.batch
        check_number(loss, "loss", position // settings.batch, name)
        (loss * scale).backward()
        return {key: term.item() for key, term in terms.items()}


def check_number(value: Tensor, what: str, step: int, image: str = "") -> None:
    """Raise `NapariDelError` if a loss or a gradient is not a number."""
    if not torch.isfinite(value):
        where = f"step {step}, image {image}" if image else f"step {step}"
        raise NapariDelError(
            f"the {what} is {value.item()} at {where}; expected a number: lower learning_rate"
        )
