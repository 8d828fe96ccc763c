"""How to train, as one set of numbers that a checkpoint remembers."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from napari_del.errors import ParameterError

__all__ = ["TrainingSettings"]

# Least and largest value of each setting; where the least is no value, it is a bound.
_RANGES: dict[str, tuple[float, float]] = {
    "steps": (1, 10_000_000),
    "batch": (1, 1024),
    "encoder_rate": (0, 10),
    "frozen_stages": (0, 7),
    "boundary_weight": (0, 1000),
    "distant_weight": (0, 1000),
    "region_weight": (0, 1000),
    "weight_decay": (0, 1),
    "superpixel_step": (4, 256),
    "seed": (0, 2**32 - 1),
    "checkpoint_every": (1, 10_000_000),
}


@dataclass(frozen=True)
class TrainingSettings:
    """How to train.

    Attributes
    ----------
    steps : int
        Number of steps.
    batch : int
        Images a step.
    learning_rate : float
        Peak of the one-cycle schedule for the decoder.
    encoder_rate : float
        The same for the encoder, relative to the decoder.
    frozen_stages : int
        The stem and this many first stages of the encoder keep their weights; 7 are all.
    boundary_weight, distant_weight, region_weight : float
        Weights of the boundary loss, and of the pair loss of distant superpixels and of
        adjacent regions, beside the pair loss of adjacent superpixels.
    weight_decay : float
        Decoupled weight decay.
    superpixel_step : int
        Distance of superpixels, in pixels.
    seed : int
        Seed of everything drawn by chance.
    checkpoint_every : int
        Steps between checkpoints.

    Raises
    ------
    ParameterError
        If a value is of a wrong type or out of range.

    Examples
    --------
    >>> TrainingSettings(steps=0)
    Traceback (most recent call last):
    napari_del.errors.ParameterError: steps is 0; expected a whole number from 1 to 10000000
    """

    steps: int = 6000
    batch: int = 2
    learning_rate: float = 1e-3
    encoder_rate: float = 0.3
    frozen_stages: int = 1
    boundary_weight: float = 1.0
    distant_weight: float = 0.3
    region_weight: float = 0.5
    weight_decay: float = 1e-4
    superpixel_step: int = 8
    seed: int = 0
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            whole = isinstance(field.default, int)
            number = not isinstance(value, bool) and isinstance(
                value, int if whole else (int, float)
            )
            kind = "whole number" if whole else "number"
            if field.name == "learning_rate":
                good, wanted = number and 0 < value < math.inf, "above 0"
            else:
                low, high = _RANGES[field.name]
                good, wanted = number and low <= value <= high, f"from {low:.0f} to {high:.0f}"
            if not good:
                raise ParameterError(f"{field.name} is {value!r}; expected a {kind} {wanted}")
