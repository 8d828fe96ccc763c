"""Make docs/images/fine-tune.png: the fine-tuning widget with painted labels.

    python docs/screenshot_fine_tune.py

Needs a display; without one, run it under ``xvfb-run``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari
import numpy as np
from PIL import Image
from qtpy.QtCore import QEventLoop
from screenshot import SIZE, wait

OUTPUT = Path(__file__).parent / "images" / "fine-tune.png"
BRUSH = 8
# Strokes of a brush along borders in the coffee sample: label, centre and radii of an ellipse
# as rows and columns, and the part of it in degrees, clockwise from the right.
STROKES = [
    (1, (150, 294), (38, 80), (20, 200)),  # coffee
    (2, (150, 294), (54, 98), (20, 200)),  # inside of the cup
    (3, (220, 280), (159, 193), (70, 175)),  # saucer
    (4, (220, 280), (175, 209), (70, 175)),  # table
    (3, (220, 280), (159, 193), (-40, 25)),
    (4, (220, 280), (175, 209), (-40, 25)),
]


def paint(shape: tuple[int, int]) -> np.ndarray:
    """Labels as a user would paint them with a round brush."""
    labels = np.zeros(shape, np.uint8)
    y, x = np.mgrid[: shape[0], : shape[1]]
    for label, (row, column), (height, width), part in STROKES:
        for angle in np.radians(np.arange(*part)):
            distance = np.hypot(
                y - row - height * np.sin(angle), x - column - width * np.cos(angle)
            )
            labels[(distance <= BRUSH) & (labels == 0)] = label
    return labels


def main() -> None:
    """Paint labels on a sample in a viewer and save a picture of the window."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--after", type=int, default=0, help="steps until the picture is taken (0: before a run)"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-del", "coffee")
    image = viewer.layers[0]
    viewer.add_labels(paint(image.data.shape[:2]), name="painted", opacity=0.7)
    title = "Fine-tune on painted labels (DEL)"
    _, widget = viewer.window.add_plugin_dock_widget("napari-del", title)
    wait(500)
    viewer.reset_view()
    loop = QEventLoop()

    def picture(stage: str, done: int, total: int) -> None:
        if (stage, done) != ("training", options.after):
            return
        wait(500)
        shot = viewer.window.screenshot(canvas_only=False, flash=False)
        # 256 colours: a third of the size, and no difference to the eye.
        Image.fromarray(shot[..., :3]).quantize(256).save(options.output, optimize=True)
        widget.cancel()

    if options.after:
        widget.finished.connect(loop.quit)
        widget._reported.connect(picture)
        widget.run_button.click()
        loop.exec()
    else:
        picture("training", 0, 0)
    viewer.close()


if __name__ == "__main__":
    main()
