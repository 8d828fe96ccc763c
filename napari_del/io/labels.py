"""Write regions as a label image that lies on top of the image they come from."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import tifffile

from napari_del.errors import OutputError
from napari_del.io._image import ImageMetadata
from napari_del.io._tiff_metadata import GDAL_NODATA
from napari_del.io.outputs import check_output, replacing

__all__ = ["LABELS_SUFFIXES", "write_labels"]

LABELS_SUFFIXES = (".tif", ".tiff")
# Offsets in classic TIFF have 32 bits. Labels compress well, but not with certainty.
BIGTIFF_BYTES = 2**32 - 2**25
# Units of the OME schema that images have; with others the file would not validate.
OME_UNITS = ("pm", "Å", "nm", "µm", "mm", "cm", "dm", "m", "km", "in", "ft", "pixel")


def write_labels(
    path: str | os.PathLike[str],
    labels: npt.NDArray[np.integer[Any]],
    metadata: ImageMetadata | None = None,
    *,
    overwrite: bool = False,
) -> None:
    """Write a label image as a TIFF file, with the geometry of the image it belongs to.

    The file is losslessly compressed (deflate) and holds uint16 where the labels fit, else
    uint32. It is a GeoTIFF, an ImageJ or an OME-TIFF where the image was one. ImageJ has no
    uint32; labels that need it become an OME-TIFF with the same pixel size. A GeoTIFF says
    that 0 is nodata.

    Parameters
    ----------
    path : path-like
        File to write, with suffix ``.tif`` or ``.tiff``.
    labels : ndarray of int
        Shape (Y, X), no negative values.
    metadata : ImageMetadata, optional
        Geometry, from `read_image`.
    overwrite : bool
        Whether a file that exists is replaced.

    Raises
    ------
    OutputError
        If the file exists and `overwrite` is not set, has another suffix or cannot be
        written, or if `labels` is not a label image. Nothing is left behind then.

    Examples
    --------
    >>> import tempfile, numpy as np
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_labels(folder + "/labels.tif", np.eye(3, dtype=int))
    ...     tifffile.imread(folder + "/labels.tif").dtype
    dtype('uint16')
    """
    path = check_output(path, LABELS_SUFFIXES, overwrite=overwrite)
    metadata = metadata or ImageMetadata()
    if labels.ndim != 2 or labels.dtype.kind not in "iu" or labels.size == 0:
        raise OutputError(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; "
            "expected whole numbers of shape (Y, X)"
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= 2**32:
        raise OutputError(f"labels run from {low} to {high}; expected 0 to {2**32 - 1}")
    data = labels.astype(np.uint16 if high < 2**16 else np.uint32, copy=False)
    arguments = _arguments(metadata, data.dtype)
    kind = {name: arguments.pop(name) for name in ("imagej", "ome") if name in arguments}
    # "ome" is spelt out since tifffile would else go by the end of the file's name.
    kind.setdefault("ome", False)
    with replacing(path, overwrite=overwrite) as temporary:
        bigtiff = data.nbytes > BIGTIFF_BYTES and not kind.get("imagej", False)
        with tifffile.TiffWriter(temporary, bigtiff=bigtiff, **kind) as writer:
            writer.write(
                data, photometric="minisblack", compression="zlib", software=False, **arguments
            )


def _arguments(metadata: ImageMetadata, dtype: np.dtype[Any]) -> dict[str, Any]:
    """Arguments of `tifffile.imwrite` that store the geometry."""
    arguments: dict[str, Any] = {"metadata": None}
    if metadata.resolution is not None:
        arguments["resolution"] = metadata.resolution
        arguments["resolutionunit"] = metadata.resolution_unit
    if metadata.kind == "geotiff":
        tags = [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in metadata.geo_tags]
        tags.append((GDAL_NODATA, 2, 2, "0", True))
        arguments["extratags"] = tags
    elif metadata.kind == "imagej" and dtype == np.uint16:
        arguments["imagej"] = True
        arguments["metadata"] = {} if metadata.unit is None else {"unit": _ascii(metadata.unit)}
    elif metadata.pixel_size is not None and metadata.unit in OME_UNITS:
        height, width = metadata.pixel_size
        arguments["ome"] = True
        arguments["metadata"] = {
            "axes": "YX",
            "PhysicalSizeX": width,
            "PhysicalSizeXUnit": metadata.unit,
            "PhysicalSizeY": height,
            "PhysicalSizeYUnit": metadata.unit,
        }
    return arguments


def _ascii(unit: str) -> str:
    """Write the unit as ImageJ does: in ASCII."""
    return unit.replace("µ", "\\u00B5").encode("ascii", "replace").decode()
