"""How well superpixels keep to the borders that people draw.

The measures follow the comparisons in [1]_ and [2]_.

References
----------
.. [1] P. Neubert and P. Protzel, "Superpixel Benchmark and Comparison", Forum
   Bildverarbeitung, 2012
.. [2] D. Stutz, A. Hermans and B. Leibe, "Superpixels: An evaluation of the state-of-the-art",
   Computer Vision and Image Understanding 166, 2018, :DOI:`10.1016/j.cviu.2017.03.007`
.. [3] M.-Y. Liu, O. Tuzel, S. Ramalingam and R. Chellappa, "Entropy rate superpixel
   segmentation", CVPR, 2011, :DOI:`10.1109/CVPR.2011.5995323`
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage as ndi

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation.contingency import contingency_table

__all__ = [
    "achievable_segmentation_accuracy",
    "boundary_recall",
    "label_boundaries",
    "undersegmentation_error",
]


def label_boundaries(labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Pixels with a 4-neighbour of another label, so on both sides of each border.

    Parameters
    ----------
    labels : integer array, shape (Y, X)

    Returns
    -------
    bool array, shape (Y, X)
        The edge of the image is not a border.

    Examples
    --------
    >>> import numpy as np
    >>> label_boundaries(np.array([[1, 1, 2, 2]])).astype(int)
    array([[0, 1, 1, 0]])
    """
    labels = np.asarray(labels)
    if labels.ndim != 2:
        raise ImageError(f"label image has shape {labels.shape}; expected two dimensions")
    boundaries = np.zeros(labels.shape, dtype=bool)
    vertical = labels[1:] != labels[:-1]
    boundaries[1:] |= vertical
    boundaries[:-1] |= vertical
    horizontal = labels[:, 1:] != labels[:, :-1]
    boundaries[:, 1:] |= horizontal
    boundaries[:, :-1] |= horizontal
    return boundaries


def boundary_recall(
    superpixels: NDArray[np.integer],
    ground_truth: NDArray[np.integer],
    *,
    tolerance: int = 2,
) -> float:
    """Share of the ground truth's boundary pixels near a boundary of the superpixels.

    Boundary pixels are those of `label_boundaries`. One of the ground truth is recalled where
    the square of 2 * `tolerance` + 1 pixels around it holds a boundary pixel of the superpixels
    [2]_. No one-to-one matching is done: superpixels have far more boundaries than objects.

    Parameters
    ----------
    superpixels, ground_truth : integer array, shape (Y, X)
    tolerance : int
        Chebyshev distance in pixels, at least 0.

    Returns
    -------
    float
        In [0, 1], more is better; 1 where the ground truth is one region without boundaries.

    Raises
    ------
    ImageError
        If the shapes differ or are not of two dimensions.
    ParameterError
        If `tolerance` is negative.

    Examples
    --------
    >>> import numpy as np
    >>> truth = np.array([[1, 1, 1, 1, 2, 2, 2, 2]])
    >>> shifted = np.array([[1, 1, 1, 1, 1, 2, 2, 2]])
    >>> boundary_recall(shifted, truth, tolerance=0), boundary_recall(shifted, truth)
    (0.5, 1.0)
    """
    superpixels, ground_truth = np.asarray(superpixels), np.asarray(ground_truth)
    if superpixels.shape != ground_truth.shape:
        raise ImageError(
            f"label images have shapes {superpixels.shape} and {ground_truth.shape}; expected "
            "one shape"
        )
    if tolerance < 0:
        raise ParameterError(f"tolerance is {tolerance}; expected at least 0 pixels")
    wanted = label_boundaries(ground_truth)
    total = np.count_nonzero(wanted)
    if total == 0:
        return 1.0
    near = ndi.maximum_filter(
        label_boundaries(superpixels), size=2 * tolerance + 1, mode="constant", cval=0
    )
    return float(np.count_nonzero(wanted & near) / total)


def undersegmentation_error(
    superpixels: NDArray[np.integer], ground_truth: NDArray[np.integer]
) -> float:
    """Pixels by which superpixels leak over the borders of ground-truth regions.

    The form of Neubert and Protzel [1]_, which needs no threshold on small overlaps:

        UE = 1/N * sum over regions R, sum over superpixels P that meet R, of
             min(|P inside R|, |P outside R|)

    Parameters
    ----------
    superpixels, ground_truth : integer array of one shape

    Returns
    -------
    float
        0 where no superpixel crosses a border; less is better. A superpixel halved by one
        border counts twice, once for either region.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.

    Examples
    --------
    >>> import numpy as np
    >>> superpixels = np.array([[1, 1, 1, 1, 2, 2, 2, 2]])
    >>> undersegmentation_error(superpixels, np.array([[1, 1, 1, 2, 2, 2, 2, 2]]))
    0.25
    """
    table = contingency_table(superpixels, ground_truth)
    sizes = table.sum(axis=1)
    whole = np.repeat(sizes, np.diff(table.indptr))
    return float(np.minimum(table.data, whole - table.data).sum() / sizes.sum())


def achievable_segmentation_accuracy(
    superpixels: NDArray[np.integer], ground_truth: NDArray[np.integer]
) -> float:
    """Share of pixels labelled right if each superpixel took its commonest ground truth [3]_.

    It bounds from above what any merging of the superpixels can reach.

    Parameters
    ----------
    superpixels, ground_truth : integer array of one shape

    Returns
    -------
    float
        In (0, 1], more is better.

    Raises
    ------
    ImageError
        If the shapes differ, there are no pixels, or a dtype is not an integer one.

    Examples
    --------
    >>> import numpy as np
    >>> superpixels = np.array([[1, 1, 1, 1, 2, 2, 2, 2]])
    >>> achievable_segmentation_accuracy(superpixels, np.array([[1, 1, 1, 2, 2, 2, 2, 2]]))
    0.875
    """
    table = contingency_table(superpixels, ground_truth)
    best = np.maximum.reduceat(table.data, table.indptr[:-1])
    return float(best.sum() / table.data.sum())
