"""What a user draws in the labels layer is never lost to the slider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

Open = Callable[..., tuple[Any, Any]]
Run = Callable[[Any], Any]
SETTLED = 200


def paint(layer: Any) -> None:
    layer.paint((20, 20), 7001)


def fill(layer: Any) -> None:
    layer.fill((5, 5), 7001)


def draw_polygon(layer: Any) -> None:
    layer.paint_polygon([(2, 2), (2, 30), (30, 30)], 7001)


def write_array(layer: Any) -> None:
    layer.data[:9] = 7001
    layer.refresh()


def set_data(layer: Any) -> None:
    layer.data = np.full_like(layer.data, 7001)


def set_data_of_another_type(layer: Any) -> None:
    layer.data = (layer.data + 1).astype(np.uint16)


EDITS = [paint, fill, draw_polygon, write_array, set_data, set_data_of_another_type]


@pytest.mark.parametrize("edit", EDITS)
def test_edits_are_put_aside_when_the_slider_moves(
    open_widget: Open,
    run: Run,
    patches: np.ndarray,
    qtbot: Any,
    notes: list[str],
    edit: Callable[[Any], None],
) -> None:
    viewer, widget = open_widget(patches)
    layer = run(widget)
    layer.opacity = 0.3
    edit(layer)
    edited = layer.data.copy()
    widget.regions.regions.setValue(6)
    qtbot.wait(SETTLED)
    assert [each.name for each in viewer.layers] == [
        "image 0",
        "image 0 regions (edited)",
        "image 0 regions",
    ]
    assert viewer.layers[1] is layer
    np.testing.assert_array_equal(layer.data, edited)
    assert not layer.visible
    new = widget.labels_layer
    assert new is viewer.layers[2]
    assert np.unique(new.data).size == 6
    assert new.opacity == 0.3
    assert len(notes) == 1
    assert "'image 0 regions (edited)'" in notes[0]
    # the slider goes on in the new layer, and the old one can still be undone
    widget.regions.regions.setValue(3)
    qtbot.wait(SETTLED)
    assert np.unique(new.data).size == 3
    np.testing.assert_array_equal(layer.data, edited)
    assert len(viewer.layers) == 3


def test_edits_are_put_aside_when_a_run_is_repeated(
    open_widget: Open, run: Run, patches: np.ndarray
) -> None:
    viewer, widget = open_widget(patches)
    layer = run(widget)
    paint(layer)
    edited = layer.data.copy()
    again = run(widget)
    assert again is not layer
    assert [each.name for each in viewer.layers][1:] == [
        "image 0 regions (edited)",
        "image 0 regions",
    ]
    np.testing.assert_array_equal(layer.data, edited)
    layer.undo()
    np.testing.assert_array_equal(layer.data, again.data)


def test_edits_that_were_undone_are_no_edits_and_cannot_be_redone(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    viewer, widget = open_widget(patches)
    layer = run(widget)
    paint(layer)
    layer.undo()
    widget.regions.regions.setValue(6)
    qtbot.wait(SETTLED)
    assert widget.labels_layer is layer
    assert len(viewer.layers) == 2
    labels = layer.data.copy()
    layer.redo()
    np.testing.assert_array_equal(layer.data, labels)


def test_looks_are_no_edits(open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any) -> None:
    viewer, widget = open_widget(patches)
    layer = run(widget)
    layer.name = "my regions"
    layer.contour = 2
    layer.visible = False
    layer.visible = True
    layer.selected_label = 3
    layer.show_selected_label = True
    widget.regions.regions.setValue(6)
    qtbot.wait(SETTLED)
    assert widget.labels_layer is layer
    assert layer.name == "my regions"
    assert len(viewer.layers) == 2


def test_plane_of_a_stack(open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any) -> None:
    viewer, widget = open_widget(np.stack([patches[..., 0], patches[..., 1]]))
    viewer.dims.set_current_step(0, 1)
    layer = run(widget)
    layer.paint((0, 20, 20), 7001)
    edited = layer.data.copy()
    widget.regions.regions.setValue(6)
    qtbot.wait(SETTLED)
    np.testing.assert_array_equal(layer.data, edited)
    assert widget.labels_layer is not layer
    assert np.unique(widget.labels_layer.data).size == 6
