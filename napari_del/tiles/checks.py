"""Whether the files of a table still hold what was written."""

from __future__ import annotations

from collections.abc import Iterator

from zarr.abc.store import Store

from napari_del.tiles.arrays import Layout, row_parts, sha256
from napari_del.tiles.backend import first_line, get_many
from napari_del.tiles.manifest import Marker, marker_key

__all__ = ["faults"]


def faults(
    store: Store,
    stage: str,
    key: str,
    pixels: Layout,
) -> Iterator[str]:
    """What is wrong with the arrays of a table, its pixels, or its marker.

    Parameters
    ----------
    store : zarr.abc.store.Store
        All files.
    stage, key : str
        Name of the table.
    pixels : Layout
        Of the array of pixels.

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
        path = f"tables/{stage}/{key}/{name}"
        layout = Layout.of_table(path, record.shape, record.dtype)
        yield from _faults(store, layout, layout.whole(), record.sha256)
    if marker.pixels is not None:
        yield from _faults(store, pixels, *marker.pixels)


def _faults(store: Store, layout: Layout, area: tuple[slice, ...], digest: str) -> Iterator[str]:
    name = layout.path.rsplit("/", 1)[-1]
    try:
        if sha256(row_parts(store, layout, area)) != digest:
            yield f"{name}: the values are not those that were written"
    except OSError as error:
        yield f"{name}: {first_line(error)}"
