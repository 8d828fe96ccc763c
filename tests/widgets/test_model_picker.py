"""The list of models follows what is installed, and keeps the choice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from napari_del.models import install_model, remove_model
from napari_del.widgets._models import ModelPicker, model_events


@pytest.fixture
def picker(qtbot: Any, user_models: Path) -> ModelPicker:
    widget = ModelPicker()
    qtbot.addWidget(widget)
    return widget


def offered(picker: ModelPicker) -> list[str]:
    return [picker.itemText(row) for row in range(picker.count())]


def test_models_installed_elsewhere_are_there_when_the_list_opens(
    picker: ModelPicker, lite_weights: Path
) -> None:
    picker.setCurrentText("mean-color")
    install_model(lite_weights, name="nuclei")
    assert offered(picker) == ["del-lite", "del-vgg16", "mean-color"]
    picker.showPopup()
    picker.hidePopup()
    assert offered(picker) == ["del-lite", "del-vgg16", "mean-color", "nuclei"]
    assert picker.value == "mean-color"


def test_a_model_that_is_installed_in_this_process_is_chosen(
    picker: ModelPicker, lite_weights: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own.safetensors"
    picker.add_file(own)
    picker.add_file(own)
    assert picker.value == str(own)
    model_events().installed.connect(picker.select)
    install_model(lite_weights, name="nuclei")
    model_events().installed.emit("nuclei")
    assert picker.value == "nuclei"
    assert "del-lite" in picker.description
    assert offered(picker) == ["del-lite", "del-vgg16", "mean-color", "nuclei", "own.safetensors"]


def test_a_model_that_is_gone_or_damaged_cannot_be_chosen(
    picker: ModelPicker, lite_weights: Path
) -> None:
    info = install_model(lite_weights, name="nuclei")
    picker.select("nuclei")
    assert picker.value == "nuclei"
    assert info.path is not None
    info.path.write_bytes(b"")
    picker.refresh()
    assert picker.value == "del-lite"
    assert "nuclei" in offered(picker)
    picker.select("nuclei")
    assert picker.value == "del-lite"
    remove_model("nuclei")
    picker.refresh()
    assert "nuclei" not in offered(picker)


def test_closed_widgets_are_forgotten(qtbot: Any, user_models: Path) -> None:
    widget = ModelPicker()
    model_events().installed.connect(widget.select)
    with qtbot.waitSignal(widget.destroyed):
        widget.deleteLater()
    model_events().installed.emit("nuclei")  # qtbot fails the test if this raises


def test_models_of_one_network(qtbot: Any, lite_weights: Path, user_models: Path) -> None:
    install_model(lite_weights, name="nuclei")
    widget = ModelPicker(architecture="del-lite")
    qtbot.addWidget(widget)
    assert offered(widget) == ["del-lite", "nuclei"]
