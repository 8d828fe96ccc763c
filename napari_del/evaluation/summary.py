"""Figures of a data set out of the scores of its images.

ODS ("optimal data set scale") is a figure at the one threshold that is best for the whole set,
OIS ("optimal image scale") with the threshold that is best for each image, and AP the area
under the curve of precision over recall [1]_. Counts of boundary pixels and overlaps of regions
are added up over the images before a figure is made of them; other figures are means over the
images.

References
----------
.. [1] P. Arbelaez, M. Maire, C. Fowlkes and J. Malik, "Contour Detection and Hierarchical
   Image Segmentation", IEEE TPAMI 33(5), 2011, :DOI:`10.1109/TPAMI.2010.161`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_del.errors import ParameterError
from napari_del.evaluation.boundaries import f_measure
from napari_del.evaluation.scores import ImageScores

__all__ = ["Evaluation", "Figure", "summarise"]


@dataclass(frozen=True)
class Figure:
    """One measure over a data set.

    Attributes
    ----------
    values : float64 array, shape (thresholds,)
        The measure at each threshold.
    ods : float
        The best of `values`.
    ods_index : int
        Which threshold that is; the first of equals.
    ois : float
        The measure with the best threshold of each image.
    precision, recall : float64 array, shape (thresholds,), or None
        Of F measures.
    ap : float or None
        Area under the curve of precision over recall, of F measures.
    best : float or None
        With the best region of any threshold for each ground-truth region or object, of
        coverings.
    """

    values: NDArray[np.float64]
    ods: float
    ods_index: int
    ois: float
    precision: NDArray[np.float64] | None = None
    recall: NDArray[np.float64] | None = None
    ap: float | None = None
    best: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """All measures over a data set.

    Attributes
    ----------
    thresholds : float64 array, shape (thresholds,)
    n_images, n_objects : int
        How many images were scored, and how many objects are labelled in them.
    n_regions : float64 array, shape (thresholds,)
        Mean number of regions.
    boundary : Figure
        F of boundaries.
    object_part : Figure
        F of objects and parts.
    covering : Figure
        Covering of the ground truth's regions.
    rand_index : Figure
        Probabilistic Rand index.
    variation_of_information : Figure
        In bits; less is better.
    object_best_iou : Figure or None
        Best intersection over union of the labelled objects, each counting the same.
    object_best_iou_by_image : Figure or None
        The same, each image counting the same.
    object_covering : Figure or None
        Covering of the labelled objects, each counting by its pixels.
    adapted_rand_error : Figure or None
        Over the labelled objects; less is better.
    """

    thresholds: NDArray[np.float64]
    n_images: int
    n_objects: int
    n_regions: NDArray[np.float64]
    boundary: Figure
    object_part: Figure
    covering: Figure
    rand_index: Figure
    variation_of_information: Figure
    object_best_iou: Figure | None = None
    object_best_iou_by_image: Figure | None = None
    object_covering: Figure | None = None
    adapted_rand_error: Figure | None = None

    @property
    def figures(self) -> dict[str, Figure]:
        """The measures that there are, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Figure)}

    def rows(self) -> list[dict[str, str]]:
        """A table of the figures for people: one row for each measure."""
        rows = []
        for name, figure in self.figures.items():
            extra = figure.ap if figure.best is None else figure.best
            rows.append(
                {
                    "measure": TITLES[name],
                    "ODS": f"{figure.ods:.4f}",
                    "at threshold": f"{self.thresholds[figure.ods_index]:.5f}",
                    "mean regions": f"{self.n_regions[figure.ods_index]:.1f}",
                    "OIS": f"{figure.ois:.4f}",
                    "AP or best": "" if extra is None else f"{extra:.4f}",
                }
            )
        return rows

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers, for JSON."""
        return {
            "images": self.n_images,
            "objects": self.n_objects,
            "thresholds": self.thresholds.tolist(),
            "mean_regions": self.n_regions.tolist(),
            "figures": {
                name: {
                    **{
                        key: value.tolist() if isinstance(value, np.ndarray) else value
                        for key, value in asdict(figure).items()
                        if value is not None and key != "ods_index"
                    },
                    "ods_threshold": float(self.thresholds[figure.ods_index]),
                }
                for name, figure in self.figures.items()
            },
        }


TITLES = {
    "boundary": "boundary F",
    "object_part": "objects-and-parts F",
    "covering": "covering",
    "rand_index": "probabilistic Rand index",
    "variation_of_information": "variation of information (bits, less is better)",
    "object_best_iou": "best IoU of objects",
    "object_best_iou_by_image": "best IoU of objects, by image",
    "object_covering": "covering of objects",
    "adapted_rand_error": "adapted Rand error (less is better)",
}


def summarise(
    images: Iterable[ImageScores], thresholds: Sequence[float] | NDArray[np.float64]
) -> Evaluation:
    """Put the scores of the images of a data set together.

    Parameters
    ----------
    images : iterable of ImageScores
        All at the same thresholds.
    thresholds : sequence of float
        What they are.

    Returns
    -------
    Evaluation

    Raises
    ------
    ParameterError
        If there are no images, or numbers of thresholds differ.
    """
    images = list(images)
    steps = np.asarray(thresholds, np.float64)
    numbers = sorted({image.n_regions.size for image in images} | {steps.size})
    if not images or len(numbers) != 1:
        raise ParameterError(
            f"{len(images)} images have {numbers} thresholds; expected at least one image, and "
            "the same number of thresholds for all"
        )
    with_objects = [image.objects for image in images if image.objects is not None]
    evaluation = Evaluation(
        thresholds=steps,
        n_images=len(images),
        n_objects=sum(objects.sizes.size for objects in with_objects),
        n_regions=np.mean([image.n_regions for image in images], axis=0),
        boundary=_boundary(np.stack([image.boundary for image in images])),
        object_part=_object_part(np.stack([image.object_part for image in images])),
        covering=_covering([(image.overlaps, image.sizes) for image in images]),
        rand_index=_mean(np.stack([image.rand_index for image in images])),
        variation_of_information=_mean(
            np.stack([image.variation_of_information for image in images]), least=True
        ),
    )
    if not with_objects:
        return evaluation
    overlaps = [(objects.overlaps, objects.sizes) for objects in with_objects]
    return Evaluation(
        **{
            **vars(evaluation),
            "object_best_iou": _covering([(best, np.ones_like(sizes)) for best, sizes in overlaps]),
            "object_best_iou_by_image": _mean(
                np.stack([best.mean(axis=1) for best, _ in overlaps])
            ),
            "object_covering": _covering(overlaps),
            "adapted_rand_error": _mean(
                np.stack([objects.adapted_rand_error for objects in with_objects]), least=True
            ),
        }
    )


def _boundary(counts: NDArray[np.int64]) -> Figure:
    """Figure of counts of shape (images, thresholds, 4)."""
    recall, precision = _ratios(counts)
    best = np.argmax(f_measure(precision, recall), axis=1)
    per_image = counts[np.arange(len(counts)), best].sum(axis=0)
    ois = f_measure(*_ratios(per_image))
    recall, precision = _ratios(counts.sum(axis=0))
    return _f_figure(precision, recall, float(ois))


def _object_part(scores: NDArray[np.float64]) -> Figure:
    """Figure of precision and recall of shape (images, thresholds, 2)."""
    best = np.argmax(f_measure(scores[..., 0], scores[..., 1]), axis=1)
    precision, recall = scores[np.arange(len(scores)), best].mean(axis=0)
    ois = float(f_measure(precision, recall))
    precision, recall = scores.mean(axis=0).T
    return _f_figure(precision, recall, ois)


def _f_figure(precision: NDArray[np.float64], recall: NDArray[np.float64], ois: float) -> Figure:
    values = f_measure(precision, recall)
    index = int(np.argmax(values))
    ap = average_precision(precision, recall)
    return Figure(values, float(values[index]), index, ois, precision, recall, ap)


def _covering(images: Sequence[tuple[NDArray[np.float64], NDArray[np.int64]]]) -> Figure:
    """Figure of overlaps (thresholds, regions) that count by the weights of the regions."""
    covered = np.stack([overlaps @ weights for overlaps, weights in images])
    total = sum(int(weights.sum()) for _, weights in images)
    best = sum(float(overlaps.max(axis=0) @ weights) for overlaps, weights in images) / total
    # The best threshold of an image is that of its own covering, whose weights are the same.
    ois = float(covered.max(axis=1).sum()) / total
    values = covered.sum(axis=0) / total
    index = int(np.argmax(values))
    return Figure(values, float(values[index]), index, ois, best=best)


def _mean(scores: NDArray[np.float64], *, least: bool = False) -> Figure:
    """Figure of scores of shape (images, thresholds), the mean over the images."""
    values = scores.mean(axis=0)
    index = int(np.argmin(values) if least else np.argmax(values))
    ois = scores.min(axis=1) if least else scores.max(axis=1)
    return Figure(values, float(values[index]), index, float(ois.mean()))


def _ratios(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Recall and precision of `BoundaryCounts` along the last axis."""
    recalled, truth, correct, found = np.moveaxis(counts, -1, 0)
    # Without boundaries to find, none is missed; without boundaries found, none is wrong.
    return (
        np.where(truth > 0, recalled / np.maximum(truth, 1), 1.0),
        np.where(found > 0, correct / np.maximum(found, 1), 1.0),
    )


def average_precision(precision: NDArray[np.float64], recall: NDArray[np.float64]) -> float:
    """Area under precision over recall, from the least to the greatest recall there is.

    Precision is interpolated at every hundredth of recall, as the Berkeley benchmark does.
    """
    _, last = np.unique(recall[::-1], return_index=True)
    order = recall.size - 1 - last
    at = np.arange(101) / 100
    inside = (at >= recall.min()) & (at <= recall.max())
    return float(np.interp(at[inside], recall[order], precision[order]).sum() / 100)
