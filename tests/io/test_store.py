"""Segmentations on disk: they come back as they were, or a named error says why not."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys

import numpy as np
import pytest
import zarr

from napari_del import load, segment
from napari_del.errors import OutputError, ReadError

ARRAYS = [
    "superpixels",
    "embeddings",
    "edges",
    "border_lengths",
    "boundary_sums",
    "dissimilarity",
]


def picture(shape=(40, 52)):
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (*shape, 3), np.uint8)


@pytest.fixture(scope="module")
def learned(lite_weights):
    """With a boundary channel, a mask, channels, and gaps in the ids."""
    mask = np.ones((40, 52), bool)
    mask[8:24, 10:30] = False
    return segment(picture(), model=lite_weights, mask=mask, channels=[2, 1, 0], device="cpu")


@pytest.fixture(scope="module")
def plain():
    return segment(picture(), model="mean-color")


@pytest.fixture
def stored(learned, tmp_path):
    path = tmp_path / "a.zarr"
    learned.save(path)
    return path


def check_equal(one, two):
    for name in ("superpixels", "ids", "sizes", "embeddings", "edges", "border_lengths"):
        a, b = getattr(one, name), getattr(two, name)
        assert a.dtype == b.dtype and a.shape == b.shape
        assert a.tobytes() == b.tobytes()
    assert one.dissimilarity.tobytes() == two.dissimilarity.tobytes()
    assert (one.boundary is None) == (two.boundary is None)
    if one.boundary is not None:
        assert one.boundary.tobytes() == two.boundary.tobytes()
    assert one.parameters == two.parameters
    assert one.model == two.model
    for linkage in ("average", "del", "egb"):
        assert one.default_threshold(linkage) == two.default_threshold(linkage)
        np.testing.assert_array_equal(one.labels(linkage=linkage), two.labels(linkage=linkage))


def test_a_segmentation_comes_back_as_it_was(learned, stored, tmp_path):
    found = load(stored)
    check_equal(learned, found)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zarr"]
    # What was loaded can be saved again.
    found.save(tmp_path / "b.zarr")
    check_equal(learned, load(str(tmp_path / "b.zarr")))


def test_one_without_boundaries(plain, tmp_path):
    plain.save(str(tmp_path / "a.zarr"))
    check_equal(plain, load(tmp_path / "a.zarr"))


def test_one_superpixel_without_any_edge(tmp_path):
    lone = segment(np.zeros((3, 3), np.uint8), model="mean-color")
    lone.save(tmp_path / "a.zarr")
    found = load(tmp_path / "a.zarr")
    check_equal(lone, found)
    assert found.edges.shape == (0, 2)


def test_it_is_a_group_of_zarr_version_3(stored, learned):
    group = zarr.open_group(stored, mode="r")
    assert group.metadata.zarr_format == 3
    assert sorted(group.array_keys()) == sorted([*ARRAYS, "colors", "color_squares"])
    np.testing.assert_array_equal(group["superpixels"][...], learned.superpixels)
    assert group.attrs["parameters"]["channels"] == [2, 1, 0]


@pytest.mark.skipif(sys.platform == "win32", reason="no such permissions")
def test_others_may_read_it_as_far_as_the_umask_lets_them(plain, tmp_path):
    before = os.umask(0o022)
    try:
        plain.save(tmp_path / "a.zarr")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.zarr").stat().st_mode) == 0o755


def test_a_path_that_exists_is_not_replaced(plain, learned, stored):
    with pytest.raises(OutputError, match="exists already") as caught:
        plain.save(stored)
    assert "\n" not in str(caught.value)
    check_equal(learned, load(stored))


def test_a_path_that_exists_is_replaced_if_asked(plain, stored, tmp_path):
    (stored / "notes.txt").write_text("of the old one")
    plain.save(stored, overwrite=True)
    check_equal(plain, load(stored))
    assert not (stored / "notes.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]


def test_a_file_at_the_path_is_replaced_only_if_asked(plain, tmp_path):
    path = tmp_path / "a.zarr"
    path.write_text("a file")
    with pytest.raises(OutputError, match="exists already"):
        plain.save(path)
    assert path.read_text() == "a file"
    plain.save(path, overwrite=True)
    check_equal(plain, load(path))


@pytest.mark.parametrize("name", ["a.tif", "a", "a.zarr.zip"])
def test_another_suffix(plain, tmp_path, name):
    with pytest.raises(OutputError, match="expected .zarr"):
        plain.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(plain, tmp_path):
    with pytest.raises(OutputError, match="cannot be written: .* is not a directory"):
        plain.save(tmp_path / "missing" / "a.zarr")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("failing", [0, 2, 5])
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_full_disk_leaves_nothing_and_keeps_what_was_there(
    plain, learned, tmp_path, monkeypatch, failing, overwrite
):
    path = tmp_path / "a.zarr"
    if overwrite:
        plain.save(path)
    create, calls = zarr.Group.create_array, []

    def full(self, name, **kwargs):
        calls.append(name)
        if len(calls) > failing:
            raise OSError(28, "No space left on device")
        return create(self, name, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(zarr.Group, "create_array", full)
        with pytest.raises(OutputError, match="a.zarr cannot be written: No space left on device"):
            learned.save(path, overwrite=overwrite)
    assert len(calls) == failing + 1
    if overwrite:
        check_equal(plain, load(path))
    assert len(list(tmp_path.iterdir())) == overwrite


def test_a_rename_that_fails_keeps_what_was_there(plain, learned, tmp_path, monkeypatch):
    path = tmp_path / "a.zarr"
    plain.save(path)
    rename = os.rename

    def fail(source, target):
        if str(target) == str(path) and str(source).endswith("new"):
            raise PermissionError(13, "Permission denied")
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail)
        with pytest.raises(OutputError, match="a.zarr cannot be written: Permission denied"):
            learned.save(path, overwrite=True)
    check_equal(plain, load(path))
    assert [p.name for p in tmp_path.iterdir()] == ["a.zarr"]


def chunks(path, name):
    return sorted(file for file in (path / name / "c").rglob("*") if file.is_file())


@pytest.mark.parametrize("name", ARRAYS)
def test_a_chunk_that_is_missing(stored, name):
    chunks(stored, name)[0].unlink()
    with pytest.raises(ReadError, match=f"a.zarr is damaged: .*{name}") as caught:
        load(stored)
    assert "\n" not in str(caught.value)


def test_a_chunk_that_is_missing_of_several(plain, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_del.io.store._CHUNK", 16)
    masked = segment(picture(), model="mean-color", mask=np.tri(40, 52, dtype=bool))
    masked.save(tmp_path / "a.zarr")
    files = chunks(tmp_path / "a.zarr", "superpixels")
    assert len(files) == 3 * 4  # wholly masked ones are there too
    check_equal(masked, load(tmp_path / "a.zarr"))
    files[5].unlink()
    with pytest.raises(ReadError, match="a.zarr is damaged: superpixels lacks 1 of 12 chunks"):
        load(tmp_path / "a.zarr")


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kept", [0, 0.5])
def test_a_chunk_that_is_cut_off(stored, name, kept):
    (chunk,) = chunks(stored, name)
    data = chunk.read_bytes()
    chunk.write_bytes(data[: int(kept * len(data))])
    with pytest.raises(ReadError, match="a.zarr is damaged: .") as caught:
        load(stored)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_missing(stored, name):
    shutil.rmtree(stored / name)
    with pytest.raises(ReadError, match="a.zarr is damaged: "):
        load(stored)


@pytest.mark.parametrize("name", ["embeddings", "edges", "border_lengths", "dissimilarity"])
def test_tables_of_another_segmentation(stored, plain, tmp_path, name):
    other = segment(picture((16, 16)), model="mean-color")
    other.save(tmp_path / "b.zarr")
    shutil.rmtree(stored / name)
    shutil.copytree(tmp_path / "b.zarr" / name, stored / name)
    with pytest.raises(ReadError, match="a.zarr is damaged: tables do not fit"):
        load(stored)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"zarr_format": 9}'])
def test_metadata_that_is_damaged(stored, text):
    (stored / "zarr.json").write_text(text)
    with pytest.raises(ReadError, match="a.zarr is not a zarr group: .") as caught:
        load(stored)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"), [("format_version", 2), ("format_version", None), ("format", "other")]
)
def test_another_version_or_format(stored, key, value):
    metadata = json.loads((stored / "zarr.json").read_text())
    metadata["attributes"][key] = value
    (stored / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(
        ReadError, match=f"{value!r}.*expected 'napari-del segmentation', version 1"
    ):
        load(stored)


@pytest.mark.parametrize("key", ["parameters", "default_thresholds"])
def test_attributes_that_are_missing(stored, key):
    metadata = json.loads((stored / "zarr.json").read_text())
    del metadata["attributes"][key]
    (stored / "zarr.json").write_text(json.dumps(metadata))
    with pytest.raises(ReadError, match="a.zarr is damaged: "):
        load(stored)


def test_paths_that_hold_no_segmentation(tmp_path):
    with pytest.raises(ReadError, match="none.zarr does not exist"):
        load(tmp_path / "none.zarr")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ReadError, match="a.txt is not a zarr group"):
        load(tmp_path / "a.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReadError, match="empty is not a zarr group"):
        load(tmp_path / "empty")
    zarr.create_group(tmp_path / "other.zarr")
    with pytest.raises(ReadError, match="other.zarr has format None"):
        load(tmp_path / "other.zarr")
