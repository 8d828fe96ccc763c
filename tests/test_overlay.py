"""Pictures of a segmentation."""

from __future__ import annotations

import numpy as np
import pytest

from napari_del.errors import ImageError, ParameterError
from napari_del.overlay import COLOUR, overlay

LABELS = np.ones((40, 60), np.int32)
LABELS[10:30, 20:50] = 2
LINES = np.zeros(LABELS.shape, bool)
LINES[9, 20:50] = LINES[29, 20:50] = LINES[10:30, 19] = LINES[10:30, 49] = True


@pytest.mark.parametrize("brightness", [0, 128, 255])
def test_lines_lie_on_the_borders_and_stand_out(brightness: int) -> None:
    image = np.full((40, 60, 3), brightness, np.uint8)
    picture = overlay(image, LABELS)
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal((picture == COLOUR).all(-1), LINES)
    beside = picture[11:29, 20].astype(int).sum(-1)
    assert (sum(COLOUR) - beside > 150).all()
    assert (picture[:8] == brightness).all()
    assert (picture[13:27, 23:46] == brightness).all()


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint16", "float32", "float64"])
@pytest.mark.parametrize("channels", [None, 1, 2, 3, 5])
def test_any_image_is_shown_over_the_whole_range(dtype: str, channels: int | None) -> None:
    shape = (40, 60) if channels is None else (40, 60, channels)
    ramp = np.broadcast_to(np.linspace(0, 1, 60)[:, None], (40, 60, 1))
    values = ramp > 0.5 if dtype == "bool" else ramp * (255 if dtype == "uint8" else 4000)
    image = np.broadcast_to(values, (40, 60, channels or 1)).reshape(shape).astype(dtype)
    picture = overlay(image, np.ones((40, 60), int))
    assert picture.shape == (40, 60, 3)
    if not (dtype == "bool" and channels == 3):
        assert picture.min() < 5
        assert picture.max() > 250


def test_chosen_channels_are_shown() -> None:
    image = np.zeros((40, 60, 4), np.uint8)
    image[..., 3] = np.arange(60)
    picture = overlay(image, np.ones((40, 60), int), channels=[3])
    assert picture[0, -1].tolist() == [255, 255, 255]


def test_missing_values_are_shown_without_a_second_warning() -> None:
    image = np.linspace(0, 1, 2400, dtype=np.float32).reshape(40, 60)
    image[:5] = np.nan
    assert overlay(image, LABELS)[-1, -1].tolist() == [255, 255, 255]


def test_fill_shows_the_mean_colours(two_tone: np.ndarray) -> None:
    labels = np.where(two_tone[..., 0] < 130, 1, 2)
    picture = overlay(two_tone, labels, fill=1.0)
    for number in (1, 2):
        inside = labels == number
        mean = two_tone[inside].mean(axis=0)
        pixels = picture[inside]
        assert (np.abs(pixels - mean).max(axis=1) <= 1).mean() > 0.5


def test_lines_widen_with_the_image() -> None:
    labels = np.ones((4, 6000), int)
    labels[:, 3000:] = 2
    assert (overlay(np.zeros((4, 6000), np.uint8), labels)[0, :, 0] == 255).sum() == 4
    assert (overlay(np.zeros((4, 6000), np.uint8), labels, width=1)[0, :, 0] == 255).sum() == 1


def test_bad_arguments() -> None:
    image = np.zeros((40, 60), np.uint8)
    with pytest.raises(ImageError, match=r"\(3, 3\).*\(40, 60\)"):
        overlay(image, np.ones((3, 3), int))
    with pytest.raises(ParameterError, match="1.5"):
        overlay(image, LABELS, fill=1.5)
    with pytest.raises(ParameterError, match="width is 0"):
        overlay(image, LABELS, width=0)
