"""Choices of the merge function, made on training images alone.

    python -m benchmarks.merge_choices [--variants NAME ...] --json FILE

Functions are trained for the network of a model on four fifths of the training images and scored
on the rest. What the figures mean is in docs/figures/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from benchmarks._kept import Kept, Row, add_options
from benchmarks._output import print_table
from benchmarks._set_scores import Counts
from benchmarks.sets import ALL_SETS, best, progress, read_part, scores_of
from napari_del import Segmentation, segment
from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.linkages import Linkages
from napari_del.training.merge_function import fit_merge_function, merge_sample
from napari_del.training.merge_pairs import MergeSample

# As it ships, but of three networks, two rounds and shorter trainings, as many are compared.
BASE: dict[str, Any] = {"hidden": (64, 32), "members": 3, "rounds": 2, "steps": 6000}
# Of the 41 features the last are those of the whole image (9), raggedness (4) and context (8).
VARIANTS: dict[str, dict[str, Any]] = {
    "base": {},
    "another seed": {"seed": 100},
    "32 features": {"n_features": 32},
    "28 features": {"n_features": 28},
    "20 features": {"n_features": 20},
    "layers of 32 and 16": {"hidden": (32, 16)},
    "1500 steps": {"steps": 1500},
    "three rounds": {"rounds": 3},
}
LIMITS = {"bsds500": 100, "dsb2018": 150, "wbc": 60}
STEP = 8
THRESHOLDS = 80


class Part(NamedTuple):
    """Images of a set that functions are scored on."""

    segmentations: list[Segmentation]
    counted: list[Counts]


def is_scored(number: int) -> bool:
    """Whether an image of the sorted training images is kept from the functions' training."""
    return number % 5 == 2


def prepare(args: argparse.Namespace) -> tuple[list[MergeSample], dict[str, Part]]:
    """What the functions are trained on, and what they are scored on."""
    samples: list[MergeSample] = []
    parts = {}
    for name in ALL_SETS:
        images = read_part(args.data, name, "training", LIMITS.get(name))
        part = Part([], [])
        for number, image in enumerate(progress(images, name)):
            if is_scored(number):
                _add(part, image, args)
            else:
                samples.append(merge_sample(image, args.model, step=STEP, device=args.device))
        parts[name] = part
    return samples, parts


def _add(part: Part, image: AnnotatedImage, args: argparse.Namespace) -> None:
    segmentation = segment(image.image, model=args.model, step=STEP, device=args.device)
    part.segmentations.append(segmentation)
    part.counted.append(Counts(segmentation.superpixels, image))


def measure(
    settings: Mapping[str, Any], samples: Sequence[MergeSample], parts: Mapping[str, Part]
) -> Row:
    """Best figures of each set with a function that is trained so."""
    function = fit_merge_function(samples, **{**BASE, **settings})
    sets = {}
    for name, part in parts.items():
        merged = [
            Segmentation.from_tables(
                one._tables,
                Linkages(one._tables, STEP, function),
                one._default_thresholds,
                one.parameters,
            )
            for one in part.segmentations
        ]
        figures = scores_of(merged, part.counted, "learned", THRESHOLDS)
        measures = ("best_iou", "covering") if "best_iou" in figures else ("covering",)
        sets[name] = {measure: best(figures, measure)[0] for measure in measures}
    return {"images": {name: len(part.counted) for name, part in parts.items()}, "sets": sets}


def rows(measured: Mapping[str, Row]) -> list[dict[str, str]]:
    """One row for each variant."""
    table = []
    for name, row in measured.items():
        cells = {"function": name}
        for of_set, figures in row["sets"].items():
            cells[of_set] = " / ".join(f"{value:.3f}" for value in figures.values())
        table.append(cells)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge_choices")
    parser.add_argument("--variants", nargs="+", choices=tuple(VARIANTS), default=tuple(VARIANTS))
    parser.add_argument("--model", default="del-lite", help="name or weights file of the network")
    add_options(parser)
    args = parser.parse_args(argv)

    kept = Kept(args.json, again=args.again)
    missing = [name for name in args.variants if kept.lacks("functions", name)]
    if missing:
        samples, parts = prepare(args)
        for name in missing:
            print(f"{name}: training on {len(samples)} images")
            kept.add("functions", name, measure(VARIANTS[name], samples, parts))
    print_table(rows({name: kept.groups["functions"][name] for name in args.variants}))


if __name__ == "__main__":
    main()
