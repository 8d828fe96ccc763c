"""Tasks of a tiled run on a dask.distributed cluster."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import napari_del
from napari_del.errors import ParameterError, SchedulerError
from napari_del.tiles.backend import first_line
from napari_del.tiles.executors import Executor, call

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["Cluster"]

_TIMEOUT = 10.0
# Times that a run is sent to the workers, while they die, and seconds between.
_ATTEMPTS = 5
_PAUSE = 0.5


class Cluster(Executor):
    """Workers of dask.distributed, each with as many threads as it may use cores.

    A task whose worker dies is computed again by another one; dask gives up after some times.

    Parameters
    ----------
    scheduler : str or distributed.Client
        Address of the scheduler, or its client, which stays open.
    workers : int, optional
        Tasks at a time, by default one for each thread of the workers.
    timeout : float
        Seconds that the scheduler has to answer.

    Raises
    ------
    ParameterError
        If `scheduler` is neither, or an asynchronous client.
    SchedulerError
        If dask.distributed is not installed, the scheduler does not answer, it has no workers,
        or one of them has no napari-del or another version of it.
    """

    # The job, which is kept by workers, can be lost with them; then dask cancels the task.
    lost_errors = (CancelledError,)

    def __init__(
        self, scheduler: str | Client, workers: int | None, *, timeout: float = _TIMEOUT
    ) -> None:
        try:
            import distributed
        except ImportError as error:
            raise SchedulerError(
                f"scheduler is {scheduler!r}, which needs the package distributed; install it "
                "with pip install 'napari-del[distributed]'"
            ) from error
        self._own = isinstance(scheduler, str)
        if self._own:
            self._client = _connect(distributed.Client, str(scheduler), timeout)
        elif isinstance(scheduler, distributed.Client) and not scheduler.asynchronous:
            self._client = scheduler
        else:
            raise ParameterError(
                f"scheduler is {scheduler!r}; expected 'threads', 'processes', or the address "
                "or synchronous client of a dask scheduler"
            )
        try:
            threads = self._check()
        except BaseException:
            self.close()
            raise
        super().__init__(workers or threads, 0)
        self._remote: dict[Future[None], Any] = {}
        self._scattered: Any = None

    def _check(self) -> int:
        """Number of threads of all workers, which have to have the same version as this."""
        address = self._client.scheduler.address
        try:
            # Text, since a worker without the package could not load a function of it.
            found = self._client.run(
                eval, "__import__('napari_del').__version__", on_error="return"
            )
            threads = sum(map(int, self._client.nthreads().values()))
        except Exception as error:  # as many kinds as there are ways to lose a connection
            raise SchedulerError(
                f"scheduler {address} does not answer: {first_line(error)}"
            ) from error
        if not threads:
            raise SchedulerError(f"scheduler {address} has no workers; start one at least")
        for worker, version in found.items():
            if version != napari_del.__version__:
                has = (
                    f"cannot import napari-del ({first_line(version)})"
                    if isinstance(version, BaseException)
                    else f"has napari-del {version}"
                )
                raise SchedulerError(
                    f"worker {worker} {has}, this process has {napari_del.__version__}; install "
                    "the same version on all workers"
                )
        return threads

    def _prepare(self, job: Any, count: int, busy: int) -> None:
        if self._scattered is None or job is not self._job:
            self._job = job
            self._scatter()

    def _scatter(self) -> None:
        address = self._client.scheduler.address
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                # To all workers, so that it outlives most of them.
                (self._scattered,) = self._client.scatter([self._job], broadcast=True, hash=False)
            except OSError as error:
                raise SchedulerError(
                    f"scheduler {address} has no workers any more: {first_line(error)}"
                ) from error
            except Exception as error:
                # A worker that dies while it is sent the job has the scheduler raise KeyError.
                if attempt == _ATTEMPTS:
                    raise SchedulerError(
                        f"scheduler {address} could not send the run to its workers, "
                        f"{_ATTEMPTS} times: {first_line(error)}"
                    ) from error
                time.sleep(_PAUSE)
            else:
                return

    def _submit(self, function: Callable[[Any, str], None], key: str, place: str) -> Future[None]:
        remote = self._client.submit(
            _call_on_worker,
            function,
            self._scattered,
            key,
            place,
            napari_del.__version__,
            key=f"{function.__name__}-{key}-{uuid.uuid4().hex}",
            pure=False,
        )
        future = Future[None]()
        self._remote[future] = remote

        # Not as `Client.get_executor` does it: it fetches results, of which there are none, and
        # never ends for one that is lost by then.
        def settle(remote: Any) -> None:
            self._remote.pop(future, None)
            if remote.status == "finished":
                future.set_result(None)
            elif remote.status == "error":
                future.set_exception(remote.exception())
            else:
                future.set_exception(CancelledError())

        remote.add_done_callback(settle)
        return future

    def _renew(self, running: dict[Future[None], str]) -> list[str]:
        self._scatter()
        return []

    def _explain(self, error: BaseException, place: str) -> BaseException:
        from distributed import KilledWorker

        if not isinstance(error, KilledWorker):
            return error
        return SchedulerError(
            f"{place}: {first_line(error)} Such tasks often need more memory than a worker has"
        )

    def _stop(self, running: dict[Future[None], str]) -> None:
        begun: set[str] = set()
        # A cluster that is gone computes nothing any more.
        with suppress(Exception):
            begun.update(*self._client.run(_executing).values())
        remote = [self._remote.get(future) for future in running]
        self._client.cancel([r for r in remote if r is not None and r.key not in begun])
        wait(running)

    def close(self) -> None:
        """Leave the cluster as it was."""
        self._scattered = None
        if self._own:
            self._client.close()


def _connect(client: type[Client], address: str, timeout: float) -> Client:
    try:
        return client(address, timeout=timeout, set_as_default=False)
    except (OSError, ValueError, ImportError) as error:
        raise SchedulerError(
            f"scheduler {address} does not answer within {timeout:g} s: {first_line(error)}; "
            "check the address and that it runs"
        ) from error


def _executing(dask_worker: Any) -> list[str]:
    """Names of the tasks that a worker computes now."""
    return [str(task.key) for task in dask_worker.state.executing]


def _call_on_worker(
    function: Callable[[Any, str], None], job: Any, key: str, place: str, version: str
) -> None:
    if napari_del.__version__ != version:  # on a worker that joined the cluster during the run
        raise SchedulerError(
            f"{place}: a worker has napari-del {napari_del.__version__}, the run {version}; "
            "install the same version on all workers"
        )
    # Workers of dask have as many threads as they may use cores.
    call(function, job, key, place, 1)
