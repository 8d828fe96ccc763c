"""Default thresholds of a model: those at which its regions cover people's best."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save

from napari_del import merging
from napari_del.errors import ParameterError
from napari_del.evaluation.contingency import SuperpixelContingency
from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.evaluation.evaluate import thresholds_for
from napari_del.evaluation.regions import best_overlaps
from napari_del.merging import threshold_to_fixed
from napari_del.pipeline import segment
from napari_del.segmentation import Segmentation
from napari_del.training.weights import write_whole

__all__ = ["BestThreshold", "choose_default_thresholds", "set_default_thresholds"]

# Fine enough that the covering between two of them hardly differs.
_CANDIDATES = 60


@dataclass(frozen=True)
class BestThreshold:
    """The threshold that suits a set of images best.

    Attributes
    ----------
    threshold : float
        From 0 to 1, the same for all images.
    covering : float
        Covering of the annotators' regions at this threshold, from 0 to 1.
    """

    threshold: float
    covering: float


def choose_default_thresholds(
    model: str | os.PathLike[str],
    images: Iterable[AnnotatedImage],
    *,
    linkages: Sequence[str] | None = None,
    step: int = 8,
    device: str | torch.device = "auto",
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, BestThreshold]:
    """Find for each linkage the threshold at which regions cover people's best.

    Parameters
    ----------
    model : str or path
        Name of a model, or a ``.safetensors`` file.
    images : iterable of AnnotatedImage
        Validation images, which training did not see. Those in which nothing is labelled are
        passed over.
    linkages : sequence of str, optional
        How regions merge; all that there are for the model by default.
    step : int
        Superpixel step.
    device : str or torch.device
        Where to compute, as for `segment`.
    progress : callable, optional
        Called as ``progress("validation", done, total)``.

    Returns
    -------
    dict of linkage to BestThreshold
        The ODS ("optimal data set scale") covering and its threshold, see
        `napari_del.evaluation`.

    Raises
    ------
    ParameterError
        If there are no labelled images.

    References
    ----------
    Arbelaez et al., "Contour Detection and Hierarchical Image Segmentation", IEEE TPAMI 33(5),
    2011.
    """
    labelled = [item for item in images if (item.segmentations >= 0).any()]
    if not labelled:
        raise ParameterError("no validation image has labels; expected at least one that has")
    segmentations, counted = [], []
    for done, item in enumerate(labelled):
        if progress is not None:
            progress("validation", done, len(labelled))
        segmentation = segment(item.image, model=model, step=step, device=device)
        truths = [labels for labels in item.segmentations if (labels >= 0).any()]
        segmentations.append(segmentation)
        counted.append(SuperpixelContingency(segmentation.superpixels, truths))
    if progress is not None:
        progress("validation", len(labelled), len(labelled))
    names = segmentations[0].linkages if linkages is None else linkages
    return {linkage: _best(segmentations, counted, linkage) for linkage in names}


def _best(
    segmentations: Sequence[Segmentation],
    counted: Sequence[SuperpixelContingency],
    linkage: str,
) -> BestThreshold:
    thresholds = thresholds_for(segmentations, linkage, _CANDIDATES)
    covered = np.zeros(thresholds.size)
    for segmentation, truths in zip(segmentations, counted, strict=True):
        covered += [
            best_overlaps(truths.table(segmentation.regions(t, linkage))) @ truths.truth_sizes
            for t in thresholds.tolist()
        ]
    covering: NDArray[np.float64] = covered / sum(truths.truth_sizes.sum() for truths in counted)
    best = int(covering.argmax())
    return BestThreshold(float(thresholds[best]), float(covering[best]))


def set_default_thresholds(path: str | os.PathLike[str], thresholds: Mapping[str, float]) -> str:
    """Write the thresholds that suit a model into the metadata of its weights file.

    Parameters
    ----------
    path : path
        Safetensors file; it is replaced.
    thresholds : mapping of linkage to float
        Threshold from 0 to 1 for each linkage.

    Returns
    -------
    str
        SHA-256 of the new file, in hexadecimal digits.

    Raises
    ------
    ParameterError
        If a linkage is not known or a threshold is not from 0 to 1.
    OutputError
        If the file cannot be written; it is left as it was.
    """
    for linkage, threshold in thresholds.items():
        if linkage not in merging.LINKAGES:
            raise ParameterError(
                f"linkage {linkage!r} is not known; expected one of {', '.join(merging.LINKAGES)}"
            )
        threshold_to_fixed(threshold)
    target = Path(path)
    with safe_open(target, framework="pt") as file:
        metadata = {
            **(file.metadata() or {}),
            "default_thresholds": json.dumps(dict(thresholds)),
        }
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no dict
    data = save(tensors, metadata)
    write_whole(target, data)
    return hashlib.sha256(data).hexdigest()
