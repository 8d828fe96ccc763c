"""Choice of channels."""

from __future__ import annotations

from typing import Any

import pytest

from napari_del.errors import ParameterError
from napari_del.widgets._channels import ChannelPicker, parse_channels


@pytest.mark.parametrize(
    ("text", "channels"),
    [("", None), ("  ", None), ("3", (3,)), ("2, 0", (0, 2)), ("1-3,2 - 4", (1, 2, 3, 4))],
)
def test_parse(text: str, channels: tuple[int, ...] | None) -> None:
    assert parse_channels(text, 5) == channels


@pytest.mark.parametrize("text", ["5", "x", "1,,2", "3-1", "-1", "2-9"])
def test_parse_names_what_is_wrong(text: str) -> None:
    with pytest.raises(ParameterError, match="expected numbers and ranges from 0 to 4"):
        parse_channels(text, 5)


def test_boxes_for_a_few(qtbot: Any) -> None:
    picker = ChannelPicker()
    qtbot.addWidget(picker)
    picker.set_channels(list("RGBA"), unticked=(3,))
    assert picker.value == (0, 1, 2)
    red, green, blue, alpha = picker._boxes
    alpha.click()
    assert picker.value is None
    for box in (green, blue, alpha):
        box.click()
    assert picker.value == (0,)
    picker.set_channels(list("RGBA"), unticked=(3,))
    assert picker.value == (0,)  # the same channels keep the choice
    red.click()
    with pytest.raises(ParameterError, match="tick at least one"):
        _ = picker.value


def test_text_for_many(qtbot: Any) -> None:
    picker = ChannelPicker()
    qtbot.addWidget(picker)
    picker.set_channels(list("RGB"))
    picker.set_channels([str(n) for n in range(200)])
    assert picker.value is None
    picker._text.setText("10-12, 150")
    assert picker.value == (10, 11, 12, 150)
