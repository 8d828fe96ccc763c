"""A way to hold a run at a known point."""

from __future__ import annotations

import threading
from typing import Any

from qtpy.QtCore import Qt


class Halt:
    """Holds the worker thread at the start of a stage until it is released."""

    def __init__(self, widget: Any, stage: str) -> None:
        self._stage = stage
        self.reached, self.released = threading.Event(), threading.Event()
        # Direct: runs in the worker thread, which reports each stage before it begins.
        widget._reported.connect(self._on_report, Qt.ConnectionType.DirectConnection)

    def _on_report(self, stage: str, done: int, total: int) -> None:
        if stage == self._stage and done == 0:
            self.reached.set()
            assert self.released.wait(60)
