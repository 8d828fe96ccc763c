"""The training loop of `del-lite`: short, deterministic for a seed, resumable."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from napari_del._threads import limit_torch
from napari_del.errors import NapariDelError
from napari_del.evaluation.datasets import BSDSImage
from napari_del.models.lite import DelLite
from napari_del.training.losses import boundary_loss, pair_loss
from napari_del.training.samples import augment, make_sample

__all__ = ["TrainingSettings", "export_weights", "train"]


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    steps : int
        Number of steps.
    batch : int
        Whole images a step.
    learning_rate : float
        Peak of the one-cycle schedule for the decoder.
    encoder_rate : float
        The same for the encoder, relative to the decoder.
    frozen_stages : int
        The stem and this many first stages of the encoder keep their ImageNet weights.
    boundary_weight : float
        Weight of the boundary loss beside the pair loss.
    weight_decay : float
        Decoupled weight decay.
    seed : int
        Seed of everything drawn by chance.
    checkpoint_every : int
        Steps between checkpoints.
    """

    steps: int = 2400
    batch: int = 2
    learning_rate: float = 1e-3
    encoder_rate: float = 0.3
    frozen_stages: int = 1
    boundary_weight: float = 1.0
    weight_decay: float = 1e-4
    seed: int = 0
    checkpoint_every: int = 100


def _write(path: Path, save: Callable[[Path], None]) -> None:
    """Write a file beside `path` first, so that `path` is never half-written."""
    temporary = path.with_name(path.name + ".part")
    save(temporary)
    os.replace(temporary, path)


def export_weights(network: DelLite, path: Path, metadata: dict[str, str]) -> None:
    """Write a network's weights as float16 safetensors that the model registry reads.

    Parameters
    ----------
    network : DelLite
        Trained network.
    path : Path
        Destination, replaced if it exists.
    metadata : dict of str
        Kept in the file's header beside the name of the architecture.
    """
    tensors = {name: t.half().contiguous() for name, t in network.state_dict().items()}
    header = {"architecture": network.architecture, "format_version": "1", **metadata}
    _write(path, lambda p: save_file(tensors, p, header))


def train(
    images: Sequence[BSDSImage],
    encoder: dict[str, torch.Tensor],
    destination: str | os.PathLike[str],
    *,
    settings: TrainingSettings | None = None,
    log: Callable[[str], None] = print,
) -> DelLite:
    """Train `del-lite` from ImageNet weights of its encoder.

    A checkpoint beside `destination` is written every few steps; a run that was killed goes on
    from there and ends with the same weights.

    Parameters
    ----------
    images : sequence of BSDSImage
        Training images with their annotators' labels.
    encoder : dict of Tensor
        ImageNet weights, see `DelLite.load_imagenet`.
    destination : path
        Safetensors file to write.
    settings : TrainingSettings, optional
        How to train.
    log : callable
        Takes one line of progress.

    Returns
    -------
    DelLite
        The trained network.

    Raises
    ------
    NapariDelError
        If the loss is not a number, or the checkpoint is of other settings.
    """
    settings = settings or TrainingSettings()
    destination = Path(destination)
    checkpoint = destination.with_suffix(".checkpoint")
    network = DelLite()
    network.load_imagenet(encoder)
    network.initialise(torch.Generator().manual_seed(settings.seed))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    encoder_parts = [network.stem, *network.stages]
    for part in encoder_parts[: 1 + settings.frozen_stages]:
        part.requires_grad_(False)
    slow = [p for part in encoder_parts for p in part.parameters() if p.requires_grad]
    known = {id(p) for part in encoder_parts for p in part.parameters()}
    fast = [p for p in network.parameters() if id(p) not in known]
    rates = [settings.learning_rate * settings.encoder_rate, settings.learning_rate]
    optimiser = torch.optim.AdamW(
        [{"params": slow, "lr": rates[0]}, {"params": fast, "lr": rates[1]}],
        weight_decay=settings.weight_decay,
    )
    # The scheduler divides by the steps of the rise less one, which must not be 0.
    warm_up = 0.1 if settings.steps >= 20 else 0.34
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=rates,
        total_steps=settings.steps,
        pct_start=warm_up,
    )
    first = 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != asdict(settings):
            raise NapariDelError(
                f"{checkpoint} is of a run with other settings, {state['settings']}; "
                "remove it to start again"
            )
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        first = state["step"]
        log(f"resumed at step {first}")

    began = time.perf_counter()
    recent: list[tuple[float, float]] = []
    with limit_torch():
        for step in range(first, settings.steps):
            # Each step draws its own numbers, so that a resumed run draws the same.
            optimiser.zero_grad(set_to_none=True)
            for k in range(settings.batch):
                position = step * settings.batch + k
                epoch, place = divmod(position, len(images))
                order = np.random.default_rng([settings.seed, epoch]).permutation(len(images))
                item = images[order[place]]
                rng = np.random.default_rng([settings.seed, 1, position])
                image, labels = augment(item.image, item.segmentations, rng)
                sample = make_sample(
                    image, labels, stride=network.stride, output_stride=network.output_stride
                )
                embedding, logits = network(sample.image)
                means = torch.sparse.mm(sample.pooling, embedding[0].flatten(1).T.contiguous())
                pairs = pair_loss(means, sample.edges, sample.apart)
                h, w = sample.boundary.shape
                edges = boundary_loss(logits[0, 0, :h, :w], sample.boundary)
                loss = (pairs + settings.boundary_weight * edges) / settings.batch
                if not torch.isfinite(loss):
                    raise NapariDelError(
                        f"the loss is {loss.item()} at step {step}, image {item.name}; the last "
                        f"good weights are in {checkpoint}: lower the learning rate"
                    )
                loss.backward()
                recent.append((pairs.item(), edges.item()))
            torch.nn.utils.clip_grad_norm_([*slow, *fast], 5.0)
            optimiser.step()
            schedule.step()
            if (step + 1) % 20 == 0:
                means_of = np.mean(recent[-40:], axis=0)
                pace = (time.perf_counter() - began) / (step + 1 - first)
                log(
                    f"step {step + 1}/{settings.steps}  pairs {means_of[0]:.4f}  "
                    f"boundary {means_of[1]:.4f}  {pace:.2f} s a step"
                )
            if (step + 1) % settings.checkpoint_every == 0 or step + 1 == settings.steps:
                state = {
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "step": step + 1,
                    "settings": asdict(settings),
                }
                _write(checkpoint, lambda p, state=state: torch.save(state, p))  # type: ignore[misc]
    export_weights(network, destination, {"training": json.dumps(asdict(settings))})
    return network
