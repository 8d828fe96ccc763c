"""From an annotated image to what one training step needs."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, sparse
from torch import Tensor

from napari_del.evaluation.datasets import OTHER, UNLABELLED
from napari_del.graph import AdjacencyGraph, Nodes, adjacency, number_nodes
from napari_del.normalise import normalise
from napari_del.superpixels import slic_features

__all__ = ["Pairs", "Sample", "distant_pairs", "majority_labels", "make_sample", "share_apart"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of superpixels or regions, and what annotators say of them.

    Attributes
    ----------
    nodes : Tensor of int64, shape (m, 2)
        The two.
    apart : Tensor of float32, shape (m,)
        Share of the annotators who separate the two, of those who say anything.
    weight : Tensor of float32, shape (m,)
        Share of the annotators who say anything.
    """

    nodes: Tensor
    apart: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> Pairs:
        """The same on a device."""
        return Pairs(self.nodes.to(device), self.apart.to(device), self.weight.to(device))


@dataclass(frozen=True)
class Sample:
    """One training image.

    Attributes
    ----------
    image : Tensor of float32, shape (1, 3, H, W)
        Network input, H and W multiples of the network's stride.
    pooling : Tensor, sparse, shape (n, h * w)
        Maps the network's output to the means over superpixels.
    nodes, graph : Nodes, AdjacencyGraph
        Superpixels and their neighbours.
    majority : ndarray of int64, shape (A, n)
        Label of most of the pixels of each superpixel, for each annotator.
    adjacent : Pairs
        Adjacent superpixels.
    boundary, boundary_weight : Tensor of float32, shape (h, w)
        Share of the annotators who drew a boundary there, and share of those who say anything;
        smaller than the output where the image was padded.
    """

    image: Tensor
    pooling: Tensor
    nodes: Nodes
    graph: AdjacencyGraph
    majority: NDArray[np.int64]
    adjacent: Pairs
    boundary: Tensor
    boundary_weight: Tensor

    def to(self, device: torch.device) -> Sample:
        """The same with its tensors on a device."""
        return replace(
            self,
            image=self.image.to(device),
            pooling=self.pooling.to(device),
            adjacent=self.adjacent.to(device),
            boundary=self.boundary.to(device),
            boundary_weight=self.boundary_weight.to(device),
        )


def majority_labels(
    nodes: NDArray[np.int32], segmentations: NDArray[np.int32]
) -> NDArray[np.int64]:
    """Label of most of the pixels of each node.

    Parameters
    ----------
    nodes : ndarray of int32, shape (Y, X)
        1 + node of each pixel.
    segmentations : ndarray of int32, shape (A, Y, X)
        Labels of each annotator, see `napari_del.evaluation.AnnotatedImage`.

    Returns
    -------
    ndarray of int64, shape (A, n)
        Labels; of equally frequent ones the lowest.
    """
    n = int(nodes.max(initial=0))
    out = np.empty((len(segmentations), n), np.int64)
    flat = nodes.reshape(-1).astype(np.int64)
    for row, labels in zip(out, segmentations, strict=True):
        width = int(labels.max()) + 1 - OTHER
        table = np.bincount(flat * width + (labels.reshape(-1) - OTHER), minlength=(n + 1) * width)
        row[:] = table.reshape(n + 1, width)[1:].argmax(axis=1) + OTHER
    return out


def share_apart(
    majority: NDArray[np.int64], pairs: NDArray[np.integer]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of the annotators who put two nodes in different regions.

    Parameters
    ----------
    majority : ndarray of int64, shape (A, n)
        Label of each node, see `majority_labels`. An unlabelled node is known neither to
        belong to another nor not to; two that are "other" may be of one region or of two.
    pairs : ndarray of int, shape (m, 2)
        Nodes.

    Returns
    -------
    apart, known : ndarray of float32, shape (m,)
        Share of those who say anything, and how many of all they are.
    """
    first, second = majority[:, pairs[:, 0]], majority[:, pairs[:, 1]]
    known = (first != UNLABELLED) & (second != UNLABELLED)
    known &= ~((first == OTHER) & (second == OTHER))
    says = known.sum(axis=0)
    apart = (known & (first != second)).sum(axis=0) / np.maximum(says, 1)
    return apart.astype(np.float32), (says / len(majority)).astype(np.float32)


def pairs_of(majority: NDArray[np.int64], pairs: NDArray[np.integer]) -> Pairs:
    """Pairs with what annotators say of them.

    Parameters
    ----------
    majority : ndarray of int64, shape (A, n)
        Label of each node.
    pairs : ndarray of int, shape (m, 2)
        Nodes.

    Returns
    -------
    Pairs
    """
    apart, known = share_apart(majority, pairs)
    return Pairs(
        torch.from_numpy(pairs.astype(np.int64)), torch.from_numpy(apart), torch.from_numpy(known)
    )


def distant_pairs(sample: Sample, count: int, reach: float, rng: np.random.Generator) -> Pairs:
    """Pairs of superpixels that need not be adjacent.

    Parameters
    ----------
    sample : Sample
        Training image.
    count : int
        Number of pairs.
    reach : float
        Standard deviation, in pixels along either axis, of the way from one to the other.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Pairs
    """
    image = sample.nodes.image
    height, width = image.shape
    y, x = rng.integers(height, size=count), rng.integers(width, size=count)
    dy, dx = rng.normal(0, reach, (2, count)).astype(np.int64)
    other = image[np.clip(y + dy, 0, height - 1), np.clip(x + dx, 0, width - 1)]
    pairs = np.stack([image[y, x], other], axis=1).astype(np.int64) - 1
    found = pairs_of(sample.majority, pairs[pairs[:, 0] != pairs[:, 1]])
    return found.to(sample.image.device)


def _boundaries(
    segmentations: NDArray[np.int32], stride: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Share of annotators with a boundary within about a pixel, and share of those who know."""

    def near(edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
        wide: NDArray[np.bool_] = ndimage.maximum_filter(edge, size=stride, origin=-(stride // 2))[
            ::stride, ::stride
        ]
        return wide

    drawn, told = [], []
    for labels in segmentations:
        edge = np.zeros(labels.shape, bool)
        across = labels[:, 1:] != labels[:, :-1]
        down = labels[1:] != labels[:-1]
        edge[:, 1:] |= across
        edge[:, :-1] |= across
        edge[1:] |= down
        edge[:-1] |= down
        unlabelled = labels == UNLABELLED
        if unlabelled.any():
            unknown = near(ndimage.maximum_filter(unlabelled, size=3))
        else:
            unknown = np.zeros(edge[::stride, ::stride].shape, bool)
        boundary = near(edge) & ~unknown
        # Within what is "other" there may be boundaries that nobody drew.
        known = ~unknown & (boundary | (labels[::stride, ::stride] != OTHER))
        drawn.append(boundary)
        told.append(known)
    says = np.sum(told, axis=0)
    share = np.sum(drawn, axis=0) / np.maximum(says, 1)
    return share.astype(np.float32), (says / len(segmentations)).astype(np.float32)


def make_sample(
    image: NDArray[np.uint8],
    segmentations: NDArray[np.int32],
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
    segmentations : ndarray of int32, shape (A, Y, X)
        Labels of each annotator, see `napari_del.evaluation.AnnotatedImage`.
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
    majority = majority_labels(nodes.image, segmentations)
    boundary, known = _boundaries(segmentations, output_stride)
    return Sample(
        torch.from_numpy(padded).permute(2, 0, 1)[None].float(),
        torch.sparse_coo_tensor(
            torch.from_numpy(np.stack([pooling.row, pooling.col]).astype(np.int64)),
            torch.from_numpy(pooling.data),
            pooling.shape,
            check_invariants=False,
        ).coalesce(),
        nodes,
        graph,
        majority,
        pairs_of(majority, graph.edges),
        torch.from_numpy(boundary),
        torch.from_numpy(known),
    )
