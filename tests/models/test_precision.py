"""Networks that compute in bfloat16."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from skimage import data

from napari_del import segment
from napari_del.errors import ParameterError
from napari_del.models import find_model, load_network
from napari_del.models.precision import Bfloat16Network
from napari_del.models.vgg16 import DelVgg16

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photograph():
    return data.chelsea()[50:210, 100:324]


def test_outputs_are_those_of_32_bits_but_for_their_last_digits(photograph):
    info = find_model("del-lite")
    exact, quick = (load_network(info, CPU, precision=p) for p in ("float32", "bfloat16"))
    x = torch.from_numpy(np.ascontiguousarray(photograph)).permute(2, 0, 1)[None].float()
    with torch.inference_mode():
        expected, found = exact(x), quick(x)
        again = exact(x)
    for one, two, three in zip(expected, found, again, strict=True):
        assert two.dtype == torch.float32
        difference = (one - two).abs()
        # 8 bits in each of about fifty layers.
        assert 0 < difference.mean() < 0.05 * one.std()
        assert torch.equal(one, three)  # the network itself is as it was


def test_superpixels_are_the_same_and_edges_nearly(photograph):
    exact = segment(photograph, device="cpu")
    quick = segment(photograph, device="cpu", precision="bfloat16")
    assert quick.parameters["precision"] == "bfloat16"
    np.testing.assert_array_equal(quick.superpixels, exact.superpixels)
    difference = np.abs(quick.boundary - exact.boundary)
    assert 0 < difference.mean() < 0.02
    difference = np.abs(quick.embeddings - exact.embeddings)
    assert 0 < difference.mean() < 0.05 * exact.embeddings.std()


def test_with_a_scale_and_without_a_boundary(photograph):
    result = segment(photograph, scale=2.0, device="cpu", precision="bfloat16")
    expected = segment(photograph, scale=2.0, device="cpu")
    assert 0 < np.abs(result.boundary - expected.boundary).mean() < 0.02
    torch.manual_seed(0)
    network = DelVgg16().eval()
    x = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 255
    with torch.inference_mode():
        embedding, boundary = Bfloat16Network(network)(x)
        exact, _ = network(x)
    assert boundary is None and embedding.dtype == torch.float32
    assert 0 < (embedding - exact).abs().mean() < 0.1 * exact.std()


@pytest.mark.parametrize(
    ("model", "precision", "expected"),
    [
        ("del-lite", "float16", "'float16'; expected float32 or bfloat16$"),
        ("del-lite", 16, "is 16; expected"),
        ("mean-color", "bfloat16", "expected float32, because mean-color has no network"),
    ],
)
def test_precisions_that_are_not_known(model, precision, expected):
    with pytest.raises(ParameterError, match=expected):
        segment(np.zeros((32, 32), np.uint8), model=model, precision=precision)


@pytest.mark.gpu
def test_on_a_gpu(photograph):
    exact, quick = (
        segment(photograph, device="cuda", precision=p) for p in ("float32", "bfloat16")
    )
    assert 0 < np.abs(quick.boundary - exact.boundary).mean() < 0.02
