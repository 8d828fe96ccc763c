"""Threads that want to run at once during `segment`, against the cores there are."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmarks._images import natural_image
from benchmarks._measure import Comparison, Options
from napari_del import segment
from napari_del._threads import n_threads

# Run in a process of its own, so that it is not one of the threads it counts and does not wait
# for the interpreter lock. A thread's state is the first field after its name in parentheses.
_SAMPLER = """
import os, sys, time
tasks = f"/proc/{sys.argv[1]}/task"
while True:
    running = 0
    for task in os.listdir(tasks):
        try:
            with open(f"{tasks}/{task}/stat") as stream:
                running += stream.read().rpartition(")")[2].split()[0] == "R"
        except OSError:
            pass
    print(running, flush=True)
    time.sleep(0.002)
"""
# A thread that has just woken another is still running while that one starts.
_SHARE = 0.95
# At least this long, for enough samples.
_SECONDS = 2.0


def running_threads(image: np.ndarray, model: str, pid: int) -> tuple[list[int], float, float]:
    """Samples of the number of runnable threads during runs, CPU seconds and wall seconds."""
    sampler = subprocess.Popen(
        [sys.executable, "-c", _SAMPLER, str(pid)], stdout=subprocess.PIPE, text=True
    )
    assert sampler.stdout is not None
    sampler.stdout.readline()  # it has started
    cpu, wall = time.process_time(), time.perf_counter()
    while time.perf_counter() - wall < _SECONDS:
        segment(image, model=model, device="cpu")
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    sampler.terminate()
    samples = [int(line) for line in sampler.communicate()[0].split("\n") if line.strip()]
    return samples, cpu, wall


def rows(options: Options) -> Iterator[Comparison]:
    tasks = Path("/proc/self/task")
    if not tasks.exists():
        return  # only Linux tells the state of each thread
    image = natural_image(512, 512) if options.quick else natural_image(1024, 1024)
    segment(image, model=options.model, device="cpu")
    cores = n_threads()
    for model, name in ((options.model, options.model_name), ("mean-color", "mean-color")):
        samples, cpu, wall = running_threads(image, model, int(tasks.resolve().parent.name))
        usual = float(np.quantile(samples, _SHARE))
        yield Comparison(
            f"threads, {name}",
            f"runnable threads, {_SHARE:.0%} quantile",
            "cores",
            (usual,),
            (float(cores),),
            required="A / B <= 1",
            holds=usual <= cores,
            note=(
                f"mean {np.mean(samples):.2f}, most {max(samples)} of {len(samples)} samples; "
                f"{cpu / wall:.2f} CPU seconds a second"
            ),
            unit=1.0,
        )
