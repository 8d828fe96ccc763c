"""What can be wrong with a tiled run is told in one line, and nothing half-done is lost."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from napari_del import load, segment, segment_large
from napari_del.errors import (
    Cancelled,
    ImageError,
    ParameterError,
    ReadError,
    SchedulerError,
    StoreError,
)
from napari_del.tiles.store import TileStore
from tests.tiles.conftest import noisy_picture
from tests.tiles.scenes import digests

SHAPE = (301, 407)
IMAGE = noisy_picture(SHAPE)


def run(url, image=IMAGE, **options):
    return segment_large(image, url, **{"model": "mean-color", "block": 128, **options})


@pytest.fixture
def finished(tmp_path):
    url = tmp_path / "run.zarr"
    run(url)
    return url


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"step": 7}, "step: 8 in the store, 7 asked for"),
        ({"compactness": 5}, "compactness: 10.0 in the store, 5.0 asked for"),
        ({"channels": [0]}, "channels: None in the store, [0] asked for"),
        ({"block": 200}, "block: 128 in the store, 200 asked for"),
        ({"nodata": 3}, "nodata: None in the store, 3"),
        ({"model": "del-lite"}, "model: mean-color in the store, del-lite asked for"),
        ({"mask": np.ones(SHAPE, bool)}, "source.mask_sample: None in the store,"),
    ],
)
def test_a_store_of_other_parameters_says_which(finished, options, expected):
    with pytest.raises(StoreError) as error:
        run(finished, **options)
    assert expected in str(error.value) and "\n" not in str(error.value)
    # It was not touched.
    assert digests(load(finished)) == digests(segment(IMAGE, model="mean-color"))


def test_a_store_of_another_version(finished):
    file = finished / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["format_version"] = 99
    file.write_text(json.dumps(content))
    with pytest.raises(StoreError, match="99"):
        run(finished)


def test_a_source_that_changed(finished):
    other = IMAGE.copy()
    other[:] = 255 - other
    with pytest.raises(StoreError, match=r"source\.sample"):
        run(finished, other)
    with pytest.raises(StoreError, match="shape"):
        run(finished, IMAGE[:-1])
    with pytest.raises(StoreError, match=r"source\.dtype: uint8 in the store, uint16 asked for"):
        run(finished, IMAGE.astype(np.uint16))


def test_a_store_is_not_replaced_unless_asked_for(finished):
    before = (finished / "zarr.json").stat().st_ino
    with pytest.raises(StoreError, match="exists"):
        run(finished, resume=False)
    assert (finished / "zarr.json").stat().st_ino == before
    run(finished, step=7, overwrite=True)
    assert load(finished).parameters["step"] == 7


class Torn:
    """An image of which a window cannot be read, until it is healed."""

    def __init__(self, image: np.ndarray) -> None:
        self.image, self.shape, self.dtype = image, image.shape, image.dtype
        self.torn, self.failures = True, 0

    def __getitem__(self, index):
        rows, columns = (part.indices(n) for part, n in zip(index[:2], self.shape, strict=False))
        # Only blocks that reach far to the lower right, and no window of the fingerprint.
        if self.torn and rows[1] - rows[0] > 40 and rows[1] > 260 and columns[1] > 390:
            self.failures += 1
            raise OSError("the disk is torn")
        return self.image[index]


def test_a_block_that_cannot_be_read_is_tried_again_and_told(tmp_path):
    image = Torn(IMAGE)
    url = tmp_path / "run.zarr"
    with pytest.raises(ReadError, match=r"block \d_\d: .*the disk is torn") as error:
        run(url, image, workers=1)
    assert "rows" in str(error.value) and "\n" not in str(error.value)
    assert image.failures in (3, 6)  # one task or two had begun
    # The rest is kept.
    done = TileStore.open(url).done("superpixels")
    assert done
    with pytest.raises(ReadError, match="not complete"):
        load(url)
    times = {key: (url / "done/superpixels").stat() for key in done}
    image.torn = False
    out = run(url, image, workers=1)
    assert times
    assert digests(out) == digests(segment(IMAGE, model="mean-color"))


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written|exists") as error:
        run(tmp_path / "file" / "run.zarr")
    assert "\n" not in str(error.value)


def test_a_place_without_write_permission(finished, tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    TileStore.open(finished, writable=True).forget("nodes", "0")
    # Permissions do not bind an administrator, who may run the tests: so it is told what others
    # would be.
    with monkeypatch.context() as patch:
        patch.setattr("tempfile.mkdtemp", denied)
        with pytest.raises(StoreError, match=r"other\.zarr cannot be written: Permission denied"):
            run(tmp_path / "other.zarr")
    with monkeypatch.context() as patch:
        patch.setattr("zarr.storage._local._put", denied)
        with pytest.raises(StoreError, match=r"run\.zarr cannot be written: Permission denied"):
            run(finished)
    assert not (tmp_path / "other.zarr").exists()
    assert digests(run(finished)) == digests(segment(IMAGE, model="mean-color"))


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs limits of POSIX")
def test_a_disk_that_is_full_leaves_a_run_to_be_resumed(tmp_path):
    resource = pytest.importorskip("resource")
    import signal

    url = tmp_path / "run.zarr"
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (640, 640, 3)).astype(np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        with pytest.raises(StoreError, match="cannot be written") as error:
            run(url, image, block=320)
        assert "\n" not in str(error.value)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert digests(run(url, image, block=320)) == digests(segment(image, model="mean-color"))


def test_a_scheduler_that_does_not_answer(tmp_path):
    pytest.importorskip("distributed")
    with pytest.raises(SchedulerError, match=r"tcp://127\.0\.0\.1:1\b"):
        run(tmp_path / "run.zarr", scheduler="tcp://127.0.0.1:1")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"block": 64}, "block is 64; expected a whole number of at least 120"),
        ({"scheduler": "fast"}, "scheduler is 'fast'"),
        ({"workers": 0}, "workers is 0"),
        ({"step": 3}, "step is 3"),
        ({"compactness": 0}, "compactness is 0"),
        ({"memory_limit": 10**8}, "memory_limit is 100 MB; expected at least"),
    ],
)
def test_parameters_are_checked_before_anything_is_written(tmp_path, options, expected):
    with pytest.raises(ParameterError) as error:
        run(tmp_path / "run.zarr", **options)
    assert expected in str(error.value) and "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (3, 211)])
def test_images_of_a_few_rows(tmp_path, shape):
    image = noisy_picture(shape)
    assert digests(run(tmp_path / "run.zarr", image)) == digests(segment(image, model="mean-color"))


def test_masks_and_blocks_without_any_data(tmp_path):
    image = noisy_picture(SHAPE)[..., 0].astype(np.uint16) * 9
    mask = np.ones(SHAPE, bool)
    mask[:140, 100:270] = False  # the second block has no pixel left
    image[200:, :150] = 0
    expected = digests(segment(image, mask=mask & (image != 0), model="mean-color"))
    assert digests(run(tmp_path / "run.zarr", image, mask=mask, nodata=0)) == expected


def test_an_image_without_any_data(tmp_path):
    with pytest.raises(ImageError, match="no pixel is left"):
        run(tmp_path / "run.zarr", np.zeros(SHAPE, np.uint16), nodata=0)
    with pytest.raises(ImageError, match="no pixel with finite values"):
        run(tmp_path / "nan.zarr", np.full(SHAPE, np.nan))


def test_a_run_that_is_cancelled_goes_on(tmp_path):
    url = tmp_path / "run.zarr"

    def cancel(stage: str, done: int, total: int) -> None:
        if stage == "superpixels" and done == 5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        run(url, progress=cancel)
    assert 5 <= len(TileStore.open(url).done("superpixels")) < 12
    told: list[tuple[str, int, int]] = []
    out = run(url, progress=lambda *stage: told.append(stage))
    assert told[0][0] == "superpixels" and told[0][1] >= 5
    assert digests(out) == digests(segment(IMAGE, model="mean-color"))


def test_paths_are_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    out = run("here.zarr")
    assert (Path("here.zarr") / "zarr.json").exists()
    monkeypatch.chdir("/")
    assert digests(out) == digests(segment(IMAGE, model="mean-color"))
