"""Reading BSDS500."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

from napari_del.errors import ParameterError, ReadError
from napari_del.evaluation.datasets import (
    FOLDS,
    OTHER,
    UNLABELLED,
    held_out,
    load_bsds,
    load_pairs,
    load_set,
    set_names,
)


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
    for name, image, truths, _ in load_bsds(shared_data / "bsds500" / "val", limit=3):
        assert name.isdigit()
        assert sorted(image.shape[:2]) == [321, 481]
        assert truths.shape[1:] == image.shape[:2] and len(truths) >= 4


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Six pictures with labels: a background, an object of two parts and a speck."""
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    labels = np.zeros((20, 30), np.uint8)
    labels[2:10, 2:10] = 3
    labels[12:18, 20:28] = 3
    labels[0, 29] = 9
    for number in range(6):
        iio.imwrite(tmp_path / f"images/{number}.png", np.full((20, 30), number, np.uint8))
        iio.imwrite(tmp_path / f"labels/{number}.png", labels)
    return tmp_path


def read(folder: Path, meaning: str | None):
    item = next(load_pairs(folder, meaning=meaning))
    assert item.segmentations.shape == (1, 20, 30) and item.objects is not None
    return item.segmentations[0], item.objects


def test_labels_mean_what_their_set_says(pairs):
    regions, objects = read(pairs, "instances")
    assert regions[5, 5] == regions[15, 22] >= 0 and regions[11, 15] >= 0
    assert regions[0, 29] == UNLABELLED  # a speck from compression
    assert objects[5, 5] == objects[15, 22] == 1 and objects.max() == 1

    regions, objects = read(pairs, "classes")
    assert len({regions[5, 5], regions[15, 22], regions[11, 15]}) == 3
    assert {objects[5, 5], objects[15, 22]} == {1, 2} and objects[11, 15] == 0

    regions, objects = read(pairs, "objects")
    assert regions[11, 15] == OTHER and regions[5, 5] != regions[15, 22]
    assert objects.max() == 2

    regions, objects = read(pairs, None)
    assert regions[11, 15] == UNLABELLED and regions[0, 29] >= 0
    assert objects[0, 29] > 0


def test_named_images_are_read_and_no_others(pairs):
    assert set_names(pairs) == [str(number) for number in range(6)]
    assert [item.name for item in load_set(pairs, names=["4", "1"])] == ["1", "4"]
    assert [item.name for item in load_set(pairs, limit=3)] == ["0", "2", "4"]
    with pytest.raises(ReadError, match="no image '7'"):
        load_set(pairs, names=["1", "7"])


def test_pictures_without_labels_or_of_another_size_are_named(pairs):
    iio.imwrite(pairs / "labels/0.png", np.zeros((20, 29), np.uint8))
    with pytest.raises(ReadError, match=r"0\.png has shape \(20, 29\).* has \(20, 30\)"):
        next(load_set(pairs))
    iio.imwrite(pairs / "labels/0.png", np.zeros((20, 30, 3), np.uint8))
    with pytest.raises(ReadError, match="expected labels: one plane of integers"):
        next(load_set(pairs))
    (pairs / "labels/5.png").unlink()
    with pytest.raises(ReadError, match=r"5\.png has no labels"):
        load_set(pairs)
    with pytest.raises(ReadError, match="holds no pictures"):
        load_set(pairs / "images")


def test_every_fifth_is_held_out_and_turned_tiles_stay_with_their_source():
    names = [f"{number:02}" for number in range(12)]
    assert [n for n, out in zip(names, held_out(names, "wbc"), strict=True) if out] == ["04", "09"]
    tiles = ["20", "hflipped_20", "rotated_90_3", "100", "7", "5", "rotated_90_5"]
    out = held_out(tiles, "rs_gsi_solar")
    assert [n for n, o in zip(tiles, out, strict=True) if o] == ["100"]


@pytest.mark.parametrize("data_set", ["wbc", "rs_gsi_solar"])
def test_each_image_is_held_out_in_one_fold(data_set: str):
    names = [f"{turn}_{source}" for turn in "abc" for source in range(17)]
    folds = np.stack([held_out(names, data_set, fold) for fold in range(FOLDS)])
    assert np.all(folds.sum(axis=0) == 1)
    np.testing.assert_array_equal(folds[-1], held_out(names, data_set))
    with pytest.raises(ParameterError, match="fold is 5; expected a whole number from 0 to 4"):
        held_out(names, data_set, 5)


def test_sets_are_read_by_the_name_of_their_folder(shared_data: Path):
    for name, open_background in {"rs_gsi_solar": True, "em_isbi2012": False, "wbc": False}.items():
        item = next(load_set(shared_data / name))
        assert (item.segmentations == OTHER).any() == open_background
        assert item.objects is not None and item.objects.max() >= 1
