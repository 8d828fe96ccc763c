"""Tiled runs on a GPU against `segment` on the same GPU, by SHA-256."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from napari_del import segment_large
from napari_del.models.device import turn_on
from tests.tiles.scenes import digests, in_memory, scene

SHAPE = (1101, 1303)

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module", params=["mean-color", "del-lite"])
def model(request):
    return request.param


@pytest.fixture(scope="module", params=["natural", "nodata"])
def case(request, model):
    image, nodata = scene(request.param, SHAPE)
    return image, nodata, digests(in_memory(image, nodata, model=model, device="cuda"))


@pytest.mark.parametrize(
    ("block", "workers", "scheduler"),
    [(256, 4, "threads"), (511, 1, "threads"), (1303, 2, "threads"), (511, 2, "processes")],
)
def test_the_tiling_changes_nothing(model, case, block, workers, scheduler, tmp_path):
    image, nodata, expected = case
    result = segment_large(
        image, tmp_path / "store", model=model, nodata=nodata, device="cuda", block=block,
        workers=workers, scheduler=scheduler,
    )  # fmt: skip
    assert digests(result) == expected


def of_small_picture():
    return digests(in_memory(*scene("natural", (300, 420)), model="del-lite", device="cuda"))


@pytest.fixture(scope="module")
def exact():
    """Computed before a test changes any setting."""
    return of_small_picture()


@pytest.fixture(params=["older", "newer"])
def rough_products(request):
    """The calling program multiplies in TensorFloat-32, by either interface of PyTorch."""
    matmul = torch.backends.cuda.matmul
    if request.param == "older":
        torch.set_float32_matmul_precision("medium")
        yield torch.get_float32_matmul_precision
        torch.set_float32_matmul_precision("highest")
    elif not hasattr(matmul, "fp32_precision"):
        pytest.skip("a PyTorch without it")
    else:
        before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
        yield lambda: matmul.fp32_precision
        matmul.fp32_precision = before


def test_settings_of_the_calling_program_change_nothing(exact, rough_products, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    rough = rough_products()
    assert of_small_picture() == exact
    assert rough_products() == rough
    assert torch.backends.cudnn.enabled
    assert torch.backends.cudnn.benchmark


def test_numbers_of_32_bits_are_computed_in_32_bits():
    x = torch.rand((1, 64, 64, 64), device="cuda", generator=torch.Generator("cuda").manual_seed(0))
    weight = torch.rand((64, 64, 3, 3), device="cuda") - 0.5
    truth = torch.nn.functional.conv2d(x.double(), weight.double())
    with turn_on(torch.device("cuda")):
        found = torch.nn.functional.conv2d(x, weight)
    assert (found - truth).abs().max() < 1e-4


def test_threads_take_turns():
    inside, most = [], []

    def work():
        for _ in range(20):
            with turn_on(torch.device("cuda")):
                inside.append(1)
                most.append(len(inside))
                np.linalg.norm(np.ones(10_000))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(most) == 80
    assert max(most) == 1
