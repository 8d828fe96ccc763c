"""The rows of a form that choose an image layer, its channel axis and its channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox
from napari.layers import Image
from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QComboBox, QFormLayout

from napari_del.errors import ImageError
from napari_del.widgets._channels import ChannelPicker
from napari_del.widgets._source import (
    Source,
    channel_axes,
    guess_channel_axis,
    n_channels,
    source_of,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["ImageRows", "keep_narrow"]


def keep_narrow(*combos: QComboBox) -> None:
    """Let long layer names be cut off rather than widen the dock."""
    for combo in combos:
        combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        combo.setMinimumContentsLength(8)


class ImageRows(QObject):
    """Controls for an image, each in a row of a form; rows of no use are hidden.

    Parameters
    ----------
    viewer : napari.Viewer
        Its image layers are offered; layers that come and go are followed by `reset_choices`.
    form : QFormLayout
        Rows are added at its end.
    tooltip : str
        What the image is for.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, form: QFormLayout, *, tooltip: str) -> None:
        super().__init__(form)
        self._viewer = viewer
        self._form = form
        self.image = ComboBox(choices=self._images, tooltip=tooltip)
        self.channel_axis = QComboBox()
        self.channel_axis.setToolTip(
            "Axis that holds channels. Without one, only the plane that is shown is used"
        )
        self.channels = ChannelPicker()
        form.addRow("&Image", self.image.native)
        form.addRow("Channel a&xis", self.channel_axis)
        form.addRow("&Channels", self.channels)
        keep_narrow(self.image.native, self.channel_axis)
        self.image.changed.connect(self._on_image)
        self.channel_axis.currentIndexChanged.connect(self._on_channel_axis)
        self._on_image()

    def _images(self, _: Any = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def reset_choices(self) -> None:
        """Offer the layers that are now in the viewer."""
        before = self.layer
        self.image.reset_choices()
        if self.layer is not before:
            self._on_image()

    @property
    def layer(self) -> Image | None:
        """The chosen image layer; None if there is none."""
        return self.image.value

    @layer.setter
    def layer(self, layer: Image) -> None:
        self.image.value = layer

    def source(self) -> Source:
        """The plane of the image that the viewer shows.

        Raises
        ------
        ImageError
            If there is no image, or no plane of it where the viewer stands.
        """
        if self.layer is None:
            raise ImageError(
                "there is no image layer to segment; open an image or one of the samples first"
            )
        return source_of(self.layer, self._viewer.dims, self.channel_axis.currentData())

    def _on_image(self) -> None:
        layer = self.layer
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
        self.changed.emit()

    def _on_channel_axis(self) -> None:
        layer, axis = self.layer, self.channel_axis.currentData()
        n = 1 if layer is None else n_channels(layer, axis)
        rgb = layer is not None and layer.rgb
        names = list("RGBA"[:n]) if rgb else [str(channel) for channel in range(n)]
        # Transparency says nothing about regions.
        self.channels.set_channels(names, unticked=(3,) if rgb else ())
        self._form.setRowVisible(self.channels, n > 1)
