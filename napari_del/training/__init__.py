"""Training of networks on images with people's segmentations."""

from __future__ import annotations

from napari_del.training.finetune import fine_tune
from napari_del.training.settings import TrainingSettings
from napari_del.training.train import train

__all__ = ["TrainingSettings", "fine_tune", "train"]
