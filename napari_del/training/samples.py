"""From an annotated image to what one training step needs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from torch import Tensor

from napari_del.graph import adjacency, number_nodes
from napari_del.normalise import normalise
from napari_del.superpixels import slic_features

__all__ = ["Sample", "augment", "make_sample", "share_apart"]


@dataclass(frozen=True)
class Sample:
    """One training image.

    Attributes
    ----------
    image : Tensor of float32, shape (1, 3, H, W)
        Network input, H and W multiples of the network's stride.
    pooling : Tensor, sparse, shape (n, h * w)
        Maps the network's output to the means over superpixels.
    edges : Tensor of int64, shape (m, 2)
        Adjacent superpixels.
    apart : Tensor of float32, shape (m,)
        Share of the annotators who separate the two.
    boundary : Tensor of float32, shape (h, w)
        Share of the annotators who drew a boundary there; smaller than the output where the
        image was padded.
    """

    image: Tensor
    pooling: Tensor
    edges: Tensor
    apart: Tensor
    boundary: Tensor


def augment(
    image: NDArray[np.uint8], segmentations: NDArray[np.int16], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Flip and turn an image with its labels, and change its colours.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.
    segmentations : ndarray of int16, shape (A, Y, X)
        Labels of each annotator.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    image, segmentations
        New arrays of the same dtypes; Y and X may have changed places.
    """
    turns = int(rng.integers(4))
    image = np.rot90(image, turns)
    segmentations = np.rot90(segmentations, turns, axes=(1, 2))
    if rng.random() < 0.5:
        image, segmentations = image[:, ::-1], segmentations[:, :, ::-1]
    value = image.astype(np.float32) / 255
    value = value ** np.float32(np.exp(rng.uniform(-0.3, 0.3)))
    grey = value @ np.array([0.299, 0.587, 0.114], np.float32)
    saturation = 0.0 if rng.random() < 0.1 else rng.uniform(0.6, 1.3)
    value = grey[..., np.newaxis] * (1 - saturation) + value * saturation
    gain = rng.uniform(0.8, 1.2) * rng.uniform(0.93, 1.07, size=3)
    value = (value - 0.5) * gain + 0.5 + rng.uniform(-0.08, 0.08)
    value = np.clip(np.rint(value * 255), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(value), np.ascontiguousarray(segmentations)


def share_apart(
    nodes: NDArray[np.int32], edges: NDArray[np.int32], segmentations: NDArray[np.int16]
) -> NDArray[np.float32]:
    """Share of the annotators who put adjacent superpixels in different regions.

    Parameters
    ----------
    nodes : ndarray of int32, shape (Y, X)
        1 + node of each pixel.
    edges : ndarray of int32, shape (m, 2)
        Adjacent nodes.
    segmentations : ndarray of int16, shape (A, Y, X)
        Labels of each annotator. A superpixel is in the region that most of its pixels are in.

    Returns
    -------
    ndarray of float32, shape (m,)
        0 to 1.
    """
    n = int(nodes.max(initial=0))
    apart = np.zeros(len(edges), np.float32)
    for labels in segmentations:
        width = int(labels.max()) + 1
        table = np.bincount(
            (nodes.astype(np.int64) * width + labels).reshape(-1), minlength=(n + 1) * width
        )
        majority = table.reshape(n + 1, width)[1:].argmax(axis=1)
        apart += majority[edges[:, 0]] != majority[edges[:, 1]]
    return apart / np.float32(len(segmentations))


def _share_of_boundaries(segmentations: NDArray[np.int16], stride: int) -> NDArray[np.float32]:
    """Share of the annotators with a boundary within about a pixel, at the output stride."""
    shares = []
    for labels in segmentations:
        edge = np.zeros(labels.shape, bool)
        across = labels[:, 1:] != labels[:, :-1]
        down = labels[1:] != labels[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        shares.append(
            ndimage.maximum_filter(edge, size=stride, origin=-(stride // 2))[::stride, ::stride]
        )
    mean: NDArray[np.float32] = np.mean(shares, axis=0, dtype=np.float32)
    return mean


def make_sample(
    image: NDArray[np.uint8],
    segmentations: NDArray[np.int16],
    *,
    stride: int,
    output_stride: int,
    step: int = 8,
) -> Sample:
    """Prepare one annotated image for training.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Colour image.
    segmentations : ndarray of int16, shape (A, Y, X)
        Labels of each annotator.
    stride, output_stride : int
        The network's largest stride and the stride of its output.
    step : int
        Superpixel step.

    Returns
    -------
    Sample
        Tensors on the CPU.
    """
    normalised = normalise(image)
    nodes = number_nodes(slic_features(normalised.features, step=step))
    graph = adjacency(nodes)
    height, width = nodes.image.shape
    lack = [(0, -height % stride), (0, -width % stride), (0, 0)]
    padded = np.pad(normalised.display, lack, mode="reflect")
    h, w = (side // output_stride for side in padded.shape[:2])
    y, x = np.indices((height, width))
    cell = (y // output_stride) * w + x // output_stride
    node = nodes.image.reshape(-1) - 1
    pooling = sparse.coo_array(
        ((1 / nodes.sizes[node]).astype(np.float32), (node, cell.reshape(-1))),
        shape=(nodes.ids.size, h * w),
    )
    pooling.sum_duplicates()
    return Sample(
        torch.from_numpy(padded).permute(2, 0, 1)[None].float(),
        torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([pooling.row, pooling.col]).astype(np.int64)),
            torch.from_numpy(pooling.data),
            pooling.shape,
            check_invariants=False,
        ).coalesce(),
        torch.from_numpy(graph.edges.astype(np.int64)),
        torch.from_numpy(share_apart(nodes.image, graph.edges, segmentations)),
        torch.from_numpy(_share_of_boundaries(segmentations, output_stride)),
    )
