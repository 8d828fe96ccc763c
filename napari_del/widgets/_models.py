"""What the parameter controls offer: models and devices."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

from qtpy.QtCore import Qt
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QWidget

from napari_del import list_models

__all__ = ["ModelPicker", "devices"]

_PREFERRED = ("del-lite", "mean-color")


def devices() -> list[str]:
    """Devices to choose from: "cuda" only where its driver is installed.

    Asks for the driver's library rather than PyTorch, which takes seconds to load; if PyTorch
    was built without CUDA after all, the run says so.

    Returns
    -------
    list of str
        "auto" first.
    """
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        ctypes.CDLL(library)
    except OSError:
        return ["auto", "cpu"]
    return ["auto", "cpu", "cuda"]


class ModelPicker(QComboBox):
    """Choice of a model; those whose weights are missing are shown but cannot be chosen."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        for row, model in enumerate(list_models()):
            self.addItem(model.name, model.name)
            description = " ".join(model.description.split())
            if not model.available:
                description += (
                    ". The weights of this model are not installed: convert or download them, "
                    "then choose the .safetensors file with the button beside this list"
                )
                items = self.model()
                item = items.item(row) if isinstance(items, QStandardItemModel) else None
                if item is not None:
                    item.setEnabled(False)
            self.setItemData(row, description, Qt.ItemDataRole.ToolTipRole)
        available = [model.name for model in list_models() if model.available]
        for name in reversed(_PREFERRED):
            if name in available:
                self.setCurrentText(name)

    @property
    def value(self) -> str:
        """Name of the model, or path of a weights file."""
        return str(self.currentData())

    @property
    def description(self) -> str:
        """What the chosen model is."""
        return str(self.currentData(Qt.ItemDataRole.ToolTipRole))

    def add_file(self, path: str | Path) -> None:
        """Offer a user's own weights file and choose it."""
        path = Path(path)
        row = self.findData(str(path))
        if row < 0:
            self.addItem(path.name, str(path))
            row = self.count() - 1
            self.setItemData(row, f"Your own weights: {path}", Qt.ItemDataRole.ToolTipRole)
        self.setCurrentIndex(row)
