"""Which scale and step find objects of a diameter best, on the images that training may use.

    python -m benchmarks.diameters [--sets NAME ...] --json FILE

The rule of `napari_del.settings_for` was chosen by this. What the figures mean is in
docs/figures/README.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks._kept import Kept, Row, add_options
from benchmarks._output import print_table
from benchmarks._set_scores import Counts, overlaps_of
from benchmarks.sets import object_diameters, progress, read_part
from napari_del import segment
from napari_del.evaluation.datasets import SETS, AnnotatedImage
from napari_del.evaluation.evaluate import thresholds_for

# Lower ends of the bins, in pixels.
BINS = (0, 10, 14, 18, 24, 32, 44, 60, 90, 130, 200)
SETTINGS = ((2.0, 6), (2.0, 8), (1.0, 6), (1.0, 8), (1.0, 16), (0.5, 8), (0.5, 16))
# Images of sets where all of them would take long, and small sets would not count more for it.
LIMITS = {"dsb2018": 40, "wbc": 24, "em_isbi2012": 8, "glas_subset": 6}
MOST = 8
# Fewer objects of a set in a bin say little of it.
FEWEST = 10
THRESHOLDS = 80


def measure(images: Sequence[AnnotatedImage], title: str, device: str) -> Row:
    """Mean best IoU of the objects of each bin, at the best threshold for them, and setting."""
    diameters = np.concatenate([object_diameters(image) for image in images])
    bins = np.digitize(diameters, BINS) - 1
    counts = np.bincount(bins, minlength=len(BINS))
    found = {}
    for scale, step in SETTINGS:
        name = f"scale {scale:g}, step {step}"
        unions = best_overlaps_of(images, f"{title}, {name}", scale, step, device)
        found[name] = [
            round(float(unions[:, bins == number].mean(axis=1).max()), 4) if count else None
            for number, count in enumerate(counts.tolist())
        ]
    return {
        "images": len(images),
        "median_diameter": round(float(np.median(diameters)), 1),
        "objects": counts.tolist(),
        "best_iou": found,
    }


def best_overlaps_of(
    images: Sequence[AnnotatedImage], title: str, scale: float, step: int, device: str
) -> NDArray[np.float64]:
    """Best IoU of each object at each threshold, shape (thresholds, objects)."""
    segmentations, counted = [], []
    for image in progress(images, title):
        segmentations.append(segment(image.image, scale=scale, step=step, device=device))
        counted.append(Counts(segmentations[-1].superpixels, image))
    thresholds = thresholds_for(segmentations, "learned", THRESHOLDS).tolist()
    columns = []
    for segmentation, count in zip(segmentations, counted, strict=True):
        if count.tables()[1] is None:
            continue
        rows = [segmentation.regions(threshold, "learned") for threshold in thresholds]
        columns.append([overlaps_of(count.tables(row))[1][0] for row in rows])
    unions: NDArray[np.float64] = np.concatenate(columns, axis=1)
    return unions


def rows(measured: Mapping[str, Row]) -> list[dict[str, str]]:
    """One row for each bin: the mean over the sets that have objects of these diameters."""
    table = []
    for number, low in enumerate(BINS):
        high = f"to {BINS[number + 1]}" if number + 1 < len(BINS) else "and more"
        there = [row for row in measured.values() if row["objects"][number] >= FEWEST]
        if not there:
            continue
        cells = {"diameter": f"{low} {high}", "sets": str(len(there))}
        cells["objects"] = str(sum(row["objects"][number] for row in there))
        for name in there[0]["best_iou"]:
            mean = np.mean([row["best_iou"][name][number] for row in there])
            cells[name] = f"{mean:.3f}"
        table.append(cells)
    return table


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.diameters")
    parser.add_argument("--sets", nargs="+", choices=tuple(SETS), default=tuple(SETS))
    add_options(parser)
    args = parser.parse_args(argv)

    kept = Kept(args.json, again=args.again)
    for name in args.sets:
        if kept.lacks("sets", name):
            images = read_part(args.data, name, "training", LIMITS.get(name, MOST))
            kept.add("sets", name, measure(images, name, args.device))
    measured = {name: kept.groups["sets"][name] for name in args.sets}
    for name, row in measured.items():
        print(f"{name}: {row['images']} images, median diameter {row['median_diameter']:g} pixels")
    print_table(rows(measured))


if __name__ == "__main__":
    main()
