"""Read images and write labels and segmentations."""

from __future__ import annotations

from napari_del.io._pictures import write_png
from napari_del.io.images import Image, ImageMetadata, read_image, read_mask
from napari_del.io.labels import write_labels
from napari_del.io.lazy import OpenImage, open_image, open_mask
from napari_del.io.outputs import check_output, replacing

__all__ = [
    "Image",
    "ImageMetadata",
    "OpenImage",
    "check_output",
    "open_image",
    "open_mask",
    "read_image",
    "read_mask",
    "replacing",
    "write_labels",
    "write_png",
]
