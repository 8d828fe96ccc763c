"""The whole line in a real viewer: from an image to labels, and on with the slider."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest

import napari_del
from napari_del import pipeline as pipeline_module
from napari_del.widgets._regions import SLIDER_STEPS

Open = Callable[..., tuple[Any, Any]]
Run = Callable[[Any], Any]

# Where the throttle is passed by and where the trailing write has been made.
SETTLED = 200


def test_an_image_becomes_a_labels_layer(open_widget: Open, run: Run, patches: np.ndarray) -> None:
    viewer, widget = open_widget(patches)
    layer = run(widget)
    expected = napari_del.segment(patches, model="mean-color").labels(sequential=False)
    assert list(viewer.layers) == [viewer.layers["image 0"], layer]
    assert layer.name == "image 0 regions"
    assert layer.data.dtype == np.int32
    np.testing.assert_array_equal(layer.data, expected)
    assert not widget.is_running
    assert widget.run_button.isEnabled()
    assert f"{widget.session.n_regions()}</b> regions" in widget.regions.count.text()


def test_parameters_reach_the_run(open_widget: Open, run: Run, patches: np.ndarray) -> None:
    viewer, widget = open_widget(patches)
    left = np.zeros(patches.shape[:2], np.uint8)
    left[:, :64] = 1
    mask = viewer.add_labels(left, name="left half")
    widget.parameters.mask_layer = mask
    widget.parameters.step.setValue(12)
    widget.parameters.channels._boxes[1].click()
    layer = run(widget)
    expected = napari_del.segment(
        patches, model="mean-color", step=12, channels=(0, 2), mask=left != 0
    )
    np.testing.assert_array_equal(layer.data, expected.labels(sequential=False))
    assert (layer.data[:, 64:] == 0).all()


def test_scale_and_precision_are_for_networks_alone(
    open_widget: Open, run: Run, patches: np.ndarray
) -> None:
    _, widget = open_widget(patches)
    parameters = widget.parameters
    parameters.scale.setCurrentText("2 ×")
    parameters.precision.setCurrentText("bfloat16")
    assert not parameters.scale.isEnabled() and parameters.parameters().scale == 1.0
    assert not parameters.precision.isEnabled()
    assert parameters.parameters().precision == "float32"
    parameters.model.setCurrentText("del-lite")
    layer = run(widget)
    expected = napari_del.segment(patches, scale=2.0, precision="bfloat16")
    expected = expected.labels(sequential=False)
    np.testing.assert_array_equal(layer.data, expected)


def test_diameter_chooses_step_and_scale(open_widget: Open, run: Run, patches: np.ndarray) -> None:
    _, widget = open_widget(patches)
    parameters = widget.parameters
    assert parameters.diameter.text() == "any"
    parameters.model.setCurrentText("del-lite")
    parameters.diameter.setValue(17)
    chosen = parameters.parameters()
    assert {"scale": chosen.scale, "step": chosen.step} == napari_del.settings_for(17)
    layer = run(widget)
    expected = napari_del.segment(patches, **napari_del.settings_for(17))
    np.testing.assert_array_equal(layer.data, expected.labels(sequential=False))
    parameters.diameter.setValue(80)
    assert (parameters.step.value(), parameters.scale.currentText()) == (8, "1 ×")
    # What is chosen by hand is not that of a diameter any more, and stays.
    parameters.diameter.setValue(30)
    parameters.step.setValue(9)
    assert parameters.diameter.text() == "any" and parameters.parameters().step == 9
    parameters.diameter.setValue(30)
    parameters.scale.setCurrentText("2 ×")
    assert parameters.diameter.text() == "any"
    assert (parameters.parameters().step, parameters.parameters().scale) == (6, 2.0)


def test_slider_rewrites_the_same_array_and_computes_nothing_again(
    open_widget: Open,
    run: Run,
    patches: np.ndarray,
    qtbot: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, widget = open_widget(patches)
    layer = run(widget)
    calls: list[str] = []
    for name in ("slic_features", "adjacency", "dissimilarity", "normalise"):
        real = getattr(pipeline_module, name)

        def counted(*args: Any, _real: Any = real, _name: str = name, **kwargs: Any) -> Any:
            calls.append(_name)
            return _real(*args, **kwargs)

        monkeypatch.setattr(pipeline_module, name, counted)
    array, segmentation, tree = (
        layer.data,
        widget.session.segmentation,
        widget.session.segmentation.hierarchy("average"),
    )
    seen = set()
    for position in (0.1, 0.3, 0.5, 0.7, 0.9):
        widget.regions.slider.setValue(round(position * SLIDER_STEPS))
        qtbot.wait(SETTLED)
        settings = widget.session.settings
        assert settings.threshold == pytest.approx(widget.regions.threshold.value(), abs=1e-5)
        np.testing.assert_array_equal(
            layer.data, segmentation.labels(settings.threshold, sequential=False)
        )
        seen.add(np.unique(layer.data).size)
    assert len(seen) == 5
    assert layer.data is array
    assert widget.labels_layer is layer
    assert widget.session.segmentation is segmentation
    assert segmentation.hierarchy("average") is tree
    assert calls == []
    run(widget)
    assert calls  # a run, on the other hand, is seen


def test_dragging_is_coalesced_and_ends_at_the_last_position(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    _, widget = open_widget(patches)
    layer = run(widget)
    writes: list[int] = []
    layer.events.set_data.connect(lambda event: writes.append(1))
    steps = range(0, SLIDER_STEPS * 4 // 5, SLIDER_STEPS // 200)
    for step in steps:
        widget.regions.slider.setValue(step)
    qtbot.wait(SETTLED)
    threshold = widget.session.scale.threshold(steps[-1] / SLIDER_STEPS)
    np.testing.assert_array_equal(
        layer.data, widget.session.segmentation.labels(threshold, sequential=False)
    )
    assert 1 <= len(writes) < 100


@pytest.mark.parametrize("linkage", ["average", "del", "egb"])
def test_every_control_changes_the_labels(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any, linkage: str
) -> None:
    _, widget = open_widget(patches)
    layer = run(widget)
    panel = widget.regions
    panel.linkage.setCurrentText(linkage)
    panel.linkage.activated.emit(panel.linkage.currentIndex())
    qtbot.waitUntil(lambda: widget.session.settings.linkage == linkage, timeout=60_000)
    qtbot.waitUntil(lambda: not widget.is_running)
    panel.threshold.setValue(0.35)
    panel.min_size.setValue(250)
    qtbot.wait(SETTLED)
    expected = widget.session.segmentation.labels(0.35, linkage, 250, sequential=False)
    np.testing.assert_array_equal(layer.data, expected)
    assert panel.linkage.currentText() == linkage
    assert panel.regions.isEnabled() == (linkage != "egb")


def test_select_by_number_of_regions(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    _, widget = open_widget(patches)
    layer = run(widget)
    widget.regions.regions.setValue(10)
    qtbot.wait(SETTLED)
    assert np.unique(layer.data).size == widget.session.n_regions() == 10
    assert widget.session.settings.threshold == widget.session.segmentation.threshold_for(10)
    assert "<b>10</b> regions" in widget.regions.count.text()
    # the slider went along
    assert widget.regions.slider.value() == round(widget.session.position * SLIDER_STEPS)


def test_keyboard_alone_is_enough(open_widget: Open, patches: np.ndarray, qtbot: Any) -> None:
    viewer, widget = open_widget(patches, show=True)
    widget.parameters.step.setFocus()
    with qtbot.waitSignal(widget.finished, timeout=120_000):
        QTest.keyClick(
            widget.parameters.step, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier
        )
    before = widget.session.settings.threshold
    widget.regions.slider.setFocus()
    for _ in range(10):
        QTest.keyClick(widget.regions.slider, Qt.Key.Key_Right)
    assert widget.session.settings.threshold > before
    del viewer


def test_second_run_updates_the_same_layer_without_stale_undo(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    viewer, widget = open_widget(patches)
    layer = run(widget)
    widget.regions.min_size.setValue(100)
    widget.regions.threshold.setValue(0.3)
    qtbot.wait(SETTLED)
    # painted and taken back: nothing to keep, but napari could still redo it
    layer.mode = "paint"
    layer.paint((10, 10), 999)
    layer.undo()
    widget.parameters.step.setValue(16)
    assert run(widget) is layer
    assert len(viewer.layers) == 2
    again = napari_del.segment(patches, model="mean-color", step=16)
    expected = again.labels(0.3, "average", 100, sequential=False)  # the settings stay
    np.testing.assert_array_equal(layer.data, expected)
    layer.redo()
    layer.undo()
    np.testing.assert_array_equal(layer.data, expected)
    assert layer.mode == "paint"


def test_images_keep_their_results_apart(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    viewer, widget = open_widget(patches, patches[::-1].copy())
    first_image, second_image = viewer.layers["image 0"], viewer.layers["image 1"]
    widget.parameters.image_layer = first_image
    first = run(widget)
    widget.parameters.image_layer = second_image
    assert widget.labels_layer is None
    assert not widget.regions.isEnabled()
    second = run(widget)
    assert second is not first
    widget.parameters.image_layer = first_image
    before = second.data.copy()
    widget.regions.regions.setValue(5)
    qtbot.wait(SETTLED)
    assert np.unique(first.data).size == 5
    np.testing.assert_array_equal(second.data, before)


def test_planes_of_a_stack_get_a_layer_each(
    open_widget: Open, run: Run, patches: np.ndarray
) -> None:
    stack = np.stack([patches[..., 0], patches[::-1, :, 1], patches[..., 2]])
    viewer, widget = open_widget(stack, scale=(5, 1, 1))
    layers = {}
    for z in (0, 2, 0):
        viewer.dims.set_current_step(0, z)
        layer = run(widget)
        assert layers.setdefault(z, layer) is layer
        assert layer.name == f"image 0 regions [{z}]"
        assert layer.data.shape == (1, *patches.shape[:2])
        assert layer.data_to_world((0, 0, 0)) == (5 * z, 0, 0)
        expected = napari_del.segment(stack[z], model="mean-color").labels(sequential=False)
        np.testing.assert_array_equal(layer.data[0], expected)
    assert len(viewer.layers) == 3


def test_channel_axis_of_a_single_layer(open_widget: Open, run: Run, patches: np.ndarray) -> None:
    _, widget = open_widget(np.moveaxis(patches, -1, 0), axis_labels=("c", "y", "x"))
    layer = run(widget)
    assert layer.data.shape == patches.shape[:2]
    assert layer.axis_labels == ("y", "x")
    expected = napari_del.segment(patches, model="mean-color").labels(sequential=False)
    np.testing.assert_array_equal(layer.data, expected)


def test_widget_explains_itself(open_widget: Open, patches: np.ndarray) -> None:
    _, widget = open_widget(patches)
    parameters, regions = widget.parameters, widget.regions
    controls = [
        *(parameters._image.image.native, parameters._mask.native, parameters.channel_axis),
        *(parameters.model, parameters.diameter, parameters.step),
        *(parameters.scale, parameters.device),
        *(regions.slider, regions.threshold, regions.regions, regions.min_size),
        *(widget.run_button, widget.cancel_button),
    ]
    regions.bind(None)
    missing = [c for c in controls if not c.toolTip() and c is not regions.regions]
    assert missing == []
    models = {info.name: info for info in napari_del.list_models()}
    picker = parameters.model
    assert [picker.itemText(row) for row in range(picker.count())] == list(models)
    for row, info in enumerate(models.values()):
        tip = picker.itemData(row, Qt.ItemDataRole.ToolTipRole)
        assert picker.model().item(row).isEnabled() == info.available
        assert info.available or "not installed" in tip
    assert parameters._description.text() == models["mean-color"].description
