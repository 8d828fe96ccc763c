"""What is read of the results of a tiled run: pixels, tables, and markers of what is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from napari_del.errors import StoreError
from napari_del.tiles.arrays import Layout, open_array, read_area, read_areas
from napari_del.tiles.backend import (
    DamagedError,
    connect,
    first_line,
    get_many,
    names_below,
)
from napari_del.tiles.checks import faults
from napari_del.tiles.manifest import Marker, marker_key
from napari_del.tiles.recent import RecentChunks

__all__ = ["PIXELS", "Area", "StoreReader", "text_of"]

Area = tuple[slice, slice]

PIXELS = "superpixels"
# Tables that are read at a time.
_TOGETHER = 8


class StoreReader:
    """The part of `TileStore` that reads; its attributes are described there."""

    def __init__(self, url: str, attributes: Mapping[str, Any], *, writable: bool) -> None:
        self.url = url
        self.writable = writable
        self.manifest: dict[str, Any] = attributes["manifest"]
        self.shape: tuple[int, int] = (int(attributes["shape"][0]), int(attributes["shape"][1]))
        self.dtype = np.dtype(attributes["dtype"])
        self.block = int(attributes["block"])
        self._attributes = attributes
        self._store = connect(url, writable=writable)
        chunk = min(self.block, self.shape[0]), min(self.block, self.shape[1])
        self._pixels = Layout(PIXELS, self.shape, self.dtype, chunk)
        # Numbers of rows of whole stages.
        self._counts: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
        block = (self.block, self.block)
        self._recent = RecentChunks(self.read_pixels, self.shape, block, self.dtype.itemsize)

    @property
    def superpixels(self) -> zarr.Array[Any]:
        """The array of superpixel ids, shape (Y, X); 0 where nothing is segmented."""
        with self._reading(f"array {PIXELS}"):
            return open_array(self._store, self._pixels)

    def read_pixels(self, window: Area) -> NDArray[Any]:
        """Superpixel ids of rows and columns of the image.

        Raises
        ------
        StoreError
            If a chunk is missing or damaged.
        """
        with self._reading(f"array {PIXELS}, pixels {text_of(window)},"):
            return read_area(self._store, self._pixels, window)

    def read_near_pixels(self, window: Area) -> NDArray[Any]:
        """As `read_pixels`, holding the blocks read last for windows that overlap."""
        return self._recent.read(window)

    def let_go(self) -> None:
        """Hold no blocks any more."""
        self._recent.clear()

    def read_table(
        self, stage: str, key: str, names: Sequence[str] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Arrays of a table by name, all of them or those of some `names`.

        Raises
        ------
        StoreError
            If it is not done, an array is missing, or a chunk is missing or damaged.
        """
        marker = self.marker(stage, key)
        wanted = list(marker.arrays) if names is None else names
        return self._read(stage, {key: (marker, wanted, slice(None))})[key]

    def read_rows(
        self, stage: str, key: str, names: Sequence[str], start: int, stop: int
    ) -> dict[str, NDArray[Any]]:
        """Rows from `start` to ``stop - 1`` of arrays of a table; only their chunks are read.

        Raises
        ------
        StoreError
            As for `read_table`.
        """
        wanted = self.marker(stage, key), names, slice(start, stop)
        return self._read(stage, {key: wanted})[key]

    def read_ranges(
        self, stage: str, keys: Sequence[str], by: str, names: Sequence[str], numbers: range
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Rows with some numbers, of each table that has any; nothing else is kept.

        Some tables are read at a time.

        Parameters
        ----------
        stage, keys
            Names of the tables.
        by : str
            Their array whose first column has the numbers, in ascending order.
        names : sequence of str
            Other arrays to read.
        numbers : range
            The numbers.

        Yields
        ------
        dict of ndarray
            Rows of `by` and of the others.

        Raises
        ------
        StoreError
            As for `read_table`.
        """
        for start in range(0, len(keys), _TOGETHER):
            some = keys[start : start + _TOGETHER]
            markers = {
                key: marker
                for key, marker in zip(some, self._markers(stage, some), strict=True)
                if (ends := marker.arrays[by].ends) is not None
                and ends[0] < numbers.stop
                and ends[1] >= numbers.start
            }
            found = self._read(stage, {key: (of, [by], slice(None)) for key, of in markers.items()})
            wanted = {}
            for key, marker in markers.items():
                column = found[key][by].reshape(len(found[key][by]), -1)[:, 0]
                rows = slice(*np.searchsorted(column, [numbers.start, numbers.stop]).tolist())
                if rows.start < rows.stop:
                    found[key][by] = found[key][by][rows].copy()
                    wanted[key] = marker, names, rows
            for key, others in self._read(stage, wanted).items():
                yield found[key] | others

    def row_counts(self, stage: str, name: str, keys: Sequence[str]) -> list[int]:
        """Number of rows that an array has in the table of each key.

        Raises
        ------
        StoreError
            If one of them is not done.
        """
        asked = (stage, name, tuple(keys))
        if asked not in self._counts:
            markers = self._markers(stage, keys)
            self._counts[asked] = [marker.arrays[name].shape[0] for marker in markers]
        return self._counts[asked]

    def done(self, stage: str) -> set[str]:
        """Keys of a stage that have a marker."""
        with self._reading(f"markers of stage {stage}"):
            names = names_below(self._store, f"done/{stage}")
        return {name.removesuffix(".json") for name in names if name.endswith(".json")}

    def is_done(self, stage: str, key: str) -> bool:
        """Whether a table has a marker."""
        return self._markertext_of(stage, key) is not None

    def verify(
        self, progress: Callable[[int, int], object] | None = None
    ) -> list[tuple[str, str, str]]:
        """Read everything that is done and compare it with what was written.

        Parameters
        ----------
        progress : callable, optional
            Called as ``progress(done, total)`` after each table.

        Returns
        -------
        list of (stage, key, reason)
            What is damaged. Nothing is changed; `forget` has it computed again.
        """
        with self._reading("folder done"):
            stages = names_below(self._store, "done")
        tasks = [(stage, key) for stage in stages for key in sorted(self.done(stage))]
        damaged = []
        for count, (stage, key) in enumerate(tasks, 1):
            found = faults(self._store, stage, key, self._pixels)
            damaged += [(stage, key, reason) for reason in found]
            if progress is not None:
                progress(count, len(tasks))
        return damaged

    def marker(self, stage: str, key: str) -> Marker:
        """What is known of a table: the shapes, dtypes and SHA-256 of its arrays.

        Raises
        ------
        StoreError
            If there is none, or it is damaged.
        """
        return self._parse(stage, key, self._markertext_of(stage, key))

    def _markertext_of(self, stage: str, key: str) -> bytes | None:
        with self._reading(f"marker of {stage} {key}"):
            (text,) = get_many(self._store, [marker_key(stage, key)])
        return text

    def _markers(self, stage: str, keys: Sequence[str]) -> list[Marker]:
        with self._reading(f"markers of stage {stage}"):
            found = get_many(self._store, [marker_key(stage, key) for key in keys])
        return [self._parse(stage, *pair) for pair in zip(keys, found, strict=True)]

    def _parse(self, stage: str, key: str, text: bytes | None) -> Marker:
        if text is None:
            raise StoreError(f"{self.url} has no table {stage} {key} yet; resume the run")
        with self._reading(f"table {stage} {key}"):
            return Marker.from_json(text)

    def _read(
        self, stage: str, tables: Mapping[str, tuple[Marker, Sequence[str], slice]]
    ) -> dict[str, dict[str, NDArray[Any]]]:
        """Rows of arrays of tables, all at once: for each key its marker, names and rows."""
        known = {}
        for key, (marker, names, rows) in tables.items():
            for name in names:
                record = marker.arrays.get(name)
                if record is not None:
                    path = f"tables/{stage}/{key}/{name}"
                    layout = Layout.of_table(path, record.shape, record.dtype)
                    of = slice(*rows.indices(record.shape[0]))
                    known[key, name] = layout, (of, *layout.whole()[1:])
        with self._reading(f"tables of stage {stage}"):
            found = dict(zip(known, read_areas(self._store, list(known.values())), strict=True))
        read: dict[str, dict[str, NDArray[Any]]] = {key: {} for key in tables}
        for key, (_, names, _) in tables.items():
            for name in names:
                with self._reading(f"array {name} of table {stage} {key}"):
                    array = found.get((key, name), DamagedError("its marker does not name it"))
                    if isinstance(array, Exception):
                        raise array
                    read[key][name] = array
        return read

    @contextmanager
    def _reading(self, what: str) -> Iterator[None]:
        try:
            yield
        except DamagedError as error:
            raise StoreError(
                f"{self.url}: {what} is damaged ({error}); run napari-del verify and resume the run"
            ) from error
        except StoreError:
            raise
        except Exception as error:  # file systems of fsspec have errors of their own
            raise StoreError(f"{self.url}: {what} cannot be read: {first_line(error)}") from error


def text_of(window: Area) -> str:
    """Rows and columns, for messages."""
    return ", ".join(f"{part.start}:{part.stop}" for part in window)
