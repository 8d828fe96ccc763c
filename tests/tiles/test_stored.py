"""A segmentation in a store: the same as in memory, read when asked for."""

from __future__ import annotations

import pickle
import shutil

import dask.array as da
import numpy as np
import pytest

from napari_del import load, segment, segment_large
from napari_del.errors import OutputError, ParameterError, ReadError, StoreError
from napari_del.superpixels.grid import Grid
from napari_del.tiles import stored as stored_module
from napari_del.tiles.store import TileStore
from napari_del.tiles.stored import read_stored
from tests.tiles.filling import fill

pytestmark = pytest.mark.usefixtures("many_bands")


@pytest.fixture
def store(filled, name, tmp_path):
    """A copy that may be written to."""
    shutil.copytree(filled(name), tmp_path / "a.zarr")
    return TileStore.open(tmp_path / "a.zarr", writable=True)


@pytest.fixture
def stored(filled, name):
    return load(filled(name))


def test_the_images_have_gaps_in_their_ids_and_superpixels_without_a_cell(plain, masked, learned):
    assert plain.ids[-1] == plain.n_superpixels
    for segmentation in (masked, learned):
        n_cells = Grid(segmentation.shape, segmentation.parameters["step"]).n_cells
        assert segmentation.ids[-1] > n_cells > segmentation.n_superpixels / 2


def test_tables_are_those_in_memory(in_memory, stored):
    assert len(stored._tables.bands) > 2
    for name in ("ids", "sizes", "edges", "border_lengths", "dissimilarity", "boundary"):
        ours, theirs = getattr(stored, name), getattr(in_memory, name)
        if theirs is None:
            assert ours is None
            continue
        assert isinstance(ours, np.ndarray) and ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape and ours.tobytes() == theirs.tobytes(), name
    for name in ("superpixels", "embeddings"):
        ours, theirs = getattr(stored, name), getattr(in_memory, name)
        assert isinstance(ours, da.Array) and ours.dtype == theirs.dtype
        assert ours.compute().tobytes() == theirs.tobytes(), name
    assert stored.superpixels.chunksize == (32, 32)
    for name in ("shape", "n_superpixels", "model", "linkages", "default_linkage", "parameters"):
        assert getattr(stored, name) == getattr(in_memory, name)
    assert repr(stored) == repr(in_memory)
    for linkage in in_memory.linkages:
        assert stored.default_threshold(linkage) == in_memory.default_threshold(linkage)


def test_rows_of_embeddings_can_be_taken(in_memory, stored):
    for rows in (slice(7, 103), slice(None, None, 9), [3, 99, 5], 17, slice(4, 4)):
        np.testing.assert_array_equal(stored.embeddings[rows].compute(), in_memory.embeddings[rows])
    np.testing.assert_array_equal(
        stored.embeddings[20:60, 1:].compute(), in_memory.embeddings[20:60, 1:]
    )


@pytest.mark.parametrize("sequential", [True, False])
@pytest.mark.parametrize(
    "least", [{}, {"min_superpixels": 3}, {"min_size": 70, "min_superpixels": 2}]
)
def test_labels_are_those_in_memory(in_memory, stored, sequential, least):
    for linkage in in_memory.linkages:
        for threshold in (0.2, None, 0.97):
            arguments = (threshold, linkage)
            ours = stored.labels(*arguments, **least, sequential=sequential)
            theirs = in_memory.labels(*arguments, **least, sequential=sequential)
            assert isinstance(ours, da.Array) and ours.chunksize == (32, 32)
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            assert ours.compute().tobytes() == theirs.tobytes()
            assert stored.n_regions(*arguments, **least) == in_memory.n_regions(*arguments, **least)
            np.testing.assert_array_equal(
                stored.regions(*arguments, **least), in_memory.regions(*arguments, **least)
            )


def test_labels_differ_where_the_threshold_does(stored):
    # What is compared above would be equal too if every threshold gave the same.
    assert (stored.labels(0.2, "del") != stored.labels(0.6, "del")).any().compute()


def test_hierarchies_are_those_in_memory(in_memory, stored):
    for linkage in in_memory.linkages[:-1]:  # "egb" has none
        ours, theirs = stored.hierarchy(linkage), in_memory.hierarchy(linkage)
        assert ours.parent.tobytes() == theirs.parent.tobytes()
        assert ours.height.tobytes() == theirs.height.tobytes()
        assert stored.threshold_for(9, linkage) == in_memory.threshold_for(9, linkage)
        assert stored.hierarchy(linkage) is ours


def test_hierarchies_are_merged_in_parts_and_kept(store, monkeypatch):
    merge, parts, told = stored_module.average_in_parts, [], []

    def counted(load, starts, n, *, progress=None):
        parts.append(len(starts) - 1)
        return merge(load, starts, n, progress=progress)

    monkeypatch.setattr(stored_module, "average_in_parts", counted)
    segmentation = read_stored(store)
    assert store.done("hierarchy") == set()
    found = segmentation._linkages.hierarchy("average", lambda *pair: told.append(pair))
    assert len(parts) == 1 and parts[0] > 1
    assert told[-1][0] == told[-1][1]
    assert store.done("hierarchy") == {"average"}
    again = load(store.url).hierarchy("average")
    assert again.parent.tobytes() == found.parent.tobytes() and len(parts) == 1


def test_few_superpixels_far_from_each_other(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (400, 500, 3), dtype=np.uint8)
    mask = np.zeros(image.shape[:2], bool)
    mask[10:30, 10:40] = mask[350:380, 430:460] = mask[170:190, 5:20] = True
    stored = segment_large(image, tmp_path / "run.zarr", model="mean-color", mask=mask, block=200)
    whole = segment(image, model="mean-color", mask=mask)
    for linkage in ("average", "del"):
        ours, theirs = stored.hierarchy(linkage), whole.hierarchy(linkage)
        assert ours.parent.tobytes() == theirs.parent.tobytes()
        assert ours.height.tobytes() == theirs.height.tobytes()


def test_what_is_opened_by_load_is_not_written_to(in_memory, store):
    found = load(store.url)
    assert found.labels(0.4, "del").compute().tobytes() == in_memory.labels(0.4, "del").tobytes()
    assert store.done("hierarchy") == set()


def test_it_is_not_saved_again(filled, masked, tmp_path):
    stored = load(filled("masked"))
    with pytest.raises(OutputError, match="is in .*masked already; copy that folder"):
        stored.save(tmp_path / "b.zarr")
    assert not (tmp_path / "b.zarr").exists()
    shutil.copytree(filled("masked"), tmp_path / "b.zarr")
    np.testing.assert_array_equal(load(tmp_path / "b.zarr").labels(0.4), masked.labels(0.4))


@pytest.mark.parametrize(
    ("stages", "match"),
    [
        ((), "superpixels of 0 of 12 blocks, tables of 0 of "),
        (("superpixels",), "superpixels of 12 of 12 blocks, tables of 0 of .* run segment_large"),
        (("superpixels", "nodes"), "tables of 0 of "),
    ],
)
def test_a_run_that_is_not_finished(plain, tmp_path, stages, match):
    store = fill(tmp_path / "a.zarr", plain, 32, stages=stages)
    for opened in (lambda: load(tmp_path / "a.zarr"), lambda: read_stored(store)):
        with pytest.raises(ReadError, match=f"is not complete: .*{match}") as caught:
            opened()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["masked"])
def test_one_band_that_is_missing(store):
    last = sorted(store.done("edges"), key=int)[-1]
    store.forget("edges", last)
    with pytest.raises(ReadError, match="is not complete"):
        load(store.url)


@pytest.mark.parametrize("name", ["masked"])
def test_a_chunk_that_is_missing(store):
    shutil.rmtree(f"{store.url}/superpixels/c/1")
    with pytest.raises(StoreError, match="damaged"):
        load(store.url).labels(0.3).compute()


@pytest.mark.parametrize("name", ["plain", "masked"])
def test_tables_and_pixels_that_do_not_fit_each_other(store):
    core, pixels = (slice(0, 32), slice(0, 32)), np.full((32, 32), 10**6, np.int32)
    store.write_table("superpixels", "0_0", {"ids": pixels[0, :1]}, pixels=(core, pixels))
    with pytest.raises(ReadError, match="its tables lack superpixels that its pixels have"):
        read_stored(store).labels(0.3).compute()


@pytest.mark.parametrize("name", ["plain"])
def test_a_hierarchy_of_another_length(store):
    n = 5
    store.write_table(
        "hierarchy",
        "del",
        {"parent": np.arange(n, dtype=np.int32), "height": np.zeros(n, np.uint32)},
    )
    with pytest.raises(ReadError, match="the hierarchy 'del' has 5 rows"):
        load(store.url).hierarchy("del")


def test_bad_arguments_are_refused_before_anything_is_computed(stored, monkeypatch):
    assert stored.default_linkage in stored.linkages
    monkeypatch.setattr(TileStore, "read_table", None)
    for arguments in ({"threshold": 1.5}, {"linkage": "ward"}, {"min_size": -1}):
        with pytest.raises(ParameterError):
            stored.labels(**arguments)


def test_it_goes_to_other_processes_by_its_url(in_memory, stored):
    sent = pickle.dumps(stored)
    assert len(sent) < 3000
    again = pickle.loads(sent)
    assert again.labels(0.4, "del").compute().tobytes() == in_memory.labels(0.4, "del").tobytes()
    assert again.linkages == stored.linkages


def test_a_store_that_was_replaced_is_not_taken_for_the_one_that_was_sent(plain, masked, tmp_path):
    sent = pickle.dumps(read_stored(fill(tmp_path / "a.zarr", plain, 32)).labels(0.4))
    shutil.rmtree(tmp_path / "a.zarr")
    masked.parameters["compactness"] += 1
    try:
        fill(tmp_path / "a.zarr", masked, 32)
    finally:
        masked.parameters["compactness"] -= 1
    with pytest.raises(ReadError, match="replaced by another segmentation"):
        pickle.loads(sent)


def test_one_superpixel_without_any_edge(tmp_path):
    from napari_del import segment

    lone = segment(np.zeros((3, 3), np.uint8), model="mean-color")
    stored = read_stored(fill(tmp_path / "a.zarr", lone, 32))
    assert stored.edges.shape == (0, 2) and stored.n_superpixels == 1
    assert stored.labels(0.5).compute().tolist() == lone.labels(0.5).tolist()
    assert stored.hierarchy("del").n == 1
    assert stored.linkages == lone.linkages
