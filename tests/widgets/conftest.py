"""A real viewer with the real dock widget in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RUN_TIMEOUT = 120_000  # ms: the first run on a machine compiles the kernels


@pytest.fixture
def plugin() -> None:
    """The plugin is known to napari, even where the checkout is not installed."""
    from npe2 import PluginManager

    manager = PluginManager.instance()
    manager.discover()
    if "napari-del" not in manager:
        manager.register(str(ROOT / "napari.yaml"))


@pytest.fixture
def open_widget(
    make_napari_viewer: Callable[..., Any], plugin: None
) -> Callable[..., tuple[Any, Any]]:
    """Open a viewer with these images and the dock widget, set to the quick model."""

    def open_viewer(*images: np.ndarray, show: bool = False, **options: Any) -> tuple[Any, Any]:
        viewer = make_napari_viewer(show=show)
        for number, image in enumerate(images):
            viewer.add_image(image, name=f"image {number}", **options)
        title = "Segment regions (DEL)"
        _, widget = viewer.window.add_plugin_dock_widget("napari-del", title)
        widget.parameters.model.setCurrentText("mean-color")
        return viewer, widget

    return open_viewer


@pytest.fixture
def run(qtbot: Any) -> Callable[[Any], Any]:
    """Press the button, wait for the end, and give the labels layer."""

    def press(widget: Any) -> Any:
        with qtbot.waitSignal(widget.finished, timeout=RUN_TIMEOUT):
            widget.run_button.click()
            assert widget.is_running
        return widget.labels_layer

    return press


@pytest.fixture
def notes() -> Iterator[list[str]]:
    """Messages of the notifications that napari shows."""
    from napari.utils.notifications import notification_manager

    messages: list[str] = []

    def collect(event: Any) -> None:
        messages.append(str(event.message))

    notification_manager.notification_ready.connect(collect)
    yield messages
    notification_manager.notification_ready.disconnect(collect)


@pytest.fixture(scope="session")
def patches() -> np.ndarray:
    """A uint8 RGB image, 96 x 128, of 48 patches of different colours with a little noise."""
    rng = np.random.default_rng(1)
    colours = rng.integers(30, 226, (6, 8, 3))
    image = np.kron(colours, np.ones((16, 16, 1), int))
    return (image + rng.integers(-6, 7, image.shape)).astype(np.uint8)


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two label images differ in nothing but the numbers of the regions."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1).shape[1]
    return pairs == np.unique(a).size == np.unique(b).size
