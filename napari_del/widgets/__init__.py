"""The napari dock widgets. Only this subpackage imports napari and Qt."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_del.widgets.fine_tune import FineTuneWidget as FineTuneWidget
    from napari_del.widgets.segment import SegmentWidget as SegmentWidget

_HOME = {"FineTuneWidget": "fine_tune", "SegmentWidget": "segment"}
__all__ = ["FineTuneWidget", "SegmentWidget"]


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that the plugin's parts that need no Qt work without it.
    if name in _HOME:
        return getattr(import_module(f"napari_del.widgets.{_HOME[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
