"""Lazy labels: a window costs its chunks and nothing else."""

from __future__ import annotations

import re
import threading

import cloudpickle
import dask.array as da
import numpy as np
import pytest
from zarr.storage import LocalStore

from napari_del import load
from napari_del.errors import ParameterError
from napari_del.linkages import Linkages
from napari_del.tiles.stored import read_stored
from tests.tiles.filling import fill

pytestmark = pytest.mark.usefixtures("many_bands")

CHUNK = re.compile(r"superpixels/c/(\d+)/(\d+)$")


@pytest.fixture
def stored(filled):
    return load(filled("masked"))


@pytest.fixture
def keys_read(monkeypatch):
    """Keys below which the store is read, in order."""
    keys = []

    def count(name):
        get = getattr(LocalStore, name)

        def counted(self, key, *args, **kwargs):
            keys.append(key)
            return get(self, key, *args, **kwargs)

        monkeypatch.setattr(LocalStore, name, counted)

    for name in ("get", "get_sync"):
        count(name)
    return keys


def chunks_in(keys):
    return sorted(tuple(map(int, m.groups())) for key in keys if (m := CHUNK.search(key)))


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize(
    ("window", "chunks"),
    [
        (np.s_[0:5, 0:5], [(0, 0)]),
        (np.s_[40:50, 30:34], [(1, 0), (1, 1)]),
        (np.s_[80:, 64:96], [(2, 2)]),
        (np.s_[31:33, 110], [(0, 3), (1, 3)]),
        (np.s_[3], [(0, 0), (0, 1), (0, 2), (0, 3)]),
    ],
)
def test_a_window_reads_its_chunks_once(masked, stored, keys_read, window, chunks, sequential):
    labels = stored.labels(0.4, "del", sequential=sequential)
    assert chunks_in(keys_read) == []
    found = labels[window].compute()
    assert chunks_in(keys_read) == chunks
    np.testing.assert_array_equal(found, masked.labels(0.4, "del", sequential=sequential)[window])
    keys_read.clear()
    stored.superpixels[window].compute()
    assert chunks_in(keys_read) == chunks


def test_the_whole_image_reads_every_chunk_once(stored, keys_read):
    stored.labels(0.4).compute()
    assert chunks_in(keys_read) == [(i, j) for i in range(3) for j in range(4)]


def test_a_window_needs_ids_and_a_hierarchy_but_no_edges(stored, keys_read):
    stored.hierarchy("del")
    keys_read.clear()
    stored.labels(0.4, "del", sequential=False)[:9, :9].compute()
    data = [key for key in keys_read if "/c/" in key and "superpixels/c" not in key]
    assert data and all(re.search(r"tables/nodes/\d+/ids/c/", key) for key in data)
    keys_read.clear()
    stored.labels(0.5, "del", sequential=False)[:9, :9].compute()
    assert [key for key in keys_read if "/c/" in key] == ["superpixels/c/0/0"]


def test_without_numbers_in_a_row_no_other_superpixel_is_looked_at(stored, monkeypatch):
    asked = []
    monkeypatch.setattr(Linkages, "regions", lambda self, cut: asked.append(cut))
    stored.labels(0.4, "del", sequential=False).compute()
    assert asked == []


@pytest.mark.parametrize(
    "index",
    [
        np.s_[::3, ::7],
        np.s_[5:80:9, 3:],
        np.s_[::-1, 4:9],
        np.s_[-5:, -1],
        np.s_[7, 8],
        np.s_[[3, 70, 4], 10:20],
        np.s_[5:5, :],
    ],
)
def test_any_part_can_be_taken(masked, stored, index):
    np.testing.assert_array_equal(stored.labels(0.4)[index].compute(), masked.labels(0.4)[index])
    np.testing.assert_array_equal(stored.superpixels[index].compute(), masked.superpixels[index])


@pytest.mark.parametrize("block", [19, 200])
def test_blocks_of_any_size(masked, tmp_path, block):
    labels = read_stored(fill(tmp_path / "b.zarr", masked, block)).labels(0.5)
    assert labels.chunksize == tuple(min(block, length) for length in masked.shape)
    np.testing.assert_array_equal(labels.compute(), masked.labels(0.5))


def test_the_graph_is_a_task_a_chunk_without_arrays(stored):
    labels = stored.labels(0.4)
    labels.compute()  # tables are in memory from now on
    assert len(labels.dask) <= labels.npartitions + 1
    assert len(cloudpickle.dumps(labels)) < 10_000
    assert len(cloudpickle.dumps(stored.embeddings)) < 10_000


def test_the_same_labels_have_the_same_name(stored):
    assert stored.labels(0.4).name == stored.labels(0.4).name
    others = [stored.labels(0.5), stored.labels(0.4, "del"), stored.labels(0.4, min_size=9)]
    others += [stored.labels(0.4, sequential=False), stored.superpixels, stored.embeddings]
    assert len({array.name for array in [stored.labels(0.4), *others]}) == 7


def test_the_same_bytes_in_another_process(masked, tmp_path, monkeypatch):
    monkeypatch.undo()  # the other process has bands of the usual size
    labels = read_stored(fill(tmp_path / "a.zarr", masked, 32)).labels(0.4, "del")[:40, :50]
    found = labels.compute(scheduler="processes", num_workers=1)
    np.testing.assert_array_equal(found, masked.labels(0.4, "del")[:40, :50])


def test_regions_are_numbered_once_for_a_threshold(stored, monkeypatch):
    regions, cuts = Linkages.regions, []

    def counted(self, cut):
        cuts.append(cut.threshold)
        return regions(self, cut)

    monkeypatch.setattr(Linkages, "regions", counted)
    labels = stored.labels(0.4)
    assert cuts == []
    with_threads = [
        threading.Thread(target=lambda: labels.compute(scheduler="threads", num_workers=4))
        for _ in range(2)
    ]
    for thread in with_threads:
        thread.start()
    for thread in with_threads:
        thread.join()
    stored.labels(0.4)[:3, :3].compute()
    assert cuts == [0.4]
    stored.labels(0.6)[:3, :3].compute()
    assert cuts == [0.4, 0.6]


def test_labels_are_written_to_an_array(masked, stored):
    out = np.full(stored.shape, -1, np.int32)
    assert stored.labels(0.4, out=out) is out
    np.testing.assert_array_equal(out, masked.labels(0.4))
    for wrong in (out[1:], out.astype(np.int64)):
        with pytest.raises(ParameterError, match="^out has shape"):
            stored.labels(0.4, out=wrong)


def test_numpy_and_dask_functions_take_them(masked, stored):
    labels = stored.labels(0.4)
    np.testing.assert_array_equal(np.asarray(labels), masked.labels(0.4))
    assert int(da.max(labels)) == masked.n_regions(0.4)
