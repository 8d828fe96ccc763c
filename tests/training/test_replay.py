"""What a network knew is kept."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from napari_del.training.replay import Replay, replay_images
from tests.training.painted import new_network


@pytest.fixture(scope="module")
def network():
    return new_network()


@pytest.fixture(scope="module")
def images():
    return replay_images()


def test_pictures_of_many_kinds_come_with_the_installation(images):
    assert len(images) >= 10
    assert all(image.dtype == np.uint8 and image.shape[2:] == (3,) for image in images)


def test_a_network_that_has_not_changed_costs_nothing(network, images):
    replay = Replay(network, images, size=64)
    assert replay(network, 0).item() == pytest.approx(0, abs=1e-6)


def test_what_moves_costs_as_much_as_it_moves(network, images):
    replay = Replay(network, images, size=64, weight=2.0)
    moved = copy.deepcopy(network)
    with torch.no_grad():
        moved.head.bias[:3] += 0.25
    assert replay(moved, 0).item() == pytest.approx(2 * 3 * 0.25, rel=1e-4)
    with torch.no_grad():
        moved.head.bias[64] += 1.0
    assert replay(moved, 0).item() > 2 * 3 * 0.25 + 1e-3
    replay(moved, 1).backward()
    assert moved.head.bias.grad.abs().sum() > 0 and network.head.bias.grad is None


def test_steps_look_at_different_windows_and_the_same_again(network, images):
    replay = Replay(network, images, size=64)
    moved = copy.deepcopy(network)
    with torch.no_grad():
        moved.last.weight += 0.01
        found = [replay(moved, step).item() for step in (0, 1, 2, 0)]
    assert found[0] == found[3] and len(set(found)) == 3


def test_a_picture_smaller_than_the_window_will_do(network):
    replay = Replay(network, [np.zeros((40, 50, 3), np.uint8)], size=64)
    assert torch.isfinite(replay(network, 0))
