"""The training loop: deterministic for a seed, and resumable after it was killed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_del._threads import limit_torch, n_threads, thread_budget
from napari_del.errors import NapariDelError, ParameterError
from napari_del.io.outputs import check_output
from napari_del.models import resolve_device
from napari_del.models.lite import DelLite
from napari_del.training.checkpoint import read_checkpoint, write_checkpoint
from napari_del.training.gradients import Source
from napari_del.training.settings import TrainingSettings
from napari_del.training.trainer import Trainer
from napari_del.training.weights import export_weights

__all__ = ["TrainingSettings", "check_processes", "checkpoint_of", "export_weights", "train"]

_LOG_EVERY = 20


def checkpoint_of(destination: str | PathLike[str]) -> Path:
    """Checkpoint that belongs to a weights file: beside it, with suffix ``.checkpoint``."""
    return Path(destination).with_suffix(".checkpoint")


def train(
    source: Source,
    network: DelLite,
    destination: str | PathLike[str],
    *,
    settings: TrainingSettings | None = None,
    device: str | torch.device = "cpu",
    recipe: Mapping[str, Any] | None = None,
    metadata: Mapping[str, str] | None = None,
    processes: int = 1,
    log: Callable[[str], None] = print,
    look: Callable[[DelLite, int], None] | None = None,
    look_every: int = 500,
) -> DelLite:
    """Train a network on a mixture of annotated images.

    A checkpoint beside `destination` is written every few steps; a run that was killed goes on
    from there and ends with the same weights, to the last bit on one machine.

    Parameters
    ----------
    source : Source
        Training images, such as a `Mixture`.
    network : DelLite
        Network with the weights to begin with; it is trained in place.
    destination : path
        Safetensors file to write, replaced if it exists.
    settings : TrainingSettings, optional
        How to train.
    device : str or torch.device
        "cpu", "cuda", "cuda:N" or "auto". On a GPU convolutions are computed in 16 bits.
    recipe : mapping, optional
        What else the course of the training depends on, in plain values. A checkpoint is gone
        on from only where it is the same.
    metadata : mapping of str, optional
        Kept in the header of the weights file.
    processes : int
        Processes that work on the images of a step at the same time: on a CPU they learn, on a GPU
        they prepare images. The weights do not depend on it as long as each has one thread to
        compute with. A script that asks for more than 1 needs the usual
        ``if __name__ == "__main__":``.
    log : callable
        Takes one line of progress.
    look : callable, optional
        Called with the network and the number of steps taken, to see how it goes. It must not
        change the network.
    look_every : int
        Steps between two looks; there is one after the last step too.

    Returns
    -------
    DelLite
        The trained network.

    Raises
    ------
    NapariDelError
        If the loss is not a number, or a process ended; the last checkpoint is kept.
    ParameterError
        If the checkpoint is of another network or of other settings, or `processes` is less than
        1.
    ReadError
        If the checkpoint is damaged.
    OutputError
        If the weights or a checkpoint cannot be written; an older checkpoint is kept.
    """
    settings = settings or TrainingSettings()
    recipe = recipe or {}
    destination = check_output(destination, (".safetensors",), overwrite=True)
    checkpoint = checkpoint_of(destination)
    check_processes(processes)
    trainer = Trainer(network, source, settings, device=resolve_device(device), processes=processes)
    if checkpoint.exists():
        read_checkpoint(checkpoint, trainer, recipe)
        log(f"resumed at step {trainer.step}")

    began, first = time.perf_counter(), trainer.step
    recent: list[dict[str, float]] = []
    # What this process computes between the others' turns is little, and threads of it that wait
    # for more would be in their way.
    threads = n_threads()
    share = max(1, threads // processes)
    with closing(trainer), thread_budget(share), limit_torch():
        while trainer.step < settings.steps:
            try:
                recent += trainer.advance()
            except NapariDelError as error:
                raise type(error)(f"{error}; {_what_is_left(checkpoint)}") from error
            step = trainer.step
            if step % _LOG_EVERY == 0:
                pace = (time.perf_counter() - began) / (step - first)
                log(f"step {step}/{settings.steps}  {_mean(recent)}  {pace:.2f} s a step")
                recent.clear()
            if step % settings.checkpoint_every == 0 or step == settings.steps:
                write_checkpoint(checkpoint, trainer, recipe)
            if look is not None and (step % look_every == 0 or step == settings.steps):
                with thread_budget(threads), limit_torch():
                    look(network, step)
    header = {"training": json.dumps(asdict(settings)), **(metadata or {})}
    export_weights(network, destination, header)
    return network


def check_processes(processes: int) -> None:
    """Raise `ParameterError` if this is no number of processes."""
    if type(processes) is not int or processes < 1:
        raise ParameterError(f"processes is {processes!r}; expected a whole number of at least 1")


def _what_is_left(checkpoint: Path) -> str:
    if checkpoint.exists():
        return f"the last good weights are in {checkpoint}"
    return "there is no checkpoint yet"


def _mean(terms: list[dict[str, float]]) -> str:
    return "  ".join(f"{key} {np.mean([t[key] for t in terms]):.4f}" for key in terms[0])
