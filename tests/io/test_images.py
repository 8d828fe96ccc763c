"""Reading images from files of every kind, and refusing what is no image."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image as PillowImage

from napari_del.errors import ReadError
from napari_del.io import read_image, read_mask

RNG = np.random.default_rng(7)
GREY = RNG.integers(1, 60000, (20, 30)).astype(np.uint16)
RGB = RNG.integers(1, 256, (20, 30, 3)).astype(np.uint8)


@pytest.fixture
def tiff(tmp_path: Path):
    """Write an array as TIFF with any arguments of tifffile and return the path."""

    def write(data: np.ndarray, name: str = "image.tif", **arguments) -> Path:
        path = tmp_path / name
        tifffile.imwrite(path, data, **arguments)
        return path

    return write


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int16", "uint32", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_every_dtype_and_byte_order(tiff, dtype: str, byteorder: str) -> None:
    data = (GREY % 100).astype(dtype)
    image = read_image(tiff(data, byteorder=byteorder))
    assert image.data.dtype == np.dtype(dtype)
    assert image.data.dtype.isnative
    np.testing.assert_array_equal(image.data, data)
    assert image.mask is None


def test_bits_become_black_and_white(tiff) -> None:
    image = read_image(tiff(GREY > 30000, photometric="minisblack"))
    np.testing.assert_array_equal(image.data, np.where(GREY > 30000, 255, 0))
    assert image.data.dtype == np.uint8


@pytest.mark.parametrize(
    ("stored", "arguments"),
    [
        (RGB, {"photometric": "rgb"}),
        (np.moveaxis(RGB, 2, 0), {"photometric": "rgb", "planarconfig": "separate"}),
        (RGB, {"photometric": "rgb", "tile": (16, 16), "compression": "zlib", "predictor": True}),
        (np.moveaxis(RGB, 2, 0), {"ome": True, "metadata": {"axes": "CYX"}}),
        (np.moveaxis(RGB, 2, 0), {"imagej": True, "metadata": {"axes": "CYX"}}),
        (RGB, {"ome": True, "photometric": "rgb", "metadata": {"axes": "YXS"}}),
        (RGB[np.newaxis, np.newaxis], {"photometric": "rgb", "metadata": {"axes": "TZYXS"}}),
    ],
)
def test_channels_come_last(tiff, stored: np.ndarray, arguments: dict) -> None:
    np.testing.assert_array_equal(read_image(tiff(stored, **arguments)).data, RGB)


def test_channels_written_last_without_a_word_about_them(tiff) -> None:
    data = RNG.integers(0, 256, (20, 30, 5)).astype(np.uint8)
    np.testing.assert_array_equal(read_image(tiff(data)).data, data)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (7, 500), (1, 1, 3), (1, 40, 60)])
def test_small_shapes(tiff, shape: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape)).reshape(shape).astype(np.uint16)
    image = read_image(tiff(data))
    np.testing.assert_array_equal(image.data, data[0] if shape == (1, 40, 60) else data)


def test_a_stack_is_refused_with_its_axes_and_a_way_to_choose(tiff) -> None:
    stack = RNG.integers(0, 9, (3, 5, 2, 20, 30)).astype(np.uint8)
    path = tiff(stack, imagej=True, metadata={"axes": "TZCYX"})
    with pytest.raises(ReadError, match=r"axes TZCYX of shape \(3, 5, 2, 20, 30\).*T=0,Z=0"):
        read_image(path)
    with pytest.raises(ReadError, match=r"Z=0"):
        read_image(path, select={"T": 1})
    plane = read_image(path, select={"t": 2, "Z": 4}).data
    np.testing.assert_array_equal(plane, np.moveaxis(stack[2, 4], 0, -1))
    channel = read_image(path, select={"T": 0, "Z": 1, "C": 1}).data
    np.testing.assert_array_equal(channel, stack[0, 1, 1])


@pytest.mark.parametrize(
    ("select", "message"),
    [({"Q": 0}, "axis Q"), ({"Y": 0}, "axis Y"), ({"Z": 5}, "0 to 4"), ({"Z": -1}, "0 to 4")],
)
def test_selection_out_of_range(tiff, select: dict[str, int], message: str) -> None:
    path = tiff(np.zeros((5, 20, 30), np.uint8), metadata={"axes": "ZYX"}, imagej=True)
    with pytest.raises(ReadError, match=message):
        read_image(path, select=select)


def test_series(tmp_path: Path) -> None:
    path = tmp_path / "two.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(GREY, metadata=None)
        writer.write(RGB, photometric="rgb", metadata=None)
    np.testing.assert_array_equal(read_image(path).data, GREY)
    np.testing.assert_array_equal(read_image(path, series=1).data, RGB)
    with pytest.raises(ReadError, match="no series 2"):
        read_image(path, series=2)


def test_palette_holds_the_colours_except_in_imagej(tiff) -> None:
    index = RNG.integers(0, 256, (20, 30)).astype(np.uint8)
    table = RNG.integers(0, 2**16, (3, 256)).astype(np.uint16)
    path = tiff(index, photometric="palette", colormap=table)
    np.testing.assert_array_equal(read_image(path).data, np.moveaxis(table[:, index] >> 8, 0, -1))
    path = tiff(index, imagej=True, colormap=table)
    np.testing.assert_array_equal(read_image(path).data, index)


@pytest.mark.parametrize(
    ("dtype", "text", "empty"),
    [
        ("uint16", "0", 0),
        ("uint8", "255.0", 255),
        ("float32", "-3.4028234663852886e+38", np.finfo(np.float32).min),
        ("float32", "nan", np.nan),
        ("int16", "-9999", -9999),
    ],
)
def test_nodata_of_gdal(tiff, dtype: str, text: str, empty: float) -> None:
    data = (1 + GREY % 100).astype(dtype)
    data[:5] = empty
    image = read_image(tiff(data, metadata=None, extratags=[(42113, 2, 0, text, True)]))
    expected = np.ones(data.shape, bool)
    expected[:5] = False
    np.testing.assert_array_equal(image.mask, expected)


@pytest.mark.parametrize("text", ["-9999", "0.5", "none", "nan"])
def test_nodata_that_no_pixel_can_have(tiff, text: str) -> None:
    path = tiff(GREY, metadata=None, extratags=[(42113, 2, 0, text, True)])
    assert read_image(path).mask is None


def test_nodata_has_to_fill_every_channel_and_can_be_given(tiff) -> None:
    data = RGB.copy()
    data[:5] = 0
    data[5:8, :, 0] = 0
    path = tiff(data, photometric="rgb")
    assert read_image(path).mask is None
    np.testing.assert_array_equal(
        read_image(path, nodata=0).mask, np.arange(20)[:, None] >= 5 + 0 * GREY
    )


def test_mask_page_of_gdal(tmp_path: Path) -> None:
    path = tmp_path / "masked.tif"
    inside = GREY > 30000
    with tifffile.TiffWriter(path) as writer:
        writer.write(RGB, photometric="rgb", metadata=None, extratags=geo_tags())
        writer.write(inside, photometric=4, subfiletype=4, metadata=None)
    image = read_image(path)
    np.testing.assert_array_equal(image.data, RGB)
    np.testing.assert_array_equal(image.mask, inside)


def geo_tags() -> list[tuple]:
    return [
        (33550, 12, 3, (2.0, 2.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4e6, 0.0), True),
        (34735, 3, 8, (1, 1, 0, 1, 1024, 0, 1, 1), True),
    ]


def rgba(alpha: np.ndarray) -> np.ndarray:
    return np.dstack([RGB, alpha.astype(np.uint8)])


def test_alpha_zero_is_masked(tiff, tmp_path: Path) -> None:
    inside = GREY > 30000
    written = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
    PillowImage.fromarray(rgba(inside * 255)).save(tmp_path / "image.png")
    paths = [tiff(rgba(inside * 255), **written), tmp_path / "image.png"]
    paths.append(
        tiff(rgba(inside * 255), "geo.tif", metadata=None, extratags=geo_tags(), **written)
    )
    for path in paths:
        image = read_image(path)
        np.testing.assert_array_equal(image.data, RGB)
        np.testing.assert_array_equal(image.mask, inside)


def test_near_infrared_declared_as_alpha_stays_a_channel(tiff) -> None:
    data = rgba(GREY % 200)
    written = {"photometric": "rgb", "extrasamples": ["unassalpha"], "metadata": None}
    path = tiff(data, extratags=geo_tags(), **written)
    np.testing.assert_array_equal(read_image(path).data, data)
    gdal = (
        '<GDALMetadata><Item name="COLORINTERP" sample="3" role="colorinterp">Undefined</Item>'
        "</GDALMetadata>"
    )
    path = tiff(
        rgba(inside_only := (GREY > 9000) * 255), extratags=[(42112, 2, 0, gdal, True)], **written
    )
    np.testing.assert_array_equal(read_image(path).data[..., 3], inside_only)


def test_grey_picture_with_alpha(tmp_path: Path) -> None:
    data = np.dstack([RGB[..., 0], np.full((20, 30), 255, np.uint8)])
    PillowImage.fromarray(data).save(tmp_path / "image.png")
    image = read_image(tmp_path / "image.png")
    np.testing.assert_array_equal(image.data, RGB[..., 0])
    assert image.mask is None


def test_pictures(tmp_path: Path) -> None:
    PillowImage.fromarray(RGB).save(tmp_path / "rgb.png")
    PillowImage.fromarray(GREY).save(tmp_path / "grey16.png")
    PillowImage.fromarray(GREY > 9000).save(tmp_path / "bits.png")
    PillowImage.fromarray(RGB).save(tmp_path / "rgb.JPG", quality=95)
    PillowImage.fromarray(RGB).quantize(16).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(read_image(tmp_path / "rgb.png").data, RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "grey16.png").data, GREY)
    np.testing.assert_array_equal(read_image(tmp_path / "bits.png").data, (GREY > 9000) * 255)
    assert read_image(tmp_path / "rgb.JPG").data.shape == RGB.shape
    quantized = np.asarray(PillowImage.fromarray(RGB).quantize(16).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png").data, quantized)


def test_16_bit_colour_png_keeps_all_bits(tmp_path: Path) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = RNG.integers(0, 2**16, (20, 30, 3)).astype(np.uint16)
    (tmp_path / "rgb16.png").write_bytes(imagecodecs.png_encode(data))
    np.testing.assert_array_equal(read_image(tmp_path / "rgb16.png").data, data)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    PillowImage.fromarray(RGB).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png").data, np.rot90(RGB, -1))


def test_read_mask(tmp_path: Path) -> None:
    inside = GREY > 30000
    PillowImage.fromarray((inside * 255).astype(np.uint8)).save(tmp_path / "grey.png")
    PillowImage.fromarray(RGB * inside[..., None].astype(np.uint8)).save(tmp_path / "rgb.png")
    for name in ("grey.png", "rgb.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), inside)


def assert_refused(path: Path, match: str, **options) -> None:
    with pytest.raises(ReadError, match=match) as caught:
        read_image(path, **options)
    assert "\n" not in str(caught.value)
    assert path.name in str(caught.value)


def test_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty.tif").touch()
    (tmp_path / "text.tif").write_text("this is no TIFF\nat all\n")
    (tmp_path / "text.png").write_text("this is no PNG")
    (tmp_path / "data.xyz").write_bytes(b"something")
    (tmp_path / "folder.tif").mkdir()
    assert_refused(tmp_path / "missing.tif", "does not exist")
    assert_refused(tmp_path / "empty.tif", "is empty")
    assert_refused(tmp_path / "text.tif", "cannot be read: not a TIFF")
    assert_refused(tmp_path / "text.png", "cannot be read")
    assert_refused(tmp_path / "data.xyz", r"suffix '.xyz'; images are read from .tif")
    assert_refused(tmp_path / "folder.tif", "is a directory")


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("part", [0.01, 0.3, 0.5, 0.9, 0.99])
def test_truncated_tiff(tiff, compression: str | None, part: float) -> None:
    path = tiff(RNG.integers(0, 256, (200, 300)).astype(np.uint8), compression=compression)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * part)])
    assert_refused(path, "truncated|cannot be read")


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_picture(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"image{suffix}"
    PillowImage.fromarray(RNG.integers(0, 256, (200, 300, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:9000])
    assert_refused(path, "cannot be read")


def test_damaged_pixels(tiff) -> None:
    path = tiff(RNG.integers(0, 256, (200, 300)).astype(np.uint8), compression="zlib")
    content = bytearray(path.read_bytes())
    content[2000:40000] = bytes(38000)
    path.write_bytes(content)
    assert_refused(path, "cannot be read")


def test_series_and_select_are_for_tiff(tmp_path: Path) -> None:
    PillowImage.fromarray(RGB).save(tmp_path / "rgb.png")
    assert_refused(tmp_path / "rgb.png", "single plane", series=1)
    assert_refused(tmp_path / "rgb.png", "single plane", select={"Z": 0})


def test_missing_codec_is_named(tmp_path: Path) -> None:
    pytest.importorskip("imagecodecs")
    path = tmp_path / "lzw.tif"
    tifffile.imwrite(path, GREY, compression="lzw")
    np.testing.assert_array_equal(read_image(path).data, GREY)
    # tifffile decides which codecs it has when it is imported.
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from napari_del.errors import ReadError\n"
        "from napari_del.io import read_image\n"
        f"try: read_image({str(path)!r})\n"
        "except ReadError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install imagecodecs" in done.stdout


@pytest.mark.slow
def test_slide(shared_data: Path) -> None:
    pytest.importorskip("imagecodecs")
    path = shared_data / "large" / "CMU-1-Small-Region.svs"
    image = read_image(path)
    assert image.data.shape == (2967, 2220, 3)
    assert image.mask is None
    assert image.metadata.pixel_size == (0.499, 0.499)
    assert read_image(path, series=2).metadata.pixel_size is None


@pytest.mark.slow
def test_mosaic(shared_data: Path) -> None:
    image = read_image(shared_data / "large" / "landsat8_mosaic_rgb_uint16.tif", nodata=0)
    assert image.data.shape == (2206, 2819, 3)
    assert image.mask is not None
    assert 0.75 < image.mask.mean() < 0.85
    assert image.metadata.kind == "geotiff"


@pytest.mark.slow
def test_aerial_image_keeps_its_four_bands(shared_data: Path) -> None:
    image = read_image(shared_data / "rasters" / "m_4709963_se_14_1_20180716.tif")
    assert image.data.shape == (724, 934, 4)
    assert {tag.code for tag in image.metadata.geo_tags} == {33550, 33922, 34735, 34737, 42112}
