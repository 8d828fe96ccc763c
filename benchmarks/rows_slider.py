"""From a threshold to the label image, as the slider does it."""

from __future__ import annotations

import statistics
from collections.abc import Iterator

import numpy as np

from benchmarks._images import natural_image
from benchmarks._measure import Comparison, Options, interleave
from napari_del import segment

LIMIT = 0.030


def rows(options: Options) -> Iterator[Comparison]:
    side = 512 if options.quick else 2048
    segmentation = segment(natural_image(side, side), model="mean-color")
    out = np.empty(segmentation.shape, np.int32)
    # Converted beforehand to the type that NumPy indexes with.
    superpixels = segmentation.superpixels.astype(np.intp)
    table = np.arange(superpixels.max() + 1, dtype=np.int32)
    random = np.random.default_rng(0)
    # From a few regions to nearly all superpixels, evenly on a logarithmic scale.
    counts = np.exp(random.uniform(0, np.log(segmentation.n_superpixels), 10)).astype(int)
    for linkage in ("average", "del"):
        thresholds = [segmentation.threshold_for(max(1, n), linkage) for n in counts.tolist()]
        for min_size in (0, 200):
            # One round is one threshold: its labels, then the look-up that no method can spare.
            slowest: dict[str, list[float]] = {"ours": [], "numpy": []}
            for threshold in thresholds:
                ours, numpy = interleave(
                    [
                        lambda threshold=threshold, linkage=linkage, min_size=min_size: (
                            segmentation.labels(threshold, linkage, min_size, out=out)
                        ),
                        lambda: np.take(table, superpixels, out=out, mode="clip"),
                    ],
                    rounds=3 if options.quick else 7,
                )
                slowest["ours"].append(statistics.median(ours))
                slowest["numpy"].append(statistics.median(numpy))
            most = max(slowest["ours"])
            yield Comparison(
                f"slider, {side} x {side}, {linkage}{f', min_size {min_size}' * bool(min_size)}",
                "Segmentation.labels",
                "numpy.take",
                tuple(slowest["ours"]),
                tuple(slowest["numpy"]),
                required=f"slowest A <= {1000 * LIMIT:g} ms",
                holds=most <= LIMIT,
                note=f"slowest of {len(thresholds)} thresholds {1000 * most:.3g} ms",
            )
