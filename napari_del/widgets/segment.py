"""The dock widget "Segment regions (DEL)": brings the controls, the run and the layer together."""

from __future__ import annotations

import warnings
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)
from superqt.utils import FunctionWorker, QSignalThrottler

from napari_del.errors import Cancelled, NapariDelError, NonFiniteWarning
from napari_del.widgets._job import STAGES, Failure, Job, Result
from napari_del.widgets._output import Output
from napari_del.widgets._parameters import ParameterPanel
from napari_del.widgets._regions import RegionPanel
from napari_del.widgets._session import Session

if TYPE_CHECKING:
    import napari

__all__ = ["SegmentWidget"]

# Shorter than a screen refresh is of no use; longer is seen as lag.
_REWRITE_EVERY_MS = 25


class SegmentWidget(QWidget):
    """Segment an image layer into regions, then make them coarser or finer with a slider.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Images are taken from it and labels layers added to it.

    Attributes
    ----------
    parameters : ParameterPanel
        What to segment and how.
    regions : RegionPanel
        How the result is cut into regions.
    finished : Signal
        A run has ended, in whatever way, and the widget is ready for another.
    """

    finished = Signal()
    _reported = Signal(str, int, int)

    def __init__(self, napari_viewer: napari.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = napari_viewer
        # The result for each plane of each image that is in the viewer.
        self._outputs: dict[tuple[Any, ...], Output] = {}
        # The plane of each image that was segmented last: its result is on the controls.
        self._latest: dict[Any, tuple[Any, ...]] = {}
        self._worker: Any = None
        self._running_on: Image | None = None
        self.parameters = ParameterPanel(napari_viewer)
        self.regions = RegionPanel()
        self.run_button = QPushButton("Se&gment")
        self.run_button.setToolTip("Segment the image (Ctrl+Return)")
        self.cancel_button = QPushButton("Cancel")
        self.cancel_button.setToolTip("Stop the run; nothing is changed (Esc)")
        self.progress = QProgressBar()
        keep = self.progress.sizePolicy()
        keep.setRetainSizeWhenHidden(True)  # so that nothing jumps when a run starts
        self.progress.setSizePolicy(keep)
        self.status = QLabel()
        self.status.setWordWrap(True)
        self._throttle = QSignalThrottler(parent=self)
        self._throttle.setTimeout(_REWRITE_EVERY_MS)
        self._build()
        self._connect()
        self._update()

    def _build(self) -> None:
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button, 2)
        buttons.addWidget(self.cancel_button, 1)
        box = QGroupBox("Regions")
        QVBoxLayout(box).addWidget(self.regions)
        layout = QVBoxLayout(self)
        layout.addWidget(self.parameters)
        layout.addLayout(buttons)
        layout.addWidget(self.progress)
        layout.addWidget(self.status)
        layout.addWidget(box)

    def _connect(self) -> None:
        self.run_button.clicked.connect(self.run)
        self.cancel_button.clicked.connect(self.cancel)
        self._reported.connect(self._on_report)
        self._throttle.triggered.connect(self._rewrite)
        self.regions.linkageChosen.connect(self._on_linkage)
        self.parameters.imageChanged.connect(self._update)
        # napari calls reset_choices when layers come, go or are renamed.
        self._viewer.layers.events.removed.connect(self._on_removed)

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that are now in the viewer."""
        self.parameters.reset_choices()
        self._update()

    # The run

    @property
    def is_running(self) -> bool:
        """Whether something is being computed in the background."""
        return self._worker is not None

    def run(self) -> None:
        """Segment the chosen image in the background; errors become notifications."""
        if self.is_running:
            return
        image = self.parameters.image_layer
        try:
            source = self.parameters.source()
            mask = self.parameters.mask_source()
            parameters = self.parameters.parameters()
        except NapariDelError as error:
            show_error(str(error))
            return
        assert image is not None  # or there would be no source
        key = (image.unique_id, source.plane)
        before = self._output(key)
        job = Job(
            source,
            parameters,
            mask=mask,
            previous=None if before is None else before.session,
            report=self._reported.emit,
            cancelled=self._is_cancelled,
        )
        self._running_on = image
        self._start(job.run, partial(self._on_result, key, image, job))

    def cancel(self) -> None:
        """Stop the run; it ends at its next step, and nothing is changed."""
        if self.is_running:
            self._worker.quit()
            self.cancel_button.setEnabled(False)
            self.status.setText("Cancelling…")

    def _is_cancelled(self) -> bool:
        return self._worker is None or self._worker.abort_requested

    def _start(self, function: Any, then: Any) -> None:
        worker = create_worker(function, _start_thread=False, _worker_class=FunctionWorker)
        worker.returned.connect(then)
        worker.warned.connect(self._on_warning)
        worker.errored.connect(self._on_crash)
        worker.finished.connect(self._on_finished)
        self._worker = worker
        self.status.setText("")
        self._update()
        worker.start()

    def _on_report(self, stage: str, done: int, total: int) -> None:
        if not self.is_running:
            return  # a report that was queued before the end
        number = list(STAGES).index(stage) + 1
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(done)
        self.progress.setFormat(f"{number}/{len(STAGES)}  {STAGES[stage]}  %p%")

    def _on_result(
        self, key: tuple[Any, ...], image: Image, job: Job, result: Result | Failure
    ) -> None:
        if self._is_cancelled():
            return  # after the work was done, but before its result arrived here
        if isinstance(result, Failure):
            if not isinstance(result.error, Cancelled):
                self.status.setText("")
                show_error(str(result.error))
            return
        output = self._output(key)
        if output is None:
            name = f"{image.name} regions" + "".join(f" [{i}]" for i in key[1])
            output = Output(self._viewer, job.source, result.session, result.labels, name)
            self._outputs[key] = output
            aside = None
        else:
            output.session.changed.disconnect(self._throttle.throttle)
            aside = output.replace(result.session, result.labels)
        output.session.changed.connect(self._throttle.throttle, max_args=0)
        self._latest[image.unique_id] = key
        n = result.session.segmentation.n_superpixels
        self.status.setText(f"{n:,} superpixels in {result.seconds:.1f} s")
        self._tell_of(aside)

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
        if self._worker.abort_requested:
            self.status.setText("Cancelled")
        self._worker = self._running_on = None
        self._update()
        self.finished.emit()

    # The result

    def _output(self, key: tuple[Any, ...] | None) -> Output | None:
        """The result of a plane, if its layer is still in the viewer."""
        output = None if key is None else self._outputs.get(key)
        return output if output is not None and output.in_viewer else None

    @property
    def _shown(self) -> Output | None:
        image = self.parameters.image_layer
        return None if image is None else self._output(self._latest.get(image.unique_id))

    @property
    def session(self) -> Session | None:
        """The session that the controls show: that of the chosen image."""
        return None if self._shown is None else self._shown.session

    @property
    def labels_layer(self) -> Labels | None:
        """The layer that the slider writes to."""
        return None if self._shown is None else self._shown.layer

    def _rewrite(self) -> None:
        for output in list(self._outputs.values()):
            if output.is_stale and output.in_viewer:
                self._tell_of(output.rewrite())

    def _on_linkage(self, linkage: str) -> None:
        session = self.session
        if session is None or self.is_running:
            return
        if session.is_prepared(linkage):
            session.set_linkage(linkage)
        else:
            self._start(partial(session.prepare, linkage), lambda _: session.set_linkage(linkage))

    def _tell_of(self, aside: Labels | None) -> None:
        if aside is not None:
            show_info(
                f"Your edits are kept in layer {aside.name!r}, now hidden; the regions go on in "
                "a new layer"
            )

    # The view

    def _update(self) -> None:
        running, image = self.is_running, self.parameters.image_layer
        self.parameters.set_ready(not running)
        self.run_button.setEnabled(not running and image is not None)
        self.cancel_button.setEnabled(running)
        self.progress.setVisible(running)
        if not running:
            self.progress.setRange(0, 0)  # busy, until the first report
        if image is None and not running:
            self.status.setText("Open an image, or one of the samples (File > Open Sample).")
        self.regions.bind(self.session)
        self.regions.setEnabled(self.session is not None and not running)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        if self._running_on is not None and layer is self._running_on:
            self._worker.quit()
            show_warning(
                f"Layer {layer.name!r} was removed while it was being segmented; the run was "
                "stopped and gives no result"
            )
        for key in [key for key in self._outputs if key[0] == layer.unique_id]:
            del self._outputs[key]
        self._latest.pop(layer.unique_id, None)
        for key in [key for key, output in self._outputs.items() if output.layer is layer]:
            del self._outputs[key]
        self._update()

    def keyPressEvent(self, event: Any) -> None:
        """Ctrl+Return segments and Esc cancels, from any control that has no use for the key."""
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
