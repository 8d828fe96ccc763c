"""Reading BSDS500."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_del.errors import ReadError
from napari_del.evaluation import load_bsds


@pytest.fixture
def split(tmp_path: Path) -> Path:
    """Three pictures of 8 x 12 pixels, with 1, 2 and 3 annotators."""
    for number in (1, 2, 3):
        iio.imwrite(tmp_path / f"{number}.jpg", np.full((8, 12, 3), 10 * number, np.uint8))
        np.savez(tmp_path / f"{number}.npz", seg=np.full((number, 8, 12), number, np.int16))
    return tmp_path


def test_images_come_in_order_with_their_labels(split):
    images = list(load_bsds(split))
    assert [image.name for image in images] == ["1", "2", "3"]
    for number, image in enumerate(images, start=1):
        assert image.image.shape == (8, 12, 3) and image.image.dtype == np.uint8
        assert abs(int(image.image.mean()) - 10 * number) <= 1
        np.testing.assert_array_equal(
            image.segmentations, np.full((number, 8, 12), number, np.int16)
        )


def test_limit_takes_images_evenly(split):
    assert [image.name for image in load_bsds(split, limit=2)] == ["1", "2"]
    assert [image.name for image in load_bsds(split, limit=9)] == ["1", "2", "3"]


def test_a_folder_without_labels_is_named_at_once(tmp_path):
    with pytest.raises(ReadError, match=r"holds no \.npz"):
        load_bsds(tmp_path)


def test_files_that_do_not_fit_are_named(split):
    np.savez(split / "1.npz", seg=np.zeros((1, 8, 8), np.int16))
    with pytest.raises(ReadError, match=r"\(1, 8, 8\)"):
        next(load_bsds(split))
    np.savez(split / "1.npz", other=np.zeros(3))
    with pytest.raises(ReadError, match="1 in .* cannot be read"):
        next(load_bsds(split))
    (split / "1.npz").write_bytes((split / "2.npz").read_bytes()[:100])
    with pytest.raises(ReadError, match="1 in .* cannot be read"):
        next(load_bsds(split))
    (split / "2.jpg").unlink()
    (split / "1.npz").write_bytes((split / "3.npz").read_bytes())
    images = load_bsds(split)
    next(images)
    with pytest.raises(ReadError, match="2 in .* cannot be read"):
        next(images)


def test_bsds500_is_read_as_it_is(shared_data: Path):
    for name, image, truths in load_bsds(shared_data / "bsds500" / "val", limit=3):
        assert name.isdigit()
        assert sorted(image.shape[:2]) == [321, 481]
        assert truths.shape[1:] == image.shape[:2] and len(truths) >= 4
