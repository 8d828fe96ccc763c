"""Training of networks on images with people's segmentations."""

from __future__ import annotations

from napari_del.training.train import TrainingSettings, train

__all__ = ["TrainingSettings", "train"]
