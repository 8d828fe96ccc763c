"""The exactness matrix: tiled runs against `segment` in memory, by SHA-256.

Every block size, number of workers and scheduler has to give the same superpixels, graph and
labels. The cases without the mark `slow` cover each value of each; those with it are all
combinations on images larger than a window of the network. `docs/exactness.md` says more, and
`test_controls.py` shows that what fails here would be noticed.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from napari_del import load, segment, segment_large
from napari_del.models.lite import DelLite
from napari_del.tiles.store import TileStore
from tests.tiles.scenes import SCENES, digests, in_memory, scene

# Blocks and windows have to cut the images more than once.
SMALL, LARGE = (347, 523), (1101, 1303)
BLOCKS = (256, 511, 1024, "whole")
WORKERS = (1, 2)
SCHEDULERS = ("threads", "processes", "distributed")
MODELS = ("mean-color", "del-lite")


@pytest.fixture(scope="module")
def client():
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
        ) as cluster,
        Client(cluster, set_as_default=False) as made,
    ):
        yield made


@pytest.fixture
def small_windows(monkeypatch):
    """Windows of 256 pixels, so that small images have several of them as well."""
    monkeypatch.setattr(DelLite, "core", 256)


@pytest.fixture
def several_bands(monkeypatch):
    """Tables in bands of a few rows of cells, merged in parts of about as many."""
    monkeypatch.setattr("napari_del.tiles.plan._BAND_CELLS", 800)
    monkeypatch.setattr("napari_del.tiles.edge_parts._PART_ROWS", 800)


@lru_cache(maxsize=8)
def expected(name, shape, model, core):
    """What `segment` gives in memory; with windows of `core` pixels."""
    assert DelLite.core == core
    return digests(in_memory(*scene(name, shape), model=model))


def check(path, name, shape, model, block, workers, scheduler, **options):
    image, nodata = scene(name, shape)
    side = max(shape) if block == "whole" else block
    result = segment_large(
        image,
        path,
        model=model,
        nodata=nodata,
        block=side,
        workers=workers,
        scheduler=scheduler,
        **options,
    )
    assert digests(result) == expected(name, shape, model, DelLite.core)
    store = TileStore.open(path)
    assert len(store.done("superpixels")) == np.prod([-(-n // side) for n in shape])
    return result


@pytest.mark.usefixtures("several_bands", "small_windows")
@pytest.mark.parametrize(
    ("model", "name", "block", "workers"),
    [
        ("mean-color", "flat", 256, 1),
        ("mean-color", "noise", 256, 2),
        ("mean-color", "noise", 511, 1),
        ("mean-color", "natural", 511, 2),
        ("mean-color", "nodata", 256, 1),
        ("mean-color", "nodata", "whole", 2),
        ("del-lite", "flat", 511, 1),
        ("del-lite", "noise", "whole", 1),
        ("del-lite", "natural", 256, 2),
        ("del-lite", "nodata", 256, 1),
        ("del-lite", "nodata", 511, 2),
    ],
)
def test_threads(model, name, block, workers, tmp_path):
    result = check(tmp_path / "store", name, SMALL, model, block, workers, "threads")
    assert len(result._tables.bands) >= 5
    assert digests(load(tmp_path / "store")) == expected(name, SMALL, model, 256)


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(
    ("model", "name", "block", "workers"),
    [
        ("mean-color", "nodata", 256, 2),
        ("del-lite", "natural", 1024, 1),
    ],
)
def test_processes(model, name, block, workers, tmp_path):
    check(tmp_path / "store", name, SMALL, model, block, workers, "processes")


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize(
    ("model", "name", "block", "workers"),
    [
        ("mean-color", "natural", 1024, 1),
        ("mean-color", "nodata", 511, 2),
        ("del-lite", "noise", 256, 2),
        ("del-lite", "nodata", "whole", 1),
    ],
)
def test_distributed(model, name, block, workers, client, tmp_path):
    check(tmp_path / "store", name, SMALL, model, block, workers, client)


@pytest.mark.parametrize("step", [4, 11, 23])
def test_other_steps(step, several_bands, tmp_path):
    """Blocks that are no multiples of the step cut cells."""
    image, _ = scene("natural", (27 * step + 5, 31 * step + 2))
    options = {"model": "mean-color", "step": step, "compactness": 2.0, "channels": [2, 0]}
    whole = digests(in_memory(image, None, **options))
    for block in (15 * step, 15 * step + 3):
        path = tmp_path / str(block)
        assert digests(segment_large(image, path, block=block, **options)) == whole


@pytest.mark.usefixtures("several_bands", "small_windows")
@pytest.mark.parametrize("scale", [0.25, 0.5, 2.0])
def test_other_scales(scale, tmp_path):
    """Windows are four times as long at one scale, and half as long at another."""
    image, nodata = scene("nodata", SMALL)
    whole = digests(in_memory(image, nodata, model="del-lite", scale=scale))
    assert whole["graph"] != expected("nodata", SMALL, "del-lite", 256)["graph"]
    for block in (256, 347):
        path = tmp_path / str(block)
        result = segment_large(image, path, nodata=nodata, block=block, scale=scale, workers=2)
        assert digests(result) == whole
    assert digests(load(path)) == whole


@pytest.mark.usefixtures("several_bands", "small_windows")
def test_bfloat16(tmp_path):
    image, nodata = scene("nodata", SMALL)
    whole = digests(in_memory(image, nodata, model="del-lite", precision="bfloat16"))
    exact = expected("nodata", SMALL, "del-lite", 256)
    assert whole["superpixels"] == exact["superpixels"] and whole["graph"] != exact["graph"]
    for block in (256, 347):
        path = tmp_path / str(block)
        options = {"nodata": nodata, "precision": "bfloat16", "workers": 2}
        assert digests(segment_large(image, path, block=block, **options)) == whole


def test_masks_across_blocks(several_bands, tmp_path):
    image, _ = scene("noise", SMALL)
    mask = np.random.default_rng(3).random(SMALL) < 0.55
    mask[100:220, 90:300] = False
    mask[150:170, 100:290:2] = True
    whole = digests(segment(image, model="mean-color", mask=mask))
    ids = set()
    for block in (120, 137, 256):
        result = segment_large(
            image, tmp_path / str(block), model="mean-color", mask=mask, block=block
        )
        assert digests(result) == whole
        ids.add(int(result.ids[-1]))
    # Superpixels that are of no cell, whose ids come from pixels, are among them.
    assert min(ids) > result._tables._plan.grid.n_cells


def test_labels_of_windows_are_those_of_the_whole(several_bands, tmp_path):
    image, nodata = scene("nodata", SMALL)
    result = segment_large(image, tmp_path / "s", model="mean-color", nodata=nodata, block=128)
    whole = in_memory(image, nodata, model="mean-color").labels(0.3)
    for window in (np.s_[100:150, 200:300], np.s_[127:129, 255:257], np.s_[346:, :], np.s_[5, 7:9]):
        np.testing.assert_array_equal(result.labels(0.3)[window].compute(), whole[window])


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("name", SCENES)
def test_matrix(name, model, block, scheduler, client, tmp_path):
    """Images larger than one of the network's own windows."""
    pool = client if scheduler == "distributed" else scheduler
    for workers in WORKERS:
        check(tmp_path / str(workers), name, LARGE, model, block, workers, pool)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_several_bands_of_tables(scheduler, client, tmp_path):
    """More grid cells than one band has, so that tasks of bands look into other bands."""
    image, nodata = scene("nodata", (2901, 3013))
    options = {"model": "mean-color", "step": 4}
    whole = digests(in_memory(image, nodata, **options))
    pool = client if scheduler == "distributed" else scheduler
    result = segment_large(
        image, tmp_path / "s", nodata=nodata, block=1000, workers=2, scheduler=pool, **options
    )
    assert len(result._tables.bands) == 3
    assert digests(result) == whole
