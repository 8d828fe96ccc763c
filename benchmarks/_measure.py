"""Timing of two things side by side in one process."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Comparison", "Options", "compare", "interleave"]


@dataclass(frozen=True)
class Options:
    """What was asked for on the command line."""

    quick: bool = False
    model: str = "del-lite"

    @property
    def model_name(self) -> str:
        return Path(self.model).stem


def interleave(
    functions: Sequence[Callable[[], object]], *, rounds: int, warm_up: int = 1
) -> list[list[float]]:
    """Seconds that each function took in each round; rounds run A B ..., A B ..., and so on.

    Whatever else the machine does meanwhile then slows all of them alike.
    """
    for _ in range(warm_up):
        for function in functions:
            function()
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(rounds):
        for function, times in zip(functions, seconds, strict=True):
            gc.collect()
            start = time.perf_counter()
            function()
            times.append(time.perf_counter() - start)
    return seconds


@dataclass(frozen=True)
class Comparison:
    """What A and B took, round by round, and what their ratio has to be."""

    name: str
    a: str
    b: str
    a_values: tuple[float, ...]
    b_values: tuple[float, ...]
    required: str = ""
    holds: bool | None = None
    note: str = ""
    unit: float = 1000.0
    """What values are shown in: 1000 for seconds as milliseconds, 1 for plain numbers."""

    @property
    def ratios(self) -> list[float]:
        return [a / b for a, b in zip(self.a_values, self.b_values, strict=True)]

    @property
    def ratio(self) -> float:
        return statistics.median(self.ratios)

    def _median(self, values: Sequence[float]) -> str:
        return f"{self.unit * statistics.median(values):.4g}{' ms' * (self.unit == 1000.0)}"

    def row(self) -> dict[str, str]:
        return {
            "benchmark": self.name,
            "A": self.a,
            "B": self.b,
            "median A": self._median(self.a_values),
            "median B": self._median(self.b_values),
            "A / B": f"{self.ratio:.3g}",
            "least - most": f"{min(self.ratios):.3g} - {max(self.ratios):.3g}",
            "required": self.required,
            "holds": {True: "yes", False: "NO", None: ""}[self.holds],
            "note": self.note,
        }

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "a": self.a,
            "b": self.b,
            "a_values": list(self.a_values),
            "b_values": list(self.b_values),
            "ratio": self.ratio,
            "required": self.required,
            "holds": self.holds,
            "note": self.note,
        }


def compare(
    name: str,
    a: tuple[str, Callable[[], object]],
    b: tuple[str, Callable[[], object]],
    *,
    rounds: int,
    at_least: float | None = None,
    at_most: float | None = None,
    note: str = "",
) -> Comparison:
    """Time A and B side by side; the median of the rounds' ratios has to keep the limit."""
    a_values, b_values = interleave([a[1], b[1]], rounds=rounds)
    bare = Comparison(name, a[0], b[0], tuple(a_values), tuple(b_values), note=note)
    if at_least is not None:
        required, holds = f"A / B >= {at_least:g}", bare.ratio >= at_least
    elif at_most is not None:
        required, holds = f"A / B <= {at_most:g}", bare.ratio <= at_most
    else:
        return bare
    return Comparison(name, a[0], b[0], tuple(a_values), tuple(b_values), required, holds, note)
