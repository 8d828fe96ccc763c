"""The two losses: pairs of superpixels or regions, and boundaries."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["DEFAULT_SHARES", "ClassShares", "balanced_mean", "boundary_loss", "pair_loss"]


class ClassShares(NamedTuple):
    """How much of what is trained on people separate, over all images, see `balanced_mean`.

    The defaults are those of the training images of natural scenes and of nuclei, which are nearly
    the same.

    Attributes
    ----------
    adjacent, distant, regions : float
        Share of the pairs that are apart: of adjacent superpixels, of superpixels about 48
        pixels from each other, and of adjacent regions.
    boundary : float
        Share of the places where a boundary was drawn.
    """

    adjacent: float = 0.1
    distant: float = 0.35
    regions: float = 0.5
    boundary: float = 0.06


DEFAULT_SHARES = ClassShares()


def balanced_mean(
    positive: Tensor,
    negative: Tensor,
    target: Tensor,
    prior: float,
    weight: Tensor | None = None,
) -> Tensor:
    """Mean of two loss terms in which either class counts half over all images.

    The classes are balanced by their shares among all training images rather than among the
    samples of one: were each image balanced by itself, a border would count a hundred times as
    much in an image of few objects as in one of many, and the same threshold would mean
    something else in either.

    Parameters
    ----------
    positive, negative : Tensor, shape (k,)
        Loss of each sample if its class is 1, and if it is 0.
    target : Tensor, shape (k,)
        Share of the annotators for whom its class is 1.
    prior : float
        Share of class 1 among all samples of all images, above 0 and below 1.
    weight : Tensor, shape (k,), optional
        How much each sample counts, 0 where its class is not known.

    Returns
    -------
    Tensor
        Scalar; 0 where no sample counts.
    """
    if weight is None:
        weight = torch.ones_like(target)
    terms = target * positive / (2 * prior) + (1 - target) * negative / (2 * (1 - prior))
    return (weight * terms).sum() / weight.sum().clamp_min(1.0)


def pair_loss(
    embedding: Tensor,
    pairs: Tensor,
    apart: Tensor,
    weight: Tensor | None = None,
    *,
    prior: float = DEFAULT_SHARES.adjacent,
) -> Tensor:
    r"""Cross-entropy of the similarity 2 / (1 + exp(L1)) of pairs of superpixels.

    Parameters
    ----------
    embedding : Tensor, shape (n, D)
        Mean embedding of each superpixel.
    pairs : Tensor of int64, shape (m, 2)
        Pairs, adjacent or not.
    apart : Tensor, shape (m,)
        Share of the annotators who put the two in different regions.
    weight : Tensor, shape (m,), optional
        How much each pair counts, 0 where nothing is known of it.
    prior : float
        Share of such pairs that are apart, over all images, see `balanced_mean`.

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Liu et al., "DEL: Deep Embedding Learning for Efficient Image Segmentation", IJCAI 2018,
    with the one ground truth replaced by the share of the annotators.
    """
    # Not by indexing, whose gradient is summed in any order where there are several threads.
    one, other = (F.embedding(end, embedding) for end in pairs.unbind(dim=1))
    distance = (one - other).abs().sum(dim=1)
    # -log s and -log (1 - s), written so that neither overflows nor loses its gradient.
    together = F.softplus(distance) - math.log(2)
    apart_loss = -torch.log(torch.tanh(distance / 2).clamp_min(1e-6))
    return balanced_mean(apart_loss, together, apart, prior, weight)


def boundary_loss(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    prior: float = DEFAULT_SHARES.boundary,
) -> Tensor:
    """Class-balanced cross-entropy of boundary logits.

    Parameters
    ----------
    logits, target : Tensor, shape (H, W)
        Logits, and the share of the annotators who drew a boundary there.
    weight : Tensor, shape (H, W), optional
        How much each place counts, 0 where nothing is known of it.
    prior : float
        Share of places with a boundary, over all images, see `balanced_mean`.

    Returns
    -------
    Tensor
        Scalar.
    """
    return balanced_mean(F.softplus(-logits), F.softplus(logits), target, prior, weight)
