"""Sample images for napari: File > Open Sample > DEL region segmentation.

Nothing is downloaded: the photographs and micrographs come with scikit-image, the satellite
image comes with this package.
"""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from skimage import data

__all__ = [
    "cell",
    "chelsea",
    "coffee",
    "immunohistochemistry",
    "landsat",
    "retina",
    "rocket",
]

LayerData = tuple[NDArray[Any], dict[str, Any], str]


def _rgb(image: NDArray[np.uint8], name: str) -> list[LayerData]:
    return [(image, {"name": name, "rgb": True}, "image")]


def rocket() -> list[LayerData]:
    """Launch of a rocket: RGB, 427 x 640."""
    return _rgb(data.rocket(), "rocket")


def coffee() -> list[LayerData]:
    """Cup of coffee: RGB, 400 x 600."""
    return _rgb(data.coffee(), "coffee")


def chelsea() -> list[LayerData]:
    """Face of a cat: RGB, 300 x 451."""
    return _rgb(data.chelsea(), "cat")


def immunohistochemistry() -> list[LayerData]:
    """Glands of the colon, DAB and hematoxylin: RGB, 512 x 512."""
    return _rgb(data.immunohistochemistry(), "immunohistochemistry")


def retina() -> list[LayerData]:
    """Fundus of an eye: RGB, 1411 x 1411."""
    return _rgb(data.retina(), "retina")


def cell() -> list[LayerData]:
    """Cell in saline, quantitative phase: grey, 660 x 550, pixels of 0.107 um."""
    settings = {"name": "cell", "scale": (0.107, 0.107), "units": ("um", "um")}
    return [(data.cell(), settings, "image")]


def landsat() -> list[LayerData]:
    """Lake, fields and the edge of a scene: RGB uint16, 480 x 480, pixels of 30 m.

    The second layer is 1 where there are data: choose it as the mask to leave out the rest.

    Returns
    -------
    list of layer data tuples
        The image, stretched linearly so that it is bright enough to see (napari has no contrast
        limits for RGB), and the mask, hidden.
    """
    with as_file(files("napari_del") / "data" / "landsat8_itaipu.tif") as path:
        numbers = tifffile.imread(path)
    valid = numbers.any(axis=-1)
    low, high = np.percentile(numbers[valid], (0.5, 99.5), axis=0)
    image = (np.clip((numbers - low) / (high - low), 0, 1) * 65535).astype(np.uint16)
    image[~valid] = 0
    place = {"scale": (30.0, 30.0), "units": ("m", "m"), "axis_labels": ("y", "x")}
    mask = {"name": "landsat: has data", "visible": False, **place}
    return [
        (image, {"name": "landsat", "rgb": True, **place}, "image"),
        (valid.astype(np.uint8), mask, "labels"),
    ]
