"""What the command line shows while it computes."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

__all__ = ["Reporter"]

# Seconds between two pictures of the bar.
INTERVAL = 0.1
CLEAR_LINE = "\r\x1b[K"


class Reporter:
    """Print one line for each stage that is done, and a bar on a terminal meanwhile.

    Lines go to standard output, so that standard error holds warnings and errors alone. The
    bar is drawn on standard error, and only where that is a terminal.

    Parameters
    ----------
    quiet : bool
        Show nothing.
    """

    def __init__(self, *, quiet: bool = False) -> None:
        self.seconds: dict[str, float] = {}
        self._quiet = quiet
        self._bar = not quiet and sys.stderr.isatty()
        self._start = 0.0
        self._drawn = 0.0

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take the progress of `napari_del.segment`."""
        if stage not in self.seconds:
            self.seconds[stage] = 0.0
            self._start = perf_counter()
            self._drawn = 0.0
        now = perf_counter()
        self.seconds[stage] = now - self._start
        if done >= total:
            self.clear()
            self.line(f"{stage:<12} {self.seconds[stage]:8.2f} s")
        elif self._bar and now - self._drawn >= INTERVAL:
            self._drawn = now
            columns = shutil.get_terminal_size().columns - 1
            text = bar(stage, done, total, self.seconds[stage])
            sys.stderr.write(CLEAR_LINE + text[:columns])
            sys.stderr.flush()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage that does not report how far it is."""
        self(name, 0, 1)
        yield
        self(name, 1, 1)

    def within(self, name: str) -> Callable[[int, int], None]:
        """Progress of a stage that has begun and ends by itself."""

        def tell(done: int, total: int) -> None:
            if done < total:
                self(name, done, total)

        return tell

    def line(self, text: str = "") -> None:
        """Print a line."""
        if not self._quiet:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()

    def clear(self) -> None:
        """Remove the bar."""
        if self._bar:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()


def bar(stage: str, done: int, total: int, seconds: float, *, width: int = 30) -> str:
    """Draw a bar.

    Parameters
    ----------
    stage : str
        Name of what is computed.
    done, total : int
        Steps that are done, and all of them.
    seconds : float
        Time since the stage began.
    width : int
        Length of the bar in characters.

    Returns
    -------
    str
        Bar, share, time so far, and from one second on the time left at the pace so far.

    Examples
    --------
    >>> bar("embedding", 3, 12, 5.0, width=8)
    'embedding    [##......]  25 %  5 s, about 15 s left'
    """
    filled = width * done // total
    text = f"{stage:<12} [{'#' * filled}{'.' * (width - filled)}] {100 * done // total:3d} %"
    text += f"  {seconds:.0f} s"
    if done and seconds >= 1:
        text += f", about {seconds / done * (total - done):.0f} s left"
    return text
