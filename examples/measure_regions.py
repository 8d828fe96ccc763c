"""Segment stained tissue, measure every region, and write the measurements as a table.

Writes regions.csv and regions.png into the current folder:

    python examples/measure_regions.py
"""

from __future__ import annotations

import numpy as np
from skimage import color, data, measure

import napari_del
from napari_del.io import write_png
from napari_del.overlay import overlay

image = data.immunohistochemistry()
# Stains differ in colour, so their mean colour tells regions apart without a network.
result = napari_del.segment(image, model="mean-color")
labels = result.labels(result.threshold_for(150), min_size=100)

stains = color.rgb2hed(image)  # hematoxylin, eosin, DAB
table = measure.regionprops_table(
    labels, intensity_image=stains, properties=("label", "area", "centroid", "intensity_mean")
)
names = ("label", "area", "y", "x", "hematoxylin", "eosin", "dab")
np.savetxt(
    "regions.csv",
    np.column_stack(list(table.values())),
    fmt=["%d", "%d", *["%.5g"] * 5],
    delimiter=",",
    header=",".join(names),
    comments="",
)
write_png("regions.png", overlay(image, labels))
print(f"{labels.max()} regions of at least {table['area'].min():.0f} pixels in regions.csv")
