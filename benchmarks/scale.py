"""What images of up to 10,000 gigapixels take, reckoned from what was measured.

    python -m benchmarks.scale [FILE] [--step S]

Prints the tables of docs/scale.md from what `python -m benchmarks.large --json FILE` wrote.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks._kept import Row
from benchmarks._output import print_table
from benchmarks.large import by_size
from napari_del.superpixels import DEFAULT_ITERATIONS

FIGURES = Path(__file__).resolve().parents[1] / "docs/figures/large.json"
GIGAPIXELS = (1, 100, 10_000)
WORKERS = 100
PER_TILE = ("statistics", "superpixels", "embedding")
# Cells of a band, and rows of cells around it where its superpixels may be: as in the plan.
# As in `napari_del.tiles.plan`; half as many cells with a network.
BAND_CELLS, REACH = 2**19, 4


def costs(rows: dict[str, Row]) -> list[dict[str, str]]:
    """Seconds of one thread for each megapixel, by stage and size."""
    table = []
    for name, row in rows.items():
        megapixels = row["shape"][0] * row["shape"][1] / 1e6
        scaled = {
            stage: taken["seconds"] * (1 if stage == "merge" else row["workers"]) / megapixels
            for stage, taken in row["stages"].items()
            if stage != "start"
        }
        table.append(
            {
                "ms of a thread per MP": name,
                **{
                    stage: f"{1000 * scaled[stage]:.3g}" if stage in scaled else "-"
                    for stage in ("superpixels", "embedding", "nodes", "edges", "merge")
                },
            }
        )
    return table


def sizes(name: str, row: Row) -> list[dict[str, str]]:
    """Bytes of the store for each megapixel and for each superpixel, by part."""
    megapixels = row["shape"][0] * row["shape"][1] / 1e6
    parts = [(part, taken["bytes"]) for part, taken in row["store"].items()]
    small = sum(size for part, size in parts if part.startswith("model "))
    parts = [(part, size) for part, size in parts if not part.startswith("model ")]
    parts += [("model", small)] if small else []
    return [
        {
            f"part of the store ({name})": part,
            "kB per MP": f"{size / 1000 / megapixels:.4g}",
            "bytes per superpixel": f"{size / row['superpixels']:.3g}",
        }
        for part, size in [*parts, ("all", sum(size for _, size in parts))]
    ]


class Reckoned(NamedTuple):
    """What a square image takes."""

    superpixels: float
    blocks: int
    windows: int
    bands: int
    table_reads: float
    """Times that each table of a block is read for the bands."""


def reckon(gigapixels: float, row: Row, step: int) -> Reckoned:
    side = math.sqrt(gigapixels * 1e9)
    block = row["block"]
    blocks = math.ceil(side / block)
    windows = math.ceil(side / 1024) if "embedding" in row["stages"] else 0
    columns = math.ceil(side / step)
    band_rows = max(1, BAND_CELLS // (2 if windows else 1) // columns)
    bands = math.ceil(columns / band_rows) + 1
    height = (band_rows + 2 * REACH) * step
    ratio = row["superpixels"] / (row["shape"][0] * row["shape"][1] / 64)
    return Reckoned(
        superpixels=ratio * columns**2,
        blocks=blocks**2,
        windows=windows**2,
        bands=bands,
        table_reads=bands * min(blocks, 1 + height / block) / blocks,
    )


def arithmetic(name: str, row: Row, step: int) -> list[dict[str, str]]:
    """One column for each size; what goes by superpixels is scaled by those of the step."""
    megapixels = row["shape"][0] * row["shape"][1] / 1e6
    of_tiles = sum(
        taken["seconds"] * row["workers"]
        for stage, taken in row["stages"].items()
        if stage in PER_TILE
    )
    of_bands = sum(row["stages"][stage]["seconds"] * row["workers"] for stage in ("nodes", "edges"))
    measured = reckon(megapixels / 1000, row, 8)
    pixels = row["store"]["superpixels"]["bytes"]
    tables = sum(part["bytes"] for part in row["store"].values()) - pixels
    of_blocks = sum(
        part["bytes"]
        for key, part in row["store"].items()
        if key.startswith(("superpixels ", "embedding "))
    )
    halo = (2 * DEFAULT_ITERATIONS + 5) * step
    lines: dict[str, dict[str, str]] = {}
    for gigapixels in GIGAPIXELS:
        found = reckon(gigapixels, row, step)
        scale = gigapixels * 1000 / megapixels
        rows = found.superpixels / row["superpixels"]
        read = 3e9 * gigapixels * (1 + 2 * halo / row["block"]) ** 2
        if found.windows:
            read += 3e9 * gigapixels * (1 + 2 * 96 / 1024) ** 2
        tile_seconds = of_tiles * scale
        # Whether by what is written or by what is read: the truth is between.
        band_seconds = of_bands * rows
        most = max(1.0, found.table_reads / measured.table_reads)
        merge_seconds = row["stages"]["merge"]["seconds"] * rows
        stored = pixels * scale + tables * rows
        values = {
            "superpixels": f"{found.superpixels:.3g}",
            "highest id": f"{gigapixels * 1e9 + found.superpixels:.3g}",
            "image": _bytes(3e9 * gigapixels),
            "store: pixels": _bytes(pixels * scale),
            "store: tables": _bytes(tables * rows),
            "read from the image": _bytes(read),
            "written to the store": _bytes(stored),
            "read from the store": _bytes(
                of_blocks * rows * found.table_reads
                + (pixels * scale if found.windows else 0)
                + tables * rows
            ),
            "tasks: blocks": f"{found.blocks:,}",
            "tasks: windows": f"{found.windows:,}",
            "tasks: bands, twice": f"{2 * found.bands:,}",
            "bands that read a block's tables": f"{found.table_reads:.3g}",
            "hierarchy in memory": _bytes(8 * found.superpixels),
            "hours, one machine: pixels": _hours(tile_seconds / row["workers"]),
            "hours, one machine: bands": (
                f"{_hours(band_seconds / row['workers'])} to "
                f"{_hours(most * band_seconds / row['workers'])}"
            ),
            f"hours, {WORKERS} workers: pixels": _hours(tile_seconds / WORKERS),
            f"hours, {WORKERS} workers: bands": (
                f"{_hours(band_seconds / WORKERS)} to {_hours(most * band_seconds / WORKERS)}"
            ),
            "hours: merge": _hours(merge_seconds),
        }
        for line, value in values.items():
            lines.setdefault(line, {f"{name}, step {step}": line})[f"{gigapixels:,} GP"] = value
    return list(lines.values())


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.2g}"


def _bytes(n: float) -> str:
    for unit, size in (("PB", 1e15), ("TB", 1e12), ("GB", 1e9)):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return f"{n / 1e6:.3g} MB"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("file", nargs="?", type=Path, default=FIGURES)
    parser.add_argument("--step", type=int, default=8)
    args = parser.parse_args(argv)
    runs = by_size(json.loads(args.file.read_text())["runs"])
    plain = {name: row for name, row in runs.items() if name.count(",") == 1}
    print_table(costs(plain))
    largest = {name.split(", ")[0]: name for name in plain}
    for name in largest.values():
        print()
        print_table(sizes(name, plain[name]))
        print()
        print_table(arithmetic(name, plain[name], args.step))


if __name__ == "__main__":
    main()
