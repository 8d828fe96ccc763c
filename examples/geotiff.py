"""Segment a satellite image and write its regions as a GeoTIFF in the same place on Earth.

Without arguments, a small Landsat image that comes with napari-del is segmented:

    python examples/geotiff.py [IMAGE.tif]
"""

from __future__ import annotations

import sys
from importlib.resources import as_file, files

import napari_del
from napari_del.io import read_image, write_labels

sample = files("napari_del") / "data" / "landsat8_itaipu.tif"
with as_file(sample) as bundled:
    scene = read_image(sys.argv[1] if len(sys.argv) > 1 else bundled)

# Where the file declares no nodata value, pixels that are 0 in all bands hold no data here.
mask = scene.data.any(axis=-1) if scene.mask is None and scene.data.ndim == 3 else scene.mask
result = napari_del.segment(scene.data, model="mean-color", step=12, mask=mask)
labels = result.labels(result.threshold_for(300))
# The metadata hold the tie point, the pixel size and the coordinate system, if there is one.
write_labels("regions.tif", labels, scene.metadata, overwrite=True)
print(f"{labels.max()} regions in regions.tif; {(labels == 0).mean():.1%} of the pixels are nodata")
