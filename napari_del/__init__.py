"""Region segmentation of large scientific images by deep embedding learning."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_del import errors as errors
    from napari_del.models import list_models as list_models
    from napari_del.models import settings_for as settings_for
    from napari_del.pipeline import segment as segment
    from napari_del.segmentation import Segmentation as Segmentation
    from napari_del.segmentation import load as load
    from napari_del.superpixels import slic as slic
    from napari_del.tiles.run import segment_large as segment_large

__version__ = "0.1.0"

_HOME = {
    "Segmentation": "segmentation",
    "list_models": "models",
    "load": "segmentation",
    "segment": "pipeline",
    "segment_large": "tiles.run",
    "settings_for": "models",
    "slic": "superpixels",
}
__all__ = [
    "Segmentation",
    "errors",
    "list_models",
    "load",
    "segment",
    "segment_large",
    "settings_for",
    "slic",
]


def __getattr__(name: str) -> Any:
    # Public names are loaded when first used, so that importing the package is quick.
    if name in _HOME:
        return getattr(import_module(f"napari_del.{_HOME[name]}"), name)
    if name == "errors":
        return import_module("napari_del.errors")
    raise AttributeError(f"module 'napari_del' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
