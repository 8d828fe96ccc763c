"""Images of the exactness matrix, and one SHA-256 for each thing that a run computes of them."""

from __future__ import annotations

import hashlib

import numpy as np
import skimage.data

from napari_del import Segmentation, segment

SCENES = ("flat", "noise", "natural", "nodata")
THRESHOLDS = (0.05, 0.2, 0.4, 0.6, 0.9)
NODATA = 7


def scene(name, shape):
    """Image and nodata value of a scene; sides that are multiples of nothing are the point."""
    rng = np.random.default_rng(11)
    if name == "flat":
        return np.full((*shape, 3), 120, np.uint8), None
    if name == "noise":
        return rng.integers(0, 256, (*shape, 3)).astype(np.uint8), None
    coffee = skimage.data.coffee()  # 400 x 600 pixels
    repeats = [-(-length // side) for length, side in zip(shape, coffee.shape, strict=False)]
    # Mirrored where it repeats, so that there are no edges that no picture has.
    rows, columns = (
        np.concatenate([np.arange(side)[:: 1 - 2 * (k % 2)] for k in range(n)])[:length]
        for side, n, length in zip(coffee.shape, repeats, shape, strict=False)
    )
    picture = np.ascontiguousarray(coffee[rows[:, None], columns])
    if name == "natural":
        return picture, None
    assert name == "nodata"
    # Two channels of 16 bits that have to be stretched, with a hole, a slanting edge as at the
    # border of an orbit, and single pixels.
    image = picture[..., :2].astype(np.uint16) * 200 + rng.integers(8, 900, (*shape, 2)).astype(
        np.uint16
    )
    y, x = np.mgrid[: shape[0], : shape[1]]
    image[3 * x + y < shape[0] // 2] = NODATA
    image[shape[0] // 3 : shape[0] // 2, shape[1] // 4 : shape[1] // 2] = NODATA
    image[rng.random(shape) < 0.003] = NODATA
    return image, NODATA


def in_memory(image, nodata, **options) -> Segmentation:
    """`segment` of the same image, which takes nodata as a mask."""
    mask = None if nodata is None else (image != nodata).any(axis=2)
    return segment(image, mask=mask, **options)


def sha256(*arrays) -> str:
    """Of values, shapes and types of arrays."""
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.shape} {array.dtype.str}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digests(segmentation: Segmentation, linkages=None) -> dict[str, str]:
    """One SHA-256 each for the superpixels, the graph, and labels at five thresholds."""
    tables = segmentation._tables
    graph = [tables.ids, tables.sizes, tables.embeddings, tables.edges, tables.lengths]
    graph += [tables.dissimilarity]
    graph += [] if tables.boundary_sums is None else [tables.boundary_sums]
    found = {"superpixels": sha256(tables.superpixels), "graph": sha256(*graph)}
    if tables.colors is not None:
        found["colors"] = sha256(tables.colors.means, tables.colors.squares)
    for linkage in segmentation.linkages if linkages is None else linkages:
        if linkage != "egb":
            tree = segmentation.hierarchy(linkage)
            found[f"hierarchy {linkage}"] = sha256(tree.parent, tree.height)
        found[f"labels {linkage}"] = sha256(
            *(segmentation.labels(threshold, linkage) for threshold in THRESHOLDS)
        )
    return found
