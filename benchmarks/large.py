"""Images from 4 megapixels to a gigapixel: speed, memory and bytes of `segment_large`.

    python -m benchmarks.large [--megapixels N ...] [--model NAME ...] [--json FILE]

What is measured and required is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks._kept import Kept, Row
from benchmarks._large_image import large_image
from benchmarks._output import print_table
from benchmarks._process import module, run_limited
from napari_del.models import MEAN_COLOR, PRECISIONS

SIZES = (4, 25, 100, 200, 1000)
MODELS = (MEAN_COLOR, "del-lite")
# Whole runs, the network alone as a run computes it, and as PyTorch does, layer by layer.
GROUPS = ("runs", "forwards", "layers")
# Megapixels up to which a network's run takes minutes, not hours.
MOST_OF_NETWORK = 200


# Most processes of a row: the more there are, the less is flatness a matter of chance.
ROUNDS = 9


def rounds_of(megapixels: float, model: str) -> int:
    """Processes of which the median is shown: more for small images, which take seconds."""
    if model == MEAN_COLOR:
        return ROUNDS if megapixels <= 200 else 3
    return 5 if megapixels <= 4 else 3


def takes_part(n_rounds: int, k: int) -> bool:
    """Whether a row of so many rounds is measured in round `k` of ROUNDS, spread evenly."""
    return k in {(2 * i + 1) * ROUNDS // (2 * n_rounds) for i in range(n_rounds)}


def measure(
    image: Path, model: str, stores: Path, args: argparse.Namespace, *, with_network: bool
) -> dict[str, Row]:
    """Figures of a run and, where they are wanted, of its network alone, by group."""
    command = module("_large_run", image, "--model", model, "--block", args.block)
    command += ["--scheduler", args.scheduler]
    command += ["--precision", args.precision if model != MEAN_COLOR else "float32"]
    command += ["--device", args.device]
    command += ["--workers", str(args.workers)] if args.workers else []
    taken = run_limited([*command, "--stores", tempfile.mkdtemp(dir=stores)])
    run: Row = json.loads(taken.output)
    # With processes, the peak of all of them together is what counts.
    run["gigabytes"] = max(run["gigabytes"], taken.gigabytes)
    found = {"runs": run}
    if with_network:
        for group, how in (("forwards", []), ("layers", ["--layers"])):
            found[group] = json.loads(run_limited([*command, "--forward", *how]).output)
    return found


def _median(rounds: Sequence[Row]) -> Row:
    """The round of median time (the longer of the middle two), and the times of all rounds."""
    by_time = sorted(rounds, key=lambda row: row["seconds"])
    return {**by_time[len(by_time) // 2], "all_seconds": [row["seconds"] for row in rounds]}


def name_of(model: str, megapixels: float, args: argparse.Namespace) -> str:
    """Name of a row: the model and the size, and what else is not as by default."""
    name = f"{model}, {megapixels:g} MP"
    if args.block != 2048:
        name += f", block {args.block}"
    if model != MEAN_COLOR and args.precision != "float32":
        name += f", {args.precision}"
    if args.device != "cpu":
        name += f", {args.device}"
    if args.scheduler != "threads":
        name += f", {args.scheduler}"
    return name + (f", {args.workers} workers" if args.workers else "")


def rate(row: Row) -> float:
    """Megapixels per second."""
    return float(row["shape"][0] * row["shape"][1] / 1e6 / row["seconds"])


def row_of(name: str, run: Row, forward: Row | None, layers: Row | None) -> dict[str, str]:
    """What a run takes, for the table."""
    stages = ("statistics", "superpixels", "embedding", "nodes", "edges", "merge")
    megapixels = run["shape"][0] * run["shape"][1] / 1e6
    size = sum(part["bytes"] for part in run["store"].values())
    return {
        "run": name,
        "seconds": f"{run['seconds']:.3g}",
        "MPix/s": f"{rate(run):.3g}",
        "start": f"{run['stages']['start']['seconds']:.2g}",
        **{
            stage: f"{run['stages'][stage]['seconds']:.3g}" if stage in run["stages"] else "-"
            for stage in stages
        },
        "GB": f"{run['gigabytes']:.3g}",
        "predicted GB": f"{run['predicted']['peak'] / 1e9:.3g}",
        "MB / MPix stored": f"{size / 1e6 / megapixels:.3g}",
        **_against("network alone", run, forward),
        **_against("layer by layer", run, layers),
    }


def _against(name: str, run: Row, network: Row | None) -> dict[str, str]:
    """Seconds of the network alone, and what the run takes relative to it."""
    if network is None:
        return {name: "-", f"run / {name}": "-"}
    seconds = network["seconds"]
    return {name: f"{seconds:.3g}", f"run / {name}": f"{run['seconds'] / seconds:.3g}"}


def requirements(
    runs: dict[str, Row], forwards: dict[str, Row], layers: dict[str, Row]
) -> Iterator[dict[str, str]]:
    """What has to hold, of runs with the default block, scheduler and workers."""
    plain = {tuple(name.split(", ")): row for name, row in runs.items() if name.count(",") == 1}
    for model in dict.fromkeys(model for model, _ in plain):
        sizes = {size: row for (name, size), row in plain.items() if name == model}
        if len(sizes) > 1:
            rates = {size: rate(row) for size, row in sizes.items()}
            low, high = min(rates, key=rates.__getitem__), max(rates, key=rates.__getitem__)
            yield _required(
                f"{model}: least speed over greatest",
                f"{rates[low] / rates[high]:.3g} ({low}: {rates[low]:.3g} MPix/s, "
                f"{high}: {rates[high]:.3g})",
                "at least 0.9",
                rates[low] >= 0.9 * rates[high],
            )
        if {"100 MP", "1000 MP"} <= set(sizes):
            small, large = sizes["100 MP"]["gigabytes"], sizes["1000 MP"]["gigabytes"]
            yield _required(
                f"{model}: peak memory at 1000 MP over 100 MP",
                f"{large / small:.3g} ({large:.3g} GB, {small:.3g} GB)",
                "at most 1.2",
                large <= 1.2 * small,
            )
            yield _required(
                f"{model}: peak memory at 1000 MP", f"{large:.3g} GB", "under 3 GB", large < 3
            )
        if model == MEAN_COLOR:
            least = min(map(rate, sizes.values()))
            yield _required(f"{model}: speed", f"{least:.3g} MPix/s", "at least 5", least >= 5)
    for against, networks in (("network alone", forwards), ("the same layer by layer", layers)):
        for name, network in networks.items():
            if tuple(name.split(", ")) in plain:
                ratio = runs[name]["seconds"] / network["seconds"]
                yield _required(
                    f"{name}: run over {against}", f"{ratio:.3g}", "at most 1.35", ratio <= 1.35
                )


def _required(name: str, value: str, limit: str, holds: bool) -> dict[str, str]:
    return {
        "requirement": name,
        "measured": value,
        "required": limit,
        "holds": "yes" if holds else "NO",
    }


@contextmanager
def folder_for(wanted: Path | None) -> Iterator[Path]:
    """A folder for images: the one asked for, or one that is removed in the end."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted
        return
    folder = Path(tempfile.mkdtemp(prefix="napari-del-large-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.large")
    parser.add_argument("--megapixels", nargs="+", type=float, default=SIZES, metavar="N")
    parser.add_argument("--model", nargs="+", default=MODELS, help="names or weights files")
    parser.add_argument("--block", type=int, default=2048)
    parser.add_argument("--scheduler", choices=("threads", "processes"), default="threads")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--precision", choices=PRECISIONS, default="float32", help="of networks")
    parser.add_argument("--device", default="cpu", help="cpu (default), cuda or cuda:0")
    parser.add_argument("--folder", type=Path, help="for images, which are kept there")
    parser.add_argument("--quick", action="store_true", help="small images, once each")
    parser.add_argument("--json", type=Path, metavar="FILE", help="read and added to")
    parser.add_argument("--again", action="store_true", help="measure what FILE holds already")
    args = parser.parse_args(argv)

    kept = Kept(args.json, again=args.again)
    sizes = (1, 3) if args.quick else args.megapixels
    with folder_for(args.folder) as folder, tempfile.TemporaryDirectory() as stores:
        wanted = {
            name: (megapixels, model)
            for model in args.model
            for megapixels in sizes
            if model == MEAN_COLOR or megapixels <= MOST_OF_NETWORK
            if kept.lacks("runs", name := name_of(model, megapixels, args))
        }
        rows: dict[str, dict[str, list[Row]]] = {name: {} for name in wanted}
        # All sizes in turn, again and again: what else the machine does slows all alike.
        for k in range(ROUNDS):
            for name, (megapixels, model) in wanted.items():
                if not takes_part(1 if args.quick else rounds_of(megapixels, model), k):
                    continue
                image = large_image(folder, megapixels)
                # The network alone takes minutes for large images, and much the same each time.
                with_network = model != MEAN_COLOR and (
                    megapixels <= 25 or "forwards" not in rows[name]
                )
                found = measure(image, model, Path(stores), args, with_network=with_network)
                for group, row in found.items():
                    rows[name].setdefault(group, []).append(row)
                    kept.add(group, name, _median(rows[name][group]))
                run = rows[name]["runs"][-1]
                print(f"{name}: {rate(run):.3g} MPix/s, {run['gigabytes']:.3g} GB", flush=True)
    runs, forwards, layers = (by_size(kept.groups.get(group, {})) for group in GROUPS)
    print_table([row_of(k, run, forwards.get(k), layers.get(k)) for k, run in runs.items()])
    required = list(requirements(runs, forwards, layers))
    if required:
        print()
        print_table(required)
    return 1 if any(row["holds"] == "NO" for row in required) else 0


def by_size(rows: dict[str, Row]) -> dict[str, Row]:
    """Rows by model and, of each, from small to large."""

    def key(name: str) -> tuple[Any, ...]:
        model, size, *others = name.split(", ")
        return model, others, float(size.split()[0])

    return {name: rows[name] for name in sorted(rows, key=key)}


if __name__ == "__main__":
    raise SystemExit(main())
