"""One run in the background: from an image layer's plane to a session with its labels."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

import napari_del
from napari_del.errors import Cancelled, NapariDelError
from napari_del.widgets._session import Session, Settings
from napari_del.widgets._source import Source

__all__ = ["STAGES", "Failure", "Job", "Parameters", "Progress", "Result"]

STAGES = {
    "read": "Reading the image",
    "normalise": "Normalising",
    "superpixels": "Superpixels",
    "embedding": "Embedding",
    "graph": "Graph",
    "merge": "Merging",
}
"""What a run does, in order, and how a user reads it."""

# Queued signals faster than a screen refreshes would only fill the event queue.
_REPORT_EVERY = 0.03


@dataclass(frozen=True)
class Parameters:
    """What `napari_del.segment` is called with."""

    model: str
    step: int
    scale: float
    channels: tuple[int, ...] | None
    device: str
    precision: str = "float32"


@dataclass(frozen=True)
class Result:
    """What a job gives: a session, its labels int32 (Y, X), and how long it took."""

    session: Session
    labels: NDArray[np.int32]
    seconds: float


@dataclass(frozen=True)
class Failure:
    """What a job gives instead when an error stopped it that a user can act on."""

    error: NapariDelError


class Progress:
    """Takes the progress of a run: stops it if that is asked for, or passes the report on.

    Parameters
    ----------
    report : callable
        ``report(stage, done, total)``, called in the worker thread.
    cancelled : callable
        Says whether the run is to stop; asked at every report.
    """

    def __init__(
        self, report: Callable[[str, int, int], object], cancelled: Callable[[], bool]
    ) -> None:
        self._report = report
        self._cancelled = cancelled
        self._last = ("", 0.0)

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Take how far a stage is.

        Raises
        ------
        Cancelled
            If the run is to stop.
        """
        if self._cancelled():
            raise Cancelled(f"cancelled at {done} of {total} of stage {stage!r}")
        now = time.perf_counter()
        if stage != self._last[0] or done >= total or now - self._last[1] > _REPORT_EVERY:
            self._last = (stage, now)
            self._report(stage, done, total)


class Job:
    """A run that reports its progress and can be cancelled, for a worker thread.

    Parameters
    ----------
    source : Source
        What to segment.
    parameters : Parameters
        How.
    mask : Source, optional
        A plane whose pixels other than 0 are segmented.
    previous : Session, optional
        Of the run before on the same plane; its linkage and minimum size are kept, and its
        threshold too if the model is the same.
    report : callable
        ``report(stage, done, total)``, called in the worker thread.
    cancelled : callable
        Says whether the run is to stop; asked at every report.
    """

    def __init__(
        self,
        source: Source,
        parameters: Parameters,
        *,
        mask: Source | None = None,
        previous: Session | None = None,
        report: Callable[[str, int, int], object],
        cancelled: Callable[[], bool],
    ) -> None:
        self.source = source
        self._parameters = parameters
        self._mask = mask
        self._previous = previous
        self._progress = Progress(report, cancelled)

    def run(self) -> Result | Failure:
        """Do the work.

        Returns
        -------
        Result or Failure
            An error that is raised, on the other hand, is a fault of the program.
        """
        start = time.perf_counter()
        try:
            session, labels = self._run()
        except NapariDelError as error:
            return Failure(error)
        return Result(session, labels, time.perf_counter() - start)

    def _run(self) -> tuple[Session, NDArray[np.int32]]:
        self._progress("read", 0, 1)
        image = self.source.read()
        mask = None if self._mask is None else np.asarray(self._mask.read()) != 0
        self._progress("read", 1, 1)
        p = self._parameters
        segmentation = napari_del.segment(
            image,
            model=p.model,
            step=p.step,
            scale=p.scale,
            channels=p.channels,
            mask=mask,
            device=p.device,
            precision=p.precision,
            progress=self._progress,
        )
        self._progress("merge", 0, 2)
        session = Session(segmentation, self._settings(segmentation))
        session.prepare()
        self._progress("merge", 1, 2)
        labels = session.labels()
        self._progress("merge", 2, 2)
        return session, labels

    def _settings(self, segmentation: Any) -> Settings | None:
        if self._previous is None:
            return None
        settings = self._previous.settings
        if self._previous.segmentation.model == segmentation.model:
            return settings
        if settings.linkage not in segmentation.linkages:
            settings = replace(settings, linkage=segmentation.default_linkage)
        return replace(settings, threshold=segmentation.default_threshold(settings.linkage))
