"""Networks that look at images enlarged or reduced."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional

from napari_del import segment
from napari_del.errors import ParameterError
from napari_del.models import SCALES, check_scale, find_model, load_network
from napari_del.models.rescaled import RescaledNetwork
from napari_del.models.vgg16 import DelVgg16
from napari_del.tiles.memory import predict_run
from napari_del.tiles.plan import Plan

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def network():
    return load_network(find_model("del-lite"), CPU)


def noise(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) * 255


@pytest.mark.parametrize("scale", SCALES)
def test_windows_are_those_of_the_network_in_its_own_pixels(network, scale):
    rescaled = load_network(find_model("del-lite"), CPU, scale)
    for name in ("stride", "core", "margin", "output_stride"):
        assert getattr(rescaled, name) * scale == getattr(network, name)
    assert rescaled.embedding_dim == 64 and rescaled.has_boundary


@pytest.mark.parametrize("times", [2, 4])
def test_pixels_that_are_repeated_are_reduced_to_one(network, times):
    x = noise(1, 3, 64, 96)
    repeated = x.repeat_interleave(times, 2).repeat_interleave(times, 3)
    with torch.no_grad():
        found = RescaledNetwork(network, 1 / times)(repeated)
        expected = network(x)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_an_enlarged_image_has_a_finer_output(network):
    x = noise(1, 3, 48, 80)
    enlarged = functional.interpolate(x, (96, 160), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found, expected = RescaledNetwork(network, 2.0)(x), network(enlarged)
    assert found[0].shape == (1, 64, 48, 80) and found[1].shape == (1, 1, 48, 80)
    for one, two in zip(found, expected, strict=True):
        torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-3)


def test_an_output_finer_than_the_image_is_reduced_to_its_pixels():
    torch.manual_seed(0)
    network = DelVgg16().eval()
    rescaled = RescaledNetwork(network, 2.0)
    assert rescaled.output_stride == 1 and rescaled.stride == 16
    x = noise(1, 3, 32, 48)
    enlarged = functional.interpolate(x, (64, 96), mode="bilinear", align_corners=False)
    with torch.no_grad():
        found, none = rescaled(x)
        expected = functional.avg_pool2d(network(enlarged)[0], 2)
    assert none is None and found.shape == (1, 64, 32, 48)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", ["del-lite", "del-vgg16"])
@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0])
def test_a_core_of_the_output_is_that_of_all_of_it(network, name, scale):
    torch.manual_seed(0)
    inner = network if name == "del-lite" else DelVgg16().eval()
    rescaled = inner if scale == 1 else RescaledNetwork(inner, scale)
    x = noise(1, 3, 64, 128)
    core = (slice(9, 14), slice(3, 17))
    with torch.no_grad():
        for part, whole in zip(rescaled(x, core), rescaled(x), strict=True):
            if whole is None:
                assert part is None
            else:
                expected = whole[:, :, core[0], core[1]]
                torch.testing.assert_close(part, expected, rtol=1e-4, atol=1e-4)


def test_small_objects_are_found_enlarged():
    """Cells of 4 to 8 pixels: borders around them are stronger than those within."""

    def contrast(period, cell, scale):
        y, x = np.mgrid[:96, :96]
        cells = (y % period < cell) & (x % period < cell)
        image = np.where(cells, 150, 90) + np.random.default_rng(0).normal(0, 6, cells.shape)
        image = image.clip(0, 255).astype(np.uint8)
        result = segment(image, step=4, scale=scale, device="cpu")
        share = ndimage.mean(cells, result.superpixels, result.ids)  # of each superpixel
        tables = result._linkages.tables()
        apart = np.abs(np.diff(share[tables.edges], axis=1)[:, 0])
        weights = tables.edge_weights()
        return weights[apart > 0.8].mean() - weights[apart < 0.2].mean()

    # What a network makes of one size of cells is chance of its training.
    sizes = [(6, 4), (8, 5), (10, 7), (12, 8)]
    near, far = (np.mean([contrast(*size, scale) for size in sizes]) for scale in (2.0, 1.0))
    assert near > far + 0.1


@pytest.mark.parametrize("scale", [0, 3, 1.5, -1, float("nan"), "2", None, True])
def test_other_scales_are_refused(scale):
    with pytest.raises(ParameterError, match="scale is .*; expected 0.25, 0.5, 1, 2$"):
        segment(np.zeros((32, 32), np.uint8), scale=scale)


def test_without_a_network_there_is_one_scale():
    assert check_scale(1, find_model("mean-color")) == 1.0
    with pytest.raises(ParameterError, match="scale is 2; expected 1, because mean-color has no"):
        check_scale(2, find_model("mean-color"))


def test_the_same_memory_is_predicted_for_the_windows_of_each_scale():
    info = find_model("del-lite")
    tasks = []
    for scale in SCALES:
        network = load_network(info, CPU, scale)
        geometry = {k: getattr(network, k) for k in ("core", "margin", "stride", "output_stride")}
        plan = Plan((9000, 9000), 8, 512, scale=scale, **geometry)
        tasks.append(predict_run(plan, 3, np.uint8, info, 1).task)
    # Pixels of the image that are read for a window come on top where it is reduced.
    assert tasks[-1] < tasks[-2] < 1.1 * tasks[-1]
    assert tasks[-2] < tasks[0] < 2 * tasks[-2]
