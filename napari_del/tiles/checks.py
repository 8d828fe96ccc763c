"""Whether the files of a table still hold what was written."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from zarr.abc.store import Store

from napari_del.tiles.arrays import find_array, row_parts, sha256
from napari_del.tiles.backend import first_line, get_many
from napari_del.tiles.manifest import ArrayRecord, Marker, marker_key

__all__ = ["faults"]


def faults(
    store: Store,
    stage: str,
    key: str,
    pixels: tuple[str, tuple[int, int], np.dtype[np.signedinteger]],
) -> Iterator[str]:
    """What is wrong with the arrays of a table, its pixels, or its marker.

    Parameters
    ----------
    store : zarr.abc.store.Store
        All files.
    stage, key : str
        Name of the table.
    pixels : tuple
        Name, shape and dtype of the array of pixels.

    Yields
    ------
    str
        A reason for each array that is damaged, and nothing if all is well.
    """
    try:
        (text,) = get_many(store, [marker_key(stage, key)])
        marker = Marker.from_json(text or b"")
    except OSError as error:
        yield first_line(error)
        return
    for name, record in marker.arrays.items():
        yield from _faults(store, f"tables/{stage}/{key}/{name}", record, None)
    if marker.pixels is not None:
        path, shape, dtype = pixels
        window, digest = marker.pixels
        yield from _faults(store, path, ArrayRecord(shape, dtype, digest), window)


def _faults(
    store: Store, path: str, record: ArrayRecord, window: tuple[slice, slice] | None
) -> Iterator[str]:
    name = path.rsplit("/", 1)[-1]
    try:
        array = find_array(store, path, record.shape, record.dtype)
        if sha256(row_parts(array, window)) != record.sha256:
            yield f"{name}: the values are not those that were written"
    except OSError as error:
        yield f"{name}: {first_line(error)}"
