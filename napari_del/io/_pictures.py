"""PNG and JPEG pictures, by Pillow."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps

from napari_del.io._image import Image
from napari_del.io._nodata import combine, valid_pixels
from napari_del.io.outputs import check_output, replacing

__all__ = ["read_picture", "write_png"]

_lock = threading.Lock()


def read_picture(path: Path, *, nodata: float | None) -> Image:
    """Read a PNG or JPEG file; see `napari_del.io.read_image`."""
    if _has_16_bit_colour(path) and find_spec("imagecodecs") is not None:
        return _read_16_bit_colour(path, nodata=nodata)
    with _any_size(), PillowImage.open(path, formats=("PNG", "JPEG", "MPO")) as opened:
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode in ("P", "PA", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    elif picture.mode == "1":
        picture = picture.convert("L")
    elif picture.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        picture = picture.convert("RGB")
    data: npt.NDArray[Any] = np.array(picture)
    mask = None
    if picture.mode in ("RGBA", "LA"):
        mask = data[..., -1] > 0
        data = data[..., :-1] if picture.mode == "RGBA" else data[..., 0]
    if picture.mode == "I":  # how Pillow opens some 16-bit grey PNGs
        data = data.astype(np.uint16)
    return _image(data, mask, nodata)


def _image(
    data: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None, nodata: float | None
) -> Image:
    if nodata is not None:
        mask = combine(mask, valid_pixels(data, nodata))
    return Image(np.ascontiguousarray(data), combine(mask, None))


def _has_16_bit_colour(path: Path) -> bool:
    """Tell by its header whether a file is a PNG of which Pillow would drop the low bits."""
    with path.open("rb") as file:
        header = file.read(26)
    return (
        header.startswith(b"\x89PNG")
        and len(header) == 26
        and header[24:]
        in (
            b"\x10\x02",
            b"\x10\x04",
            b"\x10\x06",
        )
    )


def _read_16_bit_colour(path: Path, *, nodata: float | None) -> Image:
    import imagecodecs

    data = np.asarray(imagecodecs.imread(path, codec="png"))
    if data.shape[-1] == 3:
        return _image(data, None, nodata)
    return _image(
        data[..., 0] if data.shape[-1] == 2 else data[..., :-1], data[..., -1] > 0, nodata
    )


def write_png(
    path: str | os.PathLike[str], picture: npt.NDArray[np.uint8], *, overwrite: bool = False
) -> None:
    """Write a picture as a PNG file.

    Parameters
    ----------
    path : path-like
        File to write, with suffix ``.png``.
    picture : ndarray of uint8
        Shape (Y, X) or (Y, X, 3).
    overwrite : bool
        Whether a file that exists is replaced.

    Raises
    ------
    OutputError
        If the file exists and `overwrite` is not set, has another suffix or cannot be
        written. Nothing is left behind then.
    """
    path = check_output(path, (".png",), overwrite=overwrite)
    with replacing(path, overwrite=overwrite) as temporary:
        PillowImage.fromarray(picture).save(temporary, format="PNG")


@contextmanager
def _any_size() -> Iterator[None]:
    """Let Pillow open large pictures: the limit guards servers, not a user's own files."""
    with _lock:
        before = PillowImage.MAX_IMAGE_PIXELS
        PillowImage.MAX_IMAGE_PIXELS = None
        try:
            yield
        finally:
            PillowImage.MAX_IMAGE_PIXELS = before
