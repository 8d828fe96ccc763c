"""Regions as the merging meets them, to train on pairs of them.

Single superpixels see little of a texture. What decides whether two large regions join is how
their mean embeddings differ, so the network is trained on such pairs too: the regions are those
that its own outputs lead to at this moment, at a level drawn at random.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_del import merging
from napari_del.graph import BOUNDARY_SCALE, adjacency, dissimilarity
from napari_del.training.samples import Pairs, Sample, pairs_of

__all__ = ["Regions", "merged_regions"]

_FEWEST = 6


@dataclass(frozen=True)
class Regions:
    """Regions of superpixels.

    Attributes
    ----------
    of_node : Tensor of int64, shape (n,)
        Region of each superpixel.
    share : Tensor of float32, shape (n,)
        Pixels of each superpixel over those of its region.
    count : int
        Number of regions.
    pairs : Pairs
        Adjacent regions.
    """

    of_node: Tensor
    share: Tensor
    count: int
    pairs: Pairs

    def means(self, embedding: Tensor) -> Tensor:
        """Mean embedding of each region, shape (count, D)."""
        out = embedding.new_zeros((self.count, embedding.shape[1]))
        return out.index_add(0, self.of_node, embedding * self.share[:, None])


def merged_regions(
    sample: Sample, embedding: Tensor, logits: Tensor, stride: int, rng: np.random.Generator
) -> Regions:
    """Merge superpixels by average linkage to a number of regions drawn at random.

    Parameters
    ----------
    sample : Sample
        Training image.
    embedding : Tensor, shape (n, D)
        Mean embedding of each superpixel.
    logits : Tensor, shape (h, w)
        Boundary logits.
    stride : int
        Pixels for one of `logits`, in each direction.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    Regions
    """
    n = sample.nodes.ids.size
    probability = logits.detach().cpu().sigmoid().mul(BOUNDARY_SCALE).round().to(torch.int32)
    graph = adjacency(sample.nodes, probability.numpy().astype(np.uint16), stride=stride)
    d = merging.from_fixed(dissimilarity(graph.edges, embedding.detach().float().cpu().numpy()))
    boundary = graph.boundary()
    assert boundary is not None
    tree = merging.average(graph.edges, merging.to_fixed(np.sqrt(d * boundary)), graph.lengths, n)
    most = max(_FEWEST + 1, n // 4)
    wanted = int(np.exp(rng.uniform(np.log(_FEWEST), np.log(most))))
    numbers, count = merging.sequential(tree.cut(tree.threshold_for(wanted)))
    of_node = numbers.astype(np.int64) - 1
    sizes = np.bincount(of_node, sample.nodes.sizes, count)
    ends = np.sort(of_node[sample.graph.edges], axis=1)
    ends = np.unique(ends[ends[:, 0] != ends[:, 1]], axis=0)
    sizes_of = sample.nodes.sizes
    majority = np.stack([_majority(of_node, row, sizes_of, count) for row in sample.majority])
    device = embedding.device
    return Regions(
        torch.from_numpy(of_node).to(device),
        torch.from_numpy((sample.nodes.sizes / sizes[of_node]).astype(np.float32)).to(device),
        count,
        pairs_of(majority, ends.reshape(-1, 2)).to(device),
    )


def _majority(
    of_node: NDArray[np.int64], labels: NDArray[np.int64], sizes: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    """Label of most of the pixels of each region."""
    values, column = np.unique(labels, return_inverse=True)
    table = np.bincount(of_node * values.size + column, sizes, count * values.size)
    most: NDArray[np.int64] = values[table.reshape(count, values.size).argmax(axis=1)]
    return most
