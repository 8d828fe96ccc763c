"""What dock widgets have in common that compute one thing at a time in the background."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, ClassVar

from napari.layers import Layer
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_warning
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QLabel, QProgressBar, QPushButton, QWidget
from superqt.utils import FunctionWorker

from napari_del.errors import Cancelled, NapariDelError, NonFiniteWarning

__all__ = ["RunningWidget"]

_CANCELLING = "Cancelling…"


class RunningWidget(QWidget):
    """A widget with a button that runs, one that cancels, a progress bar and a line of status.

    A subclass puts them into its layout, starts work with `start`, and tells in `update_view`
    what can be used meanwhile.

    Attributes
    ----------
    stages : dict of str
        What a run does, in order, and how a user reads it.
    finished : Signal
        A run has ended, in whatever way, and the widget is ready for another.
    """

    stages: ClassVar[dict[str, str]] = {}
    finished = Signal()
    _reported = Signal(str, int, int)

    def __init__(self, run_text: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._worker: Any = None
        self._in_use: tuple[Layer, ...] = ()
        self.run_button = QPushButton(run_text)
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop the run; nothing is changed (Esc)")
        self.progress = QProgressBar()
        keep = self.progress.sizePolicy()
        keep.setRetainSizeWhenHidden(True)  # so that nothing jumps when a run starts
        self.progress.setSizePolicy(keep)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self._reported.connect(self.on_report)

    def run(self) -> None:
        """Start, unless something runs already; errors become notifications."""
        raise NotImplementedError

    def update_view(self) -> None:
        """Turn controls on and off."""
        running = self.is_running
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        if not running:
            self.progress.setRange(0, 0)  # busy, until the first report

    @property
    def is_running(self) -> bool:
        """Whether something is being computed in the background."""
        return self._worker is not None

    def start(
        self, function: Callable[[], Any], then: Callable[[Any], object], *layers: Layer
    ) -> None:
        """Run a function in the background.

        Parameters
        ----------
        function : callable
            Asks `is_cancelled` now and then, and reports with `report`.
        then : callable
            Takes what the function returns.
        *layers : napari.layers.Layer
            What it reads. If one of them is removed, `stop_if_in_use` stops the run.
        """
        worker = create_worker(function, _start_thread=False, _worker_class=FunctionWorker)
        worker.returned.connect(then)
        worker.warned.connect(self._on_warning)
        worker.errored.connect(self._on_crash)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self._in_use = layers
        self.status.setText("")
        self.update_view()
        worker.start()

    def cancel(self) -> None:
        """Stop the run; it ends at its next step, and nothing is changed."""
        if self.is_running:
            self._worker.quit()
            self.cancel_button.setEnabled(False)
            self.status.setText(_CANCELLING)

    def is_cancelled(self) -> bool:
        """Whether the run is to stop, for the thread that it is in."""
        return self._worker is None or self._worker.abort_requested

    def stop_if_in_use(self, layer: Layer, doing: str) -> None:
        """Stop the run, and say why, if it reads a layer that has been removed."""
        if self.is_running and layer in self._in_use:
            self.cancel()
            show_warning(
                f"Layer {layer.name!r} was removed while {doing}; the run was stopped and gives "
                "no result"
            )

    def report(self, stage: str, done: int, total: int) -> None:
        """Tell how far a run is, from its thread."""
        self._reported.emit(stage, done, total)

    def on_report(self, stage: str, done: int, total: int) -> None:
        """Show how far the run is."""
        if not self.is_running:
            return  # a report that was queued before the end
        number = list(self.stages).index(stage) + 1
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        self.progress.setFormat(f"{number}/{len(self.stages)}  {self.stages[stage]}  %p%")

    def show_failure(self, error: NapariDelError) -> None:
        """Tell an error that a user can act on; one that cancelled the run is none."""
        if not isinstance(error, Cancelled):
            self.status.setText("")
            show_error(str(error))

    def _on_warning(self, warning: tuple[Any, ...]) -> None:
        # A worker turns all filters off: warnings of other libraries go through them here.
        message, category, filename, line = warning[:4]
        if issubclass(category, NonFiniteWarning):
            show_warning(str(message))
        else:
            warnings.warn_explicit(message, category, filename, line)

    def _on_crash(self, error: Exception) -> None:
        # napari shows the error itself, with its traceback: it is a fault, not a user's mistake.
        self.status.setText(f"The run failed: {error}")

    def _on_finished(self) -> None:
        if self.status.text() == _CANCELLING:
            self.status.setText("Cancelled")
        self._worker = None
        self._in_use = ()
        self.update_view()
        self.finished.emit()

    def keyPressEvent(self, event: Any) -> None:
        """Ctrl+Return runs and Esc cancels, from any control that has no use for the key."""
        control = bool(event.modifiers() & Qt.KeyboardModifier.ControlModifier)
        if control and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.run_button.click()
        elif event.key() == Qt.Key.Key_Escape and self.is_running:
            self.cancel()
        else:
            super().keyPressEvent(event)

    def closeEvent(self, event: Any) -> None:
        """Stop a run that goes on."""
        self.cancel()
        super().closeEvent(event)
