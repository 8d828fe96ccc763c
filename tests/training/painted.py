"""Small annotated images that training tests share."""

from __future__ import annotations

import numpy as np
from safetensors import safe_open

from napari_del.evaluation.datasets import AnnotatedImage
from napari_del.models.lite import DelLite
from tests.models.efficientnet import unfolded


def disc(seed, side=64):
    """A textured disc on a textured ground, as two people would outline it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    distance = np.hypot(y - rng.integers(25, 40), x - rng.integers(25, 40))
    labels = np.stack([distance < 18, distance < 19]).astype(np.int32)
    colours = rng.integers(30, 226, (2, 3))
    image = colours[labels[0]] + rng.integers(-30, 31, (side, side, 3))
    return AnnotatedImage(str(seed), image.clip(0, 255).astype(np.uint8), labels)


def new_network(seed=0, encoder="lite0"):
    """A network with weights drawn by chance, the same each time."""
    import torch

    network = DelLite(encoder)
    network.load_imagenet(unfolded(network.encoder).state_dict())
    network.initialise(torch.Generator().manual_seed(seed))
    return network


def content(path):
    """Metadata and tensors; the order of the metadata in the file is chance."""
    with safe_open(path, framework="numpy") as file:
        return file.metadata(), {name: file.get_tensor(name).tobytes() for name in file.keys()}  # noqa: SIM118
