"""The models: which there are, where their weights lie, and how they are loaded.

Weights are read from safetensors files alone, never from pickles. Those that ship with the
package or were installed as user models are checked against their SHA-256.
"""

from __future__ import annotations

from napari_del.models.device import resolve_device
from napari_del.models.diameter import SizeSettings, settings_for
from napari_del.models.info import (
    MEAN_COLOR,
    PRECISIONS,
    SCALES,
    ModelInfo,
    Network,
    check_precision,
    check_scale,
)
from napari_del.models.loading import load_merge_function, load_network
from napari_del.models.registry import find_model, list_models
from napari_del.models.user import check_model_name, install_model, models_folder, remove_model

__all__ = [
    "MEAN_COLOR",
    "PRECISIONS",
    "SCALES",
    "ModelInfo",
    "Network",
    "SizeSettings",
    "check_model_name",
    "check_precision",
    "check_scale",
    "find_model",
    "install_model",
    "list_models",
    "load_merge_function",
    "load_network",
    "models_folder",
    "remove_model",
    "resolve_device",
    "settings_for",
]
