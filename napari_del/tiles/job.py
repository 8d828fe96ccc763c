"""What all tasks of a tiled run share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_del.normalise import clean
from napari_del.tiles.plan import Area, Plan
from napari_del.tiles.source import Source
from napari_del.tiles.store import TileStore

if TYPE_CHECKING:
    import torch

    from napari_del.models import ModelInfo, Network

__all__ = ["Job", "once"]


@dataclass(frozen=True)
class Job:
    """What all tasks of a tiled run share; it is sent to worker processes.

    Attributes
    ----------
    source : Source
        The image.
    store : TileStore
        Where results go.
    plan : Plan
        Blocks, windows and bands.
    info : ModelInfo
        The model.
    compactness : float
        Of superpixels.
    device : str or None
        Where to compute; None for the CPU without PyTorch.
    precision : str
        What the network computes in.
    limits : ndarray of float64, shape (2, C), or None
        Range of values that is stretched; None for images that are taken as they are.
    """

    source: Source
    store: TileStore
    plan: Plan
    info: ModelInfo
    compactness: float
    device: str | None
    precision: str = "float32"
    limits: NDArray[np.float64] | None = None

    def read(self, area: Area) -> tuple[NDArray[np.generic], NDArray[np.bool_] | None, int]:
        """Pixels of an area, as `napari_del.normalise.clean` gives them."""
        return clean(*self.source.read(area))

    def let_go(self) -> None:
        """Hold no chunks of the image and of superpixel ids, which tasks of a stage share."""
        self.source.let_go()
        self.store.let_go()

    def network(self) -> tuple[Network, torch.device]:
        """The network, which a process loads once, and its device."""
        from napari_del.models import load_network, resolve_device

        assert self.device is not None  # as it is for every model with a network
        device = resolve_device(self.device)
        return load_network(self.info, device, self.plan.scale, self.precision), device


def once(task: Callable[[Job, str], None]) -> Callable[[Job, str], None]:
    """Let a task, which has the name of its stage, do nothing where its table is done.

    A worker may be killed after it has written a table and before it could say so: then another
    is given the same task.
    """

    @wraps(task)
    def run(job: Job, key: str) -> None:
        if not job.store.is_done(task.__name__, key):
            task(job, key)

    return run
