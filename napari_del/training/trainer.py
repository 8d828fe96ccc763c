"""One network in training: its optimiser, its schedule, and a step at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from napari_del.errors import NapariDelError
from napari_del.models.lite import DelLite
from napari_del.training.losses import ClassShares, boundary_loss, pair_loss
from napari_del.training.regions import merged_regions
from napari_del.training.samples import Sample, distant_pairs, make_sample
from napari_del.training.settings import TrainingSettings

__all__ = ["Source", "Trainer", "reach_of", "sample_losses"]

_LARGEST_GRADIENT = 5.0
_SHARES = ClassShares()


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
    shares: ClassShares = _SHARES,
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


class Trainer:
    """A network with what it takes to train it.

    Steps depend on the settings, the source and the weights alone, so that a state that was
    written after any of them goes on to the same weights.

    Parameters
    ----------
    network : DelLite
        Network with the weights to begin with; it is trained in place.
    source : Source
        Training images.
    settings : TrainingSettings
        How to train.
    device : torch.device, optional
        Where to compute. On a GPU convolutions are computed in 16 bits.
    shares : ClassShares
        Shares of the classes over all training images.
    extra : callable, optional
        Another loss, of the network and the number of steps taken, see `Replay`.

    Attributes
    ----------
    step : int
        Number of steps taken.
    """

    def __init__(
        self,
        network: DelLite,
        source: Source,
        settings: TrainingSettings,
        *,
        device: torch.device | None = None,
        shares: ClassShares = _SHARES,
        extra: Callable[[DelLite, int], Tensor] | None = None,
    ) -> None:
        self.network = network
        self.source = source
        self.settings = settings
        self.device = device or torch.device("cpu")
        self.step = 0
        self._shares = shares
        self._extra = extra
        network.to(self.device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.precision: torch.dtype | None = None
        if self.device.type == "cuda":
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            self.precision = torch.bfloat16 if bf16 else torch.float16
        # float16 has too few exponents for small gradients; they are scaled up meanwhile.
        self._scaler = torch.amp.GradScaler(
            self.device.type, enabled=self.precision is torch.float16
        )
        groups = _parameter_groups(network, settings)
        self._parameters = [p for group in groups for p in group["params"]]
        self._optimiser = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        # The scheduler divides by the steps of the rise less one, which must not be 0.
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimiser,
            max_lr=[group["lr"] for group in groups],
            total_steps=max(settings.steps, 2),
            pct_start=0.1 if settings.steps >= 20 else 0.34,
        )
        self._factors = {
            "pairs": 1.0,
            "boundary": settings.boundary_weight,
            "distant": settings.distant_weight,
            "regions": settings.region_weight,
        }

    def advance(self) -> list[dict[str, float]]:
        """Take one step.

        Returns
        -------
        list of dict
            Terms of the loss, for each image.

        Raises
        ------
        NapariDelError
            If the loss or its gradient is not a number. The weights are those before the step.
        """
        settings = self.settings
        found: list[dict[str, float]] = []
        self._optimiser.zero_grad(set_to_none=True)
        for k in range(settings.batch):
            # Each position draws its own numbers, so that a resumed run draws the same.
            position = self.step * settings.batch + k
            name, image, labels = self.source.draw(position)
            sample = make_sample(
                image,
                labels,
                stride=self.network.stride,
                output_stride=self.network.output_stride,
                step=settings.superpixel_step,
            ).to(self.device)
            rng = np.random.default_rng([settings.seed, 2, position])
            terms = sample_losses(
                self.network, sample, settings, rng, shares=self._shares, precision=self.precision
            )
            start = torch.zeros((), device=self.device)
            loss = sum((self._factors[key] * term for key, term in terms.items()), start)
            loss = loss / settings.batch
            self._check(loss, "loss", name)
            self._scaler.scale(loss).backward()
            found.append({key: term.item() for key, term in terms.items()})
        if self._extra is not None:
            loss = self._extra(self.network, self.step)
            self._check(loss, "replay loss", name)
            self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        norm = nn.utils.clip_grad_norm_(self._parameters, _LARGEST_GRADIENT)
        if not self._scaler.is_enabled():  # which skips such steps, as it looks for a scale
            self._check(norm, "gradient", name)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self._schedule.step()
        self.step += 1
        return found

    def _check(self, value: Tensor, what: str, image: str) -> None:
        if not torch.isfinite(value):
            raise NapariDelError(
                f"the {what} is {value.item()} at step {self.step}, image {image}; expected a "
                "number: lower learning_rate"
            )

    def state(self) -> dict[str, Any]:
        """All that is needed to go on from here, as plain values and tensors."""
        return {
            "architecture": self.network.architecture,
            "network": self.network.state_dict(),
            "optimiser": self._optimiser.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "step": self.step,
            "settings": asdict(self.settings),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a state of the same network and settings."""
        self.network.load_state_dict(state["network"])
        self._optimiser.load_state_dict(state["optimiser"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        self.step = int(state["step"])


def _parameter_groups(network: DelLite, settings: TrainingSettings) -> list[dict[str, Any]]:
    """What is trained, and how fast; the first stages of the encoder are not."""
    encoder = [network.stem, *network.stages]
    for part in encoder[: 1 + settings.frozen_stages]:
        part.requires_grad_(False)
    for part in encoder[1 + settings.frozen_stages :]:
        part.requires_grad_(True)
    slow = [p for part in encoder for p in part.parameters() if p.requires_grad]
    known = {id(p) for part in encoder for p in part.parameters()}
    fast = [p.requires_grad_(True) for p in network.parameters() if id(p) not in known]
    rate = settings.learning_rate
    groups = [{"params": slow, "lr": rate * settings.encoder_rate}, {"params": fast, "lr": rate}]
    return [group for group in groups if group["params"]]
