"""numba, PyTorch and any number of threads come to the same superpixels."""

from __future__ import annotations

import os

import numpy as np
import pytest

from napari_del import slic
from napari_del.superpixels import _slic_cpu, _slic_torch, slic_features
from napari_del.superpixels.grid import Grid

# Shape, channels, step, pitch, iterations, share of pixels that take part.
CASES = [
    ((1, 1), 1, 8, 160, 5, 1.0),
    ((33, 47), 3, 8, 160, 5, 1.0),
    ((33, 47), 3, 8, 160, 5, 0.3),
    ((40, 25), 1, 5, 16, 3, 0.02),
    ((37, 30), 6, 7, 1, 2, 0.9),
    ((29, 35), 3, 8, 16000, 5, 1.0),  # distances beyond 31 bits
    ((29, 35), 5, 8, 16000, 5, 0.5),
    ((18, 90), 2, 64, 160, 5, 1.0),
    ((9, 9), 1, 4, 160, 2, 0.0),
]


def case(shape, channels, share, seed=0):
    rng = np.random.default_rng(seed)
    features = rng.integers(-1600, 1601, (channels, *shape)).astype(np.int16)
    return features, None if share == 1 else rng.random(shape) < share


def check_torch(device, shape, channels, step, pitch, iterations, share):
    features, mask = case(shape, channels, share)
    grid = Grid(shape, step)
    expected = _slic_cpu.assign(features, mask, grid, pitch, iterations)
    found = _slic_torch.assign(features, mask, grid, pitch, iterations, device)
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("parameters", CASES, ids=str)
def test_pytorch_on_the_cpu_equals_numba(parameters):
    check_torch("cpu", *parameters)


@pytest.mark.gpu
@pytest.mark.parametrize("parameters", CASES, ids=str)
def test_pytorch_on_cuda_equals_numba(parameters):
    check_torch("cuda", *parameters)


@pytest.mark.gpu
def test_superpixels_on_cuda_equal_those_on_the_cpu():
    image = np.random.default_rng(1).integers(0, 256, (200, 300, 3), np.uint8)
    image[50:120, 60:210] //= 4
    np.testing.assert_array_equal(slic(image, device="cuda"), slic(image, device="cpu"))


def test_wide_and_narrow_integers_are_both_tried():
    largest = _slic_cpu.magnitudes(case((29, 35), 3, 1.0)[0])
    narrow, wide = (_slic_cpu.distance_bound(largest, pitch) for pitch in (160, 16000))
    assert narrow < 2**31 <= wide


def test_magnitudes_are_of_whole_planes():
    features = np.random.default_rng(3).integers(-900, 900, (3, 700, 900)).astype(np.int16)
    features[0, 699, 0], features[1, 0, 899] = -1000, 2000
    features[2] = 0
    assert _slic_cpu.magnitudes(features).tolist() == [1000, 2000, 0]


def test_the_bound_of_distances_holds_at_the_extremes():
    # All values at their ends, centres two cells apart: what comes up must fit 32 bits.
    pitch = 1000
    features = np.full((3, 24, 24), 1600, np.int16)
    features[:, ::2] = -1600
    bound = _slic_cpu.distance_bound(_slic_cpu.magnitudes(features), pitch)
    largest = 3 * 1600**2 + 2 * (3 * pitch) ** 2  # square of the longest vector
    assert bound >= 16 * largest + 2 * 16 * largest


@pytest.mark.parametrize("share", [1.0, 0.4])
def test_the_number_of_threads_changes_nothing(monkeypatch, share):
    # Wide enough for several parts of rows in every kernel.
    features, mask = case((150, 500), 3, share, seed=2)
    found = []
    for threads in ("1", "2", "64"):
        monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", threads)
        found.append(slic_features(features, step=4, mask=mask))
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.skipif(
    len(getattr(os, "sched_getaffinity", lambda _: [0])(0)) < 2, reason="one core alone"
)
def test_two_threads_work_on_parts(monkeypatch):
    from napari_del import _threads

    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", "2")
    parts = []
    _threads.parallel_for(lambda a, b: parts.append((a, b)), 150, grain=9)
    assert len(parts) > 1
