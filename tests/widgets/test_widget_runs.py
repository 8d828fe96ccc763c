"""Runs in the background: the interface answers, and every way to stop one is clean."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt, QTimer

from napari_del.widgets._job import STAGES
from tests.widgets.halt import Halt

Open = Callable[..., tuple[Any, Any]]
Run = Callable[[Any], Any]


def test_event_loop_keeps_ticking(open_widget: Open, run: Run, qtbot: Any) -> None:
    _, widget = open_widget(np.zeros((64, 64, 3), np.uint8))
    run(widget)  # compiles the kernels on a fresh machine
    image = np.random.default_rng(0).integers(0, 255, (1500, 1500, 3)).astype(np.uint8)
    widget._viewer.add_image(image, name="large")
    widget.parameters.image_layer = widget._viewer.layers["large"]
    ticks: list[float] = []
    timer = QTimer(interval=10, timerType=Qt.TimerType.PreciseTimer)
    timer.timeout.connect(lambda: ticks.append(time.perf_counter()))
    timer.start()
    job: list[float] = []
    # The run itself; adding the finished layer to the canvas is napari's own work.
    widget._reported.connect(
        lambda *_: job.append(time.perf_counter()), Qt.ConnectionType.DirectConnection
    )
    run(widget)
    timer.stop()
    during = np.array([t for t in ticks if job[0] <= t <= job[-1]])
    assert during.size >= 5
    assert np.diff(during).max() < 0.5


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_in_each_stage(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any, notes: list[str], stage: str
) -> None:
    viewer, widget = open_widget(patches)
    halt = Halt(widget, stage)
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    assert not widget.run_button.isEnabled()
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.cancel_button.click()
        halt.released.set()
    assert [layer.name for layer in viewer.layers] == ["image 0"]
    assert notes == []
    assert widget.status.text() == "Cancelled"
    assert widget.run_button.isEnabled()
    assert not widget.cancel_button.isEnabled()
    assert run(widget) is not None  # and the widget is ready


def test_cancelled_second_run_leaves_the_first_result(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    _, widget = open_widget(patches)
    layer = run(widget)
    before, session = layer.data.copy(), widget.session
    widget.parameters.step.setValue(16)
    halt = Halt(widget, "graph")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=60_000)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        widget.cancel()
        halt.released.set()
    np.testing.assert_array_equal(layer.data, before)
    assert widget.session is session
    assert widget.regions.isEnabled()


def test_image_removed_while_running(
    open_widget: Open, patches: np.ndarray, qtbot: Any, notes: list[str]
) -> None:
    viewer, widget = open_widget(patches)
    halt = Halt(widget, "superpixels")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        viewer.layers.remove("image 0")
        halt.released.set()
    assert len(viewer.layers) == 0
    assert len(notes) == 1
    assert "'image 0' was removed while it was being segmented" in notes[0]
    assert not widget.run_button.isEnabled()


def test_labels_removed_while_running_again_come_back_as_a_new_layer(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any, notes: list[str]
) -> None:
    viewer, widget = open_widget(patches)
    first = run(widget)
    halt = Halt(widget, "graph")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=60_000)
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        viewer.layers.remove(first)
        halt.released.set()
    assert len(viewer.layers) == 2
    assert widget.labels_layer in viewer.layers
    assert widget.labels_layer is not first
    assert notes == []


def test_image_renamed_while_running(open_widget: Open, patches: np.ndarray, qtbot: Any) -> None:
    viewer, widget = open_widget(patches)
    halt = Halt(widget, "graph")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    viewer.layers["image 0"].name = "tissue"
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        halt.released.set()
    assert widget.labels_layer.name == "tissue regions"


def test_removed_labels_turn_the_controls_off(
    open_widget: Open, run: Run, patches: np.ndarray
) -> None:
    viewer, widget = open_widget(patches)
    viewer.layers.remove(run(widget))
    assert widget.session is None
    assert not widget.regions.isEnabled()
    assert run(widget) in viewer.layers


def test_no_image_layer(open_widget: Open, patches: np.ndarray, notes: list[str]) -> None:
    viewer, widget = open_widget()
    assert not widget.run_button.isEnabled()
    assert "Open an image" in widget.status.text()
    widget.run()
    assert len(notes) == 1
    assert notes[0].startswith("there is no image layer to segment")
    assert not widget.is_running
    viewer.add_image(patches)
    assert widget.run_button.isEnabled()


def test_errors_are_one_line_notifications_without_a_traceback(
    open_widget: Open, run: Run, patches: np.ndarray, tmp_path: Path
) -> None:
    from napari.utils.notifications import ErrorNotification, notification_manager

    viewer, widget = open_widget(patches)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not weights")
    widget.parameters.model.add_file(broken)
    before = len(notification_manager.records)
    assert run(widget) is None
    (note,) = notification_manager.records[before:]
    assert str(broken) in note.message
    assert "\n" not in note.message
    assert note.severity == "error"
    assert not isinstance(note, ErrorNotification)  # which would offer a traceback
    assert len(viewer.layers) == 1
    assert widget.run_button.isEnabled()
    for box in widget.parameters.channels._boxes:
        box.click()
    widget.run()
    assert "no channel is ticked" in notification_manager.records[-1].message


def test_nodata_is_said_in_a_warning(
    open_widget: Open, run: Run, patches: np.ndarray, notes: list[str]
) -> None:
    image = patches[..., 0].astype(np.float32)
    image[:20] = np.nan
    _, widget = open_widget(image)
    layer = run(widget)
    assert (layer.data[:20] == 0).all()
    assert (layer.data[20:] > 0).all()
    assert len(notes) == 1
    assert "nodata" in notes[0]


def test_closing_the_viewer_stops_a_run(open_widget: Open, patches: np.ndarray, qtbot: Any) -> None:
    viewer, widget = open_widget(patches)
    halt = Halt(widget, "superpixels")
    widget.run_button.click()
    qtbot.waitUntil(halt.reached.is_set, timeout=120_000)
    worker = widget._worker
    widget.close()
    assert worker.abort_requested
    with qtbot.waitSignal(widget.finished, timeout=60_000):
        halt.released.set()
    assert len(viewer.layers) == 1
