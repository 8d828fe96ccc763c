"""The dock widget "Segment regions (DEL)": brings the controls, the run and the layer together."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from napari.layers import Image, Labels
from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QGroupBox, QHBoxLayout, QVBoxLayout, QWidget
from superqt.utils import QSignalThrottler

from napari_del.errors import NapariDelError
from napari_del.widgets._job import STAGES, Failure, Job, Result
from napari_del.widgets._models import model_events
from napari_del.widgets._output import Output
from napari_del.widgets._parameters import ParameterPanel
from napari_del.widgets._regions import RegionPanel
from napari_del.widgets._running import RunningWidget
from napari_del.widgets._session import Session

if TYPE_CHECKING:
    import napari

__all__ = ["FINE_TUNE_TITLE", "SegmentWidget"]

# As in the manifest.
FINE_TUNE_TITLE = "Fine-tune on painted labels (DEL)"

# Shorter than a screen refresh is of no use; longer is seen as lag.
_REWRITE_EVERY_MS = 25


class SegmentWidget(RunningWidget):
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
    """

    stages: ClassVar[dict[str, str]] = STAGES

    def __init__(self, napari_viewer: napari.Viewer, parent: QWidget | None = None) -> None:
        super().__init__("Se&gment", parent)
        self._viewer = napari_viewer
        # The result for each plane of each image that is in the viewer.
        self._outputs: dict[tuple[Any, ...], Output] = {}
        # The plane of each image that was segmented last: its result is on the controls.
        self._latest: dict[Any, tuple[Any, ...]] = {}
        self.parameters = ParameterPanel(napari_viewer)
        self.regions = RegionPanel()
        self.run_button.setToolTip("Segment the image (Ctrl+Return)")
        self._throttle = QSignalThrottler(parent=self)
        self._throttle.setTimeout(_REWRITE_EVERY_MS)
        self._build()
        self._connect()
        self.update_view()

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
        self._throttle.triggered.connect(self._rewrite)
        self.regions.linkageChosen.connect(self._on_linkage)
        self.parameters.imageChanged.connect(self.update_view)
        self.parameters.fine_tune_button.clicked.connect(self.open_fine_tuning)
        model_events().installed.connect(self.parameters.model.select)
        # napari calls reset_choices when layers come, go or are renamed.
        self._viewer.layers.events.removed.connect(self._on_removed)

    def reset_choices(self, event: Any = None) -> None:
        """Offer the layers that are now in the viewer."""
        self.parameters.reset_choices()
        self.update_view()

    # The run

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
            report=self.report,
            cancelled=self.is_cancelled,
        )
        self.start(job.run, partial(self._on_result, key, image, job), image)

    def _on_result(
        self, key: tuple[Any, ...], image: Image, job: Job, result: Result | Failure
    ) -> None:
        if self.is_cancelled():
            return  # after the work was done, but before its result arrived here
        if isinstance(result, Failure):
            self.show_failure(result.error)
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
            self.start(partial(session.prepare, linkage), lambda _: session.set_linkage(linkage))

    def _tell_of(self, aside: Labels | None) -> None:
        if aside is not None:
            show_info(
                f"Your edits are kept in layer {aside.name!r}, now hidden; the regions go on in "
                "a new layer"
            )

    # The view

    def update_view(self) -> None:
        """Turn controls on and off, and show the result of the chosen image on them."""
        super().update_view()
        running, image = self.is_running, self.parameters.image_layer
        self.parameters.set_ready(not running)
        self.run_button.setEnabled(not running and image is not None)
        if image is None and not running:
            self.status.setText("Open an image, or one of the samples (File > Open Sample).")
        self.regions.bind(self.session)
        self.regions.setEnabled(self.session is not None and not running)

    def open_fine_tuning(self) -> None:
        """Open the widget that makes a model from painted labels."""
        self._viewer.window.add_plugin_dock_widget("napari-del", FINE_TUNE_TITLE)

    def _on_removed(self, event: Any) -> None:
        layer = event.value
        self.stop_if_in_use(layer, "it was being segmented")
        for key in [key for key in self._outputs if key[0] == layer.unique_id]:
            del self._outputs[key]
        self._latest.pop(layer.unique_id, None)
        for key in [key for key, output in self._outputs.items() if output.layer is layer]:
            del self._outputs[key]
        self.update_view()
