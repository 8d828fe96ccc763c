"""Checkpoints: the whole state of a training, in one file that is never half-written."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from napari_del.errors import ParameterError, ReadError
from napari_del.training.trainer import Trainer
from napari_del.training.weights import write_whole

__all__ = ["read_checkpoint", "write_checkpoint"]


def write_checkpoint(path: Path, trainer: Trainer, recipe: Mapping[str, Any]) -> None:
    """Write the state of a training.

    Parameters
    ----------
    path : Path
        Destination; a checkpoint that is there survives if this one cannot be written.
    trainer : Trainer
        Training.
    recipe : mapping
        What else the course of the training depends on, such as the mixture of its images;
        plain values.

    Raises
    ------
    OutputError
        If it cannot be written, as on a full disk.
    """
    buffer = io.BytesIO()
    torch.save({**trainer.state(), "recipe": dict(recipe)}, buffer)
    write_whole(path, buffer.getvalue())


def read_checkpoint(path: Path, trainer: Trainer, recipe: Mapping[str, Any]) -> None:
    """Go on from a checkpoint.

    Parameters
    ----------
    path : Path
        Checkpoint.
    trainer : Trainer
        Training of the same network with the same settings; it is brought to the step at
        which the checkpoint was written.
    recipe : mapping
        As it was given to `write_checkpoint`.

    Raises
    ------
    ReadError
        If the file is no checkpoint or is damaged.
    ParameterError
        If it is of another network, other settings or another recipe.
    """
    try:
        state = torch.load(path, map_location=trainer.device, weights_only=True)
        found = (state["architecture"], state["settings"], state["recipe"], state["step"])
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ReadError(_damaged(path, error)) from error
    except pickle.UnpicklingError as error:
        raise ReadError(_damaged(path, error)) from error
    wanted = trainer.state()
    if found[0] != wanted["architecture"]:
        raise ParameterError(
            f"checkpoint {path} is of the network {found[0]!r}; expected "
            f"{wanted['architecture']!r}: choose another output, or remove it to start again"
        )
    differing = [
        f"{key} was {_plain(old)}, is {_plain(new)}"
        for before, now in ((found[1], wanted["settings"]), (found[2], dict(recipe)))
        for key, old, new in _differences(before, now)
    ]
    if differing:
        raise ParameterError(
            f"checkpoint {path} is of a training with other settings: {'; '.join(differing)}; set "
            "them back, choose another output, or remove the checkpoint to start again"
        )
    expected = {name: tuple(t.shape) for name, t in wanted["network"].items()}
    shapes = {name: tuple(t.shape) for name, t in state["network"].items()}
    if shapes != expected:
        name = min(k for k in expected.keys() | shapes.keys() if expected.get(k) != shapes.get(k))
        raise ParameterError(
            f"checkpoint {path} is of another network: tensor {name} has shape "
            f"{shapes.get(name, 'missing')}; expected {expected.get(name, 'none of that name')}"
        )
    trainer.restore(state)


def _damaged(path: Path, error: Exception) -> str:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return (
        f"checkpoint {path} is damaged or no checkpoint of a training ({reason}); remove it to "
        "start again"
    )


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Keys and values that differ, from nested tables with dots between their keys."""
    found: list[tuple[str, Any, Any]] = []
    for key in [*before, *(k for k in now if k not in before)]:
        if key == "checkpoint_every":  # makes no difference to the weights
            continue
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += [(f"{key}.{inner}", a, b) for inner, a, b in _differences(old, new)]
        elif old != new:
            found.append((key, old, new))
    return found


def _plain(value: object) -> str:
    return "not set" if value is None else repr(value)
