"""Small data sets in folders as the benchmarks read them."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

CONFIG = """
size = [64, 64]
merge_images = 0

[network]
initial = "del-lite"

[training]
steps = 1
batch = 1

[[data]]
path = "{folder}/dsb2018"
hold_out = true

[[data]]
path = "{folder}/wbc"
hold_out = true
"""


@pytest.fixture
def two_sets(tmp_path: Path) -> Path:
    """Two sets of ten small images of two discs each, and a configuration for both."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :80]
    for name in ("dsb2018", "wbc"):
        for part in ("images", "labels"):
            (tmp_path / name / part).mkdir(parents=True)
        for number in range(10):
            labels = np.zeros((64, 80), np.uint8)
            for label, row in enumerate(rng.integers(14, 50, 2).tolist(), start=1):
                labels[(y - row) ** 2 + (x - 40 * label + 20) ** 2 < 144] = label
            image = np.where(labels > 0, 200, 60) + rng.integers(0, 8, labels.shape)
            iio.imwrite(tmp_path / name / "images" / f"{number}.png", image.astype(np.uint8))
            iio.imwrite(tmp_path / name / "labels" / f"{number}.png", labels)
    (tmp_path / "both.toml").write_text(CONFIG.format(folder=tmp_path.as_posix()))
    return tmp_path
