"""Exports that stream: tiled TIFF, OME-Zarr, tables of regions."""

from __future__ import annotations

import builtins
from pathlib import Path

import dask.array as da
import numpy as np
import pyarrow.parquet
import pytest
import tifffile
import zarr
from skimage.measure import regionprops

from napari_del import segment
from napari_del._threads import thread_budget
from napari_del.errors import ImageError, OutputError, ParameterError
from napari_del.io import ImageMetadata, export_labels, labels, read_image, write_labels
from napari_del.io._windows import in_order
from napari_del.io.region_table import region_table, write_region_table
from napari_del.tiles.stored import read_stored
from tests.io.test_labels import GEO
from tests.tiles.filling import fill

SHAPE = (701, 1203)


def numbered(shape=SHAPE, highest=9000) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, highest + 1, (-(-shape[0] // 9), -(-shape[1] // 9)))
    return np.kron(small, np.ones((9, 9), int))[: shape[0], : shape[1]].astype(np.int32)


LABELS = numbered()
LAZY = da.from_array(LABELS, chunks=(300, 256))


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:83, :117]
    palette = rng.integers(40, 216, (12, 3))
    noise = rng.integers(-25, 26, (83, 117, 3))
    return (palette[(y // 15 * 4 + x // 17) % 12] + noise).astype(np.uint8)


@pytest.fixture(scope="module")
def in_memory(picture):
    mask = np.ones(picture.shape[:2], bool)
    mask[30:70, 20:66] = False
    return segment(picture, model="mean-color", mask=mask)


@pytest.fixture(scope="module")
def stored(in_memory, tmp_path_factory):
    return read_stored(fill(tmp_path_factory.mktemp("stores") / "a.zarr", in_memory, 32))


@pytest.mark.parametrize("highest", [None, 9000, 70_000])
def test_a_dask_array_becomes_a_tiled_file(tmp_path: Path, highest: int | None) -> None:
    told: list[tuple[int, int]] = []
    write_labels(
        tmp_path / "a.tif", LAZY, highest=highest, progress=lambda *pair: told.append(pair)
    )
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        page = tif.pages[0]
        assert page.tile == (512, 512) and not tif.is_bigtiff
        assert page.compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        assert page.dtype == (np.uint32 if highest == 70_000 else np.uint16)
        np.testing.assert_array_equal(tif.asarray(), LABELS)
    assert told[-1] == (LABELS.size, LABELS.size) and len(told) > 1
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif").data, LABELS)


@pytest.mark.parametrize("array", [LABELS, LAZY])
def test_a_pyramid_in_a_tiff_file(tmp_path: Path, array) -> None:
    write_labels(tmp_path / "a.tif", array, pyramid=True)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        levels = tif.series[0].levels
        assert [level.shape for level in levels] == [(701, 1203), (351, 602), (176, 301)]
        for k, level in enumerate(levels):
            np.testing.assert_array_equal(level.asarray(), LABELS[:: 2**k, :: 2**k])


def test_a_file_that_may_be_too_large_is_a_bigtiff(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(labels, "BIGTIFF_BYTES", LABELS.size * 2 - 1)
    write_labels(tmp_path / "a.tif", LAZY)
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert tif.is_bigtiff
        np.testing.assert_array_equal(tif.asarray(), LABELS)


def test_tiles_keep_the_geography(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", np.ones(SHAPE, np.uint8), metadata=None, extratags=GEO)
    metadata = read_image(tmp_path / "image.tif").metadata
    write_labels(tmp_path / "a.tif", LAZY, metadata, pyramid=True)
    assert read_image(tmp_path / "a.tif").metadata == metadata
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert str(tif.pages[0].tags[42113].value) == "0"


@pytest.mark.parametrize("kind", ["ome", "imagej"])
def test_tiles_keep_the_size_of_pixels(tmp_path: Path, kind) -> None:
    write_labels(tmp_path / "a.tif", LAZY, ImageMetadata(kind, (0.5, 0.25), "µm"), pyramid=True)
    found = read_image(tmp_path / "a.tif").metadata
    assert (found.kind, found.pixel_size, found.unit) == ("ome", (0.5, 0.25), "µm")
    with tifffile.TiffFile(tmp_path / "a.tif") as tif:
        assert len(tif.series[0].levels) == 3


@pytest.mark.parametrize("array", [LABELS, LAZY, da.from_array(numbered((2050, 1100)))])
def test_ome_zarr_with_a_pyramid(tmp_path: Path, array) -> None:
    whole = np.asarray(array)
    write_labels(tmp_path / "a.ome.zarr", array, ImageMetadata("plain", (0.5, 0.25), "µm"))
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    ome = group.attrs["ome"]
    assert ome["version"] == "0.5" and "image-label" in ome
    (multiscale,) = ome["multiscales"]
    assert [axis["name"] for axis in multiscale["axes"]] == ["y", "x"]
    assert {axis["unit"] for axis in multiscale["axes"]} == {"micrometer"}
    assert len(multiscale["datasets"]) == (3 if whole.shape[0] > 2048 else 2)
    for k, dataset in enumerate(multiscale["datasets"]):
        level = group[dataset["path"]]
        np.testing.assert_array_equal(level[...], whole[:: 2**k, :: 2**k])
        assert level.dtype == np.uint16 and level.metadata.dimension_names == ("y", "x")
        (scale,) = dataset["coordinateTransformations"]
        assert scale == {"type": "scale", "scale": [0.5 * 2**k, 0.25 * 2**k]}
    assert [path.name for path in tmp_path.iterdir()] == ["a.ome.zarr"]


def test_labels_of_a_store(in_memory, stored, tmp_path: Path) -> None:
    expected = in_memory.labels(0.4)
    for name in ("a.tif", "a.ome.zarr"):
        write_labels(tmp_path / name, stored.labels(0.4), highest=stored.n_regions(0.4))
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), expected)
    group = zarr.open_group(tmp_path / "a.ome.zarr", mode="r")
    np.testing.assert_array_equal(group["0"][...], expected)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_no_more_than_a_few_windows_are_held(tmp_path: Path, name: str) -> None:
    computed, seen = set(), []

    def count(block, block_info=None):
        computed.add(block_info[0]["chunk-location"])
        return block

    tall = da.from_array(numbered((9000, 300)), chunks=(1024, 300))
    counted = tall.map_blocks(count, dtype=np.int32, meta=np.empty((0, 0), np.int32))
    with thread_budget(1):
        write_labels(
            tmp_path / name,
            counted,
            highest=9000,
            progress=lambda done, total: seen.append(len(computed)),
        )
    # When the first window is done, two more may have been computed ahead.
    assert seen[0] <= 3 < len(computed) == tall.npartitions


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, name: str, overwrite: bool) -> None:
    def fail(block, block_info=None):
        if block_info[0]["chunk-location"] == (2, 3):
            raise OSError(5, "Input/output error")
        return block

    if overwrite:
        write_labels(tmp_path / name, LAZY)
    broken = LAZY.map_blocks(fail, dtype=np.int32, meta=np.empty((0, 0), np.int32))
    with pytest.raises(OutputError, match="cannot be written: Input/output error"):
        write_labels(tmp_path / name, broken, highest=9000, overwrite=overwrite)
    assert [path.name for path in tmp_path.iterdir()] == [name] * overwrite
    if overwrite:
        with pytest.raises(OutputError, match="exists already"):
            write_labels(tmp_path / name, LAZY)
        write_labels(tmp_path / name, LAZY + 1, overwrite=True)
        found = tmp_path / name / "0" if name == "a.ome.zarr" else tmp_path / name
        read = zarr.open_array(found)[...] if name == "a.ome.zarr" else tifffile.imread(found)
        np.testing.assert_array_equal(read, LABELS + 1)


@pytest.mark.parametrize("name", ["a.tif", "a.ome.zarr"])
def test_labels_above_the_highest_and_below_zero(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="labels run from .* to .*; expected 0 to 100$"):
        write_labels(tmp_path / name, LAZY, highest=100)
    with pytest.raises(OutputError, match="labels run from -1 to 8999; expected 0 to 4294967295"):
        write_labels(tmp_path / name, LAZY - 1)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.zarr", "a.png"])
def test_other_suffixes(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="expected .tif or .tiff or .ome.zarr"):
        write_labels(tmp_path / name, LAZY)


def test_results_come_in_order_and_not_too_far_ahead() -> None:
    begun: list[int] = []

    def square(n: int) -> int:
        begun.append(n)
        return n * n

    results = in_order(square, range(1000))
    assert next(results) == 0
    assert len(begun) < 100
    assert list(results) == [n * n for n in range(1, 1000)]


@pytest.mark.parametrize("min_size", [0, 150])
@pytest.mark.parametrize("kind", ["in_memory", "stored"])
def test_regions_are_measured_as_by_scikit_image(request, picture, kind, min_size) -> None:
    segmentation = request.getfixturevalue(kind)
    table = region_table(segmentation, 0.3, "del", min_size, image=da.from_array(picture))
    whole = np.asarray(segmentation.labels(0.3, "del", min_size))
    regions = regionprops(whole, intensity_image=picture)
    assert len(regions) > 5
    np.testing.assert_array_equal(table["label"], [region.label for region in regions])
    np.testing.assert_array_equal(table["area"], [region.area for region in regions])
    box = np.stack([table[f"{end}_{axis}"] for end in ("min", "max") for axis in ("row", "col")], 1)
    np.testing.assert_array_equal(box, [region.bbox for region in regions])
    centroids = np.stack([table["centroid_row"], table["centroid_col"]], 1)
    np.testing.assert_allclose(centroids, [region.centroid for region in regions], rtol=1e-12)
    means = np.stack([table[f"mean_{channel}"] for channel in range(3)], 1)
    np.testing.assert_allclose(means, [region.intensity_mean for region in regions], rtol=1e-12)


def test_embeddings_of_regions_are_means_over_their_pixels(in_memory) -> None:
    table = region_table(in_memory, 0.3)
    numbers = np.zeros(int(in_memory.ids[-1]) + 1, np.int64)
    numbers[in_memory.ids] = np.arange(in_memory.n_superpixels)
    pixels = in_memory.embeddings[numbers[in_memory.superpixels]]
    labels = in_memory.labels(0.3)
    for k in table["label"]:
        expected = pixels[labels == k].astype(np.float64).mean(axis=0)
        np.testing.assert_allclose(table["embedding"][k - 1], expected, rtol=1e-5)
    assert table["embedding"].dtype == np.float32


@pytest.mark.parametrize("dtype", [bool, np.uint16, np.int32, np.uint64, np.float16, ">f4"])
def test_means_of_images_of_other_types(in_memory, stored, picture, dtype) -> None:
    image = (picture[..., 0] > 99) if dtype is bool else picture[..., 0].astype(dtype)
    one, two = (region_table(s, 0.3, image=image) for s in (in_memory, stored))
    expected = [region.intensity_mean for region in regionprops(in_memory.labels(0.3), image)]
    np.testing.assert_allclose(one["mean_0"], np.array(expected, float), rtol=2e-3)
    for name, column in one.items():
        np.testing.assert_array_equal(column, two[name])


def test_a_table_as_a_parquet_file(in_memory, stored, picture, tmp_path: Path) -> None:
    expected = region_table(in_memory, 0.3, image=picture)
    told: list[tuple[int, int]] = []
    write_region_table(
        tmp_path / "a.parquet",
        stored,
        0.3,
        image=picture,
        progress=lambda *pair: told.append(pair),
    )
    table = pyarrow.parquet.read_table(tmp_path / "a.parquet")
    assert table.column_names == list(expected)
    for name, column in expected.items():
        found = np.array(table[name].to_pylist(), column.dtype)
        np.testing.assert_array_equal(found, column)
    assert pyarrow.types.is_fixed_size_list(table["embedding"].type)
    assert told[-1] == (picture[..., 0].size,) * 2
    with pytest.raises(OutputError, match="exists already"):
        write_region_table(tmp_path / "a.parquet", in_memory, 0.3)


def test_without_pyarrow_it_says_what_to_install(in_memory, tmp_path: Path, monkeypatch) -> None:
    load = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("pyarrow"):
            raise ImportError(name)
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(OutputError, match=r"needs? pyarrow; .* 'napari-del\[tables\]'"):
        write_region_table(tmp_path / "a.parquet", in_memory, 0.3)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("image", "match"),
    [
        (np.zeros((83, 116)), r"image has shape \(83, 116\); expected \(83, 117\)"),
        (np.zeros((83, 117, 3, 1)), "image has shape"),
        (np.zeros((83, 117), complex), "dtype complex128; expected real numbers"),
    ],
)
def test_images_that_do_not_fit(in_memory, image, match) -> None:
    with pytest.raises(ImageError, match=match):
        region_table(in_memory, 0.3, image=image)
    with pytest.raises(ParameterError, match="^threshold"):
        region_table(in_memory, 1.3)


def test_levels_end_where_one_fits() -> None:
    assert export_labels.levels((5, 512), 512) == [(5, 512)]
    assert export_labels.levels((1025, 3), 512) == [(1025, 3), (513, 2), (257, 1)]
