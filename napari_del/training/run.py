"""A whole training as it is configured: images, network, looks at validation images, weights."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from os import PathLike
from pathlib import Path

import torch
from safetensors import safe_open

from napari_del.errors import OutputError, ParameterError
from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.io.outputs import check_output
from napari_del.models import resolve_device
from napari_del.models.lite import DelLite
from napari_del.training.config import TrainingConfig
from napari_del.training.merge_function import add_merge_function
from napari_del.training.sheet import picture_sheet, write_sheet
from napari_del.training.start import (
    average,
    average_encoder,
    check_alike,
    imagenet_network,
    initial_network,
    load_images,
    load_mixture,
    trainable_copy,
)
from napari_del.training.thresholds import choose_default_thresholds, set_default_thresholds
from napari_del.training.train import check_processes, checkpoint_of, train
from napari_del.training.weights import export_weights

__all__ = ["run_training"]


def run_training(
    config: TrainingConfig,
    *,
    output: str | PathLike[str] | None = None,
    steps: int | None = None,
    device: str | torch.device = "auto",
    processes: int = 1,
    overwrite: bool = False,
    log: Callable[[str], None] = print,
) -> Path:
    """Train a network as a configuration says, or go on where such a training was cut off.

    Parameters
    ----------
    config : TrainingConfig
        What to do, see `load_config`.
    output : path, optional
        Weights file to write in place of that of the configuration. The checkpoint and the
        picture sheets lie beside it.
    steps : int, optional
        Number of steps in place of that of the configuration.
    device : str or torch.device
        "auto" for the GPU if there is one, "cpu", "cuda" or "cuda:N".
    processes : int
        Processes that work on the images of a step at the same time, see `train`.
    overwrite : bool
        Replace weights that exist and are not of this training.
    log : callable
        Takes one line of progress.

    Returns
    -------
    Path
        The weights file. With validation images it holds default thresholds.

    Raises
    ------
    NapariDelError
        A subclass that names what is wrong with the configuration, the data, a checkpoint or
        the output; see `train`.
    """
    check_processes(processes)
    if steps is not None:
        config = replace(config, training=replace(config.training, steps=steps))
    given = output if output is not None else config.output
    if given is None:
        raise ParameterError(
            'there is no output; expected output = "NAME.safetensors" in the configuration, or '
            "--output"
        )
    resumes = checkpoint_of(given).exists()
    destination = check_output(given, (".safetensors",), overwrite=overwrite or resumes)
    where = resolve_device(device)
    settings = config.training
    network = initial_network(config.network, settings.seed)
    after = config.network.average_after
    # Read now, so that they are there later.
    other = trainable_copy(after) if after else None
    if other is not None:
        check_alike(network, other)
    share = config.network.imagenet_share
    pretrained = imagenet_network(network.encoder) if share > 0 else None
    validation = config.validation
    seen = [] if validation is None else load_images(validation)
    mixture = load_mixture(config, log)

    look = None
    if validation is not None:
        look = _Look(destination, seen, validation.images, settings.superpixel_step, where, log)
    train(
        mixture,
        network,
        destination,
        settings=settings,
        device=where,
        recipe=config.recipe(),
        processes=processes,
        log=log,
        look=look,
        look_every=settings.steps if validation is None else validation.every,
    )
    if other is not None:
        average(network, other, config.network.average_share)
        log(f"averaged with {after}, which has a share of {config.network.average_share:g}")
    if pretrained is not None:
        average_encoder(network, pretrained, share)
        log(f"encoder averaged with that of ImageNet, which has a share of {share:g}")
    if other is not None or pretrained is not None:
        with safe_open(destination, framework="pt") as file:
            header = dict(file.metadata())
        export_weights(network, destination, header)
    if config.merge_images > 0:
        add_merge_function(
            destination,
            mixture.whole(config.merge_images, config.merge_sets),
            step=settings.superpixel_step,
            device=where,
            hidden=config.merge_layers,
            seed=settings.seed,
            log=log,
        )
    if seen:
        log(f"choosing default thresholds on {len(seen)} images")
        found = choose_default_thresholds(
            destination, seen, step=settings.superpixel_step, device=where
        )
        for linkage, best in found.items():
            log(f"  {linkage:<8} covering {best.covering:.4f} at threshold {best.threshold:.4f}")
        set_default_thresholds(destination, {k: round(v.threshold, 4) for k, v in found.items()})
    return destination


class _Look:
    """Looks at validation images: a line with their covering, and a sheet of pictures."""

    def __init__(
        self,
        destination: Path,
        images: list[AnnotatedImage],
        shown: int,
        step: int,
        device: torch.device,
        log: Callable[[str], None],
    ) -> None:
        self._destination = destination
        self._images = images
        # Spread over the set, as neighbours by name are often alike.
        count = min(shown, len(images))
        self._shown = [images[i * len(images) // count] for i in range(count)]
        self._step = step
        self._device = device
        self._log = log

    def __call__(self, network: DelLite, step: int) -> None:
        target = self._destination.with_name(f"{self._destination.stem}-{step:06d}.png")
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "look.safetensors"
            export_weights(network, weights, {})
            best = choose_default_thresholds(
                weights,
                self._images,
                linkages=("average",),
                step=self._step,
                device=self._device,
            )["average"]
            sheet = picture_sheet(
                network, weights, self._shown, threshold=best.threshold, step=self._step
            )
        self._log(
            f"step {step}: covering {best.covering:.4f} at threshold {best.threshold:.4f}, "
            f"{len(self._images)} validation images; {target}"
        )
        try:
            write_sheet(target, sheet)
        except OutputError as error:  # no reason to end a training of hours
            self._log(f"warning: {error}")
