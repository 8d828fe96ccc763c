"""Windows of images of every kind: what is read, what is left out, what is told."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from napari_del.errors import ImageError, ParameterError, ReadError
from napari_del.tiles.source import Source

RNG = np.random.default_rng(3)
IMAGE = RNG.integers(1, 60000, (70, 90, 4)).astype(np.uint16)
WINDOW = (slice(11, 40), slice(60, 90))


def in_numpy(image: np.ndarray, folder: Path):
    return image


def in_memmap(image: np.ndarray, folder: Path):
    np.save(folder / "image.npy", image)
    return np.load(folder / "image.npy", mmap_mode="r")


def in_dask(image: np.ndarray, folder: Path):
    dask = pytest.importorskip("dask.array")
    return dask.from_array(image, chunks=32)


def in_zarr(image: np.ndarray, folder: Path):
    array = zarr.create_array(folder / "image.zarr", data=image, chunks=(32,) * image.ndim)
    return zarr.open_array(array.store, mode="r")


class Reader:
    """The least that an image needs."""

    def __init__(self, image: np.ndarray) -> None:
        self._image = image
        self.shape, self.dtype = image.shape, image.dtype
        self.keys: list = []

    def __getitem__(self, key):
        assert all(isinstance(part, slice) for part in key)
        self.keys.append(key)
        return self._image[key]


def in_reader(image: np.ndarray, folder: Path):
    return Reader(image)


KINDS = [in_numpy, in_memmap, in_dask, in_zarr, in_reader]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("channels", [None, [2, 0]])
def test_windows_of_every_kind_of_array(kind, channels, tmp_path: Path) -> None:
    source = Source(kind(IMAGE, tmp_path), channels=channels)
    copy = pickle.loads(pickle.dumps(source))
    chosen = IMAGE if channels is None else IMAGE[..., channels]
    assert (source.shape, source.n_channels, source.dtype) == ((70, 90), chosen.shape[2], np.uint16)
    for one in (source, copy):
        pixels, valid = one.read(WINDOW)
        np.testing.assert_array_equal(pixels, chosen[WINDOW])
        assert pixels.flags.c_contiguous and type(pixels) is np.ndarray
        assert valid is None
    assert copy.fingerprint() == source.fingerprint()


@pytest.mark.parametrize("kind", KINDS)
def test_grey_images_have_one_channel(kind, tmp_path: Path) -> None:
    pixels, _ = Source(kind(IMAGE[..., 0], tmp_path)).read(WINDOW)
    np.testing.assert_array_equal(pixels, IMAGE[WINDOW][..., :1])


def test_nested_lists() -> None:
    pixels, valid = Source([[0, 1], [2, 3]], mask=[[1, 1], [0, 1]]).read((slice(0, 2), slice(0, 2)))
    assert pixels[..., 0].tolist() == [[0, 1], [2, 3]]
    assert valid.tolist() == [[True, True], [False, True]]


def test_what_is_read_belongs_to_the_caller() -> None:
    image = IMAGE.copy()
    Source(image).read(WINDOW)[0][:] = 0
    np.testing.assert_array_equal(image, IMAGE)


@pytest.mark.parametrize("dtype", [">u2", ">f4", "float16", "bool"])
def test_dtypes_stay_in_the_byte_order_of_the_machine(dtype: str) -> None:
    image = (IMAGE[..., 0] % 2).astype(dtype)
    pixels, _ = Source(image).read(WINDOW)
    assert pixels.dtype == np.dtype(dtype).newbyteorder("=")
    assert pixels.dtype.isnative
    np.testing.assert_array_equal(pixels[..., 0], image[WINDOW])


@pytest.mark.parametrize("kind", KINDS)
def test_mask_and_nodata_add_up(kind, tmp_path: Path) -> None:
    image, mask = IMAGE.copy(), RNG.random((70, 90)) > 0.3
    image[20:30] = 0
    image[30:35, :, 1:] = 0
    expected = mask & (np.arange(70) < 20)[:, None] | mask & (np.arange(70) >= 30)[:, None]
    (tmp_path / "mask").mkdir()
    # Only the channel that is not 0 everywhere tells that a pixel holds data.
    source = Source(
        kind(image, tmp_path), channels=[1], mask=kind(mask, tmp_path / "mask"), nodata=0
    )
    for one in (source, pickle.loads(pickle.dumps(source))):
        np.testing.assert_array_equal(one.read(WINDOW)[1], expected[WINDOW])
    whole = Source(image, mask=mask.astype(np.int16) * 7, nodata=0)
    np.testing.assert_array_equal(whole.read(WINDOW)[1], expected[WINDOW])


def test_nodata_that_is_no_number() -> None:
    image = RNG.random((20, 30)).astype(np.float32)
    image[3, 4] = np.nan
    image[5, 6] = np.inf
    window = (slice(0, 20), slice(0, 30))
    valid = Source(image, nodata=np.nan).read(window)[1]
    assert np.argwhere(~valid).tolist() == [[3, 4]]
    assert Source(image).read(window)[1] is None  # what is not finite is for others to see
    assert Source(IMAGE, nodata=np.nan).read(WINDOW)[1] is None
    with pytest.raises(ParameterError, match="nodata is 'x'"):
        Source(image, nodata="x")


# ---------------------------------------------------------------------- pickles


@pytest.mark.parametrize(
    "view",
    [
        np.s_[:],
        np.s_[40:, 7:],
        np.s_[::-1, ::3],
        np.s_[200:3:-2, ::-1],
        np.s_[..., 2],
    ],
)
@pytest.mark.parametrize("offset", [0, 129, 8191])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_maps_pickle_as_their_place_in_the_file(
    view, offset: int, order: str, tmp_path: Path
) -> None:
    content = RNG.integers(0, 9999, (240, 100, 4)).astype(">u2")
    path = tmp_path / "image.raw"
    path.write_bytes(bytes(offset) + content.tobytes(order))
    mapped = np.memmap(path, ">u2", "r", offset=offset, shape=content.shape, order=order)[view]
    source = Source(mapped, mask=np.asarray(mapped if mapped.ndim == 2 else mapped[..., 0]) % 2)
    text = pickle.dumps(Source(mapped))
    assert len(text) < 1500
    # A worker pickles what it got in the same way.
    for one in (pickle.loads(text), pickle.loads(pickle.dumps(pickle.loads(text)))):
        window = (slice(3, 17), slice(5, 25))
        np.testing.assert_array_equal(one.read(window)[0], source.read(window)[0])
        np.testing.assert_array_equal(
            source.read(window)[0].reshape(content[view][window].shape), content[view][window]
        )


def test_arrays_that_only_look_mapped_pickle_whole(tmp_path: Path) -> None:
    mapped = in_memmap(IMAGE, tmp_path)
    changed = np.load(tmp_path / "image.npy", mmap_mode="c")
    changed[:] = 5
    for array, expected in ((mapped + 1, IMAGE + 1), (changed, IMAGE * 0 + 5)):
        pixels, _ = pickle.loads(pickle.dumps(Source(array))).read(WINDOW)
        np.testing.assert_array_equal(pixels, expected[WINDOW])


# ---------------------------------------------------------------------- fingerprints


def test_fingerprint_is_of_the_content_not_of_the_container(tmp_path: Path) -> None:
    prints = [Source(kind(IMAGE, tmp_path)).fingerprint() for kind in KINDS]
    prints.append(Source(IMAGE.astype(">u2")).fingerprint())
    assert all(one == prints[0] for one in prints)
    assert prints[0] == Source(IMAGE, channels=[1], nodata=3).fingerprint()
    assert prints[0]["shape"] == [70, 90, 4] and prints[0]["dtype"] == "uint16"


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (33, 31), (70, 90, 4)])
def test_fingerprint_notices_change(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    mask = np.ones(shape[:2], bool)
    found = [
        Source(one, mask=m).fingerprint()
        for one, m in (
            (image, None),
            (image, mask),
            (image, np.zeros(shape[:2], bool)),
            (image + np.uint8(1), mask),
            (image.astype(np.int8), mask),
            (np.zeros((shape[0] + 1, *shape[1:]), np.uint8), None),
        )
    ]
    assert all(a != b for i, a in enumerate(found) for b in found[:i])
    corner = image.copy()
    corner[-1, -1] = 1
    assert Source(corner).fingerprint() != found[0]


def test_fingerprint_reads_little_of_a_large_image() -> None:
    class Large:
        shape, dtype, pixels = (10**6, 10**6, 3), np.dtype(np.uint8), 0

        def __getitem__(self, key):
            part = np.zeros([part.stop - part.start for part in key[:2]] + [3], np.uint8)
            self.pixels += part.size // 3
            return part

    image = Large()
    Source(image).fingerprint()
    assert image.pixels == 64 * 32 * 32


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((2, 3, 4, 5)), {}, "4 dimensions"),
        (np.zeros(5), {}, "1 dimensions"),
        (np.zeros((0, 5)), {}, r"shape \(0, 5\)"),
        (np.zeros((5, 5), complex), {}, "complex128"),
        (np.array([["a"]]), {}, "<U1"),
        (IMAGE, {"channels": [4]}, "channel 4 does not exist.* 0 to 3"),
        (IMAGE, {"channels": []}, "channels is empty"),
        (IMAGE, {"mask": np.ones((70, 91), bool)}, r"mask has shape \(70, 91\); expected \(70, 90"),
        (IMAGE, {"mask": np.ones((70, 90))}, "mask has dtype float64"),
        (
            type("Odd", (), {"shape": (3, 4), "dtype": "colour"})(),
            {},
            "is a Odd.*expected an array",
        ),
    ],
)
def test_what_cannot_be_segmented(image, options: dict, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Source(image, **options)


class Broken(Reader):
    def __getitem__(self, key):
        raise OSError("the disk\nis gone")


class Short(Reader):
    def __getitem__(self, key):
        return super().__getitem__(key)[:-1]


def test_errors_of_reading_name_the_place() -> None:
    with pytest.raises(ReadError) as caught:
        Source(Broken(IMAGE)).read(WINDOW)
    expected = "rows 11 to 39, columns 60 to 89 of the image cannot be read: the disk is gone"
    assert str(caught.value) == expected
    with pytest.raises(ReadError, match="of the mask cannot be read: the disk is gone"):
        Source(IMAGE, mask=Broken(IMAGE[..., 0])).read(WINDOW)
    with pytest.raises(ReadError, match=r"shape \(28, 30, 4\) in place of \(29, 30, 4\)"):
        Source(Short(IMAGE)).read(WINDOW)


def test_a_file_that_is_gone(tmp_path: Path) -> None:
    array = in_zarr(IMAGE, tmp_path)
    source = Source(array)
    for chunk in (tmp_path / "image.zarr").rglob("c/*/*/*"):
        chunk.write_bytes(b"no chunk")
    with pytest.raises(ReadError, match="rows 0 to 63, columns 32 to 89"):
        source.read(WINDOW)
