"""Segmentations on disk, as a zarr (version 3) group in a folder."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import zarr

from napari_del.contrast import ColorMoments
from napari_del.errors import ReadError
from napari_del.graph import AdjacencyGraph, number_nodes
from napari_del.io.outputs import check_output, replacing_folder
from napari_del.merging import MergeFunction

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_del.segmentation import Segmentation

__all__ = ["read_segmentation", "write_segmentation"]

FORMAT = "napari-del segmentation"
FORMAT_VERSION = 1
_CHUNK = 1024
# Arrays of the merge function are kept under this prefix.
_MERGE = "merge."


def write_segmentation(
    path: str | PathLike[str], segmentation: Segmentation, *, overwrite: bool = False
) -> None:
    """Write a segmentation, into a folder beside `path` first, which is then renamed.

    Parameters
    ----------
    path : path
        Folder with suffix ``.zarr``.
    segmentation : Segmentation
        What to write.
    overwrite : bool
        Whether to replace what is there.

    Raises
    ------
    OutputError
        If the path exists, has another suffix or cannot be written.
    """
    from napari_del import __version__

    target = Path(path)
    check_output(target, (".zarr",), overwrite=overwrite)
    tables, function = segmentation._tables, segmentation._linkages.function
    arrays: dict[str, NDArray[Any] | None] = {
        "superpixels": tables.superpixels,
        "embeddings": tables.embeddings,
        "edges": tables.edges,
        "border_lengths": tables.lengths,
        "boundary_sums": tables.boundary_sums,
        "dissimilarity": tables.dissimilarity,
    }
    if tables.colors is not None:
        arrays["colors"] = tables.colors.means
        arrays["color_squares"] = tables.colors.squares
    if function is not None:
        for name, tensor in function.tensors().items():
            arrays[_MERGE + name] = tensor
    with replacing_folder(target, overwrite=overwrite) as folder:
        group = zarr.create_group(
            folder,
            zarr_format=3,
            attributes={
                "format": FORMAT,
                "format_version": FORMAT_VERSION,
                "napari_del_version": __version__,
                "parameters": segmentation.parameters,
                "default_thresholds": segmentation._default_thresholds,
                "arrays": [name for name, array in arrays.items() if array is not None],
            },
        )
        for name, array in arrays.items():
            if array is None:
                continue
            # A table may be empty, a chunk may not.
            side = _CHUNK if name == "superpixels" else 2**20
            chunks = tuple(max(1, min(side, length)) for length in array.shape)
            # Chunks of zeros are written too, so that one that is missing is noticed.
            stored = group.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                chunks=chunks,
                config={"write_empty_chunks": True},
            )
            if array.size:
                stored[...] = array


def read_segmentation(path: str | PathLike[str]) -> Segmentation:
    """Read a segmentation that `write_segmentation` wrote, or open the store of a tiled run.

    Parameters
    ----------
    path : path or str
        Folder with suffix ``.zarr``, or URL of the store of a tiled run.

    Returns
    -------
    Segmentation
        In memory, or in the store.

    Raises
    ------
    ReadError
        If there is none, or it is damaged, of another version or not complete.
    StoreError
        If the store of a tiled run is of another version or damaged.
    """
    from napari_del.segmentation import Segmentation

    if "://" in str(path):
        return _open_tiles(path)
    source = Path(path)
    if not source.exists():
        raise ReadError(f"{source} does not exist; expected a folder that Segmentation.save wrote")
    try:
        group = zarr.open_group(source, mode="r")
        attributes = dict(group.attrs)
    except Exception as error:  # zarr raises what its codecs and JSON raise
        raise ReadError(f"{source} is not a zarr group: {_first_line(error)}") from error
    if attributes.get("format") == "napari-del tiles":
        return _open_tiles(source)
    if attributes.get("format") != FORMAT or attributes.get("format_version") != FORMAT_VERSION:
        raise ReadError(
            f"{source} has format {attributes.get('format')!r}, version "
            f"{attributes.get('format_version')!r}; expected {FORMAT!r}, version {FORMAT_VERSION}"
        )
    try:
        names = cast("list[str]", attributes["arrays"])
        arrays = {name: _read_array(group, name) for name in names}
        nodes = number_nodes(arrays["superpixels"])
        graph = AdjacencyGraph(
            arrays["edges"], arrays["border_lengths"], arrays.get("boundary_sums")
        )
        n, m = nodes.ids.size, len(graph.edges)
        node_tables = ("embeddings", "colors", "color_squares")
        edge_tables = ("edges", "border_lengths", "boundary_sums", "dissimilarity")
        if (
            any(len(arrays[name]) != n for name in node_tables if name in arrays)
            or any(len(arrays[name]) != m for name in edge_tables if name in arrays)
            or graph.edges.max(initial=-1) >= n
        ):
            raise ValueError(f"tables do not fit {n} superpixels and {m} edges")
        tensors = {k.removeprefix(_MERGE): a for k, a in arrays.items() if k.startswith(_MERGE)}
        return Segmentation(
            nodes,
            graph,
            arrays["embeddings"],
            arrays["dissimilarity"],
            {str(k): float(v) for k, v in cast("Any", attributes["default_thresholds"]).items()},
            dict(cast("Any", attributes["parameters"])),
            colors=(
                ColorMoments(arrays["colors"], arrays["color_squares"])
                if "colors" in arrays
                else None
            ),
            merge_function=MergeFunction.from_tensors(tensors) if tensors else None,
        )
    except Exception as error:
        raise ReadError(f"{source} is damaged: {_first_line(error)}") from error


def _open_tiles(url: str | PathLike[str]) -> Segmentation:
    from napari_del.tiles.store import TileStore
    from napari_del.tiles.stored import read_stored

    return read_stored(TileStore.open(url))


def _read_array(group: zarr.Group, name: str) -> NDArray[Any]:
    """An array with all its chunks; zarr takes one that is missing for zeros."""
    if name not in group:
        raise ValueError(f"array {name} is missing")
    stored = cast("zarr.Array[Any]", group[name])
    lack = stored.nchunks - stored.nchunks_initialized if stored.size else 0
    if lack:
        raise ValueError(f"{name} lacks {lack} of {stored.nchunks} chunks")
    return np.asarray(stored[...])


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
