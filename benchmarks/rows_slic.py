"""SLIC against scikit-image's."""

from __future__ import annotations

from collections.abc import Iterator

from skimage.segmentation import slic as skimage_slic

from benchmarks._images import natural_image
from benchmarks._measure import Comparison, Options, compare
from napari_del import slic

STEP = 8
COMPACTNESS = 10.0
ITERATIONS = 5


def rows(options: Options) -> Iterator[Comparison]:
    for height, width in ((321, 481), (512, 512) if options.quick else (2048, 2048)):
        image = natural_image(height, width)
        # scikit-image rounds sqrt(pixels / n_segments) to the same step.
        n_segments = round(height * width / STEP**2)
        yield compare(
            f"SLIC, {height} x {width} RGB",
            (
                "skimage.segmentation.slic",
                lambda image=image, n_segments=n_segments: skimage_slic(
                    image, n_segments, compactness=COMPACTNESS, max_num_iter=ITERATIONS
                ),
            ),
            (
                "napari_del.slic",
                lambda image=image: slic(
                    image, STEP, compactness=COMPACTNESS, iterations=ITERATIONS
                ),
            ),
            rounds=3 if options.quick or height > 1000 else 9,
            at_least=10,
        )
