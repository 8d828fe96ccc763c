"""Superpixels against scikit-image's at equal counts, on people's segmentations.

    python -m benchmarks.superpixel_quality [FOLDER] [--limit N] [--json FILE]

What the figures mean is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import slic as skimage_slic

from benchmarks._output import DEFAULT_DATA, print_table, write_json
from napari_del import slic
from napari_del.evaluation import (
    achievable_segmentation_accuracy,
    boundary_recall,
    load_bsds,
    undersegmentation_error,
)

STEP = 8
COMPACTNESS = 10.0
ITERATIONS = 5
TOLERANCE = 2

Labels = NDArray[np.integer]


class Quality(NamedTuple):
    """Measures of one image's superpixels, mean over the annotators."""

    count: int
    boundary_recall: float
    undersegmentation_error: float
    achievable_accuracy: float


def quality(labels: Labels, truths: Iterable[Labels]) -> Quality:
    scores = [
        (
            boundary_recall(labels, truth, tolerance=TOLERANCE),
            undersegmentation_error(labels, truth),
            achievable_segmentation_accuracy(labels, truth),
        )
        for truth in truths
    ]
    recall, error, accuracy = np.mean(scores, axis=0).tolist()
    return Quality(np.unique(labels).size, recall, error, accuracy)


def reference(
    image: NDArray[np.uint8],
    n_segments: int,
    min_size_factor: float = 0.5,
    iterations: int = ITERATIONS,
) -> Labels:
    """scikit-image's SLIC; all but the arguments as ours or its default."""
    return skimage_slic(
        image,
        n_segments,
        compactness=COMPACTNESS,
        max_num_iter=iterations,
        min_size_factor=min_size_factor,
    )


def by_n_segments(image: NDArray[np.uint8]) -> list[tuple[int, float]]:
    """Arguments of `reference` with ever more segments asked for.

    scikit-image rounds its grid step to whole pixels and drops segments smaller than half of
    pixels / n_segments, so that only this many values of n_segments give different results.
    """
    pixels = image.shape[0] * image.shape[1]
    arguments = {}
    for n_segments in range(pixels // (2 * STEP) ** 2, pixels // (STEP // 2) ** 2):
        step = round((pixels / n_segments) ** 0.5)
        arguments[step, int(pixels / n_segments / 2)] = (n_segments, 0.5)
    return list(arguments.values())


def by_min_size(image: NDArray[np.uint8]) -> list[tuple[int, float]]:
    """Arguments of `reference` on our grid step, with ever smaller segments kept."""
    n_segments = round(image.shape[0] * image.shape[1] / STEP**2)
    return [(n_segments, (size + 0.5) / STEP**2) for size in range(STEP**2, -1, -1)]


def bracket(
    image: NDArray[np.uint8], count: int, arguments: Sequence[tuple[int, float]]
) -> tuple[Labels, Labels]:
    """Superpixels of scikit-image, the most below `count` and the fewest of at least `count`."""
    low, high = 0, len(arguments) - 1
    below, above = (reference(image, *arguments[end]) for end in (low, high))
    while high - low > 1:
        middle = (low + high) // 2
        labels = reference(image, *arguments[middle])
        if np.unique(labels).size >= count:
            high, above = middle, labels
        else:
            low, below = middle, labels
    return below, above


def interpolate(below: Quality, above: Quality, count: int) -> Quality:
    """Quality at `count` exactly, on the line between two qualities."""
    share = (count - below.count) / (above.count - below.count)
    values = (a + share * (b - a) for a, b in zip(below[1:], above[1:], strict=True))
    return Quality(count, *values)


def compared(
    image: NDArray[np.uint8], truths: NDArray[np.integer], count: int
) -> dict[str, Quality]:
    """Quality of scikit-image's superpixels at `count`, and as they come at our step."""
    results = {}
    for name, arguments in (
        ("n_segments", by_n_segments(image)),
        ("min_size_factor", by_min_size(image)),
    ):
        below, above = (quality(labels, truths) for labels in bracket(image, count, arguments))
        results[f"skimage by {name}, equal count"] = interpolate(below, above, count)
        results[f"skimage by {name}, next above"] = above
    n_segments = round(image.shape[0] * image.shape[1] / STEP**2)
    for iterations in (ITERATIONS, 10):
        labels = reference(image, n_segments, iterations=iterations)
        results[f"skimage as it comes, {iterations} iterations"] = quality(labels, truths)
    return results


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.superpixel_quality")
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_DATA / "bsds500/val")
    parser.add_argument("--limit", type=int, help="images, evenly spaced (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)

    results: dict[str, list[Quality]] = {}
    for _, image, truths, _ in load_bsds(args.folder, limit=args.limit):
        ours = slic(image, STEP, compactness=COMPACTNESS, iterations=ITERATIONS)
        scored = quality(ours, truths)
        for name, each in {"napari_del": scored, **compared(image, truths, scored.count)}.items():
            results.setdefault(name, []).append(each)

    counts = [each.count for each in results["napari_del"]]
    rows = []
    for name, qualities in results.items():
        excess = [each.count / count - 1 for each, count in zip(qualities, counts, strict=True)]
        rows.append(
            {
                "superpixels": name,
                "mean count": round(statistics.fmean(each.count for each in qualities), 1),
                "excess %": round(100 * statistics.fmean(excess), 2),
                "most %": round(100 * max(excess), 2),
                **{
                    field.replace("_", " "): round(
                        statistics.fmean(getattr(each, field) for each in qualities), 5
                    )
                    for field in Quality._fields[1:]
                },
            }
        )
    print(
        f"{len(counts)} images of {args.folder.name}; step {STEP}, compactness {COMPACTNESS:g}, "
        f"{ITERATIONS} iterations, boundary tolerance {TOLERANCE} pixels"
    )
    print_table(rows)
    if args.json:
        per_image = {
            name: [each._asdict() for each in qualities] for name, qualities in results.items()
        }
        write_json(args.json, {"mean": rows, "images": per_image})


if __name__ == "__main__":
    main()
