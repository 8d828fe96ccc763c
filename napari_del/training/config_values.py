"""Values of the keys of a training configuration: how each is read, and what is expected."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

from napari_del.evaluation.datasets import FOLDS
from napari_del.models.lite import ENCODERS
from napari_del.training.synthetic import COMPOSITES

__all__ = ["KEYS"]


def _number(low: float, high: float) -> Callable[[object], float]:
    def read(value: object) -> float:
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not low <= value <= high
        ):
            raise ValueError
        return float(value)

    return read


def _whole(low: int, high: float = math.inf) -> Callable[[object], int]:
    def read(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _one_of(known: Container[object]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if value not in known:
            raise ValueError
        return str(value)

    return read


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _scales(value: Any) -> tuple[float, float]:
    low, high = map(_number(0.05, 20), value)
    if low > high:
        raise ValueError
    return low, high


def _size(value: Any) -> tuple[int, int]:
    height, width = map(_whole(32), value)
    return height, width


def _names(value: Any) -> tuple[str, ...]:
    if isinstance(value, str):
        raise ValueError
    return tuple(_text(name) for name in value)


def _widths(value: Any) -> tuple[int, ...]:
    widths = tuple(map(_whole(1), value))
    if not widths:
        raise ValueError
    return widths


def _weights_file(value: object) -> Path:
    path = Path(_text(value))
    if path.suffix.lower() != ".safetensors":
        raise ValueError
    return path


KEYS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "path": (lambda value: Path(_text(value)), "the path of a folder"),
    "name": (_text, "a name"),
    "weight": (_number(0, 1e6), "a number of at least 0"),
    "scales": (_scales, "two numbers, the smaller one first, from 0.05 to 20"),
    "strength": (_number(0, 1), "a number from 0 to 1"),
    "crowding": (_number(0, 1), "a number from 0 to 1"),
    "merge_weight": (_number(0, 1e6), "a number of at least 0"),
    "pasting": (_number(0, 1), "a number from 0 to 1"),
    "hold_out": (_truth, "true or false"),
    "fold": (_whole(0, FOLDS - 1), f"a whole number from 0 to {FOLDS - 1}"),
    "limit": (_whole(1), "a whole number of at least 1"),
    "model": (_text, "the name of a network"),
    "initial": (_text, "'imagenet', the name of a model or a .safetensors file"),
    "encoder": (_one_of(ENCODERS), f"one of {', '.join(ENCODERS)}"),
    "average_with": (_text, "the name of a model or a .safetensors file"),
    "average_after": (_text, "the name of a model or a .safetensors file"),
    "average_share": (_number(0, 1), "a number from 0 to 1"),
    "imagenet_share": (_number(0, 1), "a number from 0 to 1"),
    "every": (_whole(1), "a whole number of at least 1"),
    "images": (_whole(1), "a whole number of at least 1"),
    "synthetic": (_number(0, math.inf), "a number of at least 0"),
    "composites": (_one_of(COMPOSITES), f"one of {', '.join(COMPOSITES)}"),
    "size": (_size, "height and width in pixels, [320, 320], of at least 32"),
    "merge_images": (_whole(0), "a whole number of at least 0"),
    "merge_sets": (_names, "a list of names of sets"),
    "merge_layers": (_widths, "widths of one or more layers, as in [64, 32]"),
    "output": (_weights_file, "the path of a .safetensors file"),
}
"""For each key, what reads its value (`ValueError` or `TypeError` for a wrong one), and what is
expected, in words."""
