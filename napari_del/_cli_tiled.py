"""Images of any size on the command line: options of tiled runs, and the run itself."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from napari_del._cli_run import write_regions
from napari_del.errors import OutputError, ParameterError, SchedulerError

if TYPE_CHECKING:
    from typing import Any

    from napari_del._cli_progress import Reporter
    from napari_del._cli_run import Outputs
    from napari_del.io import OpenImage

__all__ = ["add_tiled_options", "compute_tiled", "size_in_bytes", "why_tiled"]

# The default of `napari_del.tiles.run`, which takes longer to import than help should.
BLOCK = 2048
# Share of the machine's memory that a run in memory may be predicted to take.
SHARE = 0.5
# Any of these asks for a tiled run.
OPTIONS = ("store", "block", "scheduler", "workers", "memory_limit")

# A run that has come so far has a store to go on with.
_FIRST_STAGES = {"statistics", "superpixels"}

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", re.IGNORECASE)


def size_in_bytes(text: str) -> int:
    """Read a size of memory.

    Parameters
    ----------
    text : str
        A number and a unit: kB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB powers
        of 1024; the B may be left out.

    Returns
    -------
    int
        Bytes, at least 1.

    Raises
    ------
    argparse.ArgumentTypeError
        If it is none.

    Examples
    --------
    >>> size_in_bytes("8GB"), size_in_bytes("512MiB"), size_in_bytes("2g")
    (8000000000, 536870912, 2000000000)
    """
    found = _SIZE.fullmatch(text.strip())
    if found is not None:
        number, prefix, binary = found.groups()
        power = " kmgt".index(prefix.lower() or " ")
        size = int(float(number) * (1024 if binary else 1000) ** power)
        if size >= 1 and (prefix or not binary):
            return size
    raise argparse.ArgumentTypeError(
        f"{text!r} is no size of memory; expected a number and a unit such as 8GB or 512MiB"
    )


def add_tiled_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of tiled runs."""
    group = parser.add_argument_group(
        "images of any size",
        "Any of these but the last makes the run tiled.",
    )
    group.add_argument(
        "--store",
        metavar="STORE",
        help="folder or URL for what is computed; kept (default: LABELS with suffix .del.zarr)",
    )
    group.add_argument(
        "--block",
        type=int,
        metavar="B",
        help=f"side of the blocks in pixels; larger ones need more memory (default: {BLOCK})",
    )
    group.add_argument(
        "--scheduler",
        metavar="S",
        help="threads (default), processes, or the address of a dask.distributed scheduler",
    )
    group.add_argument(
        "--workers", type=int, metavar="N", help="blocks at a time (default: one for each core)"
    )
    group.add_argument(
        "--memory-limit",
        type=size_in_bytes,
        metavar="SIZE",
        help="refuse a run that would take more memory than this, such as 8GB or 512MiB",
    )
    group.add_argument(
        "--resume",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="go on with a store of the same image and options (default); --no-resume with "
        "--overwrite computes all of it again",
    )


def why_tiled(arguments: argparse.Namespace, image: OpenImage) -> str:
    """Say why the run is tiled; an empty text if it is not."""
    if any(getattr(arguments, name) is not None for name in OPTIONS):
        return "by blocks"
    memory = _physical_memory()
    if memory is None:
        return ""
    from napari_del.tiles.memory import predict_in_memory

    n = image.data.shape[2] if len(image.data.shape) == 3 else 1
    channels = n if arguments.channels is None else len(arguments.channels)
    shape, dtype = image.data.shape[:2], image.data.dtype
    need = predict_in_memory(shape, channels, dtype, arguments.model)
    if need <= SHARE * memory:
        return ""
    return f"by blocks, since all at once would take {need / 1e9:.1f} of {memory / 1e9:.1f} GB"


def compute_tiled(
    arguments: argparse.Namespace,
    image: OpenImage,
    mask: Any,
    outputs: Outputs,
    reporter: Reporter,
) -> None:
    """Segment an image block by block into a store, and write its labels."""
    from napari_del.io._planes import Both
    from napari_del.tiles.run import segment_large

    for option, path in (
        ("--overlay", outputs.overlay),
        ("--save-segmentation", outputs.segmentation),
    ):
        if path is not None:
            raise ParameterError(
                f"{option} {path} is for images that are segmented in memory; this one is "
                "segmented by blocks, into a store that is kept: leave the option out"
            )
    store = _store_of(arguments, outputs)
    masks = [one for one in (image.mask, mask) if one is not None]
    try:
        result = segment_large(
            image.data,
            store,
            model=arguments.model,
            step=arguments.step,
            scale=arguments.scale,
            compactness=arguments.compactness,
            channels=arguments.channels,
            mask=Both(*masks) if len(masks) == 2 else masks[0] if masks else None,
            nodata=image.nodata,
            device=arguments.device,
            precision=arguments.precision,
            block=BLOCK if arguments.block is None else arguments.block,
            scheduler=arguments.scheduler or "threads",
            workers=arguments.workers,
            memory_limit=arguments.memory_limit,
            resume=arguments.resume,
            overwrite=arguments.overwrite and not arguments.resume,
            progress=reporter,
        )
        write_regions(arguments, result, outputs.labels, image.metadata, reporter)
    except (KeyboardInterrupt, MemoryError, OSError, SchedulerError):
        reporter.clear()
        if not _FIRST_STAGES.isdisjoint(reporter.seconds):
            reporter.line(f"{store}: what is done is kept; the same command goes on from there")
        raise
    reporter.line(f"{store}: kept; napari-del relabel {store} LABELS writes other regions")


def _store_of(arguments: argparse.Namespace, outputs: Outputs) -> str | Path:
    """Where the run is stored."""
    if arguments.store is None:
        labels = outputs.labels
        name = re.sub(r"(\.ome)?\.(tiff?|zarr)$", "", labels.name, flags=re.IGNORECASE)
        return labels.with_name(name + ".del.zarr")
    if "://" in arguments.store:
        return str(arguments.store)
    store = Path(arguments.store)
    for what, path in (("LABELS", arguments.labels), ("IMAGE", arguments.image)):
        if "://" not in str(path) and store.resolve() == Path(path).resolve():
            raise OutputError(f"store {store} is also {what}; choose another name for the store")
    return store


def _physical_memory() -> int | None:
    """Bytes of memory that the machine has, where the system tells."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
