"""Plain tables for people and JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

DEFAULT_DATA = Path(__file__).resolve().parents[1] / "../shared/data"


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print mappings of the same keys as a table; numbers to the right."""
    columns = list(rows[0])
    cells = [[str(row[column]) for column in columns] for row in rows]
    numbers = [isinstance(rows[0][column], int | float) for column in columns]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, ["-" * width for width in widths], *cells):
        print(
            "  ".join(
                text.rjust(width) if number else text.ljust(width)
                for text, width, number in zip(line, widths, numbers, strict=True)
            ).rstrip()
        )


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    packages = ("numpy", "scipy", "scikit-image", "numba", "torch")
    return {
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "packages": {package: version(package) for package in packages},
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` and the machine it was measured on, whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps({"machine": machine(), **content}, indent=1) + "\n")
    temporary.replace(path)
