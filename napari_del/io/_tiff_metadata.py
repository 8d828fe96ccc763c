"""The geometry that TIFF files state, in each of the conventions in use."""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

import tifffile

from napari_del.io._image import GeoTag, ImageMetadata

__all__ = ["GDAL_METADATA", "GDAL_NODATA", "band_interpretation", "nodata_value", "read_metadata"]

GDAL_METADATA = 42112
GDAL_NODATA = 42113
# ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory, GeoDoubleParams,
# GeoAsciiParams. https://docs.ogc.org/is/19-008r4/19-008r4.html
GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)


def read_metadata(tif: tifffile.TiffFile, series: int) -> ImageMetadata:
    """Return the geometry of a series of an open TIFF file.

    Parameters
    ----------
    tif : tifffile.TiffFile
        Open file.
    series : int
        Number of the series.

    Returns
    -------
    ImageMetadata
        What the file states.
    """
    page = tif.series[series].keyframe
    resolution, resolution_unit = _resolution(page)
    # A thumbnail beside the first image shows the same ground in other pixels.
    geo_tags = _geo_tags(page) if series == 0 else ()
    if geo_tags:
        return ImageMetadata("geotiff", None, None, resolution, resolution_unit, geo_tags)
    if tif.is_ome and tif.ome_metadata:
        pixel_size, unit = _ome_pixel_size(tif.ome_metadata, series)
        return ImageMetadata("ome", pixel_size, unit, resolution, resolution_unit)
    if tif.is_imagej:
        unit = (tif.imagej_metadata or {}).get("unit")
        unit = _plain_unit(str(unit)) if unit is not None else None
        pixel_size = None
        if resolution is not None and unit is not None:
            (x_n, x_d), (y_n, y_d) = resolution
            pixel_size = (y_d / y_n, x_d / x_n)
        return ImageMetadata("imagej", pixel_size, unit, resolution, resolution_unit)
    if tif.is_svs and series == 0:
        found = re.search(r"\bMPP\s*=\s*([0-9.]+)", page.description)
        if found is not None and float(found.group(1)) > 0:
            size = float(found.group(1))
            return ImageMetadata("ome", (size, size), "µm", resolution, resolution_unit)
    return ImageMetadata("plain", None, None, resolution, resolution_unit)


def nodata_value(page: tifffile.TiffPage) -> float | None:
    """Value of empty pixels by the GDAL_NODATA tag; None without one that can be read."""
    tag = page.tags.get(GDAL_NODATA)
    if tag is None:
        return None
    try:
        return float(str(tag.value).strip("\x00 "))
    except ValueError:
        return None


def band_interpretation(page: tifffile.TiffPage) -> dict[int, str]:
    """Return what GDAL says that bands stand for, such as ``{3: "Undefined"}``."""
    root = _gdal_metadata(page)
    if root is None:
        return {}
    return {
        int(item.get("sample", "0")): (item.text or "").strip()
        for item in root.iter("Item")
        if item.get("role") == "colorinterp" and item.get("sample", "0").isdigit()
    }


def _resolution(
    page: tifffile.TiffPage,
) -> tuple[tuple[tuple[int, int], tuple[int, int]] | None, int]:
    values: list[tuple[int, int]] = []
    for code in (282, 283):
        tag = page.tags.get(code)
        if tag is None or not isinstance(tag.value, tuple) or len(tag.value) != 2:
            return None, 1
        numerator, denominator = (int(v) for v in tag.value)
        if numerator <= 0 or denominator <= 0:
            return None, 1
        values.append((numerator, denominator))
    unit = page.tags.get(296)
    return (values[0], values[1]), 2 if unit is None else int(unit.value)


def _geo_tags(page: tifffile.TiffPage) -> tuple[GeoTag, ...]:
    tags = [_raw(page.tags[code]) for code in GEO_TAGS if code in page.tags]
    root = _gdal_metadata(page)
    if tags and root is not None:
        # Statistics, names and colours of the bands of the image do not hold for labels.
        for item in list(root):
            if item.get("sample") is not None:
                root.remove(item)
        if len(root):
            text = ElementTree.tostring(root, encoding="unicode")
            tags.append(GeoTag(GDAL_METADATA, 2, len(text) + 1, text))
    return tuple(tags)


def _raw(tag: tifffile.TiffTag) -> GeoTag:
    value: Any = tag.value
    if not isinstance(value, (str, bytes, tuple)):
        value = (value,)
    return GeoTag(int(tag.code), int(tag.dtype), int(tag.count), value)


def _gdal_metadata(page: tifffile.TiffPage) -> ElementTree.Element | None:
    tag = page.tags.get(GDAL_METADATA)
    if tag is None:
        return None
    try:
        return ElementTree.fromstring(str(tag.value).strip("\x00 \n"))
    except ElementTree.ParseError:
        return None


def _ome_pixel_size(xml: str, series: int) -> tuple[tuple[float, float] | None, str | None]:
    root = ElementTree.fromstring(xml)
    pixels = [e for e in root.iter() if e.tag.rpartition("}")[2] == "Pixels"]
    if series >= len(pixels):
        return None, None
    attributes = pixels[series].attrib
    try:
        size = float(attributes["PhysicalSizeY"]), float(attributes["PhysicalSizeX"])
    except (KeyError, ValueError):
        return None, None
    unit = attributes.get("PhysicalSizeXUnit", "µm")
    if min(size) <= 0 or attributes.get("PhysicalSizeYUnit", "µm") != unit:
        return None, None
    return size, unit


def _plain_unit(unit: str) -> str:
    """Write the unit as is usual; ImageJ escapes the micro sign."""
    unit = unit.replace("\\u00B5", "µ").strip()
    return {"micron": "µm", "microns": "µm", "um": "µm", "μm": "µm"}.get(unit, unit)
