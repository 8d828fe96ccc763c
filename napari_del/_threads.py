"""One budget of threads for everything that napari-del computes.

Kernels are compiled with ``nogil`` and run on a thread pool of this module rather than on a
threading layer of numba: the layer available everywhere aborts the process when two Python
threads use it at once, which a viewer does as soon as a slider moves during a run. PyTorch
gets the same number of threads, and the two never compute at the same time within a run, so
that no more threads are busy than there are cores.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache

from napari_del.errors import ParameterError

__all__ = [
    "limit_torch",
    "n_threads",
    "parallel_for",
    "thread_budget",
    "torch_threads_restored",
    "use_one_torch_thread",
]

ENVIRONMENT_VARIABLE = "NAPARI_DEL_NUM_THREADS"

_budget = threading.local()


def n_threads() -> int:
    """Number of threads to compute with.

    The cores this process may run on, or fewer where the environment variable
    ``NAPARI_DEL_NUM_THREADS`` or a `thread_budget` of the calling thread says so.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    ParameterError
        If the environment variable is not a whole number of at least 1.
    """
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:  # macOS and Windows do not tell which cores a process may use
        cores = os.cpu_count() or 1
    budget = getattr(_budget, "threads", cores)
    cores = min(cores, budget() if callable(budget) else budget)
    value = os.environ.get(ENVIRONMENT_VARIABLE)
    if value is None:
        return cores
    if not value.strip().isdecimal() or int(value) < 1:
        raise ParameterError(
            f"{ENVIRONMENT_VARIABLE} is {value!r}; expected a whole number of at least 1"
        )
    return min(int(value), cores)


@contextmanager
def thread_budget(threads: int | Callable[[], int]) -> Iterator[None]:
    """Let what the calling thread computes use at most `threads` threads, itself among them.

    Several tasks that run at a time share the cores with it.

    Parameters
    ----------
    threads : int or callable
        At least 1; or what tells it each time that it is asked for.
    """
    before = getattr(_budget, "threads", None)
    _budget.threads = threads if callable(threads) else max(1, threads)
    try:
        yield
    finally:
        if before is None:
            del _budget.threads
        else:
            _budget.threads = before


@lru_cache(maxsize=4)
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="napari-del")


def parallel_for(body: Callable[[int, int], object], n: int, *, grain: int = 1) -> None:
    """Call ``body(start, stop)`` on parts of ``range(n)``, on all threads of the budget.

    Parts are handed out in order and may finish in any order, so `body` must write to places
    that belong to its part alone.

    Parameters
    ----------
    body : callable
        Function of a half-open range; it should release the GIL.
    n : int
        Length of the range.
    grain : int
        Least length of a part. A range that fits in one part runs in the calling thread.
    """
    threads = n_threads()
    # A few parts for each thread even out parts that take longer than others.
    size = max(grain, -(-n // (4 * threads)))
    if n <= size or threads == 1:
        if n > 0:
            body(0, n)
        return
    parts = deque((start, min(start + size, n)) for start in range(0, n, size))
    # A helper that is cancelled stays in the pool's queue until a thread comes by. It must not keep
    # alive what the body holds.
    held = [body]

    def work() -> None:
        while True:
            try:
                start, stop = parts.popleft()
            except IndexError:
                return
            try:
                held[0](start, stop)
            except BaseException:
                parts.clear()
                raise

    # The caller is one of the threads: if it only waited, it would be one too many whenever it
    # wakes, and slower to begin.
    helpers = [_pool(threads - 1).submit(work) for _ in range(min(threads, len(parts)) - 1)]
    try:
        work()
    finally:
        # A helper that has not begun by now has nothing left to do.
        wait([helper for helper in helpers if not helper.cancel()])
        held.clear()
    for helper in helpers:
        if not helper.cancelled():
            helper.result()


@contextmanager
def limit_torch() -> Iterator[None]:
    """Let PyTorch use no more threads than the budget while the context is open."""
    import torch

    with torch_threads_restored():
        torch.set_num_threads(n_threads())
        yield


@contextmanager
def torch_threads_restored() -> Iterator[None]:
    """Give PyTorch back its number of threads when the context closes."""
    import torch

    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


def use_one_torch_thread() -> None:
    """Let PyTorch compute on the calling thread alone from now on.

    The number of threads that PyTorch uses is a setting of each thread where it is built with
    OpenMP; the number that threads to come start with is one setting of the process. So call
    this in threads that end soon, inside `torch_threads_restored` of the thread that made them.
    """
    import torch

    torch.set_num_threads(1)
