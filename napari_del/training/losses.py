"""The two losses: pairs of adjacent superpixels, and boundaries."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["balanced_mean", "boundary_loss", "pair_loss"]


def balanced_mean(positive: Tensor, negative: Tensor, target: Tensor) -> Tensor:
    """Mean of two loss terms in which either class counts half, however rare it is.

    Parameters
    ----------
    positive, negative : Tensor, shape (k,)
        Loss of each sample if its class is 1, and if it is 0.
    target : Tensor, shape (k,)
        Share of the annotators for whom its class is 1.

    Returns
    -------
    Tensor
        Scalar.
    """
    ones = target.sum().clamp_min(1e-6)
    zeros = (1 - target).sum().clamp_min(1e-6)
    return (target * positive).sum() / (2 * ones) + ((1 - target) * negative).sum() / (2 * zeros)


def pair_loss(embedding: Tensor, edges: Tensor, apart: Tensor) -> Tensor:
    r"""Cross-entropy of the similarity 2 / (1 + exp(L1)) of adjacent superpixels.

    Parameters
    ----------
    embedding : Tensor, shape (n, D)
        Mean embedding of each superpixel.
    edges : Tensor of int64, shape (m, 2)
        Adjacent pairs.
    apart : Tensor, shape (m,)
        Share of the annotators who put the two in different regions.

    Returns
    -------
    Tensor
        Scalar.

    References
    ----------
    Liu et al., "DEL: Deep Embedding Learning for Efficient Image Segmentation", IJCAI 2018,
    with the one ground truth replaced by the share of the annotators.
    """
    distance = (embedding[edges[:, 0]] - embedding[edges[:, 1]]).abs().sum(dim=1)
    # -log s and -log (1 - s), written so that neither overflows nor loses its gradient.
    together = F.softplus(distance) - math.log(2)
    apart_loss = together - torch.log(torch.expm1(distance.clamp(1e-3, 30.0))) + math.log(2)
    apart_loss = torch.where(distance > 30.0, torch.zeros_like(distance), apart_loss)
    return balanced_mean(apart_loss, together, apart)


def boundary_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Class-balanced cross-entropy of boundary logits.

    Parameters
    ----------
    logits, target : Tensor, shape (H, W)
        Logits, and the share of the annotators who drew a boundary there.

    Returns
    -------
    Tensor
        Scalar.
    """
    return balanced_mean(F.softplus(-logits), F.softplus(logits), target)
