"""Where the tasks of a tiled run compute: threads, processes, or a dask.distributed cluster."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    wait,
)
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from napari_del._processes import begin_worker
from napari_del._threads import n_threads, thread_budget
from napari_del.errors import ParameterError, SchedulerError

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Executor", "open_executor"]

Task = Callable[[Any, str], None]
Progress = Callable[[int, int], object]

# Seconds before a task is tried again that could not read or write.
_PAUSES = (0.1, 0.5)
# Workers that a task may lose before it is the one to blame.
_LOSSES = 3


class Executor(ABC):
    """Runs the tasks of one stage after another.

    Parameters
    ----------
    workers : int
        Tasks that compute at a time.
    local_workers : int
        How many of them compute on this machine, as far as its memory is concerned.
    """

    #: Errors that mean that the worker of a task was lost, not that the task failed.
    lost_errors: tuple[type[BaseException], ...] = ()

    def __init__(self, workers: int, local_workers: int) -> None:
        self.workers = workers
        self.local_workers = local_workers

    def run(
        self,
        function: Task,
        job: Any,
        keys: Sequence[str],
        *,
        progress: Progress | None = None,
        what: str = "block",
        busy: int | None = None,
    ) -> None:
        """Call ``function(job, key)`` for each key, some of them at a time.

        A task that cannot read or write is tried again twice, and so is one whose worker dies.
        The first that fails for good ends the run: those that have begun are finished, the
        others do not begin.

        Parameters
        ----------
        function : callable
            A function of a module.
        job : object
            What all tasks share. Worker processes are sent it once.
        keys : sequence of str
            The tasks, in the order in which they begin.
        progress : callable, optional
            Called as ``progress(done, total)`` after each task, by the calling thread. An
            exception that it raises ends the run as a failed task does.
        what : str
            What a key stands for, for messages.
        busy : int, optional
            How many of the tasks have something to compute, by default all: these share the
            threads.

        Raises
        ------
        SchedulerError
            If workers die or cannot be reached.
        Exception
            What a task raised, with its place before the message.
        """
        if not keys:
            return
        self._prepare(job, len(keys), len(keys) if busy is None else busy)
        waiting, running = deque(keys), dict[Future[None], str]()
        losses, suspects = Counter[str](), set[str]()
        done = 0
        try:
            while waiting or running:
                # After a worker died, tasks that may have killed it run one at a time, so that
                # the next loss tells which it was.
                window = 1 if suspects else 2 * self.workers
                lost = self._fill(running, waiting, window, function, what)
                finished = wait(running, return_when=FIRST_COMPLETED).done if running else set()
                failure = None
                for future in [future for future in running if future in finished]:
                    key = running.pop(future)
                    error = _error_of(future)
                    if isinstance(error, self.lost_errors):
                        lost.append(key)
                    elif error is not None:
                        failure = failure or self._explain(error, f"{what} {key}")
                    else:
                        suspects.discard(key)
                        done += 1
                        if progress is not None:
                            progress(done, len(keys))
                if failure is not None:
                    raise failure
                if lost:
                    lost += self._renew(running)
                    suspects.update(lost)
                    waiting.extendleft(reversed(lost))
                    losses.update(lost)
                    worst, count = losses.most_common(1)[0]
                    if count >= _LOSSES:
                        raise SchedulerError(f"{what} {worst}: {self._obituary()}")
        except BaseException:
            self._stop(running)
            raise

    def _fill(
        self,
        running: dict[Future[None], str],
        waiting: deque[str],
        window: int,
        function: Task,
        what: str,
    ) -> list[str]:
        """Submit tasks; gives those that could not be, because a worker has died by now."""
        while waiting and len(running) < window:
            key = waiting.popleft()
            try:
                running[self._submit(function, key, f"{what} {key}")] = key
            except self.lost_errors:
                return [key]
        return []

    def _prepare(self, job: Any, count: int, busy: int) -> None:
        """Get ready for a number of tasks of a job, so many of which have something to compute."""
        self._job = job

    @abstractmethod
    def _submit(self, function: Task, key: str, place: str) -> Future[None]:
        """Have a task computed."""

    def _renew(self, running: dict[Future[None], str]) -> list[str]:
        """Replace lost workers; gives other tasks of `running` that were lost with them."""
        return []

    def _explain(self, error: BaseException, place: str) -> BaseException:
        """What to raise for a task that failed."""
        return error

    def _obituary(self) -> str:
        """What to say of a task that lost its worker again and again."""
        return f"the worker was lost {_LOSSES} times while it computed this"

    def _stop(self, running: dict[Future[None], str]) -> None:
        """Cancel what has not begun, and wait for the rest."""
        wait([future for future in running if not future.cancel()])

    @abstractmethod
    def close(self) -> None:
        """Give back what the executor holds."""


class _Threads(Executor):
    def __init__(self, workers: int) -> None:
        super().__init__(workers, workers)
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="napari-del-task")
        self._lock = threading.Lock()
        self._left = 0

    def _prepare(self, job: Any, count: int, busy: int) -> None:
        super()._prepare(job, count, busy)
        self._left, self._busy, self._threads = count, busy, n_threads()

    def _share(self) -> int:
        """Threads of each task: more for the last ones, when there are fewer than workers."""
        return max(1, self._threads // max(1, min(self.workers, self._busy, self._left)))

    def _submit(self, function: Task, key: str, place: str) -> Future[None]:
        return self._pool.submit(self._call, function, key, place)

    def _call(self, function: Task, key: str, place: str) -> None:
        try:
            call(function, self._job, key, place, self._share)
        finally:
            with self._lock:
                self._left -= 1

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


class _Processes(Executor):
    lost_errors = (BrokenExecutor,)

    def __init__(self, workers: int) -> None:
        super().__init__(workers, workers)
        self._budget = max(1, n_threads() // workers)
        self._pool: ProcessPoolExecutor | None = None

    def _prepare(self, job: Any, count: int, busy: int) -> None:
        if self._pool is not None and job is self._job:
            return
        self.close()
        self._job = job
        self._pickled = pickle.dumps(job, protocol=pickle.HIGHEST_PROTOCOL)
        self._open()

    def _open(self) -> None:
        # Threads of this process, PyTorch's among them, do not survive a fork.
        self._pool = ProcessPoolExecutor(
            self.workers,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_begin_process,
            initargs=(self._pickled, self._budget),
        )

    def _submit(self, function: Task, key: str, place: str) -> Future[None]:
        assert self._pool is not None
        return self._pool.submit(_call_in_process, function, key, place)

    def _renew(self, running: dict[Future[None], str]) -> list[str]:
        # All tasks of a pool are lost with one of its processes. Some may be finished all the
        # same: they are not computed again if they say so.
        wait(running)
        lost = [k for f, k in running.items() if isinstance(_error_of(f), self.lost_errors)]
        for future in [f for f, key in running.items() if key in lost]:
            del running[future]
        self.close()
        self._open()
        return lost

    def _obituary(self) -> str:
        return (
            f"the worker process died {_LOSSES} times while it computed this; it may have run "
            "out of memory, or the script that began the run lacks "
            "'if __name__ == \"__main__\":'"
        )

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


# Of a worker process: the job as it was sent, the job, and the threads of a task.
_process: dict[str, Any] = {}


def _begin_process(pickled: bytes, budget: int) -> None:
    begin_worker()
    _process.update(pickled=pickled, budget=budget)


def _call_in_process(function: Task, key: str, place: str) -> None:
    if "pickled" in _process:
        # Not before the first task, which can say what is wrong with it.
        _process["job"] = pickle.loads(_process["pickled"])
        del _process["pickled"]
    call(function, _process["job"], key, place, _process["budget"])


def call(function: Task, job: Any, key: str, place: str, budget: int | Callable[[], int]) -> None:
    """Compute a task, some times if it cannot read or write.

    Parameters
    ----------
    function, job, key
        The task.
    place : str
        What to put before the message of an error.
    budget : int or callable
        Threads to compute with, as for `thread_budget`.
    """
    for pause in (*_PAUSES, None):
        try:
            with thread_budget(budget):
                function(job, key)
        except OSError as error:
            if pause is None:
                raise _placed(error, place) from None
            time.sleep(pause)
        except Exception as error:  # noqa: BLE001 - it is raised again
            raise _placed(error, place) from None
        else:
            return


def _placed(error: Exception, place: str) -> Exception:
    """The same error with a place before its message, fit to be sent to another process."""
    message = f"{place}: {error}"
    try:
        placed = type(error)(message)
        if type(pickle.loads(pickle.dumps(placed))) is not type(error):
            raise TypeError
    except Exception:  # noqa: BLE001 - constructors of errors can take anything
        placed = RuntimeError(f"{place}: {type(error).__name__}: {error}")
    return placed.with_traceback(error.__traceback__)


def _error_of(future: Future[None]) -> BaseException | None:
    try:
        return future.exception()
    except BaseException as error:  # noqa: BLE001 - the future was cancelled
        return error


@contextmanager
def open_executor(scheduler: str | Client, workers: int | None = None) -> Iterator[Executor]:
    """Start or reach workers.

    Parameters
    ----------
    scheduler : str or distributed.Client
        "threads", "processes", or the address or client of a dask.distributed cluster.
    workers : int, optional
        Tasks at a time, by default as many as there are threads in the budget, or in the
        cluster.

    Yields
    ------
    Executor
        What runs tasks.

    Raises
    ------
    ParameterError
        If `scheduler` is none of these or there are less than 1 workers.
    SchedulerError
        If the cluster cannot be reached or its workers have another version of napari-del.
    """
    if workers is not None and workers < 1:
        raise ParameterError(f"workers is {workers!r}; expected a whole number of at least 1")
    executor: Executor
    if scheduler == "threads":
        executor = _Threads(workers or n_threads())
    elif scheduler == "processes":
        executor = _Processes(workers or n_threads())
    elif isinstance(scheduler, str) and ":" not in scheduler:
        raise ParameterError(
            f"scheduler is {scheduler!r}; expected 'threads', 'processes', or the address of a "
            "dask scheduler such as 'tcp://127.0.0.1:8786'"
        )
    else:
        from napari_del.tiles.cluster import Cluster

        executor = Cluster(scheduler, workers)
    try:
        yield executor
    finally:
        executor.close()
