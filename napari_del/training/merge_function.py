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

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from os import PathLike
from pathlib import Path

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
from napari_del.merging.learned import MergeFunction, first_stage
from napari_del.merging.region_pairs import FEATURES, SuperpixelTables
from napari_del.models.loading import MERGE_PREFIX
from napari_del.pipeline import segment
from napari_del.training.merge_pairs import (
    FEWEST,
    REACH,
    MergeSample,
    PairTable,
    cuts,
    labelled_pairs,
    partitions,
    with_levels,
)
from napari_del.training.samples import majority_labels
from napari_del.training.weights import write_whole

__all__ = ["add_merge_function", "fit_merge_function", "merge_sample", "superpixel_tables"]

# Regions that are left at each level, as a share of the superpixels.
SHARES = tuple(1 / (3 * 2 ** (number / 2)) for number in range(12))
# Partitions of each image in the first round.
_PARTITIONS = 12
# Width of each hidden layer.
MERGE_LAYERS = (64, 32)
_MOST_EPOCHS = 300
# Part of the steps that a training which is not the last has.
_SHORTER = 8


def superpixel_tables(
    image: NDArray[np.uint8],
    model: str | PathLike[str],
    *,
    step: int = 8,
    device: str | torch.device = "auto",
) -> SuperpixelTables:
    """Segment an image into superpixels, as a merge function learns from them.

    Parameters
    ----------
    image : ndarray of uint8, shape (Y, X, 3)
        Image.
    model : str or path
        A model with a boundary channel.
    step : int
        Superpixel step.
    device : str or torch.device
        Where to compute.

    Returns
    -------
    SuperpixelTables
    """
    return segment(image, model=model, step=step, device=device)._linkages.tables()


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
    hidden: Sequence[int] = MERGE_LAYERS,
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
    hidden : sequence of int
        Width of each hidden layer.
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
    function = fit_merge_function(samples, hidden=hidden, seed=seed, log=log)
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


def fit_merge_function(
    samples: Sequence[MergeSample],
    *,
    shares: Sequence[float] = SHARES,
    hidden: Sequence[int] = MERGE_LAYERS,
    members: int = 6,
    rounds: int = 3,
    steps: int = 20_000,
    n_features: int = len(FEATURES),
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
    n_features : int
        It sees so many of `FEATURES`, the first ones.
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
    tables = [sample.tables for sample in samples]
    collected: list[PairTable] = []
    rng = np.random.default_rng([seed, 4])
    for sample in samples:
        tree = first_stage(sample.tables).hierarchy
        for regions in cuts(tree, tree.n * max(shares), FEWEST, _PARTITIONS, rng):
            collected.append(_seen(labelled_pairs(sample, regions), n_features))
    # The functions before the last only lead to regions that the last is trained on.
    shorter = max(steps // _SHORTER, 1)
    function = _fit(collected, hidden, members, shorter if rounds > 1 else steps, seed)
    log(f"merge function: {sum(len(c.apart) for c in collected)} pairs of regions")
    for number in range(1, rounds):
        # Every second level leads to regions of all sizes, and half as many take half the memory.
        function = with_levels(tables, function, shares[::2])
        for sample in samples:
            found = partitions(sample.tables, function, rng)
            collected += [_seen(labelled_pairs(sample, one), n_features) for one in found]
        length = steps if number + 1 == rounds else shorter
        function = _fit(collected, hidden, members, length, seed)
        log(f"merge function: {sum(len(c.apart) for c in collected)} pairs of regions")
    return with_levels(tables, function, shares)


def _seen(pairs: PairTable, n_features: int) -> PairTable:
    """The pairs with their first features."""
    return pairs._replace(features=pairs.features[:, :n_features])


def _fit(
    collected: Sequence[PairTable],
    hidden: Sequence[int],
    members: int,
    steps: int,
    seed: int,
) -> MergeFunction:
    """A function whose levels are still to be chosen."""
    features, apart_of, weight_of = _shuffled(collected, seed)
    apart, weight = torch.from_numpy(apart_of), torch.from_numpy(weight_of)
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
    inputs = torch.from_numpy(features.clip(-REACH, REACH, out=features))
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
    return MergeFunction(mean, scale, weights, biases, (0.0,))


def _shuffled(collected: Sequence[PairTable], seed: int) -> PairTable:
    """All pairs in one table, in an order drawn by chance.

    Batches are then rows that follow each other, which are read several times as fast as rows
    from all over a table of gigabytes.
    """
    order = np.random.default_rng([seed, 5]).permutation(sum(len(c.apart) for c in collected))
    columns = []
    for parts in zip(*collected, strict=True):
        whole = np.empty((order.size, *parts[0].shape[1:]), parts[0].dtype)
        start = 0
        for part in parts:
            whole[order[start : start + len(part)]] = part
            start += len(part)
        columns.append(whole)
    return PairTable(*columns)


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
    optimiser = torch.optim.AdamW(parameters, 3e-3, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, max(steps, 20))
    n_batches = len(inputs) // size
    for step in range(steps):
        if step % n_batches == 0:
            order = torch.randperm(n_batches, generator=generator).tolist()
            # Batches begin elsewhere each time, so that none is the same twice.
            spare = len(inputs) - n_batches * size
            shift = int(torch.randint(spare + 1, (), generator=generator))
        first = shift + size * order[step % n_batches]
        batch = slice(first, first + size)
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
