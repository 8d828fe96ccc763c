"""What a reader of image files returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from napari_del._mapped import Mapped
from napari_del.io._nodata import combine, valid_pixels

__all__ = ["GeoTag", "Image", "ImageMetadata", "OpenImage"]


@dataclass(frozen=True)
class GeoTag:
    """A TIFF tag that places an image on the ground, as it stands in the file.

    Attributes
    ----------
    code : int
        Number of the tag, such as 33550 for ModelPixelScaleTag.
    dtype : int
        TIFF data type of the values.
    count : int
        Number of values.
    value : str, bytes or tuple of numbers
        The values.
    """

    code: int
    dtype: int
    count: int
    value: Any


@dataclass(frozen=True)
class ImageMetadata:
    """The geometry of an image file: what a labels file needs to lie on top of the image.

    Attributes
    ----------
    kind : {"plain", "geotiff", "imagej", "ome"}
        Convention in which the geometry was stored, and in which labels are written.
    pixel_size : tuple of float or None
        Height and width of a pixel in `unit`.
    unit : str or None
        Unit of `pixel_size`, such as ``"µm"``.
    resolution : tuple of two (int, int) or None
        TIFF tags XResolution and YResolution: pixels per `resolution_unit`, as fractions.
    resolution_unit : int
        TIFF tag ResolutionUnit: 1 for none, 2 for inch, 3 for centimetre.
    geo_tags : tuple of GeoTag
        Tags of GeoTIFF and GDAL, without those that describe single bands.
    """

    kind: Literal["plain", "geotiff", "imagej", "ome"] = "plain"
    pixel_size: tuple[float, float] | None = None
    unit: str | None = None
    resolution: tuple[tuple[int, int], tuple[int, int]] | None = None
    resolution_unit: int = 1
    geo_tags: tuple[GeoTag, ...] = ()


@dataclass(frozen=True)
class Image:
    """An image that was read from a file.

    Attributes
    ----------
    data : ndarray
        Pixels, (Y, X) or (Y, X, C), in the data type of the file.
    mask : ndarray of bool or None
        Shape (Y, X), True where there is image. None where the file excludes no pixel.
    metadata : ImageMetadata
        Geometry, to be handed to `write_labels`.
    """

    data: npt.NDArray[Any]
    mask: npt.NDArray[np.bool_] | None = None
    metadata: ImageMetadata = field(default_factory=ImageMetadata)


@dataclass(frozen=True)
class OpenImage:
    """An image in a file, of which parts are read when they are asked for.

    Attributes
    ----------
    data : array
        Pixels, (Y, X) or (Y, X, C), with shape, dtype and slicing. It pickles by the name of
        its file, except for pictures, which are in memory.
    mask : array or None
        Shape (Y, X), True where there is image, with shape and slicing. None where the file
        has none.
    nodata : float or None
        Pixels that have this value in every channel are excluded beside those of the mask.
    metadata : ImageMetadata
        Geometry, to be handed to `write_labels`.
    """

    data: Any
    mask: Any = None
    nodata: float | None = None
    metadata: ImageMetadata = field(default_factory=ImageMetadata)

    def load(self) -> Image:
        """Read all of it into memory."""
        # Kernels and tensors take arrays in the byte order of the machine.
        native = self.data.dtype.newbyteorder("=")
        data = np.ascontiguousarray(np.asarray(self.data), dtype=native)
        if Mapped.of(data) is not None:
            data = data.copy()
        mask = None if self.mask is None else np.asarray(self.mask)
        if self.nodata is not None:
            mask = combine(mask, valid_pixels(data, self.nodata))
        return Image(data, combine(mask, None), self.metadata)
