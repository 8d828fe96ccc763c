"""How many regions each linkage gives over a range of thresholds.

python examples/threshold_sweep.py
"""

from __future__ import annotations

from skimage import data

import napari_del

result = napari_del.segment(data.chelsea(), model="mean-color")

print("threshold", *(f"{linkage:>8}" for linkage in result.linkages))
for threshold in (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0):
    counts = [result.n_regions(threshold, linkage) for linkage in result.linkages]
    print(f"{threshold:9.2f}", *(f"{count:8d}" for count in counts))
