"""Runs that are killed without a word, resumed, and compared with one that was left alone."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from napari_del import load, segment_large
from napari_del.models import find_model
from napari_del.models.lite import DelLite
from napari_del.tiles import blocks, tables
from napari_del.tiles.job import Job
from napari_del.tiles.plan import Plan
from napari_del.tiles.source import Source
from napari_del.tiles.store import TileStore
from tests.tiles.scenes import digests, scene

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")

ROOT = Path(__file__).parents[2]
SHAPE = (331, 459)
CORE = 128
# Every run on its own is short, but importing what it needs takes seconds.
_SCRIPT = """
import sys, time
import numpy as np
from napari_del import segment_large
from napari_del.models.lite import DelLite

if __name__ == "__main__":
    image, store, model, scheduler, core = sys.argv[1:]
    DelLite.core = int(core)
    segment_large(
        np.load(image, mmap_mode="r"), store, model=model, scheduler=scheduler,
        workers=2, block=128,
    )
    time.sleep(600)
"""


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    """File of the image."""
    path = tmp_path_factory.mktemp("image") / "image.npy"
    np.save(path, scene("natural", SHAPE)[0])
    return path


def run(image, store, model="mean-color", **options):
    """The same run here, to its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DelLite, "core", CORE)
        pixels = np.load(image, mmap_mode="r")
        return segment_large(pixels, store, model=model, block=128, workers=2, **options)


@pytest.fixture(scope="module")
def undisturbed(image, tmp_path_factory):
    """Checksums, and number of markers, of a run that nobody disturbed."""
    found = {}

    def of(model):
        if model not in found:
            path = tmp_path_factory.mktemp("undisturbed") / "store"
            found[model] = digests(run(image, path, model)), len(markers(path))
        return found[model]

    return of


def markers(store):
    """Time and content of the marker of each task that is done, and of the files of its table."""
    found = {}
    for marker in Path(store).glob("done/*/*.json"):
        table = Path(store, "tables", marker.parent.name, marker.stem)
        files = [marker, *(path for path in table.rglob("*") if path.is_file())]
        times = tuple(sorted((str(path), path.stat().st_mtime_ns) for path in files))
        found[f"{marker.parent.name}/{marker.stem}"] = marker.read_bytes(), times
    return found


def killed(tmp_path, image, store, model, scheduler, count, pause):
    """Kill a run `pause` seconds after it has done `count` tasks; gives what it had done."""
    script = tmp_path / "run.py"
    script.write_text(_SCRIPT)
    arguments = [script, image, store, model, scheduler, CORE]
    child = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    done = Path(store, "done")
    end = time.monotonic() + 200
    while sum(1 for _ in done.glob("*/*.json")) < count or not store.exists():
        assert child.poll() is None and time.monotonic() < end
        time.sleep(0.002)
    time.sleep(pause)
    child.send_signal(signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL
    # Worker processes have the same standard output: it ends with the last of them.
    child.stdout.read()
    child.stdout.close()
    return markers(store)


def check_resumed(image, store, model, undisturbed, before):
    """A run that goes on does nothing again that was done, and ends as if it never stopped."""
    expected, _ = undisturbed(model)
    assert digests(run(image, store, model)) == expected
    after = markers(store)
    assert {name: after[name] for name in before} == before
    assert TileStore.open(store).verify() == []
    leftovers = [path for path in Path(store).rglob("*") if "partial" in path.name]
    assert leftovers == []


def moments(n, seed, total):
    """Numbers of tasks spread over a run, with a random pause after each."""
    rng = random.Random(seed)
    return [
        (rng.randrange(k * total // n, (k + 1) * total // n), rng.random() * 0.15) for k in range(n)
    ]


def check_moments(tmp_path, image, undisturbed, model, scheduler, n, seed):
    _, total = undisturbed(model)
    cut_off = 0
    for k, (count, pause) in enumerate(moments(n, seed, total)):
        store = tmp_path / str(k)
        before = killed(tmp_path, image, store, model, scheduler, count, pause)
        cut_off += len(before) < total
        check_resumed(image, store, model, undisturbed, before)
    assert cut_off >= n // 2  # or the moments were none


def test_killed_runs_go_on(tmp_path, image, undisturbed):
    check_moments(tmp_path, image, undisturbed, "mean-color", "threads", 2, 1)


def test_killed_run_of_a_network_goes_on(tmp_path, image, undisturbed):
    check_moments(tmp_path, image, undisturbed, "del-lite", "threads", 1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
@pytest.mark.parametrize("fifth", range(5))
def test_runs_killed_at_twenty_moments(fifth, scheduler, tmp_path, image, undisturbed):
    model = "del-lite" if fifth == 4 else "mean-color"
    check_moments(tmp_path, image, undisturbed, model, scheduler, 4, 10 + fifth)


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again(tmp_path, image, undisturbed):
    _, total = undisturbed("mean-color")
    store = tmp_path / "store"
    before = {}
    for count, pause in moments(6, 3, total):
        count = max(count, len(before))
        after = killed(tmp_path, image, store, "mean-color", "threads", count, pause)
        assert {name: after[name] for name in before} == before
        before = after
    check_resumed(image, store, "mean-color", undisturbed, before)


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


def wait_for_workers(client):
    """Wait for both, and until their nannies know of them: before, none would be replaced."""
    from distributed import Status

    end = time.monotonic() + 60
    while len(client.cluster.scheduler_info["workers"]) < 2:
        assert time.monotonic() < end
        # Now and then dask forgets a nanny whose worker was killed, and has to be told of it.
        client.cluster.scale(2)
        with suppress(TimeoutError):
            client.wait_for_workers(2, timeout=10)
    nannies = client.cluster.workers.values()
    # A nanny is running all the time; its process is only once the nanny has heard of it.
    while any(
        Status.running != nanny.status
        or nanny.process is None
        or nanny.process.status != Status.running
        for nanny in nannies
    ):
        assert time.monotonic() < end
        time.sleep(0.05)


def check_killed_workers(tmp_path, image, undisturbed, client, model, n, seed):
    expected, total = undisturbed(model)
    rng = random.Random(seed)
    for k, (count, _) in enumerate(moments(n, seed, total)):
        store, before = tmp_path / f"{model} {k}", {}

        def kill(stage, done, n, count=count, store=store, before=before):
            if stage != "merge" and not before and len(markers(store)) >= count:
                pids = client.run(os.getpid)
                before.update(markers(store), started=None)
                os.kill(pids[rng.choice(sorted(pids))], signal.SIGKILL)

        assert digests(run(image, store, model, scheduler=client, progress=kill)) == expected
        assert before.pop("started", True) is None
        after = markers(store)
        assert {name: after[name] for name in before} == before
        wait_for_workers(client)


def test_killed_worker_of_a_cluster(tmp_path, image, undisturbed, client):
    check_killed_workers(tmp_path, image, undisturbed, client, "mean-color", 1, 4)


@pytest.mark.slow
@pytest.mark.parametrize(("model", "n"), [("mean-color", 15), ("del-lite", 5)])
def test_workers_killed_at_twenty_moments(model, n, tmp_path, image, undisturbed, client):
    check_killed_workers(tmp_path, image, undisturbed, client, model, n, 5)


@pytest.mark.parametrize(
    ("file", "stage", "key"),
    [
        ("superpixels/c/1/2", "superpixels", "1_2"),
        ("tables/superpixels/0_1/counts/c/0/0", "superpixels", "0_1"),
        ("tables/nodes/0/embeddings/c/0/0", "nodes", "0"),
        ("tables/edges/0/dissimilarity/c/0", "edges", "0"),
        ("tables/hierarchy/average/parent/c/0", "hierarchy", "average"),
        ("done/superpixels/2_0.json", "superpixels", "2_0"),
    ],
)
def test_a_damaged_file_is_found_and_computed_again(file, stage, key, tmp_path, image, undisturbed):
    expected, _ = undisturbed("mean-color")
    store = tmp_path / "store"
    run(image, store)
    path = store / file
    content = bytearray(path.read_bytes())
    for place in random.Random(6).sample(range(len(content)), 3):
        content[place] ^= 0xFF
    path.write_bytes(content)
    damaged = TileStore.open(store).verify()
    assert {found[:2] for found in damaged} == {(stage, key)}
    opened = TileStore.open(store, writable=True)
    for found in damaged:
        opened.forget(*found[:2])
    before = markers(store)
    assert f"{stage}/{key}" not in before
    check_resumed(image, store, "mean-color", undisturbed, before)
    assert digests(load(store)) == expected


def test_a_task_that_is_done_is_not_done_again(tmp_path, image):
    # A worker that is killed after its marker is there cannot say that it is done.
    store = tmp_path / "store"
    run(image, store)
    before = markers(store)
    pixels = np.load(image, mmap_mode="r")
    job = Job(
        Source(pixels),
        TileStore.open(store, writable=True),
        Plan(SHAPE, 8, 128),
        find_model("mean-color"),
        10.0,
        None,
    )
    for task, key in ((blocks.superpixels, "1_2"), (tables.nodes, "0"), (tables.edges, "0")):
        task(job, key)
    assert markers(store) == before
    job.store.forget("nodes", "0")
    tables.nodes(job, "0")
    after = markers(store)
    assert after.pop("nodes/0")[0] == before["nodes/0"][0]
    assert after != before and after == {k: v for k, v in before.items() if k != "nodes/0"}
