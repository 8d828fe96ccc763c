"""Classical region segmenters, each with a sweep of its own parameters.

- `felzenszwalb`: the graph-based segmentation of [1]_, from scikit-image.
- `slic-cut`: scikit-image's SLIC superpixels of about 64 pixels, and adjacent ones joined where
  their mean colours are nearer than a threshold, as ``skimage.graph.cut_threshold`` does.
- `hfs`: hierarchical feature selection [2]_, from the contributed modules of OpenCV
  (``pip install -r benchmarks/requirements.txt``).

References
----------
.. [1] P. Felzenszwalb and D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV
   59(2), 2004, :DOI:`10.1023/B:VISI.0000022288.19776.77`
.. [2] M.-M. Cheng et al., "HFS: Hierarchical Feature Selection for Efficient Image
   Segmentation", ECCV 2016, :DOI:`10.1007/978-3-319-46487-9_53`
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from skimage import segmentation

__all__ = ["CLASSICS", "Classic", "Setting", "felzenszwalb", "hfs", "slic_cut"]

Setting = dict[str, float]
Labels = NDArray[np.integer]
PIXELS_PER_SUPERPIXEL = 64


class Classic(NamedTuple):
    """A method and the settings that it is tried with."""

    segment: Callable[[NDArray[np.uint8], Sequence[Setting]], Iterator[Labels]]
    """Label images (Y, X) of an RGB image (Y, X, 3), one for each setting."""
    settings: tuple[Setting, ...]


def felzenszwalb(rgb: NDArray[np.uint8], settings: Sequence[Setting]) -> Iterator[Labels]:
    for setting in settings:
        yield segmentation.felzenszwalb(
            rgb,
            scale=setting["scale"],
            sigma=setting["sigma"],
            min_size=int(setting["min_size"]),
        )


def slic_cut(rgb: NDArray[np.uint8], settings: Sequence[Setting]) -> Iterator[Labels]:
    count = max(1, rgb.shape[0] * rgb.shape[1] // PIXELS_PER_SUPERPIXEL)
    superpixels = segmentation.slic(rgb, n_segments=count, compactness=10, start_label=0)
    pairs, distances = _colour_distances(rgb, superpixels)
    n = int(superpixels.max()) + 1
    for setting in settings:
        u, v = pairs[distances < setting["threshold"]].T
        joined = sparse.coo_array((np.ones(u.size, np.int8), (u, v)), shape=(n, n))
        yield sparse.csgraph.connected_components(joined, directed=False)[1][superpixels]


def _colour_distances(
    rgb: NDArray[np.uint8], superpixels: Labels
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Adjacent superpixels, corners included, and the distances of their mean colours.

    The edges and weights of ``skimage.graph.rag_mean_color``, which calls Python for each pixel
    and takes five times as long as the superpixels.
    """
    n = int(superpixels.max()) + 1
    found = []
    for a, b in (
        (superpixels[:, :-1], superpixels[:, 1:]),
        (superpixels[:-1], superpixels[1:]),
        (superpixels[:-1, :-1], superpixels[1:, 1:]),
        (superpixels[:-1, 1:], superpixels[1:, :-1]),
    ):
        border = a != b
        low, high = np.minimum(a, b)[border], np.maximum(a, b)[border]
        found.append(np.unique(low.astype(np.int64) * n + high))
    pairs = np.stack(np.divmod(np.unique(np.concatenate(found)), n), axis=1)
    index = np.arange(n)
    colours = np.stack([ndimage.mean(rgb[..., c], superpixels, index) for c in range(3)], axis=1)
    return pairs, np.linalg.norm(colours[pairs[:, 0]] - colours[pairs[:, 1]], axis=1)


def hfs(rgb: NDArray[np.uint8], settings: Sequence[Setting]) -> Iterator[Labels]:
    import cv2

    cv2.setNumThreads(1)
    height, width = rgb.shape[:2]
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    for setting in settings:
        segmenter = cv2.hfs.HfsSegment_create(
            height,
            width,
            segEgbThresholdI=setting["I"],
            minRegionSizeI=int(setting["min_size"]),
            segEgbThresholdII=setting["II"],
            # Twice that of the first stage, as in its defaults.
            minRegionSizeII=2 * int(setting["min_size"]),
        )
        yield segmenter.performSegmentCpu(bgr, False).astype(np.int32)


# fmt: off
_SCALES = (
    10, 14, 18, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 320, 400, 500, 630, 800, 1000,
    1250, 1500, 1900, 2400, 3000, 3800, 4800, 6000,
)
# fmt: on
# From the defaults, 0.08 and 0.28, down to nearly all superpixels and up to a few regions.
_THRESHOLDS = {
    0.02: (0.04, 0.05, 0.07, 0.1),
    0.03: (0.05, 0.075, 0.11, 0.15),
    0.04: (0.07, 0.14, 0.28),
    0.06: (0.11, 0.15, 0.21, 0.3),
    0.08: (0.14, 0.2, 0.28, 0.5),
    0.11: (0.2, 0.28, 0.4, 0.55),
    0.15: (0.28, 0.37, 0.5),
    0.2: (0.35, 0.5),
    0.3: (0.6, 1.0),
}

CLASSICS: dict[str, Classic] = {
    "felzenszwalb": Classic(
        felzenszwalb,
        tuple(
            {"scale": scale, "sigma": sigma, "min_size": min_size}
            for sigma, min_size in ((0.5, 20), (0.8, 50))
            for scale in _SCALES
        ),
    ),
    "slic-cut": Classic(
        slic_cut,
        tuple({"threshold": round(t, 2)} for t in np.geomspace(2, 80, 58).tolist()),
    ),
    "hfs": Classic(
        hfs,
        tuple(
            {"I": first, "II": second, "min_size": min_size}
            for min_size in (20, 100)
            for first, seconds in _THRESHOLDS.items()
            for second in seconds
        ),
    ),
}
"""The methods by name."""
