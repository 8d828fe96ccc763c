import json
import multiprocessing
import os
import pickle
import shutil
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_del.errors import ParameterError, StoreError
from napari_del.tiles.manifest import FORMAT_VERSION
from napari_del.tiles.store import TileStore, differences

SHAPE = (100, 150)
BLOCK = 64
MANIFEST = {"step": 8, "model": "mean-color", "nodata": float("nan"), "channels": [0, 1]}


def cores():
    for i in range(2):
        for j in range(3):
            yield (
                f"{i}_{j}",
                (
                    slice(BLOCK * i, min(BLOCK * (i + 1), SHAPE[0])),
                    slice(BLOCK * j, min(BLOCK * (j + 1), SHAPE[1])),
                ),
            )


PIXELS = np.arange(1, SHAPE[0] * SHAPE[1] + 1, dtype=np.int32).reshape(SHAPE)


def table(key):
    n = 10 * (1 + int(key[0])) + int(key[2])
    return {
        "ids": np.arange(n, dtype=np.int64),
        "sums": np.arange(3 * n, dtype=np.int64).reshape(n, 3),
        "embeddings": np.linspace(0, 1, 4 * n, dtype=np.float32).reshape(n, 4),
        "edges": np.empty((0, 2), np.int64),
        "flags": np.arange(n) % 3 == 0,
    }


def write_block(store, key):
    core = dict(cores())[key]
    store.write_table("superpixels", key, table(key), pixels=(core, PIXELS[core]))


def make(url):
    return TileStore.create(url, MANIFEST, shape=SHAPE, dtype=np.int32, block=BLOCK)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    made = make(tmp_path_factory.mktemp("store") / "run.zarr")
    for key, _ in cores():
        write_block(made, key)
    return made.url


@pytest.fixture
def store(written, tmp_path):
    shutil.copytree(written, tmp_path / "run.zarr")
    return TileStore.open(tmp_path / "run.zarr", writable=True)


def test_what_was_written_is_read(store):
    opened = TileStore.open(store.url)
    assert opened.manifest == {**MANIFEST, "nodata": "nan"}
    assert (opened.shape, opened.dtype, opened.block) == (SHAPE, np.int32, BLOCK)
    assert opened.done("superpixels") == {key for key, _ in cores()}
    assert opened.done("edges") == set()
    np.testing.assert_array_equal(opened.superpixels[...], PIXELS)
    window = slice(60, 100), slice(3, 129)
    np.testing.assert_array_equal(opened.read_pixels(window), PIXELS[window])
    for key, _ in cores():
        found = opened.read_table("superpixels", key)
        assert list(found) == list(table(key))
        for name, values in table(key).items():
            np.testing.assert_array_equal(found[name], values, strict=True)
    assert list(opened.read_table("superpixels", "0_0", ["sums"])) == ["sums"]
    rows = opened.read_rows("superpixels", "1_1", ["ids", "sums"], 4, 9)["sums"]
    np.testing.assert_array_equal(rows, table("1_1")["sums"][4:9])
    assert opened.row_counts("superpixels", "ids", ["1_2", "0_0"]) == [22, 10]
    assert opened.verify() == []


@settings(max_examples=25)
@given(st.lists(st.integers(-5, 60), max_size=30), st.integers(-9, 70), st.integers(-9, 70))
def test_rows_are_found_by_their_numbers(tmp_path_factory, numbers, first, stop):
    store = make(tmp_path_factory.mktemp("store") / "run.zarr")
    pairs = np.array([(n, k) for k, n in enumerate(sorted(numbers))], np.int64).reshape(-1, 2)
    weights = np.linspace(0, 1, len(pairs))
    store.write_table("edges", "0", {"pairs": pairs, "weights": weights})
    found = list(store.read_ranges("edges", ["0"], "pairs", ["weights"], range(first, stop)))
    wanted = (pairs[:, 0] >= first) & (pairs[:, 0] < stop)
    assert len(found) == wanted.any()
    for rows in found:
        np.testing.assert_array_equal(rows["pairs"], pairs[wanted], strict=True)
        np.testing.assert_array_equal(rows["weights"], weights[wanted], strict=True)


def test_tables_of_other_numbers_are_not_read(store):
    shutil.rmtree(Path(store.url, "tables/superpixels/1_1"))
    keys = [key for key, _ in cores()]

    def read(first, stop):
        return list(store.read_ranges("superpixels", keys, "ids", ["sums"], range(first, stop)))

    (rows,) = read(21, 99)  # of 1_2 alone
    np.testing.assert_array_equal(rows["ids"], [21])
    np.testing.assert_array_equal(rows["sums"], table("1_2")["sums"][21:])
    assert read(-9, 0) == []
    with pytest.raises(StoreError, match="array ids of table superpixels 1_1 is damaged"):
        read(20, 99)


def test_many_tables_are_read_some_at_a_time(tmp_path):
    store = make(tmp_path / "run.zarr")
    keys = [str(k) for k in range(40)]
    for key in keys:
        store.write_table("nodes", key, {"ids": np.arange(3) + 10 * int(key)})
    found = store.read_ranges("nodes", keys, "ids", [], range(95, 312))
    numbers = [rows["ids"].tolist() for rows in found]
    assert numbers == [[10 * k, 10 * k + 1, 10 * k + 2] for k in range(10, 31)] + [[310, 311]]


def test_pixels_that_were_written_again_are_not_those_held(store):
    window = slice(60, 100), slice(3, 129)
    np.testing.assert_array_equal(store.read_near_pixels(window), PIXELS[window])
    core = dict(cores())["0_0"]
    store.write_table("superpixels", "0_0", table("0_0"), pixels=(core, PIXELS[core] + 7))
    assert store.read_near_pixels(core)[0, 0] == PIXELS[0, 0] + 7
    store.forget("superpixels", "0_0")
    Path(store.url, "superpixels/c/0/0").unlink()
    with pytest.raises(StoreError, match="chunk c/0/0 is missing"):
        store.read_near_pixels(core)


def test_zeros_are_kept_as_other_values_are(tmp_path):
    store = make(tmp_path / "run.zarr")
    core = dict(cores())["1_2"]
    zeros = np.zeros_like(PIXELS[core])
    arrays = {"lengths": np.zeros(5, np.int64)}
    store.write_table("superpixels", "1_2", arrays, pixels=(core, zeros))
    assert not store.read_pixels(core).any()
    assert store.read_table("superpixels", "1_2")["lengths"].tolist() == [0] * 5
    assert store.verify() == []
    Path(store.url, "superpixels/c/1/2").unlink()
    Path(store.url, "tables/superpixels/1_2/lengths/c/0").unlink()
    assert {reason for _, _, reason in store.verify()} == {
        "lengths: chunk c/0 is missing",
        "superpixels: chunk c/1/2 is missing",
    }


def test_files_of_a_table_are_few(store):
    files = [p for p in Path(store.url, "tables", "superpixels", "0_0").rglob("*") if p.is_file()]
    # One of metadata and one of values for each array but the empty one, and one for the group.
    assert len(files) == 1 + 4 + 4


def test_table_without_rows_is_its_marker_alone(store):
    none = {"ids": np.empty(0, np.int32), "embeddings": np.empty((0, 8), np.float32)}
    before = set(files_of(store.url))
    store.write_table("nodes", "0", none)
    assert set(files_of(store.url)) - before == {Path(store.url, "done/nodes/0.json")}
    for found in (store.read_table("nodes", "0"), store.read_rows("nodes", "0", list(none), 0, 9)):
        for name, values in none.items():
            np.testing.assert_array_equal(found[name], values, strict=True)
    assert store.verify() == []
    store.write_table("nodes", "1", {"ids": np.arange(3)})
    assert sorted(zarr.open_group(store.url, mode="r")["tables/nodes"]) == ["1"]


def test_rows_are_read_without_the_chunks_of_other_rows(store):
    values = np.arange(3 * 2**18)
    store.write_table("nodes", "0", {"ids": values})
    chunks = sorted(Path(store.url, "tables/nodes/0/ids/c").iterdir())
    assert len(chunks) == 3
    chunks[0].unlink()
    chunks[2].write_bytes(b"damaged")
    found = store.read_rows("nodes", "0", ["ids"], 2**18, 2**19)["ids"]
    np.testing.assert_array_equal(found, values[2**18 : 2**19])
    with pytest.raises(StoreError):
        store.read_rows("nodes", "0", ["ids"], 2**18 - 1, 2**19)
    assert [stage for stage, _, _ in store.verify()] == ["nodes"]


def test_table_without_marker_does_not_exist(store):
    marker = Path(store.url, "done/superpixels/1_0.json")
    marker.unlink()
    assert "1_0" not in store.done("superpixels")
    for read in (
        lambda: store.read_table("superpixels", "1_0"),
        lambda: store.read_rows("superpixels", "1_0", ["ids"], 0, 1),
        lambda: store.row_counts("superpixels", "ids", ["0_0", "1_0"]),
    ):
        with pytest.raises(StoreError, match=r"no table superpixels 1_0 yet; resume"):
            read()
    write_block(store, "1_0")
    assert len(store.read_table("superpixels", "1_0")["ids"]) == 20


def test_forgotten_table_is_gone(store):
    store.forget("superpixels", "0_1")
    store.forget("superpixels", "never")
    assert "0_1" not in store.done("superpixels")
    assert not Path(store.url, "tables/superpixels/0_1").exists()
    assert store.verify() == []


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-5])


def empty(path):
    path.write_bytes(b"")


DAMAGE = {"flipped": flip, "truncated": truncate, "empty": empty, "deleted": Path.unlink}


def test_chunk_that_holds_more_than_it_should_is_noticed(store):
    folder = Path(store.url, "tables/superpixels/1_1")
    shutil.copy(folder / "sums/c/0/0", folder / "ids/c/0")
    with pytest.raises(StoreError, match=r"array ids .* holds \d+ bytes in place of \d+"):
        store.read_table("superpixels", "1_1")
    assert [key for _, key, _ in store.verify()] == ["1_1"]


def test_tables_of_several_chunks(store):
    rows = np.arange(3 * 200_001, dtype=np.int64).reshape(-1, 3) % 1009
    store.write_table("nodes", "7", {"rows": rows})
    folder = Path(store.url, "tables/nodes/7/rows/c")
    assert sorted(p.name for p in folder.iterdir()) == ["0", "1"]
    np.testing.assert_array_equal(store.read_table("nodes", "7")["rows"], rows, strict=True)
    half = 100_001  # chunks of a table are of one size
    for first, stop in ((0, 3), (half - 9, half + 9), (half, 200_001), (200_000, 200_001), (9, 9)):
        found = store.read_rows("nodes", "7", ["rows"], first, stop)["rows"]
        np.testing.assert_array_equal(found, rows[first:stop], strict=True)
        found[...] = 0  # it is the caller's own
    assert store.verify() == []


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", ["sums"])
@pytest.mark.parametrize("file", ["zarr.json", "c"])
def test_damage_to_a_table_is_found_and_repaired(store, damage, name, file):
    path = Path(store.url, "tables/superpixels/1_1", name, file)
    if file == "c":
        path = next(p for p in path.rglob("*") if p.is_file())
    damage(path)
    before = files_of(store.url)
    ((stage, key, reason),) = TileStore.open(store.url).verify()
    assert (stage, key) == ("superpixels", "1_1") and reason.startswith(f"{name}: ")
    assert files_of(store.url) == before
    expected = rf"array {name} of table superpixels 1_1 is damaged .*napari-del verify.*resume"
    with pytest.raises(StoreError, match=expected) as error:
        store.read_table("superpixels", "1_1")
    assert "\n" not in str(error.value)
    with pytest.raises(StoreError, match=expected):
        store.read_rows("superpixels", "1_1", [name], 0, 30)
    assert len(store.read_table("superpixels", "0_1")["ids"]) == 11
    store.forget("superpixels", "1_1")
    write_block(store, "1_1")
    assert store.verify() == []


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("key", ["0_0", "1_2"])
def test_damage_to_pixels_is_found_and_repaired(store, damage, key):
    damage(Path(store.url, "superpixels/c", *key.split("_")))
    ((stage, where, reason),) = store.verify()
    assert (stage, where) == ("superpixels", key) and reason.startswith("superpixels: ")
    core = dict(cores())[key]
    with pytest.raises(StoreError, match=r"array superpixels.* is damaged .*napari-del verify"):
        store.read_pixels(core)
    # The chunk at the corner reaches beyond the image: it must not be read to be replaced.
    store.forget("superpixels", key)
    write_block(store, key)
    assert store.verify() == []


def test_chunk_of_another_table_is_noticed(store):
    folders = [Path(store.url, "superpixels/c/0", j) for j in "01"]
    shutil.copy(*folders)
    assert [(stage, key) for stage, key, _ in store.verify()] == [("superpixels", "0_1")]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_metadata_of_pixels_are_restored(store, damage):
    damage(Path(store.url, "superpixels/zarr.json"))
    reading = TileStore.open(store.url)
    assert {key for _, key, _ in reading.verify()} == {key for key, _ in cores()}
    with pytest.raises(StoreError, match="metadata"):
        reading.read_pixels((slice(0, 4), slice(0, 4)))
    assert TileStore.open(store.url, writable=True).verify() == []
    assert reading.verify() == []


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b'{"arrays": {"ids": {}}, "pixels": null}'])
def test_damaged_marker_is_found(store, text):
    Path(store.url, "done/superpixels/0_0.json").write_bytes(text)
    assert store.verify() == [("superpixels", "0_0", "its marker is damaged")]
    with pytest.raises(StoreError, match="table superpixels 0_0 is damaged"):
        store.read_table("superpixels", "0_0")


def test_marker_whose_table_is_missing(store):
    shutil.rmtree(Path(store.url, "tables/superpixels/0_0"))
    with pytest.raises(StoreError, match=r"array ids of table superpixels 0_0 is damaged"):
        store.read_table("superpixels", "0_0")
    assert {key for _, key, _ in store.verify()} == {"0_0"}


def test_verify_tells_its_progress(store):
    seen = []
    store.verify(lambda done, total: seen.append((done, total)))
    assert seen == [(k, 6) for k in range(1, 7)]


def files_of(folder):
    return {p: p.read_bytes() for p in Path(folder).rglob("*") if p.is_file()}


def test_writing_again_gives_the_same_files(store):
    before = files_of(store.url)
    for key, _ in cores():
        write_block(store, key)
    assert files_of(store.url) == before


def test_leftovers_of_a_killed_run_are_removed(store):
    leftovers = [
        Path(store.url, "superpixels/c/0/1.0123456789abcdef.partial"),
        Path(store.url, "done/superpixels/0_0.0123456789abcdef.partial"),
        Path(store.url, "tables/zarr.0123456789abcdef.partial"),
        Path(store.url, "tables/superpixels/zarr.0123456789abcdef.partial"),
        # Of a worker that was killed, whose table another one wrote.
        Path(store.url, "tables/superpixels/0_0/ids/c/0.0123456789abcdef.partial"),
    ]
    for leftover in leftovers:
        leftover.write_bytes(b"half")
    assert TileStore.open(store.url).done("superpixels") == {key for key, _ in cores()}
    assert all(leftover.exists() for leftover in leftovers)
    assert TileStore.open(store.url, writable=True).verify() == []
    assert not any(leftover.exists() for leftover in leftovers)


def test_create_refuses_what_is_there(store, tmp_path):
    before = files_of(tmp_path)
    file = tmp_path / "file"
    file.write_text("mine")
    for place in (store.url, tmp_path, file):
        with pytest.raises(StoreError, match=r"exists already; resume .* choose another"):
            make(place)
    file.unlink()
    assert files_of(tmp_path) == before
    (tmp_path / "empty").mkdir()
    assert make(tmp_path / "empty").verify() == []


def test_open_says_what_is_wrong(store, tmp_path):
    with pytest.raises(StoreError, match="none.zarr does not exist; expected the store"):
        TileStore.open(tmp_path / "none.zarr")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StoreError, match="folder is no zarr group"):
        TileStore.open(tmp_path / "folder")
    with pytest.raises(StoreError, match="is a zarr array of format None; expected 'napari-del ti"):
        TileStore.open(Path(store.url, "superpixels"))
    with pytest.raises(StoreError, match="is a zarr group of format None"):
        TileStore.open(Path(store.url, "tables"))

    metadata = Path(store.url, "zarr.json")
    document = json.loads(metadata.read_text())
    document["attributes"] |= {"format_version": 7, "napari_del_version": "9.1"}
    metadata.write_text(json.dumps(document))
    with pytest.raises(StoreError, match=rf"version 7 .* reads version {FORMAT_VERSION}: .* 9.1"):
        TileStore.open(store.url)
    document["attributes"] |= {"format_version": FORMAT_VERSION}
    del document["attributes"]["block"]
    metadata.write_text(json.dumps(document))
    with pytest.raises(StoreError, match="damaged: its zarr.json lacks block"):
        TileStore.open(store.url)
    metadata.write_text("{")
    with pytest.raises(StoreError, match="is damaged"):
        TileStore.open(store.url)


def test_remove_takes_stores_alone(store, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    with pytest.raises(StoreError, match="no zarr group"):
        TileStore.remove(tmp_path / "mine")
    TileStore.remove(store.url)
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]
    assert (tmp_path / "mine" / "file").exists()


def test_reading_only(store):
    opened = TileStore.open(store.url)
    before = files_of(store.url)
    for write in (
        lambda: write_block(opened, "0_0"),
        lambda: opened.write_table("superpixels", "0_0", {}),
        lambda: opened.forget("superpixels", "0_0"),
    ):
        with pytest.raises(StoreError, match="opened for reading only"):
            write()
    assert files_of(store.url) == before


def test_pixels_of_other_places_or_types_are_refused(store):
    for core in ((slice(0, 64), slice(1, 65)), (slice(0, 64), slice(0, 32))):
        with pytest.raises(ParameterError, match="blocks of 64"):
            store.write_table("superpixels", "0_0", {}, pixels=(core, PIXELS[core]))
    core = dict(cores())["0_0"]
    for data in (PIXELS[core].astype(np.int64), PIXELS[:3, :3]):
        with pytest.raises(ParameterError, match="expected int32"):
            store.write_table("superpixels", "0_0", {}, pixels=(core, data))
    assert store.verify() == []


def test_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "run.zarr", tmp_path / "none" / "run.zarr"):
        with pytest.raises(StoreError, match="cannot be written: No[t ]"):
            make(place)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    with pytest.raises(StoreError, match="cannot be reached.*nonsense"):
        make("nonsense://place")


@pytest.mark.skipif(sys.platform != "linux", reason="limits of files differ")
def test_disk_that_is_full(tmp_path):
    # A file beyond the limit cannot be written, as on a full disk; limits are those of a process.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        message, left = pool.submit(_fill, str(tmp_path / "run.zarr")).result()
    assert message.startswith(f"{tmp_path / 'run.zarr'} cannot be written: File too large")
    assert "\n" not in message
    assert left == []


def _fill(url):
    import resource
    import signal

    store = make(url)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, 2**14))
    noise = np.random.default_rng(0).integers(0, 2**31, 2**14)
    with pytest.raises(StoreError) as error:
        store.write_table("nodes", "0", {"ids": noise})
    assert store.done("nodes") == set()
    return str(error.value), [str(p) for p in Path(url).rglob("*.partial")]


@pytest.mark.parametrize("scheme", ["file", "memory"])
def test_stores_by_url(tmp_path, scheme):
    url = f"{scheme}://{tmp_path}/run.zarr"
    store = make(url)
    with pytest.raises(StoreError, match="exists already"):
        make(url)
    for key, _ in cores():
        write_block(store, key)
    opened = TileStore.open(url)
    np.testing.assert_array_equal(opened.read_pixels((slice(0, 100), slice(0, 150))), PIXELS)
    assert opened.done("superpixels") == {key for key, _ in cores()}
    assert opened.verify() == []
    assert len(pickle.loads(pickle.dumps(opened)).read_table("superpixels", "1_0")["ids"]) == 20
    store.forget("superpixels", "1_0")
    assert "1_0" not in opened.done("superpixels")
    TileStore.remove(url)
    with pytest.raises(StoreError, match="does not exist|no zarr group"):
        TileStore.open(url)


def test_relative_paths_hold_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = make("run.zarr")
    monkeypatch.chdir("/")
    write_block(store, "0_0")
    assert store.url == str(tmp_path / "run.zarr")
    assert pickle.loads(pickle.dumps(store)).done("superpixels") == {"0_0"}


def test_threads_write_at_a_time(tmp_path):
    store = make(tmp_path / "run.zarr")
    threads = [threading.Thread(target=write_block, args=(store, key)) for key, _ in cores()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.verify() == [] and len(store.done("superpixels")) == 6


def test_processes_write_at_a_time(tmp_path):
    store = make(tmp_path / "run.zarr")
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        # The last block is written by both.
        keys = [key for key, _ in cores()] + ["1_2"]
        assert len(set(pool.map(_write_block, [store] * 7, keys))) <= 2
    assert store.verify() == [] and len(store.done("superpixels")) == 6
    np.testing.assert_array_equal(store.superpixels[...], PIXELS)


def _write_block(store, key):
    write_block(store, key)
    return os.getpid()


def test_differences_name_what_is_not_the_same():
    assert differences(MANIFEST, {**MANIFEST, "channels": (0, np.int64(1))}) == []
    old = {"step": 8, "block": 64, "source": {"shape": [3, 4], "dtype": "uint8"}, "mask": None}
    new = {"step": 16, "block": 64, "source": {"shape": [3, 5], "dtype": "uint8"}, "device": "cpu"}
    assert differences(old, new) == [
        "step: 8 in the store, 16 asked for",
        "source.shape: [3, 4] in the store, [3, 5] asked for",
        "mask: None in the store, not asked for",
        "device: not in the store, cpu asked for",
    ]


def test_zarr_reads_what_is_in_a_store(written):
    assert len(list(zarr.open_group(written, mode="r")["tables/superpixels"])) == len(dict(cores()))
    for key, _ in cores():
        for name, expected in table(key).items():
            path = f"{written}/tables/superpixels/{key}/{name}"
            if not expected.size:
                assert not Path(path).exists()
                continue
            array = zarr.open_array(path, mode="r")
            np.testing.assert_array_equal(array[...], expected)
            assert array.dtype == expected.dtype
            # As zarr itself would have written them.
            text = Path(path, "zarr.json").read_bytes()
            again = zarr.create_array(
                zarr.storage.MemoryStore(),
                shape=array.shape,
                dtype=array.dtype,
                chunks=array.chunks,
                compressors=array.compressors,
                fill_value=0,
            )
            assert json.loads(text) == json.loads(json.dumps(again.metadata.to_dict()))
            again[...] = expected
            for chunk in Path(path, "c").rglob("[0-9]*"):
                if chunk.is_file():
                    stored = again.store.get_sync(str(chunk.relative_to(path)))
                    assert stored.to_bytes() == chunk.read_bytes()
