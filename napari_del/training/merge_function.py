"""Training of the function that the linkage ``learned`` asks about pairs of regions.

The function is trained on regions as the merging meets them: first those of `average` linkage
at several levels, then, since its own answers lead to other regions than these, also those
that it has led to itself (dataset aggregation [1]_).

References
----------
.. [1] S. Ross, G. Gordon, D. Bagnell, "A Reduction of Imitation Learning and Structured
   Prediction to No-Regret Online Learning", AISTATS 2011, pp. 627-635.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from napari_del._threads import parallel_for, torch_threads_restored, use_one_torch_thread
from napari_del.errors import ParameterError
from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.merging import Hierarchy, from_fixed, to_fixed
from napari_del.merging.average import average
from napari_del.merging.learned import MergeFunction, first_stage, next_stage, stages
from napari_del.merging.region_pairs import SuperpixelTables, region_pairs
from napari_del.models.loading import MERGE_PREFIX
from napari_del.pipeline import segment
from napari_del.training.samples import majority_labels, share_apart
from napari_del.training.weights import write_whole

__all__ = ["MergeSample", "add_merge_function", "fit_merge_function", "merge_sample"]

# Regions that are left at each level, as a share of the superpixels.
SHARES = tuple(1 / (3 * 2 ** (number / 2)) for number in range(12))
# Partitions of each image in the first round, into this many regions at least.
_PARTITIONS = 12
_FEWEST = 4
_MOST_EPOCHS = 300
# Part of the steps that a training which is not the last has.
_SHORTER = 8


class MergeSample(NamedTuple):
    """Superpixels of one training image, and what annotators say of them.

    Attributes
    ----------
    tables : SuperpixelTables
        As the merging gets them.
    majority : ndarray of int64, shape (A, n)
        Label of each superpixel for each annotator, see `majority_labels`.
    """

    tables: SuperpixelTables
    majority: NDArray[np.int64]


def merge_sample(
    item: AnnotatedImage,
    model: str | PathLike[str],
    *,
    step: int = 8,
    device: str | torch.device = "auto",
) -> MergeSample:
    """Segment an annotated image for the training of a merge function.

    Parameters
    ----------
    item : AnnotatedImage
        Image and labels.
    model : str or path
        A model with a boundary channel.
    step : int
        Superpixel step.
    device : str or torch.device
        Where to compute.

    Returns
    -------
    MergeSample
    """
    segmentation = segment(item.image, model=model, step=step, device=device)
    rows = np.zeros(int(segmentation.ids[-1]) + 1, np.int32)
    rows[segmentation.ids] = np.arange(1, segmentation.n_superpixels + 1)
    majority = majority_labels(rows[segmentation.superpixels], item.segmentations)
    return MergeSample(segmentation._linkages.tables(), majority)


def add_merge_function(
    path: str | PathLike[str],
    images: Iterable[AnnotatedImage],
    *,
    step: int = 8,
    device: str | torch.device = "auto",
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> MergeFunction:
    """Train a merge function for the network of a weights file, and keep it in that file.

    Parameters
    ----------
    path : path
        Safetensors file of a network with a boundary channel; it is replaced.
    images : iterable of AnnotatedImage
        Training images.
    step : int
        Superpixel step.
    device : str or torch.device
        Where the network computes.
    seed : int
        Seed of everything drawn by chance.
    log : callable
        Takes one line of progress.

    Returns
    -------
    MergeFunction

    Raises
    ------
    ParameterError
        If no pair of regions is known to be separate or not.
    OutputError
        If the file cannot be written; it is left as it was then.
    """
    samples = [merge_sample(item, path, step=step, device=device) for item in images]
    log(f"merge function: {len(samples)} images")
    function = fit_merge_function(samples, seed=seed, log=log)
    target = Path(path)
    with safe_open(target, framework="pt") as file:
        metadata = dict(file.metadata() or {})
        tensors = {
            name: file.get_tensor(name)
            for name in file.keys()  # noqa: SIM118 - no dict
            if not name.startswith(MERGE_PREFIX)
        }
    for name, value in function.tensors().items():
        tensors[MERGE_PREFIX + name] = torch.from_numpy(value)
    write_whole(target, save(tensors, metadata))
    return function


class _Pairs(NamedTuple):
    features: NDArray[np.float32]  # hundreds of images have tens of millions of pairs
    apart: NDArray[np.float32]
    weight: NDArray[np.float32]


def fit_merge_function(
    samples: Sequence[MergeSample],
    *,
    shares: Sequence[float] = SHARES,
    hidden: Sequence[int] = (64, 32),
    members: int = 6,
    rounds: int = 3,
    steps: int = 20_000,
    seed: int = 0,
    log: Callable[[str], None] = print,
) -> MergeFunction:
    """Train a function of pairs of regions, and choose its levels.

    Parameters
    ----------
    samples : sequence of MergeSample
        Training images.
    shares : sequence of float
        Regions left at each level, as a share of the superpixels, descending: levels are the
        thresholds that leave as many over all samples.
    hidden : sequence of int
        Width of each hidden layer.
    members : int
        Networks that are trained, each from another start; their answers are averaged.
    rounds : int
        How often the function is trained, from the second on also on regions of its own.
    steps : int
        Optimisation steps of the last training.
    seed : int
        Seed of everything drawn by chance.
    log : callable
        Takes one line of progress.

    Returns
    -------
    MergeFunction

    Raises
    ------
    ParameterError
        If no pair of regions is known to be separate or not.
    """
    plain = [
        average(s.tables.edges, to_fixed(s.tables.edge_weights()), s.tables.lengths, _n(s))
        for s in samples
    ]
    first = _level(plain, shares[0] * sum(map(_n, samples)))
    collected: list[_Pairs] = []
    rng = np.random.default_rng([seed, 4])
    for sample, tree in zip(samples, plain, strict=True):
        for regions in _cuts(tree, _n(sample) * max(shares), _FEWEST, _PARTITIONS, rng):
            collected.append(_pairs(sample, regions))
    # The functions before the last only lead to regions that the last is trained on.
    shorter = max(steps // _SHORTER, 1)
    function = _fit(collected, hidden, members, shorter if rounds > 1 else steps, seed, (first,))
    log(f"merge function: {sum(len(c.apart) for c in collected)} pairs of regions")
    for number in range(1, rounds):
        # Every second level leads to regions of all sizes, and half as many take half the memory.
        function = _with_levels(samples, function, shares[::2])
        for sample in samples:
            collected += [_pairs(sample, part) for part in _partitions(sample, function, rng)]
        length = steps if number + 1 == rounds else shorter
        function = _fit(collected, hidden, members, length, seed, (first,))
        log(f"merge function: {sum(len(c.apart) for c in collected)} pairs of regions")
    return _with_levels(samples, function, shares)


def _cuts(
    tree: Hierarchy, most: float, fewest: float, count: int, rng: np.random.Generator
) -> Iterator[NDArray[np.intp]]:
    """Partitions of a hierarchy into numbers of regions drawn at random."""
    low, high = np.log(max(fewest, 2)), np.log(max(most, fewest + 1, 3))
    for wanted in np.exp(rng.uniform(low, high, count)):
        yield np.unique(tree.cut(tree.threshold_for(int(wanted))), return_inverse=True)[1]


def _n(sample: MergeSample) -> int:
    return len(sample.tables.sizes)


def _level(trees: Sequence[Hierarchy], regions: float) -> float:
    """Threshold that leaves so many regions in all."""
    heights = np.sort(np.concatenate([tree.merge_heights for tree in trees]))
    if heights.size == 0:  # each image is one region already
        return 0.0
    merges = min(max(sum(tree.n for tree in trees) - round(regions), 1), heights.size)
    return float(from_fixed(heights[merges - 1]))


def _with_levels(
    samples: Sequence[MergeSample], function: MergeFunction, shares: Sequence[float]
) -> MergeFunction:
    """Choose one level after another, since each depends on those before."""
    total = sum(map(_n, samples))
    reached = [first_stage(sample.tables) for sample in samples]
    levels = [function.levels[0]]
    for share in shares[1:]:
        reached = [
            next_stage(sample.tables, function, stage, levels[-1])
            for sample, stage in zip(samples, reached, strict=True)
        ]
        levels.append(_level([stage.hierarchy for stage in reached], share * total))
    return replace(function, levels=tuple(levels))


def _partitions(
    sample: MergeSample, function: MergeFunction, rng: np.random.Generator
) -> list[NDArray[np.intp]]:
    """Region of each superpixel at the beginning of each level, and at places within."""
    of_row = np.arange(_n(sample))
    partitions = []
    trees = [stage.hierarchy for stage in stages(sample.tables, function)]
    levels = [int(to_fixed(level)) for level in function.levels]
    for tree, level in zip(trees, levels, strict=False):
        left = tree.n_regions(level)
        if of_row.size > tree.n:  # the first level is that of `average`, which has been seen
            partitions += [cut[of_row] for cut in _cuts(tree, tree.n, left, 1, rng)]
        of_row = np.unique(tree.cut(level), return_inverse=True)[1][of_row]
        partitions.append(of_row)
    last = trees[-1]
    partitions += [cut[of_row] for cut in _cuts(last, last.n, _FEWEST, _PARTITIONS // 2, rng)]
    return partitions


def _pairs(sample: MergeSample, regions: NDArray[np.intp]) -> _Pairs:
    k = int(regions.max()) + 1
    found = region_pairs(sample.tables, regions, k)
    majority = np.stack(
        [_majority(regions, row, sample.tables.sizes, k) for row in sample.majority]
    )
    apart, known = share_apart(majority, found.pairs)
    # A partition into few regions counts nearly as much as one into many.
    weight = known / max(len(known), 1) ** 0.75
    return _Pairs(found.features.astype(np.float32), apart, weight.astype(np.float32))


def _majority(
    of_row: NDArray[np.intp], labels: NDArray[np.int64], sizes: NDArray[np.int64], k: int
) -> NDArray[np.int64]:
    """Label of most of the pixels of each region."""
    values, column = np.unique(labels, return_inverse=True)
    table = np.bincount(of_row * values.size + column, sizes, k * values.size)
    most: NDArray[np.int64] = values[table.reshape(k, values.size).argmax(axis=1)]
    return most


def _fit(
    collected: Sequence[_Pairs],
    hidden: Sequence[int],
    members: int,
    steps: int,
    seed: int,
    levels: tuple[float, ...],
) -> MergeFunction:
    features = np.concatenate([c.features for c in collected])
    apart = torch.from_numpy(np.concatenate([c.apart for c in collected]))
    weight = torch.from_numpy(np.concatenate([c.weight for c in collected]))
    if not len(features) or float(weight.sum()) == 0:
        raise ParameterError(
            "no two adjacent regions of the training images are labelled; expected labels of "
            "neighbouring regions"
        )
    mean = features.mean(axis=0, dtype=np.float64)
    features -= mean.astype(np.float32)
    scale = np.sqrt(np.einsum("ij,ij->j", features, features, dtype=np.float64) / len(features))
    scale += 1e-6
    features /= scale.astype(np.float32)
    inputs = torch.from_numpy(features.clip(-6, 6, out=features))
    weight = weight / weight.mean()
    networks: list[list[nn.Linear]] = [[] for _ in range(members)]

    def train(start: int, stop: int) -> None:
        with torch_threads_restored():
            use_one_torch_thread()
            for k in range(start, stop):
                networks[k] = _train(inputs, apart, weight, hidden, steps, seed + k)

    # Threads that end at different times may leave a number behind that new threads start with.
    with torch_threads_restored():
        parallel_for(train, members)
    weights, biases = _side_by_side(networks)
    return MergeFunction(mean, scale, weights, biases, levels)


def _train(
    inputs: Tensor, apart: Tensor, weight: Tensor, hidden: Sequence[int], steps: int, seed: int
) -> list[nn.Linear]:
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(i, o) for i, o in pairwise([inputs.shape[1], *hidden, 1])]
    for layer in layers:
        nn.init.normal_(layer.weight, 0, (2 / layer.in_features) ** 0.5, generator=generator)
        nn.init.zeros_(layer.bias)
    parameters = [p for layer in layers for p in layer.parameters()]
    size = min(4096, len(inputs))
    # Few pairs are learned by heart in fewer steps.
    steps = min(steps, _MOST_EPOCHS * -(-len(inputs) // size))
    optimiser = torch.optim.AdamW(parameters, 3e-3, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, max(steps, 20))
    for _ in range(steps):
        batch = torch.randint(len(inputs), (size,), generator=generator)
        x = inputs[batch]
        for layer in layers[:-1]:
            x = F.relu(layer(x))
        logits = layers[-1](x)[:, 0]
        loss = F.binary_cross_entropy_with_logits(logits, apart[batch], weight[batch])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return layers


def _side_by_side(
    networks: Sequence[Sequence[nn.Linear]],
) -> tuple[tuple[NDArray[np.float32], ...], tuple[NDArray[np.float32], ...]]:
    """Weights and biases of each layer of several networks, as a merge function has them."""
    layers = list(zip(*networks, strict=True))
    with torch.no_grad():
        weights = [torch.stack([layer.weight for layer in same]).numpy() for same in layers]
        biases = [torch.stack([layer.bias for layer in same]).numpy() for same in layers]
    return tuple(weights), tuple(biases)
