"""Segment an image that need not fit in memory, and write its regions without holding it.

    python examples/whole_slide.py [IMAGE [STORE]]

IMAGE is a TIFF or zarr file of any size (.svs, BigTIFF, OME-TIFF, OME-Zarr). A run that is cut
off goes on where it was when the script is run again.
"""

from __future__ import annotations

import sys
from importlib.resources import as_file, files

import napari_del
from napari_del.io import open_image, write_labels

sample = files("napari_del") / "data" / "landsat8_itaipu.tif"
store = sys.argv[2] if len(sys.argv) > 2 else "regions.del.zarr"
with as_file(sample) as bundled:
    image = open_image(sys.argv[1] if len(sys.argv) > 1 else bundled)  # reads no pixels yet
    result = napari_del.segment_large(
        image.data,
        store,
        model="mean-color",
        mask=image.mask,
        nodata=image.nodata,
        block=512,
        memory_limit=2 * 10**9,
        progress=lambda stage, done, total: print(f"\r{stage} {done}/{total}   ", end=""),
    )
    print(f"\n{result}")
    # A window costs no more than its own blocks, whatever the size of the image.
    corner = result.labels(0.3, sequential=False)[:100, :100].compute()
    print(f"{len(set(corner.flat))} regions in the first 100 x 100 pixels at threshold 0.3")
    t = result.threshold_for(300)
    labels = result.labels(t)
    count = result.n_regions(t)
    write_labels("regions.tif", labels, image.metadata, highest=count, overwrite=True)
print(f"regions.tif: {count} regions")
