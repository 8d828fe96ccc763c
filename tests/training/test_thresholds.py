"""Default thresholds in the metadata of a weights file."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from napari_del.errors import ParameterError
from napari_del.models import find_model
from napari_del.training.thresholds import set_default_thresholds


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "mine.safetensors"
    save_file({"a": np.arange(6, dtype=np.float16)}, path, {"architecture": "del-lite"})
    return path


def test_thresholds_are_what_the_registry_reads(weights):
    digest = set_default_thresholds(weights, {"average": 0.7, "del": 0.25})
    assert digest == hashlib.sha256(weights.read_bytes()).hexdigest()
    info = find_model(weights)
    assert info.architecture == "del-lite"
    assert info.default_thresholds["average"] == 0.7
    assert info.default_thresholds["del"] == 0.25
    np.testing.assert_array_equal(load_file(weights)["a"], np.arange(6))
    assert [path.name for path in weights.parent.iterdir()] == [weights.name]


@pytest.mark.parametrize("wrong", [{"ward": 0.5}, {"average": 1.5}, {"del": float("nan")}])
def test_wrong_thresholds_leave_the_file_alone(weights, wrong):
    before = weights.read_bytes()
    with pytest.raises(ParameterError):
        set_default_thresholds(weights, wrong)
    assert weights.read_bytes() == before
