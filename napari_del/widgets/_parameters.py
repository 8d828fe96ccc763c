"""The controls above the button: what to segment and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.layers import Image, Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QToolButton,
    QWidget,
)
from superqt.utils import signals_blocked

from napari_del.models import MEAN_COLOR, PRECISIONS, SCALES, settings_for
from napari_del.widgets._image_rows import ImageRows, keep_narrow
from napari_del.widgets._job import Parameters
from napari_del.widgets._models import ModelPicker, devices
from napari_del.widgets._source import Source, source_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["ParameterPanel"]


class ParameterPanel(QWidget):
    """Form of everything that a run depends on.

    Parameters
    ----------
    viewer : napari.Viewer
        Its layers are offered; layers that come and go are followed by `reset_choices`.
    """

    imageChanged = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._form = QFormLayout(self)
        self._image = ImageRows(viewer, self._form, tooltip="Image layer to segment")
        self.channel_axis = self._image.channel_axis
        self.channels = self._image.channels
        self._mask = ComboBox(
            choices=self._masks,
            tooltip="Labels layer: only where it is not 0 is the image segmented",
        )
        self.model = ModelPicker()
        self._description = QLabel()
        self._description.setWordWrap(True)
        self._description.setStyleSheet("font-size: 11px; font-style: italic")
        self.fine_tune_button = QPushButton("Fine-t&une on painted labels…")
        self.fine_tune_button.setToolTip("Make a model of your own from regions that you paint")
        self.diameter = QSpinBox()
        self.diameter.setRange(0, 9999)
        self.diameter.setSpecialValueText("any")
        self.diameter.setSuffix(" px")
        self.diameter.setToolTip(
            "Diameter of typical objects in the image: chooses the step and the scale that find "
            "them best"
        )
        self.step = QSpinBox()
        self.step.setRange(4, 256)
        self.step.setValue(8)
        self.step.setSuffix(" px")
        self.step.setToolTip(
            "Spacing of the superpixels that regions are built from. Nothing smaller than this "
            "is kept apart; larger steps are faster"
        )
        self.scale = QComboBox()
        for scale in SCALES:
            self.scale.addItem(f"{scale:g} ×", scale)
        self.scale.setCurrentIndex(SCALES.index(1.0))
        self.scale.setToolTip(
            "How large the network sees the image: 2 × finds small objects better, with a small "
            "step, and takes four times as long; below 1 × for objects that fill much of the image"
        )
        self.device = QComboBox()
        self.device.addItems(devices())
        self.device.setToolTip("Where the network runs; auto takes a CUDA GPU if there is one")
        self.precision = QComboBox()
        self.precision.addItems(PRECISIONS)
        self.precision.setToolTip(
            "What the network computes in: with bfloat16 it takes about half its time on "
            "processors that have it, and longer on others; some regions differ"
        )
        self._build()
        self._image.changed.connect(self.imageChanged)
        self.diameter.valueChanged.connect(self._on_diameter)
        self.step.valueChanged.connect(self._forget_diameter)
        self.scale.currentIndexChanged.connect(self._forget_diameter)
        self.model.currentIndexChanged.connect(self._on_model)
        self._on_model()

    def _build(self) -> None:
        weights = QToolButton()
        weights.setText("…")
        weights.setToolTip("Choose a weights file of your own (.safetensors)")
        weights.clicked.connect(self._choose_weights)
        model = QHBoxLayout()
        model.addWidget(self.model, 1)
        model.addWidget(weights)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("M&ask", self._mask.native)
        self._form.addRow("&Model", model)
        label = self._form.labelForField(model)
        if isinstance(label, QLabel):
            label.setBuddy(self.model)  # so that its key reaches the list
        self._form.addRow("", self._description)
        self._form.addRow("", self.fine_tune_button)
        self._form.addRow("Diam&eter", self.diameter)
        self._form.addRow("&Step", self.step)
        self._form.addRow("Sca&le", self.scale)
        self._form.addRow("&Device", self.device)
        self._form.addRow("&Precision", self.precision)
        keep_narrow(self._mask.native, self.model)

    def _masks(self, _: Any = None) -> list[tuple[str, Labels | None]]:
        labels = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        return [("none", None), *((layer.name, layer) for layer in labels)]

    def reset_choices(self, _: Any = None) -> None:
        """Offer the layers that are now in the viewer."""
        self._image.reset_choices()
        self._mask.reset_choices()

    @property
    def image_layer(self) -> Image | None:
        """The chosen image layer; None if there is none."""
        return self._image.layer

    @image_layer.setter
    def image_layer(self, layer: Image) -> None:
        self._image.layer = layer

    @property
    def mask_layer(self) -> Labels | None:
        """The chosen mask layer, if any."""
        return self._mask.value

    @mask_layer.setter
    def mask_layer(self, layer: Labels | None) -> None:
        self._mask.value = layer

    def source(self) -> Source:
        """The plane of the image that is to be segmented.

        Raises
        ------
        ImageError
            If there is no image, or no plane of it where the viewer stands.
        """
        return self._image.source()

    def mask_source(self) -> Source | None:
        """The plane of the mask, if one is chosen."""
        return None if self.mask_layer is None else source_of(self.mask_layer, self._viewer.dims)

    def parameters(self) -> Parameters:
        """What to call `napari_del.segment` with.

        Raises
        ------
        ParameterError
            If no channel is chosen, or one that does not exist.
        """
        return Parameters(
            model=self.model.value,
            step=self.step.value(),
            scale=self.scale.currentData() if self.scale.isEnabled() else 1.0,
            channels=self.channels.value,
            device=self.device.currentText(),
            precision=self.precision.currentText() if self.precision.isEnabled() else PRECISIONS[0],
        )

    def _on_model(self) -> None:
        self._description.setText(self.model.description)
        self.model.setToolTip(self.model.description)
        # Without a network nobody looks at the image.
        for control in (self.scale, self.precision):
            control.setEnabled(self.model.value != MEAN_COLOR)

    def _on_diameter(self, diameter: int) -> None:
        if diameter == 0:
            return
        suited = settings_for(diameter)
        with signals_blocked(self.step), signals_blocked(self.scale):
            self.step.setValue(suited["step"])
            self.scale.setCurrentIndex(SCALES.index(suited["scale"]))

    def _forget_diameter(self) -> None:
        """Show that the step and the scale were chosen by hand."""
        with signals_blocked(self.diameter):
            self.diameter.setValue(0)

    def _choose_weights(self) -> None:
        path, _ = QFileDialog.getOpenFileName(
            self, "Weights of a model", "", "safetensors (*.safetensors)"
        )
        if path:
            self.model.add_file(path)

    def set_ready(self, ready: bool) -> None:
        """Let the controls be changed, or not while a run goes on."""
        self.setEnabled(ready)
        self.setCursor(Qt.CursorShape.ArrowCursor if ready else Qt.CursorShape.BusyCursor)
