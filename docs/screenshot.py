"""Make docs/images/widget.png: the dock widget with a segmented sample.

    python docs/screenshot.py --model del-lite

Needs a display; without one, run it under ``xvfb-run``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import napari
from PIL import Image
from qtpy.QtCore import QEventLoop, QTimer

OUTPUT = Path(__file__).parent / "images" / "widget.png"
SIZE = (1240, 800)


def wait(milliseconds: int) -> None:
    """Let the interface work for a while."""
    loop = QEventLoop()
    QTimer.singleShot(milliseconds, loop.quit)
    loop.exec()


def main() -> None:
    """Segment a sample in a viewer and save a picture of the window."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="del-lite")
    parser.add_argument("--sample", default="immunohistochemistry")
    parser.add_argument("--regions", type=int, help="default: those of the default threshold")
    parser.add_argument("--min-size", type=int, default=200, help="in pixels")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()

    viewer = napari.Viewer(show=True, show_welcome_screen=False)
    viewer.window.resize(*SIZE)
    viewer.open_sample("napari-del", options.sample)
    _, widget = viewer.window.add_plugin_dock_widget("napari-del", "Segment regions (DEL)")
    widget.parameters.model.setCurrentText(options.model)
    widget.parameters.image_layer = viewer.layers[0]
    wait(500)
    loop = QEventLoop()
    widget.finished.connect(loop.quit)
    widget.run_button.click()
    loop.exec()
    if widget.session is None:
        raise SystemExit(f"nothing was segmented: {widget.status.text()}")
    widget.regions.min_size.setValue(options.min_size)
    if options.regions is not None:
        widget.regions.regions.setValue(options.regions)
    widget.labels_layer.opacity = 0.5
    viewer.reset_view()
    wait(1000)
    picture = viewer.window.screenshot(canvas_only=False, flash=False)
    # 256 colours: a third of the size, and no difference to the eye.
    Image.fromarray(picture[..., :3]).quantize(256).save(options.output, optimize=True)
    viewer.close()


if __name__ == "__main__":
    main()
