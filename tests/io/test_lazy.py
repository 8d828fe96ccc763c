"""Opening images of every format without reading them, and reading any part of them."""

from __future__ import annotations

import pickle
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr
from PIL import Image as PillowImage

from napari_del.errors import ReadError
from napari_del.io import open_image, open_mask, read_image, read_mask
from napari_del.tiles.source import Source

RNG = np.random.default_rng(11)
RGB = RNG.integers(1, 256, (150, 170, 3)).astype(np.uint8)
GREY = RNG.integers(1, 60000, (150, 170)).astype(np.uint16)
STACK = RNG.integers(0, 256, (2, 4, 3, 150, 170)).astype(np.uint8)
WINDOW = (slice(31, 140), slice(70, 170))


def assert_same_as_read(path, **options) -> None:
    """Parts, pickled copies and masks of an open image are those of the image that is read."""
    read, opened = read_image(path, **options), open_image(path, **options)
    assert opened.data.shape == read.data.shape
    assert opened.data.dtype.newbyteorder("=") == read.data.dtype
    assert opened.metadata == read.metadata
    for one in (opened, pickle.loads(pickle.dumps(opened))):
        source = Source(one.data, mask=one.mask, nodata=one.nodata)
        for window in (WINDOW, (slice(0, 150), slice(0, 170)), (slice(9, 10), slice(0, 170))):
            pixels, valid = source.read(window)
            expected = read.data[window]
            np.testing.assert_array_equal(pixels.reshape(expected.shape), expected)
            kept = np.ones(expected.shape[:2], bool) if read.mask is None else read.mask[window]
            np.testing.assert_array_equal(True if valid is None else valid, kept)
    np.testing.assert_array_equal(np.asarray(opened.data), read.data)


TIFFS = [
    (RGB, {"photometric": "rgb"}),
    (RGB, {"photometric": "rgb", "tile": (64, 48)}),
    (RGB, {"photometric": "rgb", "tile": (64, 48), "compression": "zlib", "predictor": True}),
    (RGB, {"photometric": "rgb", "rowsperstrip": 32, "compression": "lzw", "bigtiff": True}),
    (RGB, {"photometric": "rgb", "compression": "zlib", "byteorder": ">"}),
    (np.moveaxis(RGB, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
    (
        np.moveaxis(RGB, 2, 0),
        {"photometric": "rgb", "planarconfig": "separate", "tile": (64, 64)},
    ),
    (np.moveaxis(RGB, 2, 0), {"ome": True, "metadata": {"axes": "CYX"}}),
    (np.moveaxis(RGB, 2, 0), {"ome": True, "metadata": {"axes": "CYX"}, "tile": (32, 32)}),
    (np.moveaxis(RGB, 2, 0), {"imagej": True, "metadata": {"axes": "CYX"}}),
    (np.dstack([RGB, RGB])[..., :5], {}),
    (GREY, {}),
    (GREY, {"byteorder": ">"}),
    (GREY, {"tile": (64, 64), "compression": "zstd", "byteorder": ">"}),
    (GREY.astype(np.float16), {}),
    (GREY > 30000, {"photometric": "minisblack"}),
    (GREY > 30000, {"photometric": "minisblack", "compression": "packbits"}),
    (GREY[np.newaxis, np.newaxis], {"metadata": {"axes": "TZYX"}, "compression": "zlib"}),
    (GREY, {"metadata": None, "extratags": [(42113, 2, 0, str(GREY[50, 90]), True)]}),
]


@pytest.mark.parametrize(("data", "arguments"), TIFFS)
def test_tiff(data: np.ndarray, arguments: dict, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", data, **arguments)
    assert_same_as_read(tmp_path / "image.tif")


def test_tiff_is_read_by_chunks_from_any_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    data = np.zeros((4000, 4000), np.uint16)
    data[3500:3600, 2000:2100] = GREY[:100, :100]
    for name, arguments in (("plain.tif", {}), ("tiles.tif", {"compression": "zlib"})):
        tifffile.imwrite(name, data, tile=(256, 256) if arguments else None, **arguments)
        opened = open_image(name)
        assert opened.data.chunks == ((256, 256) if arguments else None)
        text = pickle.dumps(opened)
        assert len(text) < 3000
        tracemalloc.start()
        part = pickle.loads(text).data[3500:3600, 2000:2100]
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        np.testing.assert_array_equal(part, GREY[:100, :100])
        assert peak < data.nbytes / 4
        monkeypatch.chdir(tmp_path.parent)
        np.testing.assert_array_equal(pickle.loads(text).data[3500:3600, 2000:2100], part)
        monkeypatch.chdir(tmp_path)


def test_planes_of_stacks(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "TZCYX"})
    assert_same_as_read(path, select={"T": 1, "Z": 3})
    assert_same_as_read(path, select={"T": 1, "z": 3, "C": 2})
    with pytest.raises(ReadError, match="such as select T=0,Z=0"):
        open_image(path)
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY, metadata=None)
        writer.write(RGB, photometric="rgb", metadata=None, compression="zlib")
    assert_same_as_read(path, series=1)


def test_palette(tmp_path: Path) -> None:
    table = RNG.integers(0, 2**16, (3, 256)).astype(np.uint16)
    path = tmp_path / "image.tif"
    tifffile.imwrite(path, RGB[..., 0], photometric="palette", colormap=table, tile=(32, 32))
    opened = open_image(path).data
    assert opened.shape == (150, 170, 3)
    tifffile.imwrite(
        tmp_path / "small.tif", RGB[..., 0], photometric="palette", colormap=table,
        tile=(32, 48), compression="zlib",
    )  # fmt: skip
    assert open_image(tmp_path / "small.tif").data.chunks == (32, 48, 3)
    assert_same_as_read(path)


GEO = [
    (33550, 12, 3, (2.0, 2.0, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
    (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
]


@pytest.mark.parametrize("tile", [None, (64, 64)])
@pytest.mark.parametrize("is_alpha", [True, False])
def test_alpha_masks_and_near_infrared(tile, is_alpha: bool, tmp_path: Path) -> None:
    path = tmp_path / "image.tif"
    alpha = (GREY > 30000) * np.uint8(255)
    if not is_alpha:
        alpha[149, 169] = 7  # in the last part that is looked at
    tifffile.imwrite(
        path,
        np.dstack([RGB, alpha]),
        photometric="rgb",
        extrasamples=["unassalpha"],
        metadata=None,
        extratags=GEO,
        tile=tile,
    )
    assert open_image(path).data.shape == (150, 170, 3 if is_alpha else 4)
    assert_same_as_read(path)


def test_mask_page_of_gdal(tmp_path: Path) -> None:
    path = tmp_path / "masked.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, photometric="rgb", metadata=None, extratags=GEO)
        writer.write(GREY > 30000, photometric=4, subfiletype=4, metadata=None)
    assert read_image(path).mask is not None
    assert_same_as_read(path)
    assert_same_as_read(path, nodata=int(RGB[0, 0, 0]))


def test_pictures_are_read_at_once(tmp_path: Path) -> None:
    PillowImage.fromarray(np.dstack([RGB, RGB[..., 0] // 64])).save(tmp_path / "image.png")
    PillowImage.fromarray(RGB).save(tmp_path / "image.jpg")
    for name in ("image.png", "image.jpg"):
        assert_same_as_read(tmp_path / name)
    assert_same_as_read(tmp_path / "image.jpg", nodata=int(RGB[0, 0, 0]))


@pytest.mark.parametrize("data", [RGB, GREY, np.moveaxis(RGB, 2, 0), GREY[..., np.newaxis]])
def test_npy(data: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "image.npy", data)
    assert_same_as_read(tmp_path / "image.npy")
    opened = open_image(tmp_path / "image.npy", nodata=3)
    assert len(pickle.dumps(opened)) < 3000
    assert opened.data.shape == (150, 170, 3)[: 2 + (data.ndim == 3 and 3 in data.shape)]


# ---------------------------------------------------------------------- zarr


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize("channels_first", [True, False])
def test_zarr_arrays(zarr_format: int, channels_first: bool, tmp_path: Path) -> None:
    data = np.moveaxis(RGB, 2, 0) if channels_first else RGB
    path = tmp_path / "image.zarr"
    zarr.create_array(path, data=data, chunks=(64, 64, 64), zarr_format=zarr_format)
    assert_same_as_read(path)
    np.testing.assert_array_equal(read_image(path).data, RGB)
    np.testing.assert_array_equal(read_image(path.as_uri()).data, RGB)


def test_zarr_axes_by_name(tmp_path: Path) -> None:
    path = tmp_path / "image.zarr"
    data = STACK[:, :, :2, :20, :30]
    zarr.create_array(path, data=data, dimension_names=["time", "z", "band", "y", "x"])
    plane = read_image(path, select={"time": 1, "Z": 2}).data
    np.testing.assert_array_equal(plane, np.moveaxis(data[1, 2], 0, -1))
    with pytest.raises(ReadError, match="axes TIME, Z, C, Y, X of shape .*select TIME=0,Z=0"):
        open_image(path)
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    xarray = group.create_array("image", data=RGB.transpose(1, 0, 2))
    xarray.attrs["_ARRAY_DIMENSIONS"] = ["x", "y", "channel"]
    np.testing.assert_array_equal(read_image(tmp_path / "group.zarr" / "image").data, RGB)


def write_ome(group: zarr.Group, version: str, data: np.ndarray, axes: str) -> None:
    levels = []
    for level in range(2):
        group.create_array(f"s{level}", data=data[..., :: 2**level, :: 2**level])
        scale = [1.0] * (len(axes) - 2) + [0.25 * 2**level, 0.5 * 2**level]
        transformations = [{"type": "scale", "scale": scale}]
        levels.append({"path": f"s{level}", "coordinateTransformations": transformations})
    kinds = {"t": "time", "c": "channel"}
    described = [
        {"name": a, "type": kinds.get(a, "space")} | ({"unit": "micrometer"} if a in "zyx" else {})
        for a in axes
    ]
    images = [{"axes": described, "datasets": levels, "version": version}]
    group.attrs.update(
        {"multiscales": images} if version == "0.4" else {"ome": {"multiscales": images}}
    )


@pytest.mark.parametrize(("version", "zarr_format"), [("0.4", 2), ("0.5", 3)])
def test_largest_level_of_ome_zarr(version: str, zarr_format: int, tmp_path: Path) -> None:
    path = tmp_path / "image.ome.zarr"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    write_ome(group, version, np.moveaxis(RGB, 2, 0), "cyx")
    assert_same_as_read(path)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, RGB)
    assert (image.metadata.kind, image.metadata.pixel_size) == ("ome", (0.25, 0.5))
    assert image.metadata.unit == "µm"
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    write_ome(group, version, STACK, "tzcyx")
    assert_same_as_read(path, select={"T": 1, "Z": 0})
    with pytest.raises(ReadError, match="stack with axes TZCYX.*T=0,Z=0"):
        open_image(path)


def test_series_of_bioformats2raw(tmp_path: Path) -> None:
    root = zarr.open_group(tmp_path / "slide.zarr", mode="w", zarr_format=2)
    root.attrs["bioformats2raw.layout"] = 3
    write_ome(root.create_group("0"), "0.4", np.moveaxis(RGB, 2, 0)[np.newaxis], "tcyx")
    write_ome(root.create_group("1"), "0.4", GREY[np.newaxis], "cyx")
    np.testing.assert_array_equal(read_image(tmp_path / "slide.zarr").data, RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "slide.zarr", series=1).data, GREY)
    with pytest.raises(ReadError, match="no series 2; it holds 0, 1"):
        open_image(tmp_path / "slide.zarr", series=2)


# ---------------------------------------------------------------------- masks and bad input


def test_masks(tmp_path: Path) -> None:
    colours = RGB * (GREY > 30000)[..., np.newaxis]
    tifffile.imwrite(tmp_path / "plain.tif", GREY // 50000)
    tifffile.imwrite(tmp_path / "rgb.tif", colours, photometric="rgb", tile=(64, 64))
    declared = [(42113, 2, 0, "1", True)]
    tifffile.imwrite(tmp_path / "nodata.tif", GREY % 3, metadata=None, extratags=declared)
    PillowImage.fromarray(np.dstack([RGB, GREY.astype(np.uint8) // 128])).save(tmp_path / "a.png")
    for name in ("plain.tif", "rgb.tif", "nodata.tif", "a.png"):
        expected = read_mask(tmp_path / name)
        assert 0 < expected.mean() < 1
        mask = pickle.loads(pickle.dumps(open_mask(tmp_path / name)))
        np.testing.assert_array_equal(mask[WINDOW], expected[WINDOW])
        assert mask.dtype == bool and mask.shape == expected.shape


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.zarr").mkdir()
    (tmp_path / "text.zarr").write_text("no folder")
    (tmp_path / "text.npy").write_text("no array")
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    np.save(tmp_path / "deep.npy", np.zeros((2, 3, 4, 5)))
    group = zarr.open_group(tmp_path / "group.zarr", mode="w")
    group.create_array("scene", data=GREY)
    broken = tmp_path / "broken.zarr"
    zarr.create_array(broken, data=GREY)
    (broken / "zarr.json").write_text("{")
    for name, options, message in (
        ("folder", {}, "is a directory; expected an image file or a zarr folder"),
        ("empty.zarr", {}, "is a directory"),
        ("text.zarr", {}, "cannot be read"),
        ("text.npy", {}, "cannot be read"),
        ("objects.npy", {}, "cannot be read"),
        ("deep.npy", {}, r"shape \(2, 3, 4, 5\) and does not name its axes"),
        ("group.zarr", {}, r"without a multiscale image; .*\(scene\)"),
        ("group.zarr/scene", {"series": 1}, "holds a single image; got series 1"),
        ("group.zarr/scene", {"select": {"Z": 1}}, "axis Z cannot be selected"),
        ("broken.zarr", {}, "cannot be read"),
    ):
        for reader in (open_image, read_image):
            with pytest.raises(ReadError, match=message) as caught:
                reader(tmp_path / name, **options)
            assert name in str(caught.value)
            assert "\n" not in str(caught.value)
    for url in (f"file://{tmp_path}/none.zarr", "nothing://bucket/image.zarr"):
        with pytest.raises(ReadError, match=f"{url} cannot be read"):
            open_image(url)


def test_only_slices_of_step_1_are_read(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "image.tif", RGB, photometric="rgb")
    data = open_image(tmp_path / "image.tif").data
    for key in (np.s_[3], np.s_[::2], np.s_[:, :, :, :]):
        with pytest.raises(IndexError, match="expected at most 3 slices of step 1"):
            data[key]
    np.testing.assert_array_equal(data[-20:, ..., 1:], RGB[-20:, :, 1:])


@pytest.mark.slow
def test_slide_and_mosaic(shared_data: Path) -> None:
    for name in ("CMU-1-Small-Region.svs", "landsat8_mosaic_rgb_uint16.tif"):
        read, opened = (one(shared_data / "large" / name) for one in (read_image, open_image))
        window = (slice(901, 1333), slice(1017, 1800))
        pixels = Source(opened.data).read(window)[0]
        np.testing.assert_array_equal(pixels, read.data[window])
        assert opened.metadata == read.metadata
