"""Choices of the recipe that trains a network, made on training images alone.

    python -m benchmarks.recipe_choices CONFIG.toml --initial NATURAL.safetensors
                                        [--variants NAME ...] [--steps N] [--work DIR] --json FILE

Each variant of the recipe is a short training from the weights of natural.toml, on four fifths of
the training images of each set, scored on the rest. Images that the configuration holds out have
no part in it. What the figures mean is in docs/figures/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks._kept import Kept, Row, add_options
from benchmarks._output import print_table
from benchmarks.merge_choices import rows
from benchmarks.sets import best, run_napari_del
from napari_del.evaluation.datasets import AnnotatedImage, held_out
from napari_del.training.config import TrainingConfig, load_config
from napari_del.training.start import (
    average,
    initial_network,
    load_images,
    mixture_of,
    trainable_copy,
)
from napari_del.training.train import train
from napari_del.training.weights import export_weights

LINKAGE = "average"
THRESHOLDS = 80
# Shares of the weights that a training began with, in the mean with those it ended with; for these.
MEANS = (0.25, 0.5)
AVERAGED = ("as it ships", "another seed")


def equal_shares(config: TrainingConfig) -> TrainingConfig:
    """Each set as often as any other."""
    return replace(config, data=tuple(replace(item, weight=0.1) for item in config.data))


def shares_before(config: TrainingConfig) -> TrainingConfig:
    """Those of general.toml, the step of the recipe in which all sets are met first."""
    before = {
        "bsds500/train": 0.52,
        "dsb2018": 0.26,
        "rs_gsi_solar": 0.03,
        "rs_gsi_road": 0.02,
        "amazon_forest_s2": 0.045,
    }
    return replace(
        config,
        data=tuple(replace(d, weight=before.get(d.name, d.weight)) for d in config.data),
    )


def plain_images(config: TrainingConfig) -> TrainingConfig:
    """Nothing pasted, and crowded images no more often than others."""
    return replace(
        config, data=tuple(replace(item, crowding=0.0, pasting=0.0) for item in config.data)
    )


def another_seed(config: TrainingConfig) -> TrainingConfig:
    return replace(config, training=replace(config.training, seed=config.training.seed + 100))


def more_composites(config: TrainingConfig) -> TrainingConfig:
    return replace(config, synthetic=0.25, composites="mixed")


VARIANTS: dict[str, Callable[[TrainingConfig], TrainingConfig]] = {
    "as it ships": lambda config: config,
    "another seed": another_seed,
    "equal shares": equal_shares,
    "shares of general.toml": shares_before,
    "no crowding, no pasting": plain_images,
    "composites 0.25, mixed": more_composites,
}


def split(
    images: Sequence[AnnotatedImage], name: str
) -> tuple[list[AnnotatedImage], list[AnnotatedImage]]:
    """Training images to train on, and every fifth to score, no source of tiles on both sides."""
    scored = held_out([image.name for image in images], name)
    return (
        [images[i] for i in np.flatnonzero(~scored)],
        [images[i] for i in np.flatnonzero(scored)],
    )


def measure(
    model: Path, parts: Mapping[str, Sequence[AnnotatedImage]], args: argparse.Namespace
) -> Row:
    """Best figures of each set with a network."""
    sets = {}
    for name, images in parts.items():
        title = f"{model.stem}, {name}"
        figures = run_napari_del(
            images, title, str(model), [LINKAGE], 8, 1, args.device, False, THRESHOLDS
        )[LINKAGE]
        measures = ("best_iou", "covering") if "best_iou" in figures else ("covering",)
        sets[name] = {measure: best(figures, measure)[0] for measure in measures}
    return {"images": {name: len(images) for name, images in parts.items()}, "sets": sets}


def train_variant(
    config: TrainingConfig,
    images: Sequence[list[AnnotatedImage]],
    args: argparse.Namespace,
    target: Path,
) -> None:
    """Weights of a training as the configuration says, from the weights given."""
    if not target.exists():
        train(
            mixture_of(config, images),
            initial_network(config.network, config.training.seed),
            target,
            settings=config.training,
            device=args.device,
            recipe=config.recipe(),
            processes=args.processes,
        )


def averaged(target: Path, initial: str, share: float) -> Path:
    """Weights of the mean of a trained network and the one that it began as."""
    network = trainable_copy(target)
    average(network, trainable_copy(initial), share)
    mean = target.with_name(f"{target.stem}-{share:g}.safetensors")
    export_weights(network, mean, {})
    return mean


def names_of(variant: str) -> dict[str, float]:
    """Names of a variant's rows, and what share each has of the weights it began with."""
    shares = MEANS if variant in AVERAGED else ()
    return {variant: 0.0, **{f"{variant}, {share:g} of natural.toml": share for share in shares}}


def measure_all(
    networks: Mapping[str, tuple[str, float]], kept: Kept, args: argparse.Namespace
) -> None:
    """Train and score what is missing: the row, its variant, and the share of the first weights."""
    config = load_config(args.config)
    config = replace(
        config,
        network=replace(config.network, initial=args.initial, average_after=""),
        training=replace(config.training, steps=args.steps),
    )
    args.work.mkdir(parents=True, exist_ok=True)
    images, parts = [], {}
    for item in config.data:
        trained, scored = split(load_images(item), item.name)
        images.append(trained)
        if scored:  # of a set of less than five images all are trained on
            parts[item.name] = scored
    for row, (name, share) in networks.items():
        print(f"{row}: {args.steps} steps")
        target = args.work / f"variant-{list(VARIANTS).index(name)}.safetensors"
        train_variant(VARIANTS[name](config), images, args, target)
        model = averaged(target, args.initial, share) if share else target
        kept.add("recipes", row, measure(model, parts, args))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recipe_choices")
    parser.add_argument("config", type=Path, help="the last step of the recipe")
    parser.add_argument("--initial", required=True, help="weights of natural.toml")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--work", type=Path, default=Path("recipe-choices"), help="for weights")
    parser.add_argument("--processes", type=int, default=1, help="of the trainings")
    add_options(parser, data=False)
    args = parser.parse_args(argv)

    kept = Kept(args.json, again=args.again)
    networks = {
        row: (name, share)
        for name in args.variants
        for row, share in names_of(name).items()
        if kept.lacks("recipes", row)
    }
    if networks:
        measure_all(networks, kept, args)
    print_table(rows(kept.groups["recipes"]))


if __name__ == "__main__":
    main()
