"""Positions of thresholds on the slider."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_del.merging import Hierarchy, spanning_forest, threshold_to_fixed
from napari_del.widgets._scale import EvenScale, RegionScale


def chain(weights: list[int]) -> Hierarchy:
    """A row of superpixels, each joined to the next at one of these weights."""
    n = len(weights) + 1
    edges = np.stack([np.arange(n - 1), np.arange(1, n)], axis=1).astype(np.int32)
    return spanning_forest(edges, np.array(weights, np.uint32), n)


def count(tree: Hierarchy, threshold: float) -> int:
    return tree.n_regions(threshold_to_fixed(threshold))


def test_equal_steps_divide_the_number_of_regions_by_equal_factors() -> None:
    # 4096 superpixels whose merges crowd near 0, as those of real images do
    weights = (np.linspace(0, 1, 4095) ** 8 * (2**32 - 1)).astype(np.uint32)
    tree = chain(weights[weights.argsort()].tolist())
    scale = RegionScale(tree)
    counts = [count(tree, scale.threshold(p)) for p in np.linspace(0.25, 1, 10)]
    np.testing.assert_allclose(counts, 4096 ** np.linspace(0.75, 0, 10), rtol=0.3, atol=0.6)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=60), st.floats(0, 1))
def test_position_and_threshold_are_inverse_up_to_equal_partitions(
    weights: list[int], position: float
) -> None:
    tree = chain(weights)
    scale = RegionScale(tree)
    threshold = scale.threshold(position)
    assert 0 <= threshold <= 1
    back = scale.threshold(scale.position(threshold))
    assert count(tree, back) == count(tree, threshold)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=60))
def test_the_ends_of_the_slider_are_the_finest_and_the_coarsest(weights: list[int]) -> None:
    tree = chain(weights)
    scale = RegionScale(tree)
    assert count(tree, scale.threshold(0)) == count(tree, 0.0)
    assert count(tree, scale.threshold(1)) == count(tree, 1.0) == 1


def test_a_graph_without_edges_has_a_slider_too() -> None:
    scale = RegionScale(chain([]))
    assert scale.position(0.7) == 0
    assert scale.threshold(1.0) == 0


@pytest.mark.parametrize(("given", "clipped"), [(-1.0, 0.0), (0.3, 0.3), (2.0, 1.0)])
def test_even_scale(given: float, clipped: float) -> None:
    assert EvenScale().threshold(given) == clipped
    assert EvenScale().position(given) == clipped
