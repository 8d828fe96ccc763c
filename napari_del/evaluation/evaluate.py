"""Score a model, or anything that makes segmentations, on a data set.

One image is in memory at a time, except for a sample that the thresholds are chosen from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_del import merging
from napari_del.errors import ImageError, ParameterError, ReadError
from napari_del.evaluation.boundaries import TOLERANCE
from napari_del.evaluation.datasets import (
    AnnotatedImage,
    held_out,
    load_set,
    set_names,
    spread,
)
from napari_del.evaluation.scores import ImageScores, ImageTruth
from napari_del.evaluation.summary import Evaluation, summarise
from napari_del.models import check_precision, check_scale, find_model, load_merge_function
from napari_del.pipeline import segment
from napari_del.segmentation import Segmentation
from napari_del.superpixels.grid import check_step

__all__ = ["evaluate", "evaluate_model", "thresholds_for"]

THRESHOLDS = 30
SAMPLE = 20
FEWEST_REGIONS = 2


def thresholds_for(
    segmentations: Iterable[Segmentation], linkage: str = "average", n: int = THRESHOLDS
) -> NDArray[np.float64]:
    """Thresholds from nearly all superpixels to nearly one region, the same for all images.

    They are quantiles of the heights of all merges of all images, such that the mean number of
    regions goes down by equal factors. Partitions of "egb" have no such heights; its
    thresholds are equally far apart.

    Parameters
    ----------
    segmentations : iterable of Segmentation
        Of images like those to be scored; at least one.
    linkage : str
        How regions merge.
    n : int
        Number of thresholds, at least 1; fewer come back where some would be the same.

    Returns
    -------
    float64 array, shape (thresholds,)
        Ascending, from 0 to 1.

    Raises
    ------
    ParameterError
        If `n` is below 1, there are no segmentations or no superpixels to merge.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_del import segment
    >>> image = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    >>> thresholds_for([segment(image, model="mean-color")], n=5).size
    5
    """
    if n < 1:
        raise ParameterError(f"thresholds is {n}; expected at least 1")
    if linkage == "egb":
        return np.arange(1, n + 1) / n
    trees = [segmentation.hierarchy(linkage) for segmentation in segmentations]
    none = np.zeros(0, np.uint32)
    heights = np.sort(np.concatenate([none, *(tree.merge_heights for tree in trees)]))
    if heights.size == 0:
        raise ParameterError(
            f"{len(trees)} segmentations have no two superpixels to merge; expected images larger "
            "than the superpixel step"
        )
    superpixels = sum(tree.n for tree in trees)
    regions = np.geomspace(superpixels / 2, FEWEST_REGIONS * len(trees), n)
    merges = np.clip(superpixels - regions.astype(int), 1, heights.size)
    return np.unique(merging.from_fixed(heights[merges - 1]))


def evaluate(
    images: Iterable[AnnotatedImage],
    segmenter: Callable[[AnnotatedImage], Segmentation],
    thresholds: Mapping[str, Sequence[float] | NDArray[np.float64]],
    *,
    tolerance: float = TOLERANCE,
) -> dict[str, Evaluation]:
    """Score segmentations of annotated images.

    Segmentations that are label images instead are scored by `ImageTruth.score_labels` and
    `summarise`.

    Parameters
    ----------
    images : iterable of AnnotatedImage
        One is taken at a time. Images in which nothing is labelled are passed over.
    segmenter : callable
        Makes the segmentation of an image.
    thresholds : mapping of linkage to sequence of float
        At which thresholds regions are scored, for each linkage.
    tolerance : float
        Greatest distance of matched boundary pixels, as a share of the image's diagonal.

    Returns
    -------
    dict of linkage to Evaluation

    Raises
    ------
    ImageError
        If an image cannot be segmented, or its labels do not fit it.
    ParameterError
        If there are no labelled images, or a parameter is out of range.
    """
    scores: dict[str, list[ImageScores]] = {linkage: [] for linkage in thresholds}
    for image in images:
        if not (image.segmentations >= 0).any():
            continue
        try:
            truth = ImageTruth(image.segmentations, image.objects, tolerance=tolerance)
            segmentation = segmenter(image)
            for linkage, steps in thresholds.items():
                scores[linkage].append(truth.score_segmentation(segmentation, steps, linkage))
        except ImageError as error:
            raise ImageError(f"{image.name}: {error}") from error
    if not all(scores.values()):
        raise ParameterError("no image has labels; expected regions that people drew")
    return {linkage: summarise(scores[linkage], steps) for linkage, steps in thresholds.items()}


def evaluate_model(
    folder: str | PathLike[str],
    *,
    model: str | PathLike[str] = "del-lite",
    linkages: Sequence[str] | None = None,
    thresholds: int | Sequence[float] = THRESHOLDS,
    step: int = 8,
    scale: float = 1.0,
    compactness: float = 10.0,
    device: str = "auto",
    precision: str = "float32",
    held_out_fold: int | None = None,
    limit: int | None = None,
    tolerance: float = TOLERANCE,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Evaluation]:
    """Score a model on a folder of images and labels.

    Parameters
    ----------
    folder : path
        A data set that `load_set` reads.
    model : str or path
        Name of a model, or a ``.safetensors`` file.
    linkages : sequence of str, optional
        How regions merge; each is scored.
    thresholds : int or sequence of float
        Thresholds, the same for all linkages; or how many to choose by `thresholds_for` from
        up to 20 of the images, evenly spaced.
    step, scale, compactness, device, precision
        As for `napari_del.segment`.
    held_out_fold : int, optional
        Score the images that a training with this fold leaves out, 0 to 4, see `held_out`; that
        of a training where nothing else is said is 4. All by default.
    limit : int, optional
        Score this many images at most, evenly spaced over the sorted names.
    tolerance : float
        Greatest distance of matched boundary pixels, as a share of the image's diagonal.
    progress : callable, optional
        Called as ``progress("evaluate", done, total)`` with numbers of images.

    Returns
    -------
    dict of linkage to Evaluation

    Raises
    ------
    NapariDelError
        A subclass that names what is wrong with the folder, a file, a parameter or the model.
    """
    check_step(step)
    info = find_model(model)
    check_scale(scale, info)
    check_precision(precision, info)
    if linkages is None:
        linkages = ["average" if load_merge_function(info) is None else "learned"]
    for linkage in linkages:
        if linkage not in merging.LINKAGES:
            raise ParameterError(
                f"linkage {linkage!r} is not known; expected one of {', '.join(merging.LINKAGES)}"
            )
    names = _names(folder, held_out_fold, limit)

    def segmenter(image: AnnotatedImage) -> Segmentation:
        if image.name in sample:
            return sample.pop(image.name)
        return segment(
            image.image,
            model=model,
            step=step,
            scale=scale,
            compactness=compactness,
            device=device,
            precision=precision,
        )

    sample: dict[str, Segmentation] = {}
    if isinstance(thresholds, int):
        if thresholds < 1:
            raise ParameterError(f"thresholds is {thresholds}; expected at least 1")
        chosen = names[:: max(1, -(-len(names) // SAMPLE))]
        sample = {image.name: segmenter(image) for image in load_set(folder, names=chosen)}
        steps = {name: thresholds_for(sample.values(), name, thresholds) for name in linkages}
    else:
        steps = {linkage: np.asarray(thresholds, np.float64) for linkage in linkages}

    def counted() -> Iterator[AnnotatedImage]:
        for done, image in enumerate(load_set(folder, names=names)):
            if progress is not None:
                progress("evaluate", done, len(names))
            yield image
        if progress is not None:
            progress("evaluate", len(names), len(names))

    return evaluate(counted(), segmenter, steps, tolerance=tolerance)


def _names(folder: str | PathLike[str], fold: int | None, limit: int | None) -> list[str]:
    """Names of the images to score, sorted."""
    if not Path(folder).is_dir():
        raise ReadError(f"{folder} is not a folder; expected a data set of images and labels")
    names = set_names(folder)
    if fold is not None:
        kept = held_out(names, Path(folder).name, fold)
        names = [name for name, keep in zip(names, kept.tolist(), strict=True) if keep]
        if not names:
            raise ReadError(f"{folder} has no image in fold {fold}; expected at least 5 images")
    return spread(names, limit)
