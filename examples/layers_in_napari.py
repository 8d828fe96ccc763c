"""Show an image with coarse and fine regions as layers in napari.

pip install "napari-del[all]"
python examples/layers_in_napari.py
"""

from __future__ import annotations

import napari
from skimage import data

import napari_del

image = data.coffee()
result = napari_del.segment(image)

viewer = napari.Viewer()
viewer.add_image(image, name="coffee")
for n_regions in (200, 20):
    labels = result.labels(result.threshold_for(n_regions))
    layer = viewer.add_labels(labels, name=f"{labels.max()} regions")
    layer.contour = 1

napari.run()
