"""What a command takes in a process of its own: seconds, and memory with all its children."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import psutil

__all__ = ["Taken", "module", "run_limited"]

_PAUSE = 0.05


class Taken(NamedTuple):
    """What a command took.

    Attributes
    ----------
    seconds : float
        Wall-clock time, starting the program included.
    gigabytes : float
        Most resident memory: of the command and its children at a time, sampled, or of the
        largest of them as the kernel counted it, whichever is more.
    finished : bool
        False if it was ended at the limit.
    output : str
        What it printed.
    """

    seconds: float
    gigabytes: float
    finished: bool
    output: str


def module(name: str, *arguments: object) -> list[str]:
    """Command that runs a module of the benchmarks by the interpreter of this process."""
    return [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]


def run_limited(
    command: Sequence[str | Path],
    limit: float | None = None,
    *,
    log: Path | None = None,
    folder: Path | None = None,
) -> Taken:
    """Run a command, for at most `limit` seconds, in a folder or where this process is.

    What it prints as errors goes to `log`, or where those of this process go.

    Raises
    ------
    subprocess.CalledProcessError
        If it fails.
    """
    start = time.perf_counter()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    # What it prints goes to a file: a pipe that nobody reads meanwhile would be full at some time,
    # and the command would wait for ever.
    with (
        tempfile.TemporaryFile("w+") as printed,
        (log or Path(os.devnull)).open("wb") as errors,
    ):
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdout=printed,
            stderr=errors if log else None,
            start_new_session=True,
        )
        ended = None
        peak, finished = 0, True
        while ended is None:
            # Reaped here, so that the kernel's figures can be had.
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                ended = usage
                break
            peak = max(peak, _resident(process.pid))
            if limit is not None and time.perf_counter() - start > limit:
                finished = False
                os.killpg(process.pid, signal.SIGKILL)
                _, status, ended = os.wait4(process.pid, 0)
                break
            time.sleep(_PAUSE)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        printed.seek(0)
        output = printed.read() if finished else ""
    if finished and process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, output)
    unit = 1 if sys.platform == "darwin" else 1024
    return Taken(seconds, max(peak, ended.ru_maxrss * unit) / 1e9, finished, output)


def _resident(pid: int) -> int:
    """Bytes of memory of a process and its children."""
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in [parent, *parent.children(recursive=True)]:
            total += process.memory_info().rss
    except psutil.Error:  # one of them has just ended
        pass
    return total
