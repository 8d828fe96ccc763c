import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from napari_del import errors
from napari_del._threads import n_threads
from napari_del.errors import Cancelled, ParameterError, ReadError, SchedulerError, StoreError
from napari_del.tiles.executors import open_executor

KEYS = [f"{i}_{j}" for i in range(3) for j in range(4)]
posix = pytest.mark.skipif(sys.platform == "win32", reason="there are no signals")


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=":0"
    ) as made:
        yield made


@pytest.fixture(params=["threads", "processes", "distributed"])
def scheduler(request):
    if request.param == "distributed":
        return request.getfixturevalue("cluster").scheduler_address
    return request.param


@pytest.fixture(params=["threads", "processes"])
def local(request):
    return request.param


# Tasks leave a file for each time that they are called. The job of most is a folder.
def visit(folder, key):
    with Path(folder, key).open("a") as file:
        file.write(f"{os.getpid()} {threading.current_thread().name} {n_threads()}\n")


def calls(folder):
    return {p.name: p.read_text().splitlines() for p in Path(folder).iterdir()}


def slow(folder, key):
    time.sleep(0.05)
    visit(folder, key)


def fail(folder, key):
    visit(folder, key)
    if key == "1_1":
        raise ValueError("negative radius")
    time.sleep(0.1)


def fail_to_read(folder, key):
    visit(folder, key)
    if key == "1_1":
        raise ReadError("image.tif cannot be read")


def read_at_the_third_time(folder, key):
    visit(folder, key)
    if len(calls(folder)[key]) < 3:
        raise FileNotFoundError(2, "No such file", "image.tif")


def die_once(folder, key):
    visit(folder, key)
    if key == "1_1" and len(calls(folder)[key]) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)


def die(folder, key):
    visit(folder, key)
    if key == "1_1":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.02)


class OddError(Exception):
    def __init__(self, a, b):
        super().__init__(f"{a} and {b}")


def fail_oddly(folder, key):
    raise OddError(1, 2)


class Job:
    """A job that tells how often it was unpickled."""

    def __init__(self, folder):
        self.folder = folder

    def __setstate__(self, state):
        self.__dict__.update(state)
        with Path(self.folder, "unpickled").open("a") as file:
            file.write(f"{os.getpid()}\n")


def visit_job(job, key):
    time.sleep(0.02)
    visit(job.folder, key)


def test_all_tasks_run_once(scheduler, tmp_path):
    seen = []
    with open_executor(scheduler, 2) as executor:
        assert executor.workers == 2
        executor.run(visit, str(tmp_path), KEYS, progress=lambda *n: seen.append(n))
        executor.run(visit, str(tmp_path), [], progress=lambda *n: seen.append(n))
        executor.run(visit, str(tmp_path), ["last"])
    assert {key: len(lines) for key, lines in calls(tmp_path).items()} == dict.fromkeys(
        [*KEYS, "last"], 1
    )
    assert seen == [(k, len(KEYS)) for k in range(1, len(KEYS) + 1)]
    here = {str(os.getpid())} == {
        line.split()[0] for lines in calls(tmp_path).values() for line in lines
    }
    assert here == (scheduler == "threads")


def test_one_worker_keeps_the_order_of_keys(local, tmp_path):
    with open_executor(local, 1) as executor:
        executor.run(slow, str(tmp_path), KEYS)
    order = sorted(KEYS, key=lambda key: (tmp_path / key).stat().st_mtime_ns)
    assert order == KEYS


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_share_the_threads(local, workers, tmp_path):
    with open_executor(local, workers) as executor:
        executor.run(slow, str(tmp_path), KEYS)
        assert executor.local_workers == workers
    # The last ones may have more, see below.
    some = [calls(tmp_path)[key] for key in KEYS[:6]]
    budgets = {line.split()[2] for lines in some for line in lines}
    assert budgets == {str(max(1, n_threads() // workers))}


@pytest.fixture
def four_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    monkeypatch.delenv("NAPARI_DEL_NUM_THREADS", raising=False)


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(("busy", "threads"), [(None, 2), (2, 2), (1, 4), (0, 4)])
def test_few_busy_tasks_have_more_threads(busy, threads):
    found, both = [], threading.Barrier(2, timeout=60)

    def count(job, key):
        found.append(n_threads())
        both.wait()

    with open_executor("threads", 2) as executor:
        executor.run(count, None, KEYS[:2], busy=busy)
    assert found == [threads, threads]


@pytest.mark.usefixtures("four_cores")
def test_the_last_task_has_the_threads_of_those_that_ended():
    found, begun, ended = [], threading.Event(), threading.Event()

    def count(job, key):
        if key == "short":
            assert begun.wait(60)
            return
        found.append(n_threads())
        begun.set()
        assert ended.wait(60)
        found.append(n_threads())

    with open_executor("threads", 2) as executor:
        executor.run(count, None, ["long", "short"], progress=lambda *_: ended.set())
    assert found == [2, 4]


def test_processes_are_sent_a_job_once(tmp_path):
    job = Job(str(tmp_path))
    with open_executor("processes", 2) as executor:
        executor.run(visit_job, job, KEYS)
        executor.run(visit_job, job, KEYS)
        unpickled = (tmp_path / "unpickled").read_text().split()
        assert len(unpickled) == len(set(unpickled)) <= 2
        other = tmp_path / "other"
        other.mkdir()
        executor.run(visit_job, Job(str(other)), KEYS)
    assert set(calls(other)) == {*KEYS, "unpickled"}


def test_failed_task_ends_the_run_with_its_place(scheduler, tmp_path):
    with open_executor(scheduler, 1) as executor:
        with pytest.raises(ValueError, match=r"^window 1_1: negative radius$") as error:
            executor.run(fail, str(tmp_path), KEYS, what="window")
        assert type(error.value) is ValueError
        # No more than the window of tasks that had been submitted.
        done = {key: len(lines) for key, lines in calls(tmp_path).items()}
        assert done["1_1"] == 1 and set(KEYS[:5]) <= set(done) <= set(KEYS[:9])
        executor.run(visit, str(tmp_path), KEYS)


def test_error_of_reading_is_tried_again(scheduler, tmp_path):
    with open_executor(scheduler, 2) as executor:
        executor.run(read_at_the_third_time, str(tmp_path), KEYS[:3])
        assert {len(lines) for lines in calls(tmp_path).values()} == {3}
        with pytest.raises(ReadError, match=r"^block 1_1: image.tif cannot be read$"):
            executor.run(fail_to_read, str(tmp_path), KEYS[4:7])
    assert len(calls(tmp_path)["1_1"]) == 3


def test_error_that_cannot_be_sent_keeps_its_message(scheduler, tmp_path):
    with (
        open_executor(scheduler, 1) as executor,
        pytest.raises(RuntimeError, match=r"^block 0_0: OddError: 1 and 2$"),
    ):
        executor.run(fail_oddly, str(tmp_path), KEYS[:1])


@pytest.mark.parametrize("error", [Cancelled, KeyboardInterrupt, StoreError])
def test_error_of_progress_ends_the_run(local, error, tmp_path):
    def progress(done, total):
        if done == 3:
            raise error("enough")

    with open_executor(local, 2) as executor:
        with pytest.raises(error, match="enough"):
            executor.run(slow, str(tmp_path), KEYS, progress=progress)
        # What had begun is finished by now, and nothing begins any more.
        before = calls(tmp_path)
        time.sleep(0.2)
        assert calls(tmp_path) == before
        assert 3 <= len(before) < len(KEYS)


@posix
def test_killed_process_is_replaced(tmp_path):
    with open_executor("processes", 2) as executor:
        executor.run(die_once, str(tmp_path), KEYS)
    done = calls(tmp_path)
    assert set(done) == set(KEYS) and len(done["1_1"]) == 2


@posix
def test_task_that_kills_its_process_is_named(tmp_path):
    with open_executor("processes", 2) as executor:
        with pytest.raises(SchedulerError, match=r"^block 1_1: the worker process died 3 times"):
            executor.run(die, str(tmp_path), KEYS)
        assert len(calls(tmp_path)["1_1"]) == 3
        executor.run(visit, str(tmp_path), KEYS)


def _run_until_killed(folder):
    with open_executor("processes", 2) as executor:
        executor.run(stay, folder, KEYS)


def stay(folder, key):
    visit(folder, key)
    time.sleep(60)


@posix
def test_processes_end_with_a_run_that_is_killed(tmp_path):
    code = (
        "from tests.tiles.test_executors import _run_until_killed\n"
        f"if __name__ == '__main__':\n    _run_until_killed({str(tmp_path)!r})\n"
    )
    script = tmp_path.parent / f"{tmp_path.name}.py"
    script.write_text(code)
    root = Path(__file__).parents[2]
    run = subprocess.Popen(
        [sys.executable, script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)}
    )
    wait_until(lambda: len([lines for lines in calls(tmp_path).values() if lines]) == 2)
    run.kill()
    run.wait()
    workers = [int(lines[0].split()[0]) for lines in calls(tmp_path).values()]
    wait_until(lambda: not any(alive(pid) for pid in workers))


def wait_until(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def test_errors_survive_pickling():
    for name in errors.__all__:
        error = getattr(errors, name)("value is 3; expected 4")
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error) and str(copy) == str(error)


def open_and_close(*scheduler):
    with open_executor(*scheduler):
        pass


@pytest.mark.parametrize("workers", [0, -1])
def test_numbers_of_workers(workers):
    with pytest.raises(ParameterError, match="expected a whole number of at least 1"):
        open_and_close("threads", workers)


def test_schedulers_that_are_none(monkeypatch):
    for scheduler in ("thread", 3):
        with pytest.raises(ParameterError, match="expected 'threads', 'processes'"):
            open_and_close(scheduler)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(SchedulerError, match=r"pip install 'napari-del\[distributed\]'"):
        open_and_close("tcp://127.0.0.1:1")


def test_scheduler_that_does_not_answer():
    from napari_del.tiles.cluster import Cluster

    with pytest.raises(SchedulerError, match=r"tcp://127.0.0.1:1 does not answer within 1 s"):
        Cluster("tcp://127.0.0.1:1", None, timeout=1)


def test_client_stays_open(cluster, tmp_path):
    from distributed import Client

    with Client(cluster, set_as_default=False) as client:
        with open_executor(client) as executor:
            assert (executor.workers, executor.local_workers) == (2, 0)
            executor.run(visit, str(tmp_path), KEYS)
        assert client.status == "running"
    assert set(calls(tmp_path)) == set(KEYS)
    assert {line.split()[2] for lines in calls(tmp_path).values() for line in lines} == {"1"}


def fail_to_scatter(monkeypatch, times):
    """Have the scheduler fail as it does where a worker dies while it is sent data."""
    from distributed import Client

    scatter, failed = Client.scatter, []

    def fail_first(self, *args, **kwargs):
        if len(failed) < times:
            failed.append(1)
            raise KeyError("tcp://127.0.0.1:1")
        return scatter(self, *args, **kwargs)

    monkeypatch.setattr(Client, "scatter", fail_first)
    monkeypatch.setattr("napari_del.tiles.cluster._PAUSE", 0.01)
    return failed


def test_worker_that_dies_while_it_is_sent_the_run(cluster, tmp_path, monkeypatch):
    failed = fail_to_scatter(monkeypatch, 2)
    with open_executor(cluster.scheduler_address) as executor:
        executor.run(visit, str(tmp_path), KEYS)
    assert len(failed) == 2 and set(calls(tmp_path)) == set(KEYS)


def test_run_that_cannot_be_sent_to_workers(cluster, tmp_path, monkeypatch):
    fail_to_scatter(monkeypatch, 100)
    with (
        open_executor(cluster.scheduler_address) as executor,
        pytest.raises(SchedulerError, match=r"could not send the run to its workers, 5 times"),
    ):
        executor.run(visit, str(tmp_path), KEYS)
    assert calls(tmp_path) == {}


def test_error_of_progress_ends_a_distributed_run(cluster, tmp_path):
    def progress(done, total):
        raise Cancelled("enough")

    with open_executor(cluster.scheduler_address) as executor:
        with pytest.raises(Cancelled, match="enough"):
            executor.run(slow, str(tmp_path), KEYS, progress=progress)
        # A task that a worker begins just as it is cancelled still ends, one of each thread.
        time.sleep(0.3)
        after = calls(tmp_path)
        time.sleep(0.3)
        assert calls(tmp_path) == after and len(after) < len(KEYS)


def _set_version(version):
    import napari_del

    napari_del.__version__ = version


def _hide(hide):
    if hide:
        sys.modules["_hidden"] = sys.modules["napari_del"]
        sys.modules["napari_del"] = None
    else:
        sys.modules["napari_del"] = sys.modules.pop("_hidden")


def test_workers_need_the_same_version(cluster):
    from distributed import Client

    import napari_del

    with Client(cluster, set_as_default=False) as client:
        worker = min(client.nthreads())
        for change, restored, message in (
            (lambda: _set_version("0.0.7"), None, f"{worker} has napari-del 0.0.7, this process"),
            (lambda: _hide(True), lambda: _hide(False), f"{worker} cannot import napari-del"),
        ):
            client.run(change, workers=[worker])
            try:
                with pytest.raises(SchedulerError, match=message):
                    open_and_close(client)
            finally:
                version = napari_del.__version__
                client.run(restored or (lambda: _set_version(version)), workers=[worker])  # noqa: B023
        open_and_close(client)


def test_worker_of_another_version_that_joins_during_a_run():
    pytest.importorskip("distributed")
    from napari_del.tiles.cluster import _call_on_worker

    with pytest.raises(SchedulerError, match=r"block 0_1: a worker has .*, the run 0\.0\.7; inst"):
        _call_on_worker(print, None, "0_1", "block 0_1", "0.0.7")


@posix
def test_killed_worker_of_a_cluster(cluster, tmp_path):
    with open_executor(cluster.scheduler_address) as executor:
        executor.run(die_once, str(tmp_path), KEYS)
    done = calls(tmp_path)
    assert set(done) == set(KEYS) and len(done["1_1"]) == 2


@posix
def test_task_that_kills_workers_of_a_cluster_is_named(cluster, tmp_path):
    with open_executor(cluster.scheduler_address) as executor:
        with pytest.raises(SchedulerError, match=r"^block 1_1: "):
            executor.run(die, str(tmp_path), KEYS)
        executor.run(visit, str(tmp_path), KEYS)
