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
    QSpinBox,
    QToolButton,
    QWidget,
)

from napari_del.errors import ImageError
from napari_del.widgets._channels import ChannelPicker
from napari_del.widgets._job import Parameters
from napari_del.widgets._models import ModelPicker, devices
from napari_del.widgets._source import (
    Source,
    channel_axes,
    guess_channel_axis,
    n_channels,
    source_of,
)

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
        self._image = ComboBox(choices=self._images, tooltip="Image layer to segment")
        self._mask = ComboBox(
            choices=self._masks,
            tooltip="Labels layer: only where it is not 0 is the image segmented",
        )
        self.channel_axis = QComboBox()
        self.channel_axis.setToolTip(
            "Axis that holds channels. Without one, the plane that is shown is segmented alone"
        )
        self.channels = ChannelPicker()
        self.model = ModelPicker()
        self._description = QLabel()
        self._description.setWordWrap(True)
        self._description.setStyleSheet("font-size: 11px; font-style: italic")
        self.step = QSpinBox()
        self.step.setRange(4, 256)
        self.step.setValue(8)
        self.step.setSuffix(" px")
        self.step.setToolTip(
            "Spacing of the superpixels that regions are built from. Nothing smaller than this "
            "is kept apart; larger steps are faster"
        )
        self.device = QComboBox()
        self.device.addItems(devices())
        self.device.setToolTip("Where the network runs; auto takes a CUDA GPU if there is one")
        self._build()
        self._image.changed.connect(self._on_image)
        self.channel_axis.currentIndexChanged.connect(self._on_channel_axis)
        self.model.currentIndexChanged.connect(self._on_model)
        self._on_model()
        self._on_image()

    def _build(self) -> None:
        weights = QToolButton()
        weights.setText("…")
        weights.setToolTip("Choose a weights file of your own (.safetensors)")
        weights.clicked.connect(self._choose_weights)
        model = QHBoxLayout()
        model.addWidget(self.model, 1)
        model.addWidget(weights)
        self._form = QFormLayout(self)
        self._form.setContentsMargins(0, 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._form.addRow("&Image", self._image.native)
        self._form.addRow("Channel a&xis", self.channel_axis)
        self._form.addRow("&Channels", self.channels)
        self._form.addRow("M&ask", self._mask.native)
        self._form.addRow("&Model", model)
        label = self._form.labelForField(model)
        if isinstance(label, QLabel):
            label.setBuddy(self.model)  # so that its key reaches the list
        self._form.addRow("", self._description)
        self._form.addRow("&Step", self.step)
        self._form.addRow("&Device", self.device)
        for combo in (self._image.native, self._mask.native, self.model, self.channel_axis):
            # Long layer names must not widen the dock.
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            combo.setMinimumContentsLength(8)

    def _images(self, _: Any = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _masks(self, _: Any = None) -> list[tuple[str, Labels | None]]:
        labels = [layer for layer in self._viewer.layers if isinstance(layer, Labels)]
        return [("none", None), *((layer.name, layer) for layer in labels)]

    def reset_choices(self, _: Any = None) -> None:
        """Offer the layers that are now in the viewer."""
        before = self.image_layer
        self._image.reset_choices()
        self._mask.reset_choices()
        if self.image_layer is not before:
            self._on_image()

    @property
    def image_layer(self) -> Image | None:
        """The chosen image layer; None if there is none."""
        return self._image.value

    @image_layer.setter
    def image_layer(self, layer: Image) -> None:
        self._image.value = layer

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
        if self.image_layer is None:
            raise ImageError(
                "there is no image layer to segment; open an image or one of the samples first"
            )
        return source_of(self.image_layer, self._viewer.dims, self.channel_axis.currentData())

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
            channels=self.channels.value,
            device=self.device.currentText(),
        )

    def _on_image(self) -> None:
        layer = self.image_layer
        labels = () if layer is None else layer.axis_labels
        axes = [] if layer is None else channel_axes(layer)
        self.channel_axis.blockSignals(True)
        self.channel_axis.clear()
        self.channel_axis.addItem("none", None)
        for axis in axes:
            self.channel_axis.addItem(f"{axis}: {labels[axis]}", axis)
        guess = None if layer is None else guess_channel_axis(layer)
        self.channel_axis.setCurrentIndex(max(self.channel_axis.findData(guess), 0))
        self.channel_axis.blockSignals(False)
        self._form.setRowVisible(self.channel_axis, bool(axes))
        self._on_channel_axis()
        self.imageChanged.emit()

    def _on_channel_axis(self) -> None:
        layer, axis = self.image_layer, self.channel_axis.currentData()
        n = 1 if layer is None else n_channels(layer, axis)
        rgb = layer is not None and layer.rgb
        names = list("RGBA"[:n]) if rgb else [str(channel) for channel in range(n)]
        # Transparency says nothing about regions.
        self.channels.set_channels(names, unticked=(3,) if rgb else ())
        self._form.setRowVisible(self.channels, n > 1)

    def _on_model(self) -> None:
        self._description.setText(self.model.description)
        self.model.setToolTip(self.model.description)

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
