"""Covering of people's segmentations by a model's regions, over a range of thresholds.

    python -m benchmarks.covering [FOLDER] [--model M] [--linkage L ...] [--limit N] [--json FILE]

What the figures mean is in docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks._output import DEFAULT_DATA, print_table, write_json
from napari_del import Segmentation, merging, segment
from napari_del.evaluation import (
    CoveringSummary,
    SuperpixelContingency,
    load_bsds,
    summarise_covering,
)

THRESHOLDS = 60
FEWEST_REGIONS = 2


def thresholds_for(segmentations: Sequence[Segmentation], linkage: str) -> NDArray[np.float64]:
    """Thresholds, the same for all images, from nearly all superpixels to nearly one region.

    They are quantiles of the heights of all merges of all images, such that the mean number of
    regions goes down by equal factors. Partitions of "egb" have no such heights; its
    thresholds are equally far apart.
    """
    if linkage == "egb":
        return np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    trees = [segmentation.hierarchy(linkage) for segmentation in segmentations]
    heights = np.sort(np.concatenate([tree.merge_heights for tree in trees]))
    superpixels = sum(tree.n for tree in trees)
    regions = np.geomspace(superpixels / 2, FEWEST_REGIONS * len(trees), THRESHOLDS)
    merges = np.clip(superpixels - regions.astype(int), 1, heights.size)
    return np.unique(merging.from_fixed(heights[merges - 1]))


def score(
    segmentations: Sequence[Segmentation],
    counted: Sequence[SuperpixelContingency],
    thresholds: NDArray[np.float64],
    linkage: str,
) -> tuple[CoveringSummary, NDArray[np.float64]]:
    """Covering over the set, and the mean number of regions at each threshold."""
    images = []
    counts = np.zeros(thresholds.size)
    for segmentation, truths in zip(segmentations, counted, strict=True):
        regions = [segmentation.regions(t, linkage) for t in thresholds.tolist()]
        images.append(truths.overlaps(regions))
        counts += [np.unique(rows).size for rows in regions]
    return summarise_covering(images), counts / len(images)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.covering")
    parser.add_argument("folder", nargs="?", type=Path, default=DEFAULT_DATA / "bsds500/val")
    parser.add_argument("--model", default="del-lite")
    parser.add_argument("--linkage", nargs="+", choices=merging.LINKAGES, default=["average"])
    parser.add_argument("--step", type=int, default=8)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int, help="images, evenly spaced (default: all)")
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)

    segmentations, counted = [], []
    for done, (_, image, truths) in enumerate(load_bsds(args.folder, limit=args.limit), start=1):
        segmentations.append(segment(image, model=args.model, step=args.step, device=args.device))
        counted.append(SuperpixelContingency(segmentations[-1].superpixels, truths))
        print(f"\r{done} images", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)

    rows, curves = [], {}
    for linkage in args.linkage:
        thresholds = thresholds_for(segmentations, linkage)
        summary, regions = score(segmentations, counted, thresholds, linkage)
        rows.append(
            {
                "linkage": linkage,
                "ODS": round(summary.ods, 4),
                "at threshold": round(float(thresholds[summary.ods_index]), 5),
                "mean regions": round(float(regions[summary.ods_index]), 1),
                "OIS": round(summary.ois, 4),
                "best": round(summary.best, 4),
            }
        )
        curves[linkage] = {
            "thresholds": thresholds.tolist(),
            "mean_regions": regions.tolist(),
            "covering": summary.covering.tolist(),
        }
    print(
        f"covering, {len(counted)} images of {args.folder.name}, model {Path(args.model).stem}, "
        f"step {args.step}"
    )
    print_table(rows)
    if args.json:
        write_json(args.json, {"model": args.model, "summary": rows, "curves": curves})


if __name__ == "__main__":
    main()
