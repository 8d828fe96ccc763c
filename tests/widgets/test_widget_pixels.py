"""What is really on the screen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

Open = Callable[..., tuple[Any, Any]]
Run = Callable[[Any], Any]


def share_of(picture: np.ndarray, colour: np.ndarray) -> float:
    """Share of a picture's pixels that have a colour, but for rounding."""
    near = np.abs(picture[..., :3].astype(int) - np.round(colour[:3] * 255)) <= 3
    return float(near.all(axis=-1).mean())


def test_regions_appear_in_their_colours_and_follow_the_slider(
    open_widget: Open, run: Run, patches: np.ndarray, qtbot: Any
) -> None:
    viewer, widget = open_widget(np.repeat(patches[..., :1], 3, axis=-1), show=True)
    layer = run(widget)
    layer.opacity = 1
    viewer.reset_view()  # the dock has taken room from the canvas
    for n in (3, 8):
        widget.regions.regions.setValue(n)
        qtbot.wait(200)
        picture = viewer.screenshot(canvas_only=True, flash=False)
        numbers, sizes = np.unique(layer.data, return_counts=True)
        assert numbers.size == n
        # The image does not fill the canvas, so its share of it is taken out.
        colours = np.array([layer.get_color(number) for number in numbers])
        shares = np.array([share_of(picture, colour) for colour in colours])
        alone = [(np.abs(colours - colour).max(axis=1) < 0.02).sum() == 1 for colour in colours]
        assert np.sum(alone) >= n - 2  # napari may give two regions much the same colour
        canvas = shares.sum()
        assert canvas > 0.2
        for share, size, is_alone in zip(shares, sizes, alone, strict=True):
            if is_alone:
                assert abs(share / canvas - size / layer.data.size) < 0.03
    layer.visible = False
    qtbot.wait(50)
    grey = viewer.screenshot(canvas_only=True, flash=False)
    assert max(share_of(grey, colour) for colour in colours) < 0.01


def test_the_whole_dock_fits_a_small_screen(
    open_widget: Open, run: Run, patches: np.ndarray
) -> None:
    viewer, widget = open_widget(patches, show=True)
    run(widget)
    assert widget.minimumSizeHint().height() <= 640
    assert widget.minimumSizeHint().width() <= 320
    assert widget.regions.min_size.isVisible()
    del viewer
