"""The command line on images of any size: tiled runs, their stores, and what can go wrong."""

from __future__ import annotations

import argparse
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image

import napari_del
from napari_del import _cli_progress, _cli_segment, _cli_tiled
from napari_del.cli import main
from napari_del.io import read_image
from napari_del.tiles.run import DEFAULT_BLOCK
from napari_del.tiles.store import TileStore

FAST = ("--model", "mean-color")
BLOCK = ("--block", "128")
TILED = (*FAST, *BLOCK, "--workers", "1")


@pytest.fixture
def scene() -> np.ndarray:
    return make_scene()


def make_scene() -> np.ndarray:
    """A uint16 image of 283 x 301 pixels and 3 channels: waves of colour with noise."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[:283, :301]
    waves = [np.sin(y / a) + np.cos((x + y) / b) for a, b in ((31, 17), (23, 41), (47, 29))]
    return (9000 * np.stack(waves, axis=-1) + 30000 + rng.normal(0, 700, (283, 301, 3))).astype(
        np.uint16
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray) -> Path:
    """A working directory that holds an image."""
    monkeypatch.chdir(tmp_path)
    write(Path("scene.tif"), scene)
    return tmp_path


def write(path: Path, image: np.ndarray) -> None:
    tifffile.imwrite(path, image, photometric="rgb", tile=(64, 64), compression="zlib")


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to succeed without a word on standard error; return its output."""

    def run(*arguments: str) -> str:
        code = main(arguments)
        out, err = capsys.readouterr()
        assert (code, err) == (0, "")
        return out

    return run


@pytest.fixture
def fail(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run a command that has to fail with one line and leave no file; return the line."""

    def fail(*arguments: str) -> str:
        before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
        code = main(arguments)
        lines = capsys.readouterr().err.splitlines()
        assert code == 2, lines
        assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
        assert len(lines) == 1, lines
        assert lines[0].startswith("napari-del: error: ")
        return lines[0]

    return fail


def labels_of(image: np.ndarray, threshold: float | None = None, **options) -> np.ndarray:
    linkage, min_size = options.pop("linkage", None), options.pop("min_size", 0)
    result = napari_del.segment(image, model="mean-color", **options)
    return result.labels(threshold, linkage, min_size)


# ---------------------------------------------------------------------- segment


def test_regions_are_those_of_a_run_in_memory(run, folder: Path, scene: np.ndarray) -> None:
    out = run("segment", "scene.tif", "labels.tif", "--threshold", "0.2", *TILED)
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), labels_of(scene, 0.2))
    lines = out.splitlines()
    stages = [line.split()[0] for line in lines if line.endswith(" s")]
    assert stages[:4] == ["load", "read", "statistics", "superpixels"]
    assert stages[-2:] == ["regions", "write"]
    assert "283 x 301 pixels, 3 channels, uint16, by blocks" in out
    assert f"{labels_of(scene, 0.2).max()} regions" in lines[-2]
    assert lines[-1].startswith("labels.del.zarr: kept; napari-del relabel")
    assert {path.name for path in folder.iterdir()} == {
        "scene.tif",
        "labels.tif",
        "labels.del.zarr",
    }
    store = TileStore.open("labels.del.zarr")
    assert store.block == 128 and len(store.done("superpixels")) == 9


def test_options_reach_the_run(run, folder: Path, scene: np.ndarray) -> None:
    options = ("--step", "6", "--compactness", "3", "--channels", "2,0", "--regions", "20")
    cut = ("--linkage", "del", "--min-size", "200")
    run("segment", "scene.tif", "labels.tif", "--store", "kept", *options, *cut, *TILED)
    result = napari_del.segment(scene, model="mean-color", step=6, compactness=3.0, channels=[2, 0])
    expected = result.labels(result.threshold_for(20, "del"), "del", 200)
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), expected)
    assert TileStore.open("kept").manifest["parameters"]["channels"] == [2, 0]


def test_scale_and_precision_reach_the_network(run, fail, folder: Path, scene: np.ndarray) -> None:
    options = ("--scale", "0.5", "--precision", "bfloat16", "--block", "160", "--device", "cpu")
    run("segment", "scene.tif", "labels.tif", *options)
    expected = napari_del.segment(scene, scale=0.5, precision="bfloat16", device="cpu").labels()
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), expected)
    said = run("info", "labels.del.zarr")
    assert re.search(r"scale +0.5\n", said) and re.search(r"precision +bfloat16\n", said)
    other = ("segment", "scene.tif", "labels.tif", "--overwrite", "--block", "160")
    assert re.search("of another run.*scale: 0.5 in the store, 1.0 asked for", fail(*other))


def test_masks_nodata_and_geography(run, folder: Path, scene: np.ndarray) -> None:
    scene[200:] = 0
    inside = np.ones((283, 301), bool)
    inside[:, :90] = False
    Image.fromarray(inside).save("mask.png")
    tags = [
        (33550, 12, 3, (2.0, 2.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    ]
    with tifffile.TiffWriter("map.tif") as writer:
        writer.write(scene, photometric="rgb", metadata=None, extratags=tags)
        page = np.ones((283, 301), bool)
        page[:40] = False
        writer.write(page, photometric=4, subfiletype=4, metadata=None)
    run("segment", "map.tif", "labels.tif", "--mask", "mask.png", "--nodata", "0", *TILED)
    inside[200:] = False
    inside[:40] = False
    labels = tifffile.imread("labels.tif")
    np.testing.assert_array_equal(labels > 0, inside)
    np.testing.assert_array_equal(labels, labels_of(scene, mask=inside))
    assert read_image("labels.tif").metadata == read_image("map.tif").metadata


@pytest.mark.parametrize("name", ["image.npy", "image.zarr", "image.png"])
def test_every_format_in_memory_and_by_blocks(run, name: str, scene: np.ndarray) -> None:
    image = (scene >> 8).astype(np.uint8)
    if name.endswith(".npy"):
        np.save(name, image)
    elif name.endswith(".zarr"):
        zarr.create_array(name, data=np.moveaxis(image, 2, 0), chunks=(1, 100, 100))
    else:
        Image.fromarray(image).save(name)
    run("segment", name, "whole.tif", *FAST)
    run("segment", name, "blocks.tif", *TILED)
    whole = tifffile.imread("whole.tif")
    np.testing.assert_array_equal(whole, labels_of(image))
    np.testing.assert_array_equal(whole, tifffile.imread("blocks.tif"))


def test_labels_as_ome_zarr(run, scene: np.ndarray) -> None:
    run("segment", "scene.tif", "labels.ome.zarr", *TILED)
    np.testing.assert_array_equal(read_image("labels.ome.zarr").data, labels_of(scene))
    assert TileStore.open("labels.del.zarr").done("edges")


def test_scheduler_of_processes_and_a_store_by_url(run, folder: Path, scene: np.ndarray) -> None:
    run(
        *("segment", "scene.tif", "labels.tif", "--store", (folder / "runs").as_uri()),
        *("--scheduler", "processes", "--workers", "2", "--memory-limit", "8GB", *FAST, *BLOCK),
    )
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), labels_of(scene))
    assert TileStore.open(folder / "runs").done("edges")


def test_images_that_take_too_much_memory_are_tiled(
    run, fail, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> None:
    assert "by blocks" not in run("segment", "scene.tif", "labels.tif", *FAST)
    monkeypatch.setattr(_cli_tiled, "_physical_memory", lambda: 300_000_000)
    out = run("segment", "scene.tif", "blocks.tif", *FAST)
    assert re.search(r"by blocks, since all at once would take 0\.\d of 0\.3 GB", out)
    assert TileStore.open("blocks.del.zarr").block == DEFAULT_BLOCK == _cli_tiled.BLOCK
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), tifffile.imread("blocks.tif"))
    for option, name in (("--overlay", "o.png"), ("--save-segmentation", "s.zarr")):
        line = fail("segment", "scene.tif", "other.tif", option, name, *FAST)
        assert f"{option} {name} is for images that are segmented in memory" in line


def test_ctrl_c_keeps_what_is_done(
    run, folder: Path, capsys, monkeypatch: pytest.MonkeyPatch, scene: np.ndarray
) -> None:
    class Impatient(_cli_progress.Reporter):
        def __call__(self, name: str, count: int, total: int) -> None:
            if name == "superpixels" and count == 4:
                raise KeyboardInterrupt
            super().__call__(name, count, total)

    command = ("segment", "scene.tif", "labels.tif", *TILED)
    with monkeypatch.context() as patch:
        patch.setattr(_cli_segment, "Reporter", Impatient)
        assert main(command) == 130
    out, err = capsys.readouterr()
    assert err == "napari-del: error: interrupted\n"
    assert out.endswith(
        "labels.del.zarr: what is done is kept; the same command goes on from there\n"
    )
    done = TileStore.open("labels.del.zarr").done("superpixels")
    assert 4 <= len(done) < 9
    assert not Path("labels.tif").exists()
    report = run("info", "labels.del.zarr")
    assert re.search(rf"superpixels +{len(done)} of 9\n", report)
    assert "not complete: the command that made it goes on from there" in report
    run(*command)
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), labels_of(scene))


def test_a_part_that_cannot_be_read(run, folder: Path, capsys, scene: np.ndarray) -> None:
    # Rows of their own chunks; the sample that identifies the image misses this one.
    zarr.create_array("rows.zarr", data=np.moveaxis(scene, 2, 0), chunks=(3, 1, 301))
    chunk = Path("rows.zarr", "c", "0", "33", "0")
    content = chunk.read_bytes()
    chunk.write_bytes(b"no chunk")
    command = ("segment", "rows.zarr", "labels.tif", *TILED)
    assert main(command) == 2
    out, err = capsys.readouterr()
    assert re.search(r"rows 0 to \d+, columns 0 to \d+ of the image cannot be read", err)
    assert len(err.splitlines()) == 1
    assert out.endswith("what is done is kept; the same command goes on from there\n")
    assert not Path("labels.tif").exists()
    chunk.write_bytes(content)
    run(*command)
    np.testing.assert_array_equal(tifffile.imread("labels.tif"), labels_of(scene))


def test_stores_that_are_there(run, fail, folder: Path) -> None:
    run("segment", "scene.tif", "labels.tif", *TILED)
    written = Path("labels.del.zarr/zarr.json").stat().st_mtime_ns
    run("segment", "scene.tif", "labels.tif", *TILED, "--threshold", "0.1", "--overwrite")
    assert Path("labels.del.zarr/zarr.json").stat().st_mtime_ns == written
    other = ("segment", "scene.tif", "labels.tif", *TILED, "--overwrite", "--step", "7")
    assert re.search("of another run.*step: 8 in the store, 7 asked for", fail(*other))
    again = ("segment", "scene.tif", "new.tif", "--store", "labels.del.zarr", *TILED)
    assert "labels.del.zarr exists" in fail(*again, "--no-resume")
    run(*other, "--no-resume")
    assert TileStore.open("labels.del.zarr").manifest["parameters"]["step"] == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--block", "64"), "block is 64; expected a whole number of at least 120 pixels"),
        (("--block", "x"), "--block: invalid int value: 'x'"),
        (("--memory-limit", "1MB"), "memory_limit is 1 MB; expected at least"),
        (("--memory-limit", "lots"), "'lots' is no size of memory; expected .* 8GB or 512MiB"),
        (("--workers", "0"), "workers is 0"),
        (("--scheduler", "cloud"), "cloud"),
        (("--store", "labels.tif"), "store labels.tif is also LABELS"),
        (("--store", "scene.tif"), "store scene.tif is also IMAGE"),
        (("--store", "missing/folder/run.zarr"), "missing/folder"),
        (("--store", "s.zarr", "--channels", "3"), "channel 3 does not exist"),
        (("--store", "s.zarr", "--mask", "small.png"), r"mask has shape \(4, 5\)"),
        (("--store", "s.zarr", "--overlay", "o.png"), "leave the option out"),
        (("--store", "s.zarr", "--select", "Z=0"), "axis Z"),
    ],
)
def test_bad_options(fail, folder: Path, options: tuple[str, ...], message: str) -> None:
    Image.fromarray(np.zeros((4, 5), np.uint8)).save("small.png")
    line = fail("segment", "scene.tif", "labels.tif", *FAST, *options)
    assert re.search(message, line), line


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8GB", 8 * 10**9),
        ("512MiB", 512 * 2**20),
        ("2g", 2 * 10**9),
        ("1.5 TB", 15 * 10**11),
        ("64k", 64000),
        ("123456", 123456),
        ("9B", 9),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert _cli_tiled.size_in_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "8XB", "-1GB", "0", "1e9", "8iB", "1,5GB", "0.1B"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=re.escape(repr(text))):
        _cli_tiled.size_in_bytes(text)


# ---------------------------------------------------------------------- relabel, info, verify


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of a run, and the labels that it wrote."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder / "scene.tif", make_scene())
    names = [str(folder / name) for name in ("scene.tif", "first.tif", "run.zarr")]
    assert main(["segment", *names[:2], "--store", names[2], "--quiet", *TILED]) == 0
    return folder


@pytest.fixture
def store(finished: Path, folder: Path) -> str:
    """A copy of it."""
    shutil.copytree(finished / "run.zarr", "run.zarr")
    shutil.copy(finished / "first.tif", "first.tif")
    return "run.zarr"


def test_relabel(run, store: str, scene: np.ndarray) -> None:
    run("segment", "scene.tif", "whole.tif", "--save-segmentation", "saved.zarr", *FAST)
    for name in (store, "saved.zarr"):
        out = run("relabel", name, "labels.tif", "--threshold", "0.1", "--overwrite")
        expected = labels_of(scene, 0.1)
        np.testing.assert_array_equal(tifffile.imread("labels.tif"), expected)
        assert f"{expected.max()} regions" in out
        run("relabel", name, "few.ome.zarr", "--regions", "7", "--linkage", "del", "--overwrite")
        assert read_image("few.ome.zarr").data.max() == 7
        cut = ("--threshold", "0.1", "--min-size", "300", "--quiet", "--overwrite")
        assert run("relabel", name, "labels.tif", *cut) == ""
        expected = labels_of(scene, 0.1, min_size=300)
        np.testing.assert_array_equal(tifffile.imread("labels.tif"), expected)


def test_relabel_with_a_table_and_the_geometry_of_the_image(run, store: str, scene) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    tifffile.imwrite(
        *("scene.ome.tif", np.stack([0 * scene, scene]).transpose(0, 3, 1, 2)),
        ome=True,
        metadata={
            "axes": "ZCYX",
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "µm",
            "PhysicalSizeY": 0.25,
            "PhysicalSizeYUnit": "µm",
        },
    )
    image = ("--image", "scene.ome.tif", "--select", "Z=1")
    run("relabel", store, "labels.tif", "--regions", "9", *image, "--table", "regions.parquet")
    assert read_image("labels.tif").metadata.pixel_size == (0.25, 0.5)
    labels = tifffile.imread("labels.tif")
    table = parquet.read_table("regions.parquet")
    assert table["area"].to_pylist() == np.bincount(labels.ravel())[1:].tolist()
    means = [scene[labels == k, 1].mean() for k in range(1, labels.max() + 1)]
    np.testing.assert_allclose(table["mean_1"], means)


def test_relabel_refuses(run, fail, store: str) -> None:
    tifffile.imwrite("small.tif", np.zeros((20, 30), np.uint8))
    for arguments, message in (
        (("none.zarr", "labels.tif"), "none.zarr"),
        (("scene.tif", "labels.tif"), "scene.tif"),
        ((store, "first.tif"), "first.tif exists already.*--overwrite"),
        ((store, "labels.jpg"), "labels.jpg has suffix '.jpg'"),
        ((store, "labels.tif", "--threshold", "2"), "threshold is 2.0; expected .* 0 to 1"),
        ((store, "labels.tif", "--regions", "5", "--linkage", "egb"), "linkage egb"),
        ((store, "labels.tif", "--linkage", "learned"), "learned"),
        ((store, "labels.tif", "--table", "t.csv"), "t.csv has suffix '.csv'"),
        ((store, "labels.tif", "--image", "small.tif"), "20 x 30 pixels; expected 283 x 301"),
    ):
        line = fail("relabel", *arguments)
        assert re.search(message, line), line


def test_info(run, fail, store: str, folder: Path) -> None:
    out = run("info", store)
    for text in (
        r"run.zarr: written by napari-del \d",
        r"image +283 x 301 pixels, 3 channels, uint16",
        r"model +mean-color",
        r"step +8",
        r"block +128 pixels",
        r"statistics +9 of 9",
        r"superpixels +9 of 9",
        r"nodes +2 of 2",
        r"hierarchies +average",
        r"superpixels of blocks of 128 +[0-9a-f]{64}\n",
        r"graph +[0-9a-f]{64}\n",
        r"hierarchy average +[0-9a-f]{64}\n",
        r"tile-exact +superpixels",
        r"schedule-exact +all that is computed",
    ):
        assert re.search(text, out), text
    n = napari_del.load(store).n_superpixels
    assert re.search(rf"superpixels +{n}\n", out)
    # The graph and what is merged of it do not depend on the blocks; the parts of pixels do.
    run("segment", "scene.tif", "other.tif", "--store", "other.zarr", "--block", "200", *FAST)
    other = run("info", "other.zarr")
    for name, same in (("graph", True), ("hierarchy average", True), ("image", True)):
        first, second = (re.search(f"{name} +(.*)\n", text)[1] for text in (out, other))
        assert (first == second) is same
    Path("empty").mkdir()
    assert "empty is no zarr group" in fail("info", "empty")
    assert "none.zarr does not exist" in fail("info", "none.zarr")


def test_info_tells_another_graph(run, store: str, scene: np.ndarray) -> None:
    scene[140, 150] += 5000
    tifffile.imwrite("changed.tif", scene, photometric="rgb")
    run("segment", "changed.tif", "other.tif", "--store", "other.zarr", *TILED)
    graphs = [re.search("graph +(.*)\n", run("info", name))[1] for name in (store, "other.zarr")]
    assert graphs[0] != graphs[1]


def test_verify_and_repair(run, capsys, store: str, scene: np.ndarray) -> None:
    assert "all that is done is as it was written" in run("verify", store)
    assert run("verify", store, "--quiet") == ""
    chunk = Path(store, "superpixels", "c", "1", "2")
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    for options, end in (
        ((), "1 damaged\n"),
        (
            ("--repair",),
            "1 damaged, forgotten: the command that made the store computes it again\n",
        ),
    ):
        assert main(["verify", store, *options, "--quiet"]) == 1
        out, err = capsys.readouterr()
        assert err == ""
        assert out.splitlines()[0].startswith("superpixels 1_2: ")
        assert out.endswith(end)
    assert re.search("superpixels +8 of 9", run("info", store))
    run("segment", "scene.tif", "again.tif", "--store", store, *TILED)
    assert "all that is done" in run("verify", store)
    np.testing.assert_array_equal(tifffile.imread("again.tif"), labels_of(scene))
