"""One fine-tuning in the background: from painted labels to a model under a name."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from napari_del.errors import Cancelled, NapariDelError
from napari_del.models import ModelInfo, install_model, remove_model
from napari_del.widgets._job import Failure, Progress
from napari_del.widgets._source import Source

__all__ = ["FINE_TUNE_STAGES", "FineTuneJob", "FineTuneParameters", "Tuned"]

FINE_TUNE_STAGES = {
    "read": "Reading the layers",
    "samples": "Preparing samples",
    "training": "Training",
    "merging": "Adapting the merging",
    "save": "Saving the model",
}
"""What a run does, in order, and how a user reads it."""


@dataclass(frozen=True)
class FineTuneParameters:
    """What `napari_del.training.finetune.fine_tune` is called with, and the new model's name."""

    name: str
    model: str
    channels: tuple[int, ...] | None
    steps: int
    device: str


@dataclass(frozen=True)
class Tuned:
    """What a job gives: the model as it is installed, and how long it took."""

    model: ModelInfo
    seconds: float


class FineTuneJob:
    """A fine-tuning that reports its progress and can be cancelled, for a worker thread.

    Parameters
    ----------
    image, labels : Source
        Planes of the same size.
    parameters : FineTuneParameters
        How.
    report : callable
        ``report(stage, done, total)``, called in the worker thread.
    cancelled : callable
        Says whether the run is to stop; asked at every report.
    """

    def __init__(
        self,
        image: Source,
        labels: Source,
        parameters: FineTuneParameters,
        *,
        report: Callable[[str, int, int], object],
        cancelled: Callable[[], bool],
    ) -> None:
        self._image = image
        self._labels = labels
        self._parameters = parameters
        self._progress = Progress(report, cancelled)

    def run(self) -> Tuned | Failure:
        """Do the work.

        Returns
        -------
        Tuned or Failure
            An error that is raised, on the other hand, is a fault of the program.
        """
        start = time.perf_counter()
        try:
            model = self._run()
        except NapariDelError as error:
            return Failure(error)
        return Tuned(model, time.perf_counter() - start)

    def _run(self) -> ModelInfo:
        p = self._parameters
        self._progress("read", 0, 1)
        image = self._image.read()
        if p.channels is not None:
            image = image[..., list(p.channels)]
        # A copy, because the user may go on painting.
        labels = np.array(self._labels.read())
        # Takes seconds to import, so not before it is needed.
        from napari_del.training.finetune import fine_tune

        self._progress("read", 1, 1)
        with TemporaryDirectory(prefix="napari-del-", ignore_cleanup_errors=True) as folder:
            weights = fine_tune(
                [image],
                [labels],
                model=p.model,
                output=Path(folder) / f"{p.name}.safetensors",
                steps=p.steps,
                device=p.device,
                progress=self._progress,
            )
            self._progress("save", 0, 1)
            model = install_model(weights, name=p.name)
        try:
            self._progress("save", 1, 1)
        except Cancelled:
            remove_model(model.name)  # its result would not be heard of any more
            raise
        return model
