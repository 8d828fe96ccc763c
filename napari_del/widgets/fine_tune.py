"""The dock widget "Fine-tune on painted labels (DEL)": a model of one's own from a few strokes."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any, ClassVar

from magicgui.widgets import ComboBox
from napari.layers import Image, Labels
from napari.utils.notifications import show_error
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_del.errors import ImageError, ModelError, NapariDelError
from napari_del.models import check_model_name
from napari_del.widgets._fine_tune_job import (
    FINE_TUNE_STAGES,
    FineTuneJob,
    FineTuneParameters,
    Tuned,
)
from napari_del.widgets._image_rows import ImageRows, keep_narrow
from napari_del.widgets._job import Failure
from napari_del.widgets._models import ModelPicker, devices, model_events
from napari_del.widgets._running import RunningWidget
from napari_del.widgets._source import check_same_place, source_of

if TYPE_CHECKING:
    import napari

__all__ = ["FineTuneWidget"]

_HINT = (
    "Paint a few regions in a labels layer, one label for each, on both sides of a border and up "
    "to it. What is not painted (0) is ignored."
)
_NOT_TIMED = "The first step tells how long it takes."


def about(seconds: float) -> str:
    """A duration as one says it.

    Examples
    --------
    >>> about(41.0), about(89.0), about(130.0), about(7000.0)
    ('about 40 s', 'about 90 s', 'about 2.2 min', 'about 117 min')
    """
    if seconds < 95:
        return f"about {max(round(seconds, -1 if seconds >= 20 else None), 1):.0f} s"
    minutes = seconds / 60
    return f"about {minutes:.1f} min" if minutes < 10 else f"about {minutes:.0f} min"


def suggest_name(layer_name: str) -> str:
    """A name for a new model that is allowed and free, after that of an image layer."""
    stem = re.sub(r"[^A-Za-z0-9_]+", "-", layer_name).strip("-_")[:50] or "model"
    number = 1
    while True:
        name = stem if number == 1 else f"{stem}-{number}"
        try:
            return check_model_name(name)
        except ModelError:
            number += 1


class FineTuneWidget(RunningWidget):
    """Fine-tune a model on painted labels, and save it under a name.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Image and labels are taken from it.
    """

    stages: ClassVar[dict[str, str]] = FINE_TUNE_STAGES

    def __init__(self, napari_viewer: napari.Viewer, parent: QWidget | None = None) -> None:
        super().__init__("Fine-t&une", parent)
        self._viewer = napari_viewer
        self._name_is_own = False
        # When the first step was begun or, later, done; and how many were done by then.
        self._since = (0.0, 0)
        self.seconds_per_step: float | None = None
        self.run_button.setToolTip("Make the model (Ctrl+Return)")
        self._controls = QWidget()
        self._form = QFormLayout(self._controls)
        self.image = ImageRows(napari_viewer, self._form, tooltip="Image layer to learn from")
        self._labels = ComboBox(
            choices=self._labels_layers,
            tooltip="Labels layer with painted regions; 0 is not painted and ignored",
        )
        self.model = ModelPicker(architecture="del-lite")
        self.model.setToolTip("Model to begin with")
        self.name = QLineEdit()
        self.name.setToolTip("Name of the new model, under which all programs find it")
        self.steps = QSpinBox()
        self.steps.setRange(1, 100_000)
        self.steps.setValue(150)
        self.steps.setToolTip("More steps follow the painted regions more closely")
        self.duration = QLabel(_NOT_TIMED)
        self.device = QComboBox()
        self.device.addItems(devices())
        self.device.setToolTip("Where to train; auto takes a CUDA GPU if there is one")
        self._build()
        self._connect()
        self._suggest()
        self.update_view()

    def _build(self) -> None:
        hint = QLabel(_HINT)
        for text in (hint, self.duration):
            text.setWordWrap(True)
            text.setStyleSheet("font-size: 11px; font-style: italic")
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("La&bels", self._labels.native)
        self._form.addRow("Begin with", self.model)
        self._form.addRow("&Name", self.name)
        self._form.addRow("&Steps", self.steps)
        self._form.addRow("", self.duration)
        self._form.addRow("&Device", self.device)
        keep_narrow(self._labels.native, self.model)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        layout = QVBoxLayout(self)
        layout.addWidget(hint)
        layout.addWidget(self._controls)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        layout.addStretch()

    def _connect(self) -> None:
        self.image.changed.connect(self._on_image)
        self._labels.changed.connect(self.update_view)
        self.name.textEdited.connect(self._on_name)
        self.steps.valueChanged.connect(self._show_duration)
        model_events().installed.connect(self.model.refresh)
        # napari calls reset_choices when layers come, go or are renamed.
        self._viewer.layers.events.removed.connect(self._on_removed)

    def _labels_layers(self, _: Any = None) -> list[Labels]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that are now in the viewer."""
        self.image.reset_choices()
        self._labels.reset_choices()
        self.update_view()

    @property
    def image_layer(self) -> Image | None:
        """The chosen image layer; None if there is none."""
        return self.image.layer

    @image_layer.setter
    def image_layer(self, layer: Image) -> None:
        self.image.layer = layer

    @property
    def labels_layer(self) -> Labels | None:
        """The chosen layer of painted labels; None if there is none."""
        return self._labels.value

    @labels_layer.setter
    def labels_layer(self, layer: Labels) -> None:
        self._labels.value = layer

    # The run

    def run(self) -> None:
        """Fine-tune in the background; errors become notifications."""
        if self.is_running:
            return
        try:
            job = self._job()
        except NapariDelError as error:
            show_error(str(error))
            return
        layers = (self.image_layer, self.labels_layer)
        self.start(job.run, self._on_result, *(layer for layer in layers if layer is not None))

    def _job(self) -> FineTuneJob:
        image, labels = self.image_layer, self.labels_layer
        if image is None:
            raise ImageError("there is no image layer to learn from; open an image first")
        if labels is None:
            raise ImageError(
                "there is no labels layer; add one with the button for new labels and paint a "
                "few regions"
            )
        sources = (self.image.source(), source_of(labels, self._viewer.dims))
        check_same_place(image, labels, [source.size for source in sources], self._viewer.dims)
        parameters = FineTuneParameters(
            name=check_model_name(self.name.text().strip()),
            model=self.model.value,
            channels=self.image.channels.value,
            steps=self.steps.value(),
            device=self.device.currentText(),
        )
        return FineTuneJob(*sources, parameters, report=self.report, cancelled=self.is_cancelled)

    def on_report(self, stage: str, done: int, total: int) -> None:
        """Show how far the run is, and how long it will take from the steps that are done."""
        super().on_report(stage, done, total)
        if stage != "training" or not self.is_running:
            return
        now = time.perf_counter()
        if done == 0:
            self._since = (now, 0)
            return
        began, first = self._since
        if done > first:
            self.seconds_per_step = (now - began) / (done - first)
        if first == 0:
            # The first step also loads and compiles; those after it tell the pace.
            self._since = (now, done)
        self._show_duration()
        if not self.is_cancelled():
            left = (self.seconds_per_step or 0.0) * (total - done)
            self.status.setText(f"Step {done} of {total}: {about(left)} left")

    def _on_result(self, result: Tuned | Failure) -> None:
        if isinstance(result, Failure):
            self.show_failure(result.error)
            return
        name = result.model.name
        self.status.setText(
            f"Model {name!r} is saved after {about(result.seconds).removeprefix('about ')}; choose "
            "it in Segment regions (DEL)."
        )
        self._name_is_own = False
        self._suggest()
        model_events().installed.emit(name)

    # The view

    def update_view(self) -> None:
        """Turn controls on and off."""
        super().update_view()
        missing = None
        if self.image_layer is None:
            missing = "Open an image, or one of the samples (File > Open Sample)."
        elif self.labels_layer is None:
            missing = "Add a labels layer and paint a few regions in it."
        self._controls.setEnabled(not self.is_running)
        self._controls.setCursor(
            Qt.CursorShape.BusyCursor if self.is_running else Qt.CursorShape.ArrowCursor
        )
        self.run_button.setEnabled(missing is None and not self.is_running)
        if missing is not None and not self.is_running:
            self.status.setText(missing)

    def _on_image(self) -> None:
        if not self._name_is_own:
            self._suggest()
        self.update_view()

    def _on_name(self, text: str) -> None:
        self._name_is_own = bool(text)

    def _suggest(self) -> None:
        image = self.image_layer
        self.name.setText(suggest_name("" if image is None else image.name))

    def _show_duration(self) -> None:
        if self.seconds_per_step is not None:
            whole = about(self.seconds_per_step * self.steps.value())
            self.duration.setText(f"{whole} at {self.seconds_per_step:.2g} s a step".capitalize())

    def _on_removed(self, event: Any) -> None:
        self.stop_if_in_use(event.value, "a model was being fine-tuned on it")
        self.update_view()
