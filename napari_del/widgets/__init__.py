"""The napari dock widget. Only this subpackage imports napari and Qt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_del.widgets.segment import SegmentWidget as SegmentWidget

__all__ = ["SegmentWidget"]


def __getattr__(name: str) -> Any:
    # Loaded when first used, so that the plugin's parts that need no Qt work without it.
    if name == "SegmentWidget":
        from napari_del.widgets.segment import SegmentWidget

        return SegmentWidget
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
