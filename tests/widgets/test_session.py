"""The state behind the controls, without a window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_del import Segmentation, segment
from napari_del.errors import ParameterError
from napari_del.widgets._session import Session, Settings


@pytest.fixture(scope="module")
def segmentation(patches: np.ndarray) -> Segmentation:
    return segment(patches, model="mean-color")


def test_starts_with_the_threshold_of_the_model(segmentation: Segmentation) -> None:
    session = Session(segmentation)
    assert session.settings == Settings(segmentation.default_threshold("average"), "average", 0)


def test_tells_of_a_change_once_and_of_no_change_never(segmentation: Segmentation) -> None:
    session = Session(segmentation)
    seen: list[Settings] = []
    session.changed.connect(seen.append)
    session.set_threshold(0.25)
    session.set_threshold(0.25)
    session.set_min_size(200)
    assert seen == [Settings(0.25, "average", 0), Settings(0.25, "average", 200)]


@pytest.mark.parametrize("linkage", ["average", "del", "egb"])
@pytest.mark.parametrize("min_size", [0, 300])
def test_labels_and_count_are_those_of_the_segmentation(
    segmentation: Segmentation, linkage: str, min_size: int
) -> None:
    session = Session(segmentation)
    session.set_linkage(linkage)
    session.set_threshold(0.4)
    session.set_min_size(min_size)
    expected = segmentation.labels(0.4, linkage, min_size, sequential=False)
    out = np.zeros_like(expected)
    assert session.labels(out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert session.n_regions() == np.unique(expected).size


def test_each_linkage_keeps_its_own_threshold(segmentation: Segmentation) -> None:
    session = Session(segmentation)
    session.set_threshold(0.31)
    session.set_linkage("del")
    assert session.settings.threshold == segmentation.default_threshold("del")
    session.set_threshold(0.11)
    session.set_linkage("average")
    assert session.settings.threshold == 0.31
    session.set_linkage("del")
    assert session.settings.threshold == 0.11


@pytest.mark.parametrize("linkage", ["average", "del"])
def test_slider_position_is_the_threshold(segmentation: Segmentation, linkage: str) -> None:
    session = Session(segmentation)
    session.set_linkage(linkage)
    counts = []
    for position in np.linspace(0, 1, 9):
        session.move_to(float(position))
        counts.append(session.n_regions())
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 1
    assert len(set(counts)) > 5


@pytest.mark.parametrize("wanted", [1, 7, 30])
def test_selects_a_number_of_regions(segmentation: Segmentation, wanted: int) -> None:
    session = Session(segmentation)
    session.select(wanted)
    assert session.settings.threshold == segmentation.threshold_for(wanted)
    assert session.n_regions() == wanted


def test_selects_a_number_of_regions_of_a_minimum_size(segmentation: Segmentation) -> None:
    session = Session(segmentation)
    session.set_min_size(200)
    session.select(20)
    assert 10 <= session.n_regions() <= 20
    sizes = np.bincount(session.labels().ravel())
    assert sizes[sizes > 0].min() >= 200


def test_more_regions_than_superpixels_gives_all(segmentation: Segmentation) -> None:
    session = Session(segmentation)
    session.select(10**6)
    assert session.n_regions() == segmentation.n_regions(0.0)


def test_a_linkage_that_is_not_nested_has_no_threshold_for_a_number(
    segmentation: Segmentation,
) -> None:
    session = Session(segmentation)
    session.set_linkage("egb")
    with pytest.raises(ParameterError, match="expected one of average, del"):
        session.select(5)


def test_prepared_means_that_nothing_is_left_to_compute(segmentation: Segmentation) -> None:
    session = Session(segmentation)
    assert not session.is_prepared("del")
    session.prepare("del")
    assert session.is_prepared("del")
    assert session.settings.linkage == "average"
