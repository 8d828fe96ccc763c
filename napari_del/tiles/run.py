"""`segment_large`: images of any size, block by block, into a store on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_del._memory import trim
from napari_del._threads import torch_threads_restored
from napari_del.errors import ImageError, StoreError
from napari_del.models import (
    MEAN_COLOR,
    ModelInfo,
    check_precision,
    check_scale,
    find_model,
    load_merge_function,
    load_network,
    resolve_device,
)
from napari_del.models.loading import read_bytes
from napari_del.normalise import is_stretched, stretch_limits, warn_of_nodata
from napari_del.segmentation import Segmentation
from napari_del.superpixels import DEFAULT_COMPACTNESS, check_compactness
from napari_del.superpixels.grid import check_step
from napari_del.tiles import blocks, tables
from napari_del.tiles.backend import is_free, resolve
from napari_del.tiles.executors import Executor, open_executor
from napari_del.tiles.job import Job
from napari_del.tiles.manifest import differences
from napari_del.tiles.memory import check_memory
from napari_del.tiles.merge_function import write_merge_function
from napari_del.tiles.plan import Plan
from napari_del.tiles.source import Source
from napari_del.tiles.store import TileStore
from napari_del.tiles.stored import read_stored

if TYPE_CHECKING:
    import torch
    from distributed import Client

__all__ = ["DEFAULT_BLOCK", "segment_large"]

DEFAULT_BLOCK = 2048

Progress = Callable[[str, int, int], None]
Task = Callable[[Job, str], None]


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def segment_large(
    source: ArrayLike,
    store: str | PathLike[str],
    *,
    model: str | PathLike[str] = "del-lite",
    step: int = 8,
    scale: float = 1.0,
    compactness: float = DEFAULT_COMPACTNESS,
    channels: Sequence[int] | None = None,
    mask: ArrayLike | None = None,
    nodata: float | None = None,
    device: str | torch.device = "auto",
    precision: str = "float32",
    block: int = DEFAULT_BLOCK,
    scheduler: str | Client = "threads",
    workers: int | None = None,
    memory_limit: int | None = None,
    resume: bool = True,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Segmentation:
    """Segment an image of any size, block by block, into a store on disk.

    The result is that of `segment`, to the last byte, for every block size, scheduler and
    number of workers on one type of machine. A run that was cut off goes on where it was.

    Parameters
    ----------
    source : array_like, shape (Y, X) or (Y, X, C)
        numpy, dask or zarr array, memory-mapped file, or anything else with a shape, a dtype
        and slicing; only blocks of it are read. Channels as for `segment`.
    store : str or path
        Folder that is made, or an fsspec URL. What it holds is needed as long as the
        segmentation is.
    model, step, scale, compactness, channels, device, precision
        As for `segment`.
    mask : array_like of bool, shape (Y, X), optional
        True where a pixel is segmented; read by blocks as well.
    nodata : float, optional
        Pixels of this value in all channels are not segmented.
    block : int
        Side of the blocks that are computed at a time, in pixels. Larger ones need more memory;
        the margin around a block is computed twice.
    scheduler : str or distributed.Client
        "threads", "processes", or the address or client of a dask.distributed cluster, whose
        workers must reach the source and the store.
    workers : int, optional
        Tasks at a time, by default as many as there are cores, or workers in the cluster. Threads
        take turns on a GPU.
    memory_limit : int, optional
        Bytes of memory that the run may take on this machine. A run that is predicted to need
        more is refused before it begins.
    resume : bool
        Whether to go on with a store of the same image and parameters.
    overwrite : bool
        Whether to begin anew and replace a store that is there.
    progress : callable, optional
        Called as ``progress(stage, done, total)`` with the stages "statistics" (of images that
        are stretched), "superpixels", "embedding" (of models with a network), "nodes",
        "edges" and "merge", in turn. An exception that it raises ends the run, which can be
        resumed.

    Returns
    -------
    Segmentation
        Backed by the store: `Segmentation.superpixels` and `Segmentation.labels` are dask
        arrays whose chunks are computed when they are asked for. The hierarchy of the linkage
        "average" is kept in the store. Others are computed when first asked for: "contrast" and
        "del" part by part as it is, and "learned", the default of models with a merge function,
        in memory, about 1 kB a superpixel.

    Raises
    ------
    NapariDelError
        A subclass that names what is wrong with the image, a parameter, the model or the store;
        `StoreError` if the store is of another image or of other parameters, which it names.

    See Also
    --------
    napari_del.segment : Images that fit in memory.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from napari_del import segment_large
    >>> image = np.zeros((64, 96, 3), np.uint8)
    >>> image[:, 48:] = (200, 50, 50)
    >>> folder = tempfile.mkdtemp() + "/regions.zarr"
    >>> segmentation = segment_large(image, folder, model="mean-color")
    >>> labels = segmentation.labels(0.5)
    >>> labels[:2, 46:50].compute()
    array([[1, 1, 2, 2],
           [1, 1, 2, 2]], dtype=int32)
    """
    tell = _silent if progress is None else progress
    step = check_step(step)
    compactness = check_compactness(compactness)
    info = find_model(model)
    scale = check_scale(scale, info)
    precision = check_precision(precision, info)
    image = Source(source, channels=channels, mask=mask, nodata=nodata)
    where = _device(info, device)
    plan = Plan(image.shape, step, block, **_windows(info, where, scale))
    with open_executor(scheduler, workers) as executor:
        on_gpu = where is not None and where.startswith("cuda")
        check_memory(plan, image, info, executor.local_workers, memory_limit, on_gpu=on_gpu)
        parameters = {
            "model": str(model),
            "step": step,
            "scale": scale,
            "compactness": compactness,
            "channels": None if channels is None else [int(c) for c in channels],
            "precision": precision,
        }
        manifest = _manifest(image, plan, info, where, parameters, nodata)
        job = Job(
            image,
            _open(store, manifest, plan, info, resume=resume, overwrite=overwrite),
            plan,
            info,
            compactness,
            where,
            precision,
        )
        with torch_threads_restored() if plan.has_network else nullcontext():
            _run(job, executor, tell)
    tell("merge", 0, 1)
    segmentation = read_stored(job.store)
    # The linkage that is merged in parts, in little memory; others when they are asked for.
    segmentation.hierarchy("average")
    tell("merge", 1, 1)
    return segmentation


def stages(plan: Plan, *, stretched: bool) -> dict[str, tuple[str, ...]]:
    """Names of the tasks of each stage, in order.

    Parameters
    ----------
    plan : Plan
        Of the run.
    stretched : bool
        Whether the image is stretched, so that it is read for its statistics first.
    """
    named = {
        "statistics": plan.block_keys if stretched else (),
        "superpixels": plan.block_keys,
        "embedding": plan.window_keys,
        "nodes": plan.band_keys,
        "edges": plan.band_keys,
    }
    return {stage: keys for stage, keys in named.items() if keys}


# What each stage computes, and of what.
_TASKS: dict[str, tuple[Task, str]] = {
    "statistics": (blocks.statistics, "block"),
    "superpixels": (blocks.superpixels, "block"),
    "embedding": (blocks.embedding, "window"),
    "nodes": (tables.nodes, "band"),
    "edges": (tables.edges, "band"),
}


def _run(job: Job, executor: Executor, tell: Progress) -> None:
    stretched = is_stretched(job.source.n_channels, job.source.dtype)
    for stage, keys in stages(job.plan, stretched=stretched).items():
        done = job.store.done(stage)
        left = [key for key in keys if key not in done]
        before = len(keys) - len(left)
        tell(stage, before, len(keys))

        def count(n: int, _: int, stage: str = stage, keys: tuple[str, ...] = keys) -> None:
            tell(stage, len(keys) - len(left) + n, len(keys))  # noqa: B023

        task, what = _TASKS[stage]
        # The last band is nearly empty, and leaves its threads to the others.
        busy = len(left) - (what == "band" and keys[-1] in left)
        executor.run(task, job, left, progress=count, what=what, busy=busy)
        job.let_go()
        trim(job.plan.grid.n_cells)  # so that stages do not add up in memory
        if stage == "statistics":
            job = replace(job, limits=_limits(job, keys))
        if stage == "superpixels" and not any(job.store.row_counts(stage, "ids", keys)):
            raise ImageError("no pixel is left to segment: the mask and nodata exclude all of them")


def _limits(job: Job, keys: Sequence[str]) -> NDArray[np.float64]:
    """Limits of the stretch, from what was counted of all blocks."""
    parts = [job.store.read_table("statistics", key) for key in keys]
    shape = job.plan.shape
    n_bad = sum(int(part["not_finite"][0]) for part in parts)
    warn_of_nodata(n_bad, shape[0] * shape[1], stacklevel=4)
    ends = np.concatenate([part["ends"] for part in parts])
    return stretch_limits(
        np.concatenate([part["values"] for part in parts]),
        lambda: np.stack([ends.min(axis=0), ends.max(axis=0)]) if len(ends) else None,
    )


def _device(info: ModelInfo, device: str | torch.device) -> str | None:
    """Name of the device; None where neither a network nor a GPU asks for PyTorch."""
    if info.name == MEAN_COLOR and device in ("auto", "cpu"):
        return None
    return str(resolve_device(device))


def _windows(info: ModelInfo, device: str | None, scale: float) -> dict[str, Any]:
    """Geometry of the network's windows, for `Plan`."""
    if info.name == MEAN_COLOR or device is None:
        return {}
    network = load_network(info, resolve_device(device), scale)
    return {
        "core": network.core,
        "margin": network.margin,
        "stride": network.stride,
        "output_stride": network.output_stride,
        "scale": scale,
    }


def _manifest(
    image: Source,
    plan: Plan,
    info: ModelInfo,
    device: str | None,
    parameters: dict[str, Any],
    nodata: float | None,
) -> dict[str, Any]:
    """What a store is of: runs with the same have the same results in each of its tables."""
    weights = info.sha256  # which the network's file had when it was loaded
    if weights is None and info.path is not None:
        weights = hashlib.sha256(read_bytes(info.path)).hexdigest()
    return {
        "parameters": parameters,
        "nodata": nodata,
        "weights": weights,
        # Networks differ in last bits from one type of device to another.
        "device": "cpu" if device is None else device.partition(":")[0],
        "block": plan.block,
        "iterations": plan.iterations,
        "source": image.fingerprint(),
        "stretched": is_stretched(image.n_channels, image.dtype),
        "windows": {
            "core": plan.core,
            "margin": plan.margin,
            "stride": plan.stride,
            "output_stride": plan.output_stride,
        },
        "default_thresholds": dict(info.default_thresholds),
    }


def _open(
    url: str | PathLike[str],
    manifest: dict[str, Any],
    plan: Plan,
    info: ModelInfo,
    *,
    resume: bool,
    overwrite: bool,
) -> TileStore:
    """The store of a run, new or to be gone on with."""
    where = resolve(url)
    if overwrite and not is_free(where):
        TileStore.remove(where)
    if not resume or is_free(where):
        store = TileStore.create(
            where, manifest, shape=plan.shape, dtype=plan.ids_dtype, block=plan.block
        )
    else:
        store = TileStore.open(where, writable=True)
        found = differences(store.manifest, manifest)
        if found:
            raise StoreError(
                f"{where} is of another run ({'; '.join(found)}): give the same image and "
                "parameters, choose another place, or overwrite it"
            )
    function = None if info.architecture is None else load_merge_function(info)
    if function is not None:
        write_merge_function(store, function)
    return store
