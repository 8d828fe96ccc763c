"""Chunks that are held for windows that overlap: read once, never stale, never too many."""

from __future__ import annotations

import pickle
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from napari_del.tiles import recent
from napari_del.tiles.recent import RecentChunks
from napari_del.tiles.source import Source

IMAGE = np.arange(70 * 90 * 2, dtype=np.int32).reshape(70, 90, 2)


class Reader:
    """Reads windows of an image, and remembers which."""

    def __init__(self, image=IMAGE):
        self.image = image
        self.windows = []

    def __call__(self, window):
        self.windows.append(window)
        return self.image[window]


def held(read, chunks=(16, 32)):
    return RecentChunks(read, IMAGE.shape[:2], chunks, IMAGE[0, 0].nbytes)


@st.composite
def windows(draw):
    def part(length):
        start = draw(st.integers(0, length - 1))
        return slice(start, draw(st.integers(start + 1, length)))

    return part(70), part(90)


@given(st.lists(windows(), max_size=8), st.integers(1, 40), st.integers(1, 100))
def test_windows_are_those_of_the_array_whatever_was_read_before(asked, rows, columns):
    chunks = held(Reader(), (rows, columns))
    for window in asked:
        found = chunks.read(window)
        np.testing.assert_array_equal(found, IMAGE[window])
        found[...] = -1  # it is the caller's


def test_chunks_are_read_once_and_all_at_once():
    reader = Reader()
    chunks = held(reader)
    chunks.read((slice(10, 40), slice(10, 40)))
    assert reader.windows == [(slice(0, 48), slice(0, 64))]
    chunks.read((slice(0, 48), slice(0, 64)))
    assert len(reader.windows) == 1
    # Only what is new, to the end of the array.
    chunks.read((slice(40, 48), slice(60, 90)))
    assert reader.windows[1:] == [(slice(32, 48), slice(64, 90))]
    chunks.clear()
    chunks.read((slice(40, 48), slice(60, 64)))
    assert reader.windows[2:] == [(slice(32, 48), slice(32, 64))]


def test_those_read_longest_ago_make_room(monkeypatch):
    monkeypatch.setattr(recent, "RECENT_BYTES", 3 * 16 * 32 * IMAGE[0, 0].nbytes)
    reader = Reader()
    chunks = held(reader)
    first, second, third, fourth = ((slice(y, y + 1), slice(0, 1)) for y in (0, 16, 32, 48))
    for window in (first, second, third, first, fourth, first, third):
        chunks.read(window)
    assert len(reader.windows) == 4
    chunks.read(second)
    assert len(reader.windows) == 5


def test_windows_of_more_than_may_be_held_are_read_as_they_are(monkeypatch):
    monkeypatch.setattr(recent, "RECENT_BYTES", 3 * 16 * 32 * IMAGE[0, 0].nbytes)
    reader = Reader()
    chunks = held(reader)
    large = (slice(3, 40), slice(10, 40))
    for _ in range(2):
        np.testing.assert_array_equal(chunks.read(large), IMAGE[large])
    assert reader.windows == [large, large]


def test_threads_wait_for_a_chunk_that_another_reads():
    begun, go_on = threading.Event(), threading.Event()
    reader = Reader()

    def slow(window):
        begun.set()
        assert go_on.wait(30)
        return reader(window)

    chunks = held(slow)
    window = (slice(0, 5), slice(0, 5))
    with ThreadPoolExecutor(3) as executor:
        runs = [executor.submit(chunks.read, window)]
        assert begun.wait(30)
        runs += [executor.submit(chunks.read, window) for _ in range(2)]
        go_on.set()
        for run in runs:
            np.testing.assert_array_equal(run.result(), IMAGE[window])
    assert len(reader.windows) == 1


def test_what_could_not_be_read_is_tried_again():
    reader = Reader()
    left = [OSError("unplugged"), KeyboardInterrupt()]

    def failing(window):
        if left:
            raise left.pop(0)
        return reader(window)

    chunks = held(failing)
    window = (slice(0, 20), slice(0, 5))
    with pytest.raises(OSError, match="unplugged"):
        chunks.read(window)
    with pytest.raises(KeyboardInterrupt):
        chunks.read(window)
    np.testing.assert_array_equal(chunks.read(window), IMAGE[window])


@pytest.mark.parametrize("is_small", [True, False])
def test_chunks_of_a_small_image_are_held_after_its_fingerprint(tmp_path, monkeypatch, is_small):
    if not is_small:
        monkeypatch.setattr(recent, "RECENT_BYTES", 14 * 16 * 32 * IMAGE[0, 0].nbytes)
    array = zarr.create_array(tmp_path / "a.zarr", data=IMAGE, chunks=(16, 32, 2))
    source = Source(zarr.open_array(array.store, mode="r"))
    expected = Source(IMAGE).fingerprint()
    assert source.fingerprint() == expected
    shutil.rmtree(tmp_path / "a.zarr/c")  # zarr would read zeros
    pixels, _ = source.read((slice(0, 70), slice(0, 90)))
    assert np.array_equal(pixels, IMAGE) == is_small


def test_a_source_in_chunks_decodes_them_once(tmp_path, monkeypatch):
    array = zarr.create_array(tmp_path / "a.zarr", data=IMAGE, chunks=(16, 32, 2))
    source = Source(zarr.open_array(array.store, mode="r"))
    source.read((slice(0, 30), slice(0, 60)))
    (tmp_path / "a.zarr/c/0/0/0").unlink()  # zarr would read zeros
    pixels, _ = source.read((slice(5, 40), slice(5, 90)))
    np.testing.assert_array_equal(pixels, IMAGE[5:40, 5:90])
    # A worker has its own.
    other, _ = pickle.loads(pickle.dumps(source)).read((slice(0, 30), slice(0, 60)))
    assert not other[:16, :32].any()
    np.testing.assert_array_equal(other[16:], IMAGE[16:30, :60])
