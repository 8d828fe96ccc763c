"""One budget of threads for numba, PyTorch and everything else."""

from __future__ import annotations

import gc
import os
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_del import _threads, segment
from napari_del._threads import limit_torch, n_threads, parallel_for, thread_budget
from napari_del.errors import ParameterError
from napari_del.models import find_model, load_network

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


@given(st.integers(0, 300), st.integers(1, 40), st.sampled_from(["1", "2", "3"]))
def test_the_range_is_covered_once_in_parts_of_the_grain(n, grain, threads):
    calls = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NAPARI_DEL_NUM_THREADS", threads)
        parallel_for(lambda a, b: calls.append((a, b)), n, grain=grain)
    calls.sort()
    assert [i for a, b in calls for i in range(a, b)] == list(range(n))
    assert all(b - a >= grain for a, b in calls[:-1])


@pytest.mark.parametrize("threads", ["1", "2"])
def test_exceptions_reach_the_caller(monkeypatch, threads):
    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", threads)

    def body(start, stop):
        if start <= 57 < stop:
            raise KeyError("fifty-seven")

    with pytest.raises(KeyError, match="fifty-seven"):
        parallel_for(body, 100)
    done = []
    parallel_for(lambda a, b: done.append(b - a), 100)  # the pool goes on working
    assert sum(done) == 100


def test_never_more_threads_than_the_budget(monkeypatch):
    monkeypatch.setattr(_threads, "n_threads", lambda: 2)
    lock, meet = threading.Lock(), threading.Barrier(2)
    running, most = 0, 0
    names = set()

    def body(start, stop):
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
            names.add(threading.current_thread().name)
        meet.wait(timeout=60)  # two must be at work at the same time to get past this
        with lock:
            running -= 1

    parallel_for(body, 8, grain=1)
    assert most == 2 and len(names) == 2


def test_a_small_range_stays_in_the_calling_thread(monkeypatch):
    monkeypatch.setattr(_threads, "n_threads", lambda: 2)
    names = []
    parallel_for(lambda a, b: names.append(threading.current_thread().name), 10, grain=10)
    assert names == [threading.current_thread().name]


def test_two_callers_at_once(monkeypatch):
    # A slider that moves during a run: kernels of two Python threads share the pool.
    monkeypatch.setattr(_threads, "n_threads", lambda: 2)
    out = np.zeros((4, 1000), np.int64)

    def caller(row):
        for _ in range(20):
            parallel_for(lambda a, b: out[row].__setitem__(slice(a, b), out[row, a:b] + 1), 1000)

    threads = [threading.Thread(target=caller, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (out == 20).all()


def test_what_a_body_holds_is_freed_though_all_helpers_are_busy(monkeypatch):
    monkeypatch.setattr(_threads, "n_threads", lambda: 2)
    begun, end = threading.Event(), threading.Event()
    busy = _threads._pool(1).submit(lambda: (begun.set(), end.wait(60)))
    assert begun.wait(60)
    held = np.zeros(100)
    alive = weakref.ref(held)

    def add(start, stop, held=held):
        held[start:stop] += 1

    parallel_for(add, 100)
    assert (held == 1).all()
    del held, add
    gc.collect()
    assert alive() is None
    end.set()
    busy.result()


def test_budget_from_the_environment(monkeypatch):
    monkeypatch.delenv("NAPARI_DEL_NUM_THREADS", raising=False)
    assert n_threads() == CORES
    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", " 1 ")
    assert n_threads() == 1
    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", "100000")
    assert n_threads() == CORES


@pytest.mark.parametrize("value", ["0", "-1", "two", "", "1.5", "²"])
def test_budget_that_is_not_a_number(monkeypatch, value):
    monkeypatch.setenv("NAPARI_DEL_NUM_THREADS", value)
    with pytest.raises(ParameterError, match=f"^NAPARI_DEL_NUM_THREADS is {value!r}; expected"):
        n_threads()


@pytest.fixture
def torch_threads():
    """PyTorch with a number of threads that is none of the budgets below."""
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield 3
    torch.set_num_threads(before)


def test_a_window_runs_on_one_thread_of_pytorch(torch_threads, lite_weights, two_tone):
    network = load_network(find_model(lite_weights), torch.device("cpu"))
    seen = []
    hook = network.register_forward_pre_hook(
        lambda module, inputs: seen.append(torch.get_num_threads())
    )
    try:
        segment(two_tone, model=lite_weights, device="cpu")
    finally:
        hook.remove()
    assert seen == [1]
    assert torch.get_num_threads() == torch_threads


def test_a_thread_has_a_budget_of_its_own():
    whole = n_threads()
    with thread_budget(1):
        assert n_threads() == 1
        with thread_budget(64):  # more than there are cores changes nothing
            assert n_threads() == whole
        assert n_threads() == 1
        with ThreadPoolExecutor(1) as executor:
            assert executor.submit(n_threads).result() == whole
    assert n_threads() == whole


def test_pytorch_gets_its_threads_back_after_an_error(monkeypatch, torch_threads):
    monkeypatch.setattr(_threads, "n_threads", lambda: 1)
    seen = []

    def fail():
        with limit_torch():
            seen.append(torch.get_num_threads())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert seen == [1]
    assert torch.get_num_threads() == torch_threads
