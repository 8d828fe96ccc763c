"""The network of the paper: its table of layers, and what each step computes."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional

from napari_del.models.vgg16 import DelVgg16

# Inputs, outputs, kernel, padding, dilation of each convolution, from the paper and from the
# published definition of the network.
CONVOLUTIONS = {
    "conv1_1": (3, 64, 3, 1, 1),
    "conv1_2": (64, 64, 3, 1, 1),
    "conv2_1": (64, 128, 3, 1, 1),
    "conv2_2": (128, 128, 3, 1, 1),
    "conv3_1": (128, 256, 3, 1, 1),
    "conv3_2": (256, 256, 3, 1, 1),
    "conv3_3": (256, 256, 3, 1, 1),
    "conv4_1": (256, 512, 3, 1, 1),
    "conv4_2": (512, 512, 3, 1, 1),
    "conv4_3": (512, 512, 3, 1, 1),
    "conv5_1": (512, 512, 3, 2, 2),
    "conv5_2": (512, 512, 3, 2, 2),
    "conv5_3": (512, 512, 3, 2, 2),
    "conv1_2_down": (64, 32, 3, 1, 1),
    "conv2_2_down": (128, 64, 3, 1, 1),
    "conv3_3_down": (256, 128, 3, 1, 1),
    "conv4_3_down": (512, 256, 3, 1, 1),
    "conv5_3_down": (512, 256, 3, 1, 1),
    "conv1_2_refeat": (32, 32, 1, 0, 1),
    "conv2_2_refeat": (64, 64, 1, 0, 1),
    "conv3_3_refeat": (128, 64, 1, 0, 1),
    "conv4_3_refeat": (256, 128, 1, 0, 1),
    "conv5_3_refeat": (256, 128, 1, 0, 1),
    "conv_dim": (416, 256, 3, 1, 1),
    "conv_dsp": (256, 64, 1, 0, 1),
}
NORMS = {
    "conv1_2_norm": 32,
    "conv2_2_norm": 64,
    "conv3_3_norm": 64,
    "conv4_3_norm": 128,
    "conv5_3_norm": 128,
}


@pytest.fixture(scope="module")
def network() -> DelVgg16:
    return DelVgg16(generator=torch.Generator().manual_seed(1)).eval()


def image(height: int, width: int, *, batch: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, height, width, generator=generator) * 255


def reference(network: DelVgg16, x: torch.Tensor) -> torch.Tensor:
    """The published definition, written out with transposed convolutions and a concatenation."""
    state = network.state_dict()

    def convolve(name: str, x: torch.Tensor) -> torch.Tensor:
        _, _, _, padding, dilation = CONVOLUTIONS[name]
        return functional.conv2d(
            x, state[f"{name}.weight"], state[f"{name}.bias"], padding=padding, dilation=dilation
        )

    size = x.shape[-2:]
    mean = torch.tensor([104.00698793, 116.66876762, 122.67891434])
    x = x[:, [2, 1, 0]] - mean[:, None, None]
    parts = []
    for stage, (layers, factor) in enumerate([(2, 1), (2, 2), (3, 4), (3, 8), (3, 8)], start=1):
        for layer in range(1, layers + 1):
            name = f"conv{stage}_{layer}"
            x = convolve(name, x).relu()
        part = convolve(f"{name}_refeat", convolve(f"{name}_down", x).relu())
        norm = (part.square().sum(dim=1, keepdim=True) + 1e-10).sqrt()
        part = part / norm * state[f"{name}_norm.weight"][:, None, None]
        if factor > 1:
            ramp = 1 - (torch.arange(2 * factor) - (factor - 0.5)).abs() / factor
            kernel = torch.outer(ramp, ramp).expand(part.shape[1], 1, -1, -1)
            part = functional.conv_transpose2d(part, kernel, stride=factor, groups=part.shape[1])
            offset = factor // 2
            part = part[..., offset : offset + size[0], offset : offset + size[1]]
        parts.append(part)
        if stage < 4:
            x = functional.max_pool2d(x, 2, 2, ceil_mode=True)
        else:
            x = functional.max_pool2d(x, 3, 1, padding=1)
    return convolve("conv_dsp", convolve("conv_dim", torch.cat(parts, dim=1)).relu())


def test_class_attributes() -> None:
    assert DelVgg16.architecture == "del-vgg16"
    assert DelVgg16.stride == 32
    assert DelVgg16.output_stride == 1
    assert DelVgg16.embedding_dim == 64
    assert DelVgg16.has_boundary is False


def test_layers_are_those_of_the_paper(network: DelVgg16) -> None:
    children = dict(network.named_children())
    assert set(children) == set(CONVOLUTIONS) | set(NORMS)
    for name, (inputs, outputs, kernel, padding, dilation) in CONVOLUTIONS.items():
        layer = children[name]
        assert isinstance(layer, nn.Conv2d)
        assert (layer.in_channels, layer.out_channels) == (inputs, outputs), name
        assert layer.kernel_size == (kernel, kernel), name
        assert layer.padding == (padding, padding), name
        assert layer.dilation == (dilation, dilation), name
        assert layer.stride == (1, 1), name
        assert layer.bias is not None, name
    for name, channels in NORMS.items():
        torch.testing.assert_close(children[name].weight.detach(), torch.full((channels,), 20.0))


def test_state_holds_what_is_learned_and_nothing_else(network: DelVgg16) -> None:
    names = {f"{name}.{kind}" for name in CONVOLUTIONS for kind in ("weight", "bias")}
    assert set(network.state_dict()) == names | {f"{name}.weight" for name in NORMS}
    count = sum(o * i * k * k + o for i, o, k, _, _ in CONVOLUTIONS.values()) + sum(NORMS.values())
    assert sum(value.numel() for value in network.parameters()) == count == 18_516_640
    trunk = sum(
        network.get_submodule(name).weight.numel() + network.get_submodule(name).bias.numel()
        for name in CONVOLUTIONS
        if re.fullmatch(r"conv\d_\d", name)
    )
    assert trunk == 14_714_688  # VGG16 without its classifier


@pytest.mark.parametrize("size", [(32, 64), (33, 45), (8, 8), (1, 1), (5, 50)])
def test_equals_the_published_definition(network: DelVgg16, size: tuple[int, int]) -> None:
    x = image(*size, batch=2)
    with torch.inference_mode():
        embedding, boundary = network(x)
        expected = reference(network, x)
    assert boundary is None
    assert embedding.shape == (2, 64, *size)
    assert embedding.dtype == torch.float32
    torch.testing.assert_close(embedding, expected, rtol=1e-4, atol=1e-4)


def test_input_is_not_changed(network: DelVgg16) -> None:
    x = image(16, 16)
    before = x.clone()
    with torch.inference_mode():
        network(x)
    assert torch.equal(x, before)


def test_side_outputs_have_norm_20_at_each_pixel(network: DelVgg16) -> None:
    generator = torch.Generator().manual_seed(3)
    for name, channels in NORMS.items():
        x = torch.randn(2, channels, 5, 7, generator=generator) * 1000
        y = network.get_submodule(name)(x)
        torch.testing.assert_close(y.norm(dim=1), torch.full((2, 5, 7), 20.0))
        torch.testing.assert_close(y / 20, x / x.norm(dim=1, keepdim=True))
    # The first side output is not enlarged, so it shows in the joined features as it is.
    with torch.inference_mode():
        features = network.features(image(16, 24))
    assert features.shape == (1, 416, 16, 24)
    torch.testing.assert_close(features[:, :32].norm(dim=1), torch.full((1, 16, 24), 20.0))


def test_pixel_of_zeros_stays_zero_and_passes_a_finite_gradient(network: DelVgg16) -> None:
    x = torch.zeros(1, 32, 2, 2, requires_grad=True)
    y = network.get_submodule("conv1_2_norm")(x)
    y.sum().backward()
    assert torch.equal(y, torch.zeros_like(y))
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


def test_half_precision_norm_does_not_overflow(network: DelVgg16) -> None:
    x = torch.full((1, 32, 1, 1), 3000.0, dtype=torch.float16)
    y = network.get_submodule("conv1_2_norm")(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(
        y.float().norm(dim=1), torch.full((1, 1, 1), 20.0), rtol=1e-2, atol=0
    )


def test_shift_by_8_pixels_shifts_the_output_and_a_shift_by_4_does_not(network: DelVgg16) -> None:
    # Far from the left and right borders, which the deepest side output sees from afar.
    pattern = image(24, 8)

    def response(at: int) -> torch.Tensor:
        x = torch.full((1, 3, 24, 288), 120.0)
        x[..., at : at + 8] = pattern
        with torch.inference_mode():
            return network.features(x)[0, -128:, :, at - 12 : at + 20]

    at_136 = response(136)
    torch.testing.assert_close(response(144), at_136, rtol=1e-3, atol=1e-3)
    assert (response(140) - at_136).abs().max() > 0.1


def test_deeper_side_outputs_see_farther(network: DelVgg16) -> None:
    x = torch.full((1, 3, 24, 288), 120.0)
    y = x.clone()
    y[..., 12, 144] = 255
    with torch.inference_mode():
        changed = (network.features(x) - network.features(y))[0].abs() > 1e-4
    reach = []
    for part in changed.split((32, 64, 64, 128, 128)):
        columns = torch.nonzero(part.any(0).any(0)).flatten() - 144
        reach.append(int(columns.abs().max()))
    # conv1_1, conv1_2 and conv1_2_down reach one pixel each. Behind conv4_3 come pool4 with one
    # cell of 8 pixels and conv5 with three times two.
    assert reach[0] == 3
    assert reach == sorted(reach)
    assert 3 * 2 * 8 <= reach[4] - reach[3] <= (1 + 3 * 2) * 8


def test_weights_follow_from_the_generator() -> None:
    first = DelVgg16(generator=torch.Generator().manual_seed(5))
    second = DelVgg16(generator=torch.Generator().manual_seed(5))
    assert all(
        torch.equal(a, b)
        for a, b in zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    )
    global_state = torch.get_rng_state()
    second.reset_parameters(torch.Generator().manual_seed(6))
    assert torch.equal(torch.get_rng_state(), global_state)
    assert not torch.equal(
        first.state_dict()["conv5_3.weight"], second.state_dict()["conv5_3.weight"]
    )


def test_every_parameter_learns(network: DelVgg16) -> None:
    network.zero_grad()
    network(image(16, 16))[0].square().mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name
    network.zero_grad()
