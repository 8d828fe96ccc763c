"""The whole of `segment` against the bare network forward on the same windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from benchmarks._images import natural_image
from benchmarks._measure import Comparison, Options, compare
from napari_del import segment
from napari_del._threads import limit_torch
from napari_del.embedding import canonical_windows
from napari_del.models import Network, find_model, load_network, resolve_device


def windows_of(network: Network, image: np.ndarray) -> list[torch.Tensor]:
    """The network's inputs for `image`, ready to be run; sides are multiples of the stride."""
    windows = canonical_windows(
        image.shape[:2], core=network.core, margin=network.margin, stride=network.stride
    )
    return [
        torch.from_numpy(image[window.extent].astype(np.float32)).permute(2, 0, 1)[None]
        for window in windows
    ]


def forward(network: Network, inputs: list[torch.Tensor]) -> None:
    with limit_torch(), torch.inference_mode():
        for x in inputs:
            network(x)


def rows(options: Options) -> Iterator[Comparison]:
    side = 768 if options.quick else 2048
    image = natural_image(side, side)
    network = load_network(find_model(options.model), resolve_device("cpu"))
    inputs = windows_of(network, image)
    yield compare(
        f"segment, {side} x {side} RGB, {options.model_name}",
        ("napari_del.segment", lambda: segment(image, model=options.model, device="cpu")),
        ("network alone", lambda: forward(network, inputs)),
        rounds=3 if options.quick else 5,
        at_most=1.25,
        note=f"{len(inputs)} windows of up to {max(x.shape[2] for x in inputs)} pixels",
    )
