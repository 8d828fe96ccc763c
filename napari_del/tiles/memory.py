"""How much memory a run takes, predicted before it begins.

Bytes for each pixel of what a task holds at a time, measured as peak resident memory of whole
runs on images of several sizes, and rounded up. ``benchmarks/large.py`` measures them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from napari_del._threads import n_threads
from napari_del.errors import ParameterError
from napari_del.models import MEAN_COLOR, ModelInfo, find_model
from napari_del.models.info import NETWORKS
from napari_del.tiles.plan import Plan
from napari_del.tiles.recent import RECENT_BYTES
from napari_del.tiles.source import Source

__all__ = ["Memory", "check_memory", "predict_in_memory", "predict_run"]

_MB = 10**6
# The interpreter and what it imports: without PyTorch, with it, and with the libraries of CUDA.
_BASE, _BASE_TORCH, _BASE_CUDA = 240 * _MB, 600 * _MB, 2300 * _MB
# Of a block of superpixels, for each pixel with its halo: what does not grow with channels, and
# what each channel adds beside its value in the image.
_SUPERPIXEL_PIXEL, _SUPERPIXEL_CHANNEL = 40, 9
# Of a window, for each pixel of the image, beside what its network takes.
_WINDOW_READ = 18
# Of a band of tables with embeddings, for each cell.
_BAND_CELL = 1400
# Of tables and of merging, for each superpixel of a part, and of the whole image.
_PART, _PART_ROW = 2**18, 500
_ROW = 24


class Memory(NamedTuple):
    """Bytes of memory that a run takes.

    Attributes
    ----------
    base : int
        The program, and chunks of pixels that it holds.
    task : int
        One task.
    workers : int
        Tasks at a time.
    merge : int
        Merging, after the tasks.
    """

    base: int
    task: int
    workers: int
    merge: int

    @property
    def peak(self) -> int:
        """The most at any time."""
        return self.base + max(self.workers * self.task, self.merge)


def predict_run(
    plan: Plan,
    n_channels: int,
    dtype: DTypeLike,
    info: ModelInfo,
    workers: int,
    *,
    on_gpu: bool = False,
) -> Memory:
    """Memory of `segment_large` on this machine.

    Parameters
    ----------
    plan : Plan
        Blocks and windows.
    n_channels : int
        Channels that are used.
    dtype : dtype
        Of the image.
    info : ModelInfo
        The model.
    workers : int
        Tasks at a time.
    on_gpu : bool
        Whether the network computes on a GPU, in memory of its own.

    Returns
    -------
    Memory
    """
    value = np.dtype(dtype).itemsize
    sides = [min(plan.block + 2 * plan.halo + 2 * plan.step, length) for length in plan.shape]
    # Images that are stretched have floating-point values for a while.
    float_bytes = 0 if (n_channels == 3 and value == 1) else 8 * n_channels
    per_pixel = _SUPERPIXEL_PIXEL + n_channels * (_SUPERPIXEL_CHANNEL + 2 * value) + float_bytes
    task = sides[0] * sides[1] * per_pixel
    if plan.has_network:
        assert info.architecture is not None  # as of every model with windows
        window = [min(plan.core + 2 * plan.margin, length + plan.stride) for length in plan.shape]
        network = NETWORKS[info.architecture]
        # From a GPU only the output comes back, as numbers of 16 bits.
        seen = network.window_bytes
        if on_gpu:
            seen = 4 * network.embedding_dim // plan.output_stride**2
        task = max(
            task,
            round(window[0] * window[1] * (seen * plan.scale**2 + _WINDOW_READ)),
            min(plan.band_rows * plan.grid.columns, plan.grid.n_cells) * _BAND_CELL,
        )
    rows = plan.grid.n_cells
    # Merging is done here whatever the workers, on all threads.
    merge = min(rows, n_threads() * _PART) * _PART_ROW + rows * _ROW
    base = _BASE if info.name == MEAN_COLOR else _BASE_TORCH
    if on_gpu:
        base = _BASE_CUDA
    # Chunks of the image, and with a network of superpixel ids, that tasks share.
    held = [n_channels * value, plan.ids_dtype.itemsize * plan.has_network]
    pixels = plan.shape[0] * plan.shape[1]
    base += sum(min(RECENT_BYTES, pixels * pixel_bytes) for pixel_bytes in held)
    return Memory(base, task, workers, merge)


def predict_in_memory(shape: tuple[int, ...], n_channels: int, dtype: DTypeLike, model: str) -> int:
    """Bytes of memory that `segment` takes, all of the image at a time.

    Parameters
    ----------
    shape : tuple of int
        Image shape (Y, X) in pixels.
    n_channels : int
        Channels that are used.
    dtype : dtype
        Of the image.
    model : str
        Name of the model, or a weights file.

    Returns
    -------
    int
    """
    info = find_model(model)
    plan = Plan((shape[0], shape[1]), 8, max(shape[:2]))
    whole = predict_run(plan, n_channels, dtype, info, 1)
    # Sums of the embedding over all superpixels, and their means.
    tables = plan.grid.n_cells * info.embedding_dim * 12
    return whole.base + whole.task + tables + plan.grid.n_cells * _PART_ROW


def check_memory(
    plan: Plan, image: Source, info: ModelInfo, workers: int, limit: int | None, *, on_gpu: bool
) -> Memory:
    """The prediction for a run, or a `ParameterError` if it is above a limit.

    Parameters
    ----------
    plan, info, workers, on_gpu
        As for `predict_run`.
    image : Source
        The image.
    limit : int or None
        Bytes that the run may take.
    """
    need = predict_run(plan, image.n_channels, image.dtype, info, workers, on_gpu=on_gpu)
    if limit is not None and need.peak > limit:
        raise ParameterError(
            f"memory_limit is {limit / _MB:.0f} MB; expected at least {need.peak / _MB:.0f} MB for "
            f"{need.workers} tasks at a time with blocks of {plan.block} pixels "
            f"({need.base / _MB:.0f} MB the program, {need.task / _MB:.0f} MB a task, "
            f"{need.merge / _MB:.0f} MB merging): choose smaller blocks or fewer workers"
        )
    return need
