"""Make docs/images/regions.png: sample pictures with their regions at two thresholds.

    python docs/pictures.py [--model del-lite]

Columns: the picture; its regions at the model's default threshold; a quarter as many. Regions of
fewer than 100 pixels are joined to others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from skimage.transform import resize
from skimage.util import img_as_ubyte

from napari_del import sample_data, segment
from napari_del.normalise import normalise
from napari_del.overlay import overlay

OUTPUT = Path(__file__).parent / "images" / "regions.png"
SAMPLES = ("coffee", "chelsea", "rocket", "immunohistochemistry", "retina", "landsat")
MIN_SIZE = 100
ROW = (240, 340)
GAP = 6


def fitted(picture: np.ndarray) -> np.ndarray:
    """The picture, scaled to fit a place of the sheet, centred on white."""
    scale = min(ROW[0] / picture.shape[0], ROW[1] / picture.shape[1])
    size = [round(side * scale) for side in picture.shape[:2]]
    small = img_as_ubyte(resize(picture, size, anti_aliasing=True))
    place = np.full((*ROW, 3), 255, np.uint8)
    top, left = ((whole - side) // 2 for whole, side in zip(ROW, size, strict=True))
    place[top : top + size[0], left : left + size[1]] = small
    return place


def main() -> None:
    """Segment the samples and draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="del-lite")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    options = parser.parse_args()
    rows = []
    for name in SAMPLES:
        image = getattr(sample_data, name)()[0][0]
        mask = (image != 0).any(axis=-1) if name == "landsat" else None
        result = segment(image, model=options.model, mask=mask)
        # Lines two or so pixels wide once the picture is scaled down.
        width = max(1, round(1.5 * max(image.shape[0] / ROW[0], image.shape[1] / ROW[1])))
        cells = [normalise(image, mask=mask).display]
        coarse = result.threshold_for(max(2, result.n_regions() // 4))
        for threshold in (None, coarse):
            labels = result.labels(threshold, min_size=MIN_SIZE)
            cells.append(overlay(image, labels, mask=mask, width=width))
        row = [fitted(cell) for cell in cells]
        gap = np.full((ROW[0], GAP, 3), 255, np.uint8)
        rows.append(np.concatenate([row[0], gap, row[1], gap, row[2]], axis=1))
        print(f"{name}: {result.n_regions(min_size=MIN_SIZE)} regions by default")
        rows.append(np.full((GAP, rows[-1].shape[1], 3), 255, np.uint8))
    iio.imwrite(options.output, np.concatenate(rows[:-1]), optimize=True)


if __name__ == "__main__":
    main()
