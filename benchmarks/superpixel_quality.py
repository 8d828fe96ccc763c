"""Superpixels against scikit-image's at equal counts, on people's segmentations.

    python -m benchmarks.superpixel_quality [FOLDER] [--limit N] [--json FILE]

What the figures mean is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterable, Sequence
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


def at_least(
    image: NDArray[np.uint8], count: int, arguments: Sequence[tuple[int, float]]
) -> Labels:
    """Superpixels of scikit-image, the fewest of `arguments` that are at least `count`."""
    low, high = 0, len(arguments) - 1
    labels = reference(image, *arguments[high])
    while low < high:
        middle = (low + high) // 2
        tried = reference(image, *arguments[middle])
        if np.unique(tried).size >= count:
            high, labels = middle, tried
        else:
            low = middle + 1
    return labels


METHODS: dict[str, Callable[[NDArray[np.uint8], int], Labels]] = {
    "skimage, n_segments raised": lambda image, count: at_least(
        image, count, by_n_segments(image)
    ),
    "skimage, min_size_factor lowered": lambda image, count: at_least(
        image, count, by_min_size(image)
    ),
    "skimage as it comes": lambda image, _: reference(image, image[..., 0].size // STEP**2),
    "skimage as it comes, 10 iterations": lambda image, _: reference(
        image, image[..., 0].size // STEP**2, iterations=10
    ),
}


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.superpixel_quality")
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_DATA / "bsds500/val")
    parser.add_argument("--limit", type=int, help="images, evenly spaced (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)

    results: dict[str, list[Quality]] = {"napari_del": [], **{name: [] for name in METHODS}}
    for _, image, truths in load_bsds(args.folder, limit=args.limit):
        ours = slic(image, STEP, compactness=COMPACTNESS, iterations=ITERATIONS)
        results["napari_del"].append(quality(ours, truths))
        count = results["napari_del"][-1].count
        for name, method in METHODS.items():
            results[name].append(quality(method(image, count), truths))

    counts = [each.count for each in results["napari_del"]]
    rows = []
    for name, qualities in results.items():
        excess = [each.count / count - 1 for each, count in zip(qualities, counts, strict=True)]
        rows.append(
            {
                "superpixels": name,
                "mean count": round(statistics.fmean(q.count for q in qualities), 1),
                "excess %": round(100 * statistics.fmean(excess), 2),
                "within 2 %": sum(0 <= each <= 0.02 for each in excess),
                **{
                    field.replace("_", " "): round(
                        statistics.fmean(getattr(q, field) for q in qualities), 5
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
        per_image = {name: [q._asdict() for q in each] for name, each in results.items()}
        write_json(args.json, {"mean": rows, "images": per_image})


if __name__ == "__main__":
    main()
