"""What the parameter controls offer: models and devices."""

from __future__ import annotations

import ctypes
import sys
from functools import cache
from pathlib import Path

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtGui import QStandardItemModel
from qtpy.QtWidgets import QComboBox, QWidget

from napari_del import list_models

__all__ = ["ModelEvents", "ModelPicker", "devices", "model_events"]

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


class ModelEvents(QObject):
    """What happens to the models, for all widgets that are open.

    Attributes
    ----------
    installed : Signal
        A user model was installed; its name.
    """

    installed = Signal(str)


@cache
def model_events() -> ModelEvents:
    """The one object that tells of the models of this process."""
    return ModelEvents()


class ModelPicker(QComboBox):
    """Choice of a model; those whose weights are missing are shown but cannot be chosen.

    Parameters
    ----------
    architecture : str, optional
        Offer the models of this network alone.
    """

    def __init__(self, parent: QWidget | None = None, *, architecture: str | None = None) -> None:
        super().__init__(parent)
        self._architecture = architecture
        self._files: list[Path] = []
        self._fill()

    def _fill(self) -> None:
        items = self.model()
        for model in list_models():
            if self._architecture not in (None, model.architecture):
                continue
            self.addItem(model.name, model.name)
            row = self.count() - 1
            description = " ".join(model.description.split())
            if not model.available:
                if model.kind == "built-in":
                    description += (
                        ". The weights of this model are not installed: convert or download "
                        "them, then choose the .safetensors file with the button beside this list"
                    )
                item = items.item(row) if isinstance(items, QStandardItemModel) else None
                if item is not None:
                    item.setEnabled(False)
            self.setItemData(row, description, Qt.ItemDataRole.ToolTipRole)
        for path in self._files:
            self.addItem(path.name, str(path))
            tip = f"Your own weights: {path}"
            self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        for name in reversed(_PREFERRED):
            self._choose(name)

    def _choose(self, value: str) -> None:
        row = self.findData(value)
        items = self.model()
        item = items.item(row) if isinstance(items, QStandardItemModel) else None
        if row >= 0 and (item is None or item.isEnabled()):
            self.setCurrentIndex(row)

    @property
    def value(self) -> str:
        """Name of the model, or path of a weights file."""
        return str(self.currentData())

    @property
    def description(self) -> str:
        """What the chosen model is."""
        return str(self.currentData(Qt.ItemDataRole.ToolTipRole))

    def refresh(self) -> None:
        """Offer the models that there are now; the choice stays if it is among them."""
        before = self.value
        self.blockSignals(True)
        self.clear()
        self._fill()
        self._choose(before)
        self.blockSignals(False)
        self.currentIndexChanged.emit(self.currentIndex())

    def select(self, name: str) -> None:
        """Choose a model that may have been installed just now."""
        self.refresh()
        self._choose(name)

    def showPopup(self) -> None:
        """Show the list, with models that were installed since, as on the command line."""
        self.refresh()
        super().showPopup()

    def add_file(self, path: str | Path) -> None:
        """Offer a user's own weights file and choose it."""
        path = Path(path)
        if path not in self._files:
            self._files.append(path)
        self.select(str(path))
