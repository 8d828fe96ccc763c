"""Boundary precision and recall of the Berkeley benchmark.

Boundaries of regions are thinned to lines of one pixel and matched one to one with those of an
annotator, at the least total distance, where pixels are at most `tolerance` times the image's
diagonal apart [1]_, [2]_. Recall is the share of the annotators' pixels that are matched,
counted over all annotators; precision is the share of the segmentation's pixels that are
matched with any annotator's.

References
----------
.. [1] D. Martin, C. Fowlkes and J. Malik, "Learning to Detect Natural Image Boundaries Using
   Local Brightness, Color, and Texture Cues", IEEE TPAMI 26(5), 2004,
   :DOI:`10.1109/TPAMI.2004.1273918`
.. [2] P. Arbelaez, M. Maire, C. Fowlkes and J. Malik, "Contour Detection and Hierarchical
   Image Segmentation", IEEE TPAMI 33(5), 2011, :DOI:`10.1109/TPAMI.2010.161`
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi
from skimage.morphology import thin

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation._matching import match_pixels
from napari_del.evaluation.datasets import UNLABELLED

__all__ = ["TOLERANCE", "BoundaryCounts", "BoundaryTruth", "f_measure", "thin_boundaries"]

TOLERANCE = 0.0075
"""Greatest distance of matched pixels, as a share of the image's diagonal."""


def thin_boundaries(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Boundaries between regions as lines of one pixel.

    Boundaries run between pixels. One is drawn at each pixel to the upper left of a corner of
    the pixel grid that it passes, as the benchmark draws those of its annotators, and thinned.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        Pixels labelled `UNLABELLED` have no boundaries.

    Returns
    -------
    bool array, shape (Y, X)

    Raises
    ------
    ImageError
        If the labels are not integers in two dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> thin_boundaries(np.array([[1, 1, 2, 2]] * 2)).astype(int)
    array([[0, 1, 0, 0],
           [0, 1, 0, 0]])
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise ImageError(
            f"label image has shape {labels.shape} and dtype {labels.dtype}; expected integers in "
            "two dimensions"
        )
    known = labels != UNLABELLED
    below = np.zeros(labels.shape, dtype=bool)
    right = np.zeros(labels.shape, dtype=bool)
    below[:-1] = (labels[1:] != labels[:-1]) & known[1:] & known[:-1]
    right[:, :-1] = (labels[:, 1:] != labels[:, :-1]) & known[:, 1:] & known[:, :-1]
    boundaries = below | right
    boundaries[:, :-1] |= below[:, 1:]
    boundaries[:-1] |= right[1:]
    thinned: NDArray[np.bool_] = thin(boundaries)
    return thinned


class BoundaryCounts(NamedTuple):
    """Boundary pixels of one segmentation and of its annotators; they add up over images."""

    recalled: int
    """Annotators' pixels that are matched."""
    truth: int
    """Annotators' pixels."""
    correct: int
    """Pixels of the segmentation that are matched to any annotator's."""
    found: int
    """Pixels of the segmentation."""

    @property
    def recall(self) -> float:
        """Share of the annotators' pixels that are matched; 1 where they have none."""
        return self.recalled / self.truth if self.truth else 1.0

    @property
    def precision(self) -> float:
        """Share of the segmentation's pixels that are matched; 1 where it has none."""
        return self.correct / self.found if self.found else 1.0


class BoundaryTruth:
    """Boundaries of the annotators of one image, to match segmentations with.

    Parameters
    ----------
    ground_truths : sequence of integer array, shape (annotators, Y, X)
        Region labels of each annotator; `UNLABELLED` and `OTHER` where nothing is labelled.
    tolerance : float
        Greatest distance of matched pixels, as a share of the image's diagonal.

    Raises
    ------
    ImageError
        If labels are not integers in two dimensions.
    ParameterError
        If there is no annotator, or the tolerance is not above 0.

    Notes
    -----
    Where labels are missing, pixels of the segmentation may match but do not count for
    precision: those outside of labelled regions, and those so near to an unlabelled pixel
    that what they would match with may lie beyond.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.repeat([[0, 1]], [40, 60], axis=1) * np.ones((100, 1), int)
    >>> counts = BoundaryTruth([truth]).match(np.roll(truth, 1, axis=1))
    >>> counts.recall, counts.precision
    (1.0, 0.5)
    """

    def __init__(
        self, ground_truths: Sequence[NDArray[np.integer]], *, tolerance: float = TOLERANCE
    ) -> None:
        if len(ground_truths) == 0:
            raise ParameterError("ground_truths is empty; expected at least one annotator")
        if not tolerance > 0:
            raise ParameterError(f"tolerance is {tolerance}; expected a number above 0")
        truths = [np.asarray(truth) for truth in ground_truths]
        boundaries = [thin_boundaries(truth) for truth in truths]
        self.shape = truths[0].shape
        self._distance = tolerance * float(np.hypot(*self.shape))
        self._numbers = [_number(lines) for lines in boundaries]
        self._counts = np.zeros(self.shape, dtype=bool)
        for truth in truths:
            counts = truth >= 0
            unlabelled = truth == UNLABELLED
            if unlabelled.any():
                counts &= ndi.distance_transform_edt(~unlabelled) > self._distance
            self._counts |= counts
        self._known = np.any([truth != UNLABELLED for truth in truths], axis=0)

    def match(self, segmentation: NDArray[np.integer]) -> BoundaryCounts:
        """Match the boundaries of a segmentation.

        Parameters
        ----------
        segmentation : integer array, shape (Y, X)
            Region labels; any values.

        Returns
        -------
        BoundaryCounts

        Raises
        ------
        ImageError
            If the shape is another, or the dtype is not an integer one.
        """
        segmentation = np.asarray(segmentation)
        if segmentation.shape != self.shape:
            raise ImageError(
                f"segmentation has shape {segmentation.shape}, its ground truths {self.shape}; "
                "expected one shape"
            )
        # Labels of a segmentation mean nothing; borders are drawn where people could draw them.
        shifted = segmentation - segmentation.min()
        lines = thin_boundaries(np.where(self._known, shifted.astype(np.int64), UNLABELLED))
        pixels = np.argwhere(lines)
        matched = np.zeros(len(pixels), dtype=bool)
        recalled = truth = 0
        for numbers, n in self._numbers:
            pairs = match_pixels(pixels, numbers, self._distance, n)
            recalled += int(np.count_nonzero(pairs >= 0))
            truth += n
            matched |= pairs >= 0
        counts = self._counts[pixels[:, 0], pixels[:, 1]]
        return BoundaryCounts(
            recalled, truth, int(np.count_nonzero(matched & counts)), int(np.count_nonzero(counts))
        )


def f_measure(
    precision: NDArray[np.float64] | float, recall: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Harmonic mean of precision and recall, 0 where both are 0.

    Examples
    --------
    >>> float(f_measure(0.5, 1.0))
    0.666...
    """
    total = np.asarray(precision) + np.asarray(recall)
    product = 2 * np.asarray(precision, np.float64) * np.asarray(recall, np.float64)
    measure = np.zeros(product.shape)
    np.divide(product, total, out=measure, where=total > 0)
    return measure


def _number(lines: NDArray[np.bool_]) -> tuple[NDArray[np.int32], int]:
    """Number the pixels of lines from 0, -1 elsewhere; and how many there are."""
    n = int(np.count_nonzero(lines))
    numbers = np.full(lines.shape, -1, np.int32)
    numbers[lines] = np.arange(n, dtype=np.int32)
    return numbers, n
