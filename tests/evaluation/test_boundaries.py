"""Boundary matching: by hand, against another solver, and where labels are missing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.optimize import linear_sum_assignment

from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation import BoundaryTruth, f_measure, thin_boundaries
from napari_del.evaluation._matching import ALONE, SCALE, match_pixels
from napari_del.evaluation.datasets import OTHER, UNLABELLED

MAPS = hnp.arrays(bool, (6, 7), elements=st.sampled_from([False, False, True]))


def halves(column: int, *, shape: tuple[int, int] = (60, 80)) -> np.ndarray:
    """Two regions side by side, the second from a column on."""
    return np.tile((np.arange(shape[1]) >= column).astype(int), (shape[0], 1))


def cost_of(pairs: np.ndarray, costs: np.ndarray, alone: int) -> int:
    rows = np.flatnonzero(pairs >= 0)
    return int(costs[rows, pairs[rows]].sum()) + alone * int((pairs < 0).sum())


@given(MAPS, MAPS, st.sampled_from([1.0, 1.5, 2.3, 3.0]))
def test_matching_is_one_to_one_within_reach_and_cheapest(first, second, distance):
    pixels, others = np.argwhere(first), np.argwhere(second)
    numbers = np.full(second.shape, -1, np.int32)
    numbers[second] = np.arange(len(others))
    pairs = match_pixels(pixels, numbers, distance, len(others))
    matched = pairs[pairs >= 0]
    assert np.unique(matched).size == matched.size
    lengths = np.hypot(*(pixels[:, None] - others[None]).transpose(2, 0, 1).astype(float))
    assert np.all(lengths[pairs >= 0, matched] <= distance)
    # The same problem as a full matrix: each pixel may also be left alone.
    alone = int(SCALE * ALONE * distance)
    costs = np.rint(SCALE * lengths).astype(np.int64)
    full = np.full((len(pixels), len(others) + len(pixels)), alone)
    full[:, : len(others)] = np.where(lengths <= distance, costs, 10 * alone)
    rows, columns = linear_sum_assignment(full)
    assert cost_of(pairs, costs, alone) == full[rows, columns].sum()


def test_a_boundary_is_one_line_to_the_left_of_the_border():
    lines = thin_boundaries(halves(30))
    assert lines[:, 29].all() and lines.sum() == 60
    # None is drawn to what is not labelled; what lies outside of all regions has one.
    assert not thin_boundaries(np.array([[1, UNLABELLED, 2]] * 3)).any()
    assert thin_boundaries(np.array([[1, OTHER]] * 3)).sum() == 3


def test_recall_counts_all_annotators_and_precision_any():
    # The diagonal of 60 x 80 pixels is 100, so pixels match up to a distance of 3.
    truth = BoundaryTruth([halves(30), halves(60), halves(80)], tolerance=0.03)
    counts = truth.match(halves(33))
    assert counts == (60, 120, 60, 60)
    assert (counts.recall, counts.precision) == (0.5, 1.0)
    assert truth.match(halves(34)) == (0, 120, 0, 60)
    nothing = truth.match(halves(80))
    assert (nothing.recall, nothing.precision) == (0.0, 1.0)
    assert BoundaryTruth([halves(80)]).match(halves(9)).recall == 1.0


def test_pixels_match_once():
    # Two lines near one: as many pixels are wrong as are right.
    stripe = halves(30) + halves(32)
    counts = BoundaryTruth([halves(31)], tolerance=0.03).match(stripe)
    assert counts == (60, 60, 60, 120)


def test_boundaries_where_nothing_is_labelled_do_not_count():
    truth = halves(20)
    truth[:, 40:] = UNLABELLED
    matcher = BoundaryTruth([truth], tolerance=0.03)
    assert matcher.match(halves(20) + halves(60)) == (60, 60, 60, 60)
    # What lies beyond column 40 is not known, so neither is whether this is wrong.
    assert matcher.match(halves(38)) == (0, 60, 0, 0)
    assert matcher.match(halves(35)) == (0, 60, 0, 60)


def test_boundaries_outside_of_objects_do_not_count():
    truth = np.where(halves(40) == 1, OTHER, 0)
    matcher = BoundaryTruth([truth], tolerance=0.03)
    assert matcher.match(halves(40) + halves(60)) == (60, 60, 60, 60)
    assert matcher.match(halves(20)) == (0, 60, 0, 60)


def test_f_is_zero_where_nothing_is_right():
    np.testing.assert_allclose(f_measure(np.array([0, 0.5, 1]), np.array([0, 1, 1])), [0, 2 / 3, 1])


def test_bad_input_is_named():
    truth = BoundaryTruth([halves(3)])
    with pytest.raises(ImageError, match=r"\(60, 80\)"):
        truth.match(halves(3).T)
    with pytest.raises(ImageError, match="float64"):
        thin_boundaries(np.zeros((3, 3)))
    with pytest.raises(ParameterError, match="tolerance is 0"):
        BoundaryTruth([halves(3)], tolerance=0)
    with pytest.raises(ParameterError, match="at least one annotator"):
        BoundaryTruth([])
