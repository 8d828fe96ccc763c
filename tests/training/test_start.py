"""The weights that a training starts with."""

from __future__ import annotations

import torch

from napari_del.training.config import NetworkConfig
from napari_del.training.start import initial_network
from napari_del.training.weights import export_weights
from tests.training.painted import new_network


def test_the_mean_of_two_networks_lies_half_way(tmp_path):
    files = [tmp_path / f"{seed}.safetensors" for seed in (1, 2)]
    for seed, path in enumerate(files, start=1):
        export_weights(new_network(seed), path, {})
    one, two = (initial_network(NetworkConfig(initial=str(path)), 0) for path in files)
    mean = initial_network(NetworkConfig(initial=str(files[0]), average_with=str(files[1])), 0)
    expected = two.state_dict()
    different = 0
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(mean.state_dict()[name], (tensor + expected[name]) / 2)
        different += not torch.equal(tensor, expected[name])
    assert different > 5
