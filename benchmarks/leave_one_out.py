"""How del-lite fares on a kind of image that its training never met, set by set.

    python -m benchmarks.leave_one_out CONFIG.toml [--sets NAME ...] [--scale X ...] [--work DIR]
                                       --json FILE

For each data set a network is trained as the configuration says, but without that set, and scored
on its held-out images, at each scale, beside the classical segmenters in
docs/figures/classics.json. What the figures mean is in docs/figures/README.md.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks._kept import Kept, Row, add_options
from benchmarks._output import print_table
from benchmarks.classics import CLASSICS
from benchmarks.sets import best, read_part, run_napari_del
from napari_del.errors import ParameterError
from napari_del.evaluation.datasets import SETS
from napari_del.training.config import TrainingConfig, load_config
from napari_del.training.run import run_training

CLASSIC_FIGURES = Path(__file__).resolve().parents[1] / "docs/figures/classics.json"
LINKAGES = ("learned", "average", "contrast")
# Scales and superpixel steps: the default step at each scale; small objects, which are looked at
# enlarged, may want smaller superpixels too, and large ones with parts larger.
SETTINGS = ((0.5, 8), (1.0, 8), (1.0, 16), (2.0, 8), (2.0, 6))


def without(config: TrainingConfig, name: str) -> TrainingConfig:
    """The same training without a set, whose share goes to the others."""
    data = tuple(item for item in config.data if item.name != name)
    if len(data) == len(config.data):
        known = ", ".join(item.name for item in config.data)
        raise ParameterError(f"set {name!r} is not in the configuration; expected one of {known}")
    return replace(
        config, data=data, merge_sets=tuple(kept for kept in config.merge_sets if kept != name)
    )


def measure(config: TrainingConfig, name: str, args: argparse.Namespace) -> Row:
    """Figures of a network that never saw the set."""
    args.work.mkdir(parents=True, exist_ok=True)
    weights = args.work / f"without-{name}.safetensors"
    if not weights.exists():  # else it was trained before, and only the scores are missing
        run_training(
            without(config, name), output=weights, device=args.device, processes=args.processes
        )
    images = read_part(args.data, name, "held-out", None)
    linkages = LINKAGES if config.merge_images else LINKAGES[1:]
    methods = {}
    for scale, step in (pair for pair in SETTINGS if pair[0] in args.scale):
        title = f"{name}, scale {scale:g}, step {step}"
        found = run_napari_del(
            images, title, str(weights), linkages, step, scale, args.device, False
        )
        suffix = "" if (scale, step) == (1, 8) else f", scale {scale:g}, step {step}"
        methods |= {f"{key}{suffix}": found[key] for key in linkages}
    return {"images": len(images), "steps": config.training.steps, "methods": methods}


def rows(kept: Kept, figures: Path) -> list[dict[str, str]]:
    """One row for each set and measure: without the set, and the classical methods."""
    classics = json.loads(figures.read_text())["sets"] if figures.exists() else {}
    measured = kept.groups.get("without", {})
    # Sets that were measured at other times may have other linkages and scales.
    columns = dict.fromkeys(
        f"del-lite, {key}" for row in measured.values() for key in row["methods"]
    )
    table = []
    for name, row in measured.items():
        others = classics.get(name, {}).get("methods", {})
        methods = {f"del-lite, {key}": value for key, value in row["methods"].items()}
        methods |= {key: others[key] for key in CLASSICS if key in others}
        for measure in ("best_iou", "covering"):
            cells = dict.fromkeys(columns, "-")
            cells |= {key: f"{best(value, measure)[0]:.3f}" for key, value in methods.items()}
            table.append({"set left out": name, "measure": measure, **cells})
    return table


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leave_one_out")
    parser.add_argument("config", type=Path, help="a training on all sets")
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=tuple(SETS))
    parser.add_argument(
        "--work", type=Path, default=Path("leave-one-out"), help="for weights and checkpoints"
    )
    scales = tuple(dict.fromkeys(scale for scale, _ in SETTINGS))
    parser.add_argument("--scale", type=float, nargs="+", choices=scales, default=[1.0])
    parser.add_argument("--processes", type=int, default=1, help="of the trainings")
    add_options(parser)
    args = parser.parse_args(argv)

    config = load_config(args.config)
    kept = Kept(args.json, again=args.again)
    for name in args.sets:
        if kept.lacks("without", name):
            kept.add("without", name, measure(config, name, args))
    print_table(rows(kept, CLASSIC_FIGURES))


if __name__ == "__main__":
    main()
