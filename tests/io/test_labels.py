"""Writing labels: compressed, with the geometry of the image, whole or not at all."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_del.errors import OutputError
from napari_del.io import ImageMetadata, check_output, read_image, replacing, write_labels

LABELS = np.arange(600, dtype=np.int32).reshape(20, 30) // 7
MANY = LABELS + 2**16
GEO = [
    (33550, 12, 3, (0.5, 0.25, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 694020.0, -2766630.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 3072, 0, 1, 32614, 1026, 34737, 5, 0), True),
    (34736, 12, 2, (6378137.0, 298.25), True),
    (34737, 2, 0, "UTM|", True),
    (
        42112,
        2,
        0,
        '<GDALMetadata><Item name="SCENE">LC08</Item>'
        '<Item name="STATISTICS_MEAN" sample="0">7</Item></GDALMetadata>',
        True,
    ),
]


def round_trip(tmp_path: Path, labels: np.ndarray = LABELS, **arguments) -> tifffile.TiffFile:
    """Write an image, read it, write labels with its metadata, and open them."""
    image_path = tmp_path / "image.tif"
    tifffile.imwrite(image_path, np.full(labels.shape, 9, np.uint16), **arguments)
    write_labels(tmp_path / "labels.tif", labels, read_image(image_path).metadata)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "labels.tif"), labels)
    return tifffile.TiffFile(tmp_path / "labels.tif")


@pytest.mark.parametrize(
    ("labels", "dtype"),
    [(LABELS, np.uint16), (np.full((3, 4), 65535), np.uint16), (MANY, np.uint32)],
)
def test_smallest_type_that_holds_the_labels(tmp_path: Path, labels, dtype) -> None:
    write_labels(tmp_path / "labels.tiff", labels)
    with tifffile.TiffFile(tmp_path / "labels.tiff") as tif:
        assert tif.pages[0].dtype == dtype
        assert tif.pages[0].compression == tifffile.COMPRESSION.ADOBE_DEFLATE
        np.testing.assert_array_equal(tif.asarray(), labels)


def test_no_nodata_is_declared_without_geography(tmp_path: Path) -> None:
    with round_trip(tmp_path) as tif:
        assert 42113 not in tif.pages[0].tags


def test_resolution(tmp_path: Path) -> None:
    arguments = {"resolution": ((3000, 7), (1234, 1)), "resolutionunit": "CENTIMETER"}
    with round_trip(tmp_path, **arguments) as tif:
        tags = tif.pages[0].tags
        assert tags["XResolution"].value == (3000, 7)
        assert tags["YResolution"].value == (1234, 1)
        assert tags["ResolutionUnit"].value == 3


def test_geotiff(tmp_path: Path) -> None:
    with round_trip(tmp_path, metadata=None, extratags=GEO) as tif:
        tags = tif.pages[0].tags
        for code, _, _, value, _ in GEO[:5]:
            assert tags[code].value == value
        assert "LC08" in tags[42112].value
        assert "STATISTICS_MEAN" not in tags[42112].value
        assert str(tags[42113].value) == "0"
        assert tif.geotiff_metadata["ProjectedCSTypeGeoKey"] == 32614


def test_geotiff_with_a_matrix(tmp_path: Path) -> None:
    matrix = (1.0, 0.5, 0.0, 3.0, 0.5, -1.0, 0.0, 4.0, *(0.0,) * 7, 1.0)
    with round_trip(tmp_path, metadata=None, extratags=[(34264, 12, 16, matrix, True)]) as tif:
        assert tif.pages[0].tags[34264].value == matrix


IMAGEJ = {
    "imagej": True,
    "resolution": (4.0, 2.0),
    "metadata": {"unit": "\\u00B5m"},
}


def test_imagej(tmp_path: Path) -> None:
    with round_trip(tmp_path, **IMAGEJ) as tif:
        assert tif.is_imagej
        assert tif.imagej_metadata["unit"] == "\\u00B5m"
        assert tif.pages[0].tags["XResolution"].value == (4, 1)
        assert tif.pages[0].tags["YResolution"].value == (2, 1)
    assert read_image(tmp_path / "labels.tif").metadata.pixel_size == (0.5, 0.25)


def test_many_labels_of_an_imagej_image_become_ome(tmp_path: Path) -> None:
    with round_trip(tmp_path, MANY, **IMAGEJ) as tif:
        assert tif.is_ome
    metadata = read_image(tmp_path / "labels.tif").metadata
    assert metadata.pixel_size == (0.5, 0.25)
    assert metadata.unit == "µm"


@pytest.mark.parametrize("labels", [LABELS, MANY])
def test_ome(tmp_path: Path, labels: np.ndarray) -> None:
    size = {"PhysicalSizeX": 0.1, "PhysicalSizeY": 0.2, "PhysicalSizeXUnit": "nm"}
    size["PhysicalSizeYUnit"] = "nm"
    with round_trip(tmp_path, labels, ome=True, metadata={"axes": "YX", **size}) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "YX"
    metadata = read_image(tmp_path / "labels.tif").metadata
    assert (metadata.kind, metadata.pixel_size, metadata.unit) == ("ome", (0.2, 0.1), "nm")


def test_a_unit_outside_the_ome_schema_is_left_out(tmp_path: Path) -> None:
    write_labels(tmp_path / "labels.tif", LABELS, ImageMetadata("ome", (1.0, 1.0), "furlong"))
    with tifffile.TiffFile(tmp_path / "labels.tif") as tif:
        assert not tif.is_ome


@pytest.mark.parametrize(
    "labels",
    [np.zeros((2, 3, 4), int), np.zeros((2, 2)), np.full((2, 2), -1), np.zeros((0, 2), int)],
)
def test_no_labels(tmp_path: Path, labels: np.ndarray) -> None:
    with pytest.raises(OutputError, match="labels"):
        write_labels(tmp_path / "labels.tif", labels)
    assert not list(tmp_path.iterdir())


def test_existing_file_stays_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already.*--overwrite"):
        write_labels(path, LABELS)
    assert path.read_text() == "mine"
    write_labels(path, LABELS, overwrite=True)
    np.testing.assert_array_equal(tifffile.imread(path), LABELS)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("labels.jpg", r"suffix '.jpg'; expected .tif or .tiff"),
        ("labels", "suffix ''"),
        ("missing/labels.tif", "is not a directory"),
        ("file/labels.tif", "is not a directory"),
        ("folder.tif", "is a directory"),
    ],
)
def test_names_that_cannot_be_written(tmp_path: Path, name: str, match: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.tif").mkdir()
    with pytest.raises(OutputError, match=match):
        check_output(tmp_path / name, (".tif", ".tiff"), overwrite=True)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_directory_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="no permission"):
            check_output(tmp_path / "labels.tif", (".tif",))
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError, OSError])
def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "labels.tif"
    path.write_text("before")
    expected = OutputError if error is OSError else error

    def fail() -> None:
        with replacing(path, overwrite=True) as temporary:
            temporary.write_text("half")
            raise error(errno.ENOSPC, "No space left on device")

    with pytest.raises(expected):
        fail()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "labels.tif"

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("new")
            path.write_text("of another program")

    with pytest.raises(OutputError, match="exists already"):
        write()
    assert path.read_text() == "of another program"
    assert list(tmp_path.iterdir()) == [path]


def test_disk_that_is_full(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="no limit of file sizes to set")
    noise = np.random.default_rng(0).integers(0, 2**31, (500, 500))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            write_labels(tmp_path / "labels.tif", noise)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "large/landsat8_mosaic_rgb_uint16.tif",
        "rasters/m_4709963_se_14_1_20180716.tif",
        "rasters/landsat_2020.tif",
    ],
)
def test_geography_of_real_files(shared_data: Path, tmp_path: Path, name: str) -> None:
    image = read_image(shared_data / name)
    write_labels(tmp_path / "labels.tif", np.ones(image.data.shape[:2], int), image.metadata)
    assert read_image(tmp_path / "labels.tif").metadata == image.metadata
