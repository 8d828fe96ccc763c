"""Segment an image once and take its regions at three scales.

Writes one picture for each scale into the current folder:

    python examples/regions_at_three_scales.py
"""

from __future__ import annotations

from skimage import data

import napari_del
from napari_del.io import write_png
from napari_del.overlay import overlay

image = data.coffee()
result = napari_del.segment(image)
print(f"{result.n_superpixels} superpixels, {len(result.edges)} pairs of neighbours")

for n_regions in (20, 80, 320):
    # The merging is known once; every other number of regions only cuts it elsewhere.
    threshold = result.threshold_for(n_regions)
    labels = result.labels(threshold)
    name = f"regions_{n_regions}.png"
    write_png(name, overlay(image, labels))
    print(f"threshold {threshold:.4f}: {labels.max()} regions, drawn in {name}")
