"""Write regions as a label image that lies on top of the image they come from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from napari_del.errors import OutputError
from napari_del.io._image import ImageMetadata
from napari_del.io._tiff_metadata import GDAL_NODATA
from napari_del.io.export_labels import label_range, write_ome_zarr, write_tiles
from napari_del.io.outputs import check_output, replacing, replacing_folder

__all__ = ["LABELS_SUFFIXES", "write_labels"]

LABELS_SUFFIXES = (".tif", ".tiff", ".ome.zarr")
# Offsets in classic TIFF have 32 bits. Labels compress well, but not with certainty.
BIGTIFF_BYTES = 2**32 - 2**25
# Units of the OME schema that images have; with others the file would not validate.
OME_UNITS = ("pm", "Å", "nm", "µm", "mm", "cm", "dm", "m", "km", "in", "ft", "pixel")


def write_labels(
    path: str | os.PathLike[str],
    labels: Any,
    metadata: ImageMetadata | None = None,
    *,
    highest: int | None = None,
    pyramid: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> None:
    """Write a label image with the geometry of the image it belongs to, as TIFF or OME-Zarr.

    The file is losslessly compressed and holds uint16 where the labels fit, else uint32.

    A TIFF file is a GeoTIFF, an ImageJ or an OME-TIFF where the image was one. ImageJ has no
    uint32, and here no tiles; labels that need either become an OME-TIFF with the same pixel
    size. A GeoTIFF says that 0 is nodata. Dask arrays and pyramids are written as tiles, and as
    BigTIFF where a classic file might not suffice.

    OME-Zarr always has a pyramid of every second pixel, and of the geometry the size of a pixel.

    Of a dask array no more than a few windows are held at a time.

    Parameters
    ----------
    path : path-like
        File to write, with suffix ``.tif`` or ``.tiff``, or folder with suffix ``.ome.zarr``.
    labels : ndarray or dask array of int
        Shape (Y, X), no negative values.
    metadata : ImageMetadata, optional
        Geometry, from `read_image`.
    highest : int, optional
        Highest label, such as `Segmentation.n_regions`. Without it, a dask array is computed
        twice: for its range, and to be written.
    pyramid : bool
        Whether a TIFF file has levels of every second pixel, as SubIFDs. A dask array is
        computed again for each.
    overwrite : bool
        Whether a file or folder that exists is replaced.
    progress : callable, optional
        Called as ``progress(done, total)`` with numbers of pixels while tiles are written. An
        exception that it raises ends the writing.

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
    if len(labels.shape) != 2 or labels.dtype.kind not in "iu" or 0 in labels.shape:
        raise OutputError(
            f"labels have shape {labels.shape} and dtype {labels.dtype}; "
            "expected whole numbers of shape (Y, X)"
        )
    if highest is None:
        low, high = label_range(labels)
    else:
        low, high = 0, highest
    if low < 0 or high >= 2**32:
        raise OutputError(f"labels run from {low} to {high}; expected 0 to {2**32 - 1}")
    dtype = np.dtype(np.uint16 if high < 2**16 else np.uint32)
    if path.suffix.lower() == ".zarr":
        with replacing_folder(path, overwrite=overwrite) as folder:
            write_ome_zarr(folder, labels, dtype, high, metadata, progress=progress)
        return
    with replacing(path, overwrite=overwrite) as temporary:
        if pyramid or not isinstance(labels, np.ndarray):
            _write_tiled(temporary, labels, dtype, high, metadata, pyramid, progress)
        else:
            _write_whole(temporary, labels.astype(dtype, copy=False), metadata)


def _write_whole(path: Path, data: np.ndarray[Any, Any], metadata: ImageMetadata) -> None:
    arguments, kind = _arguments(metadata, data.dtype)
    bigtiff = data.nbytes > BIGTIFF_BYTES and not kind.get("imagej", False)
    with tifffile.TiffWriter(path, bigtiff=bigtiff, **kind) as writer:
        writer.write(
            data, photometric="minisblack", compression="zlib", software=False, **arguments
        )


def _write_tiled(
    path: Path,
    labels: Any,
    dtype: np.dtype[Any],
    highest: int,
    metadata: ImageMetadata,
    pyramid: bool,
    progress: Callable[[int, int], object] | None,
) -> None:
    arguments, kind = _arguments(metadata, dtype, tiled=True)
    # A pyramid takes a third more.
    n_bytes = labels.shape[0] * labels.shape[1] * dtype.itemsize * (4 / 3 if pyramid else 1)
    with tifffile.TiffWriter(path, bigtiff=n_bytes > BIGTIFF_BYTES, **kind) as writer:
        write_tiles(writer, labels, dtype, highest, pyramid=pyramid, progress=progress, **arguments)


def _arguments(
    metadata: ImageMetadata, dtype: np.dtype[Any], *, tiled: bool = False
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of `TiffWriter.write` that store the geometry, and of `TiffWriter` itself."""
    arguments: dict[str, Any] = {"metadata": None}
    # It is spelt out since tifffile would else go by the end of the file's name.
    kind: dict[str, Any] = {"ome": False}
    if metadata.resolution is not None:
        arguments["resolution"] = metadata.resolution
        arguments["resolutionunit"] = metadata.resolution_unit
    if metadata.kind == "geotiff":
        tags = [(tag.code, tag.dtype, tag.count, tag.value, True) for tag in metadata.geo_tags]
        tags.append((GDAL_NODATA, 2, 2, "0", True))
        arguments["extratags"] = tags
    elif metadata.kind == "imagej" and dtype == np.uint16 and not tiled:
        kind["imagej"] = True
        arguments["metadata"] = {} if metadata.unit is None else {"unit": _ascii(metadata.unit)}
    elif metadata.pixel_size is not None and metadata.unit in OME_UNITS:
        height, width = metadata.pixel_size
        kind["ome"] = True
        arguments["metadata"] = {
            "axes": "YX",
            "PhysicalSizeX": width,
            "PhysicalSizeXUnit": metadata.unit,
            "PhysicalSizeY": height,
            "PhysicalSizeYUnit": metadata.unit,
        }
    return arguments, kind


def _ascii(unit: str) -> str:
    """Write the unit as ImageJ does: in ASCII."""
    return unit.replace("µ", "\\u00B5").encode("ascii", "replace").decode()
