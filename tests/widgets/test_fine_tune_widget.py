"""Fine-tuning in a real viewer: from painted labels to a model that other widgets offer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.layers import Labels
from safetensors.numpy import load_file

from napari_del.models import find_model, install_model, list_models
from napari_del.training import fine_tune
from napari_del.widgets._fine_tune_job import FINE_TUNE_STAGES
from napari_del.widgets.fine_tune import about, suggest_name
from tests.widgets.halt import Halt

Open = Callable[..., tuple[Any, Any]]
Press = Callable[[Any], None]
TITLE = "Fine-tune on painted labels (DEL)"
SIZE = (96, 128)


@pytest.fixture(autouse=True)
def quick(quick_adaptation: None) -> None:
    """Runs here are about the widget, whatever the model becomes."""


@pytest.fixture
def painted() -> np.ndarray:
    """Two strokes on each side of a border of the patches, the rest not painted."""
    labels = np.zeros(SIZE, np.int32)
    labels[20:44, 8:30] = 1
    labels[20:44, 34:60] = 2
    return labels


@pytest.fixture
def open_fine_tuning(
    make_napari_viewer: Callable[..., Any], plugin: None, user_models: Path
) -> Open:
    """Open a viewer with these layers and the widget, set to the least number of steps."""

    def open_viewer(
        image: np.ndarray | list[np.ndarray] | None = None,
        labels: np.ndarray | None = None,
        **options: Any,
    ) -> tuple[Any, Any]:
        viewer = make_napari_viewer()
        if image is not None:
            viewer.add_image(image, name="cells", **options)
        if labels is not None:
            viewer.add_labels(labels, name="painted")
        _, widget = viewer.window.add_plugin_dock_widget("napari-del", TITLE)
        widget.steps.setValue(1)
        return viewer, widget

    return open_viewer


@pytest.fixture
def press(qtbot: Any) -> Press:
    """Press the button and wait for the end."""

    def press(widget: Any) -> None:
        with qtbot.waitSignal(widget.finished, timeout=120_000):
            widget.run_button.click()
            assert widget.is_running

    return press


def user_model_names() -> list[str]:
    return [model.name for model in list_models() if model.kind == "user"]


def assert_same_weights(name: str, expected: Path) -> None:
    path = find_model(name).path
    assert path is not None
    found, tensors = load_file(path), load_file(expected)
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        np.testing.assert_array_equal(found[key], tensor, err_msg=key)


def test_painted_labels_become_a_model_that_is_chosen(
    open_fine_tuning: Open, press: Press, patches: np.ndarray, painted: np.ndarray, tmp_path: Path
) -> None:
    viewer, widget = open_fine_tuning(patches, painted)
    title = "Segment regions (DEL)"
    _, segment_widget = viewer.window.add_plugin_dock_widget("napari-del", title)
    segment_widget.parameters.model.setCurrentText("mean-color")
    assert widget.name.text() == "cells"
    widget.steps.setValue(3)
    press(widget)
    info = find_model("cells")
    assert (info.kind, info.base_model) == ("user", "del-lite")
    options = {"model": "del-lite", "steps": 3, "device": "auto"}
    expected = fine_tune([patches], [painted], output=tmp_path / "a.safetensors", **options)
    assert_same_weights("cells", expected)
    before = load_file(find_model("del-lite").path)
    changed = [key for key, tensor in load_file(expected).items() if (tensor != before[key]).any()]
    assert changed  # or there would be no difference that the comparison above could find
    assert segment_widget.parameters.model.value == "cells"
    assert "fine-tuned from del-lite" in segment_widget.parameters._description.text()
    assert widget.model.value == "del-lite"
    assert widget.model.findData("cells") > 0  # to go on from
    assert widget.model.findData("mean-color") < 0  # nothing in it can be trained
    assert "'cells' is saved" in widget.status.text()
    assert widget.name.text() == "cells-2"
    assert widget.run_button.isEnabled()


def test_how_long_it_takes_is_measured(
    open_fine_tuning: Open, press: Press, patches: np.ndarray, painted: np.ndarray
) -> None:
    _, widget = open_fine_tuning(patches, painted)
    assert "first step" in widget.duration.text()
    widget.steps.setValue(4)
    said: list[str] = []
    widget._reported.connect(lambda *_: said.append(widget.status.text()))
    press(widget)
    assert any(text.startswith("Step 1 of 4: about") for text in said)
    assert widget.seconds_per_step > 0
    for steps in (1, 1000):
        widget.steps.setValue(steps)
        whole = about(widget.seconds_per_step * steps).capitalize()
        assert widget.duration.text().startswith(f"{whole} at ")


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "about 1 s"), (44, "about 40 s"), (130, "about 2.2 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert about(seconds) == text


@pytest.mark.parametrize("kind", ["rgba", "stack of channels", "multiscale", "mixed channels"])
def test_what_is_learned_from(
    open_fine_tuning: Open,
    press: Press,
    patches: np.ndarray,
    painted: np.ndarray,
    tmp_path: Path,
    kind: str,
) -> None:
    image: Any = patches
    learned, options = patches, {}
    if kind == "rgba":
        image = np.dstack([patches, np.full(SIZE, 255, np.uint8)])
    elif kind == "stack of channels":
        image, options = np.moveaxis(patches, -1, 0), {"axis_labels": ("c", "y", "x")}
    elif kind == "multiscale":
        image, learned = [patches[..., 0], patches[::2, ::2, 0]], patches[..., 0]
        options = {"multiscale": True}
    else:
        learned = patches[..., [0, 2]]
    _, widget = open_fine_tuning(image, painted, **options)
    if kind == "mixed channels":
        widget.image.channels._boxes[1].click()
    press(widget)
    expected = fine_tune([learned], [painted], output=tmp_path / "a.safetensors", steps=1)
    assert_same_weights("cells", expected)


def test_painting_on_while_it_runs_changes_nothing(
    open_fine_tuning: Open,
    press: Press,
    patches: np.ndarray,
    painted: np.ndarray,
    qtbot: Any,
    tmp_path: Path,
) -> None:
    viewer, widget = open_fine_tuning(patches, painted.copy())
    halt = Halt(widget, "samples")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    viewer.layers["painted"].data[:] = 1
    with qtbot.waitSignal(widget.finished, timeout=120_000):
        halt.released.set()
    expected = fine_tune([patches], [painted], output=tmp_path / "a.safetensors", steps=1)
    assert_same_weights("cells", expected)


@pytest.mark.parametrize("stage", FINE_TUNE_STAGES)
def test_cancel_in_each_stage(
    open_fine_tuning: Open,
    press: Press,
    patches: np.ndarray,
    painted: np.ndarray,
    qtbot: Any,
    notes: list[str],
    stage: str,
) -> None:
    _, widget = open_fine_tuning(patches, painted)
    widget.steps.setValue(2)
    halt = Halt(widget, stage)
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    assert not widget._controls.isEnabled()
    assert not widget.run_button.isEnabled()
    with qtbot.waitSignal(widget.finished, timeout=120_000):
        widget.cancel_button.click()
        halt.released.set()
    assert notes == []
    assert user_model_names() == []
    assert widget.status.text() == "Cancelled"
    assert widget.run_button.isEnabled()
    assert not widget.cancel_button.isEnabled()
    assert widget._controls.isEnabled()


@pytest.mark.parametrize("layer", ["cells", "painted"])
def test_a_layer_is_removed_while_it_runs(
    open_fine_tuning: Open,
    patches: np.ndarray,
    painted: np.ndarray,
    qtbot: Any,
    notes: list[str],
    layer: str,
) -> None:
    viewer, widget = open_fine_tuning(patches, painted)
    halt = Halt(widget, "samples")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    with qtbot.waitSignal(widget.finished, timeout=120_000):
        viewer.layers.remove(layer)
        halt.released.set()
    assert len(notes) == 1
    assert f"'{layer}' was removed while a model was being fine-tuned" in notes[0]
    assert user_model_names() == []
    assert not widget.run_button.isEnabled()


@pytest.mark.parametrize("regions", [0, 1])
def test_too_few_regions(
    open_fine_tuning: Open,
    press: Press,
    patches: np.ndarray,
    painted: np.ndarray,
    notes: list[str],
    regions: int,
) -> None:
    _, widget = open_fine_tuning(patches, np.where(painted <= regions, painted, 0))
    press(widget)
    assert len(notes) == 1
    assert f"{regions} painted regions" in notes[0] and "\n" not in notes[0]
    assert user_model_names() == []
    assert widget.run_button.isEnabled()


def test_layers_that_are_missing(
    open_fine_tuning: Open, patches: np.ndarray, painted: np.ndarray, notes: list[str]
) -> None:
    viewer, widget = open_fine_tuning()
    for message, add in (
        ("no image layer", lambda: viewer.add_image(patches)),
        ("no labels layer", lambda: viewer.add_labels(painted)),
    ):
        assert not widget.run_button.isEnabled()
        assert widget.status.text()
        widget.run()
        assert message in notes.pop()
        add()
    assert widget.run_button.isEnabled()
    assert notes == []


def test_labels_of_another_size_or_place(
    open_fine_tuning: Open, patches: np.ndarray, painted: np.ndarray, notes: list[str]
) -> None:
    viewer, widget = open_fine_tuning(patches, painted[:-1])
    widget.run()
    assert notes.pop() == (
        "labels layer 'painted' has 95 x 128 pixels, image layer 'cells' 96 x 128; expected the "
        "same: make the labels with the button for new labels while the image is the only layer"
    )
    widget.labels_layer = viewer.add_labels(painted, name="scaled", scale=(2, 2))
    widget.run()
    assert "'scaled' does not lie on image layer 'cells'" in notes.pop()
    assert not widget.is_running


def test_names(
    open_fine_tuning: Open,
    patches: np.ndarray,
    painted: np.ndarray,
    notes: list[str],
    lite_weights: Path,
) -> None:
    viewer, widget = open_fine_tuning(patches, painted)
    install_model(lite_weights, name="nuclei")
    for name, message in (
        ("nuclei", "'nuclei' is installed already"),
        ("del-lite", "is the name of a built-in model"),
        ("a/b", "cannot be the name of a model"),
        ("", "cannot be the name of a model"),
    ):
        widget.name.setText(name)
        widget.run()
        assert message in notes.pop()
        assert not widget.is_running
    assert suggest_name("nuclei") == "nuclei-2"
    assert suggest_name("Nuclei [3] ü") == "Nuclei-3"
    assert suggest_name("Übersicht") == "bersicht"
    assert suggest_name("...") == suggest_name("") == "model"
    # A name that a user has typed stays when another image is chosen.
    viewer.add_image(patches, name="glands")
    widget.image_layer = viewer.layers["glands"]
    assert widget.name.text() == "glands"
    widget.name.textEdited.emit("own")
    widget.name.setText("own")
    widget.image_layer = viewer.layers["cells"]
    assert widget.name.text() == "own"


def test_no_channel_is_ticked(
    open_fine_tuning: Open, patches: np.ndarray, painted: np.ndarray, notes: list[str]
) -> None:
    _, widget = open_fine_tuning(patches, painted)
    for box in widget.image.channels._boxes:
        box.click()
    widget.run()
    assert "no channel is ticked" in notes.pop()


def test_it_opens_from_the_segment_widget(
    make_napari_viewer: Callable[..., Any], plugin: None, user_models: Path
) -> None:
    viewer = make_napari_viewer()
    title = "Segment regions (DEL)"
    _, widget = viewer.window.add_plugin_dock_widget("napari-del", title)
    for _ in range(2):  # a second press shows the same one
        widget.parameters.fine_tune_button.click()
        opened = [type(w).__name__ for w in viewer.window.dock_widgets.values()]
        assert opened.count("FineTuneWidget") == 1


def test_it_explains_itself(
    open_fine_tuning: Open, patches: np.ndarray, painted: np.ndarray
) -> None:
    _, widget = open_fine_tuning(patches, painted)
    controls = [
        *(widget.image.image.native, widget.image.channel_axis, widget._labels.native),
        *(widget.model, widget.name, widget.steps, widget.device),
        *(widget.run_button, widget.cancel_button),
    ]
    assert [control for control in controls if not control.toolTip()] == []
    assert isinstance(widget.labels_layer, Labels)
