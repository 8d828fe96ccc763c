"""A merge function that goes on as before when the network that it listens to has changed.

A network that learns something new gives other numbers of the pictures that it knew as well, so
the function of the linkage ``learned``, which was trained on the old ones, answers otherwise, and
regions merge at other thresholds. So the function is held to its former answers while it hears the
new numbers [1]_, and learns what was painted beside.

References
----------
.. [1] Z. Li and D. Hoiem, "Learning without Forgetting", IEEE TPAMI 40(12), 2018,
   :DOI:`10.1109/TPAMI.2017.2773081`
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from napari_del._threads import torch_threads_restored, use_one_torch_thread
from napari_del.merging import to_fixed
from napari_del.merging.learned import MergeFunction, stages
from napari_del.merging.region_pairs import SuperpixelTables, region_pairs
from napari_del.training.augment import crop
from napari_del.training.merge_pairs import (
    REACH,
    MergeSample,
    PairTable,
    labelled_pairs,
    partitions,
    weights_of,
    with_levels,
)
from napari_del.training.replay import replay_images

__all__ = ["adapt_merge_function", "replay_pictures"]

_RATE = 3e-3
# Pairs of a step of either kind, replayed and painted.
_HALF = 1024
# Part that painted pairs have in the loss, beside 1 for replayed ones. They are few and alike,
# and learned as well with this; with more the function forgets other pictures.
_PAINTED = 0.1
# Sides of the pictures in pixels, and scales at which they are looked at: small pictures and
# coarse detail lead to other regions than large ones.
_LARGEST = 384
_SCALES = (1.0, 0.5, 0.25)


def replay_pictures() -> list[NDArray[np.uint8]]:
    """Pictures on which a merge function is held to its answers, of a size that takes seconds.

    Returns
    -------
    list of ndarray of uint8, shape (Y, X, 3)
        The middle of each of `replay_images`, at several scales.
    """
    middles = []
    for image in replay_images():
        top, left = (max(side - _LARGEST, 0) // 2 for side in image.shape[:2])
        middles.append(image[top : top + _LARGEST, left : left + _LARGEST])
    rng = np.random.default_rng(0)
    found = []
    for scale in _SCALES:
        for image in middles:
            size = (round(image.shape[0] * scale), round(image.shape[1] * scale))
            nothing = np.zeros((1, *image.shape[:2]), np.int32)
            found.append(crop(image, nothing, size, scale, rng)[0])
    return found


def adapt_merge_function(
    function: MergeFunction,
    before: Sequence[SuperpixelTables],
    after: Sequence[SuperpixelTables],
    painted: Sequence[MergeSample],
    *,
    steps: int = 600,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> MergeFunction:
    """Train a merge function on for a network that has changed.

    Parameters
    ----------
    function : MergeFunction
        The function of the network before.
    before, after : sequence of SuperpixelTables
        At least one picture, by the network before and after, to which the function is to answer
        as it did. Superpixels do not depend on the network, so rows and edges are the same.
    painted : sequence of MergeSample
        Annotated images by the network after; nothing need be known of them.
    steps : int
        Optimisation steps.
    seed : int
        Seed of everything drawn by chance.
    progress : callable, optional
        Called as ``progress(done, total)`` for each image and each step. An exception that it
        raises ends the training.

    Returns
    -------
    MergeFunction
        Its levels leave as many regions of the pictures, in all, as those of `function` did.
    """
    rng = np.random.default_rng([seed, 6])
    total = len(before) + len(painted) + steps
    done = 0

    def tell() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total)

    replayed: list[PairTable] = []
    for old, new in zip(before, after, strict=True):
        for tables in (old, new):
            # Neighbouring partitions have much in common: half of them take half the time.
            for regions in partitions(tables, function, rng)[int(rng.integers(2)) :: 2]:
                replayed.append(_answered(function, old, new, regions))
        tell()
    labelled: list[PairTable] = []
    for sample in painted:
        found = partitions(sample.tables, function, rng)
        labelled += [labelled_pairs(sample, regions) for regions in found]
        tell()
    sources = [(_batches(function, replayed), 1.0), (_batches(function, labelled), _PAINTED)]
    known = [(batches, share) for batches, share in sources if batches is not None]
    with torch_threads_restored():
        # Layers so small are no work for two, which would wait for each other.
        use_one_torch_thread()
        adapted = _train(function, known, steps, torch.Generator().manual_seed(seed), tell)
    return with_levels(after, adapted, _shares(before, function))


def _answered(
    function: MergeFunction,
    before: SuperpixelTables,
    after: SuperpixelTables,
    regions: NDArray[np.intp],
) -> PairTable:
    """What a function hears of the pairs of a partition now, and what it answered before."""
    k = int(regions.max()) + 1
    apart = function(region_pairs(before, regions, k).features).astype(np.float32)
    features = region_pairs(after, regions, k).features.astype(np.float32)
    return PairTable(features, apart, weights_of(np.ones_like(apart)))


class _Batches(NamedTuple):
    """Pairs as the networks get them, to be drawn from."""

    inputs: Tensor
    apart: Tensor
    weight: Tensor


def _batches(function: MergeFunction, found: Sequence[PairTable]) -> _Batches | None:
    """What is known of pairs, if anything is."""
    if not found:
        return None
    features, apart, weight = (np.concatenate(column) for column in zip(*found, strict=True))
    known = weight > 0
    if not known.any():
        return None
    inputs = (features[known, : function.mean.size] - function.mean) / function.scale
    inputs = inputs.clip(-REACH, REACH).astype(np.float32)
    weight = weight[known] / weight[known].mean()
    return _Batches(*(torch.from_numpy(values) for values in (inputs, apart[known], weight)))


def _train(
    function: MergeFunction,
    sources: Sequence[tuple[_Batches, float]],
    steps: int,
    generator: torch.Generator,
    tell: Callable[[], None],
) -> MergeFunction:
    """The function after some steps, with the levels that it had."""
    layers = [
        (torch.tensor(weight, requires_grad=True), torch.tensor(bias, requires_grad=True))
        for weight, bias in zip(function.weights, function.biases, strict=True)
    ]
    # Weights do not decay: the function is to stay what it is where nothing speaks against it.
    optimiser = torch.optim.Adam([tensor for layer in layers for tensor in layer], _RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _RATE, max(steps, 20))
    for _ in range(steps if sources else 0):
        optimiser.zero_grad()
        for (inputs, apart, weight), share in sources:
            drawn = torch.randint(len(inputs), (_HALF,), generator=generator)
            logits = _logits(layers, inputs[drawn])
            targets = apart[drawn].expand_as(logits)
            losses = F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
            # Each network learns by itself, so their losses add up.
            loss = share * (losses * weight[drawn]).mean(dim=1).sum()
            loss.backward()
        optimiser.step()
        schedule.step()
        tell()
    return replace(
        function,
        weights=tuple(weight.detach().numpy() for weight, _ in layers),
        biases=tuple(bias.detach().numpy() for _, bias in layers),
    )


def _logits(layers: Sequence[tuple[Tensor, Tensor]], inputs: Tensor) -> Tensor:
    """Answers of each network before the logistic function, shape (networks, pairs)."""
    held = inputs.expand(len(layers[0][0]), -1, -1)
    for number, (weight, bias) in enumerate(layers):
        held = torch.baddbmm(bias[:, None], held, weight.transpose(1, 2))
        if number + 1 < len(layers):
            held = F.relu(held)
    return held[..., 0]


def _shares(tables: Sequence[SuperpixelTables], function: MergeFunction) -> list[float]:
    """Regions that the levels of a function leave over all images, as a share of superpixels."""
    left = np.zeros(len(function.levels))
    levels = [int(to_fixed(level)) for level in function.levels]
    for each in tables:
        for number, (stage, level) in enumerate(zip(stages(each, function), levels, strict=False)):
            left[number] += stage.hierarchy.n_regions(level)
    total = sum(len(each.sizes) for each in tables)
    return [float(count / total) for count in left]
