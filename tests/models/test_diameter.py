"""Scale and step that suit objects of a diameter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from napari_del import segment, settings_for
from napari_del.errors import ModelError, ParameterError
from napari_del.models import SCALES
from napari_del.superpixels.grid import check_step


def test_smaller_objects_are_looked_at_larger_and_cut_finer():
    before = (math.inf, 0)
    for diameter in (0.5, 5, 17, 23.9, 24, 30, 43.9, 44, 100, 5000):
        found = settings_for(diameter)
        assert set(found) == {"scale", "step"}
        assert found["scale"] in SCALES and check_step(found["step"]) == found["step"]
        assert found["scale"] <= before[0] and found["step"] >= before[1]
        before = found["scale"], found["step"]
    assert settings_for(10) == {"scale": 2.0, "step": 6}
    assert settings_for(30) == {"scale": 1.0, "step": 6}
    assert settings_for(200) == {"scale": 1.0, "step": 8}


def test_numbers_of_numpy_are_taken():
    assert settings_for(np.float32(10)) == settings_for(np.int64(10)) == settings_for(10)


def test_a_model_without_a_network_has_one_scale():
    found = settings_for(10, "mean-color")
    assert found == {"scale": 1.0, "step": 6}
    result = segment(np.zeros((40, 48), np.uint8), model="mean-color", **found)
    assert result.parameters["step"] == 6


@pytest.mark.parametrize("diameter", [0, -3, math.nan, math.inf, True, "20", None])
def test_what_is_no_diameter_is_refused(diameter):
    with pytest.raises(ParameterError, match=rf"diameter is {diameter!r}; expected that of"):
        settings_for(diameter)


def test_an_unknown_model_is_refused():
    with pytest.raises(ModelError, match="del-lit"):
        settings_for(10, "del-lit")
