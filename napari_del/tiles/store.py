"""The results of a tiled run, in zarr format: pixels, tables, and markers of what is done.

The arrays of a table are below ``tables/STAGE/KEY``. Its marker ``done/STAGE/KEY.json`` is
written last, with the SHA-256 of all that belongs to it. A table without a marker does not
exist: it is computed again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import zarr
from numpy.typing import DTypeLike, NDArray

from napari_del.errors import ParameterError, StoreError
from napari_del.tiles.arrays import (
    Part,
    Rows,
    find_array,
    new_array,
    read,
    read_arrays,
    write_arrays,
)
from napari_del.tiles.backend import (
    DamagedError,
    connect,
    first_line,
    get_many,
    local_folder,
    names_below,
    new_place,
    put,
    remove_file,
    remove_folder,
    remove_place,
    resolve,
    writing,
)
from napari_del.tiles.checks import faults
from napari_del.tiles.manifest import (
    ArrayRecord,
    Marker,
    differences,
    group_metadata,
    marker_key,
    read_attributes,
    store_attributes,
)
from napari_del.tiles.recent import RecentChunks

__all__ = ["TileStore", "differences"]

Area = tuple[slice, slice]

_PIXELS = "superpixels"
# Tables that are read at a time.
_TOGETHER = 8


class TileStore:
    """A zarr group with the array ``superpixels``, tables of arrays, and markers.

    Threads and processes can use it at the same time, each block of pixels and each table
    having one writer. It is sent to other processes by its URL. Made by `create` and `open`.

    Attributes
    ----------
    url : str
        Absolute path of the folder, or fsspec URL.
    manifest : dict
        What the run is of, parameters and fingerprints, as JSON keeps them.
    shape : tuple of int
        Image shape (Y, X) in pixels.
    dtype : dtype
        Of superpixel ids.
    block : int
        Side of the chunks of pixels.
    writable : bool
        Whether it was opened for writing.
    """

    def __init__(self, url: str, attributes: Mapping[str, Any], *, writable: bool) -> None:
        self.url = url
        self.writable = writable
        self.manifest: dict[str, Any] = attributes["manifest"]
        self.shape: tuple[int, int] = (int(attributes["shape"][0]), int(attributes["shape"][1]))
        self.dtype = np.dtype(attributes["dtype"])
        self.block = int(attributes["block"])
        self._attributes = attributes
        self._store = connect(url, writable=writable)
        # Numbers of rows of whole stages.
        self._counts: dict[tuple[str, str, tuple[str, ...]], list[int]] = {}
        # Groups above the tables whose metadata were written.
        self._groups: set[str] = set()
        block = (self.block, self.block)
        self._recent = RecentChunks(self.read_pixels, self.shape, block, self.dtype.itemsize)

    def __reduce__(self) -> tuple[Callable[..., TileStore], tuple[Any, ...]]:
        return _attach, (self.url, self._attributes, self.writable)

    @classmethod
    def create(
        cls,
        url: str | os.PathLike[str],
        manifest: Mapping[str, Any],
        *,
        shape: tuple[int, int],
        dtype: DTypeLike,
        block: int,
    ) -> TileStore:
        """Make an empty store and open it for writing.

        Parameters
        ----------
        url : str or path
            Folder, which must be empty if it exists, or fsspec URL below which there is nothing.
        manifest : dict
            Whatever JSON can keep; NaN and infinities are kept as text.
        shape : tuple of int
            Image shape (Y, X) in pixels.
        dtype : dtype
            Of superpixel ids.
        block : int
            Side of the chunks of pixels, at least 1.

        Raises
        ------
        StoreError
            If something is there already, or the place cannot be written to.
        """
        where = resolve(url)
        attributes = store_attributes(
            manifest,
            shape=[int(n) for n in shape],
            dtype=np.dtype(dtype).str,
            block=int(block),
        )
        with writing(where), new_place(where) as place:
            store = cls(place, attributes, writable=True)
            put(store._store, "zarr.json", group_metadata(attributes))
            store._new_pixels()
        return cls(where, attributes, writable=True)

    @classmethod
    def open(cls, url: str | os.PathLike[str], *, writable: bool = False) -> TileStore:
        """Open a store that `create` made.

        Opened for writing, what a killed run was about to write is removed, and lost metadata
        of the pixels are restored.

        Raises
        ------
        StoreError
            If there is none, it is something else, of another version, or damaged.
        """
        where = resolve(url)
        store = cls(where, read_attributes(where), writable=writable)
        if writable:
            with writing(where):
                store._recover()
        return store

    @staticmethod
    def remove(url: str | os.PathLike[str]) -> None:
        """Remove a store with all that is in it.

        Raises
        ------
        StoreError
            If it is no store of a tiled run, of whichever version, or cannot be removed.
        """
        where = resolve(url)
        read_attributes(where, any_version=True)
        with writing(where):
            remove_place(where)

    def _new_pixels(self) -> None:
        new_array(self._store, _PIXELS, self.shape, self.dtype, (self.block, self.block))

    def _recover(self) -> None:
        try:
            find_array(self._store, _PIXELS, self.shape, self.dtype)
        except DamagedError:
            self._new_pixels()
        folder = local_folder(self.url)
        if folder is not None:
            # Names of files that zarr was about to rename, and tables whose marker never came.
            for leftover in folder.rglob("*.partial"):
                leftover.unlink(missing_ok=True)
            for stage in (folder / "tables").glob("*/"):
                done = self.done(stage.name)
                for table in stage.glob("*/"):
                    if table.name not in done:
                        remove_folder(self._store, f"tables/{stage.name}/{table.name}")

    @property
    def superpixels(self) -> zarr.Array[Any]:
        """The array of superpixel ids, shape (Y, X); 0 where nothing is segmented."""
        with self._reading(f"array {_PIXELS}"):
            return find_array(self._store, _PIXELS, self.shape, self.dtype)

    def read_pixels(self, window: Area) -> NDArray[Any]:
        """Superpixel ids of rows and columns of the image.

        Raises
        ------
        StoreError
            If a chunk is missing or damaged.
        """
        with self._reading(f"array {_PIXELS}, pixels {_text(window)},"):
            return read(find_array(self._store, _PIXELS, self.shape, self.dtype), window)

    def read_near_pixels(self, window: Area) -> NDArray[Any]:
        """As `read_pixels`, holding the blocks read last for windows that overlap."""
        return self._recent.read(window)

    def let_go(self) -> None:
        """Hold no blocks any more."""
        self._recent.clear()

    def write_table(
        self,
        stage: str,
        key: str,
        arrays: Mapping[str, NDArray[Any]],
        *,
        pixels: tuple[Area, NDArray[Any]] | None = None,
    ) -> None:
        """Write a table, and after it the marker that it is done.

        Parameters
        ----------
        stage, key : str
            Its name.
        arrays : dict of ndarray
            Arrays of numbers or booleans, of at least one dimension, by name.
        pixels : tuple of slices and ndarray, optional
            Rows and columns of whole blocks, and their superpixel ids, of the store's dtype,
            which are done with this table.

        Raises
        ------
        StoreError
            If the disk is full or the like.
        ParameterError
            If pixels are not of whole blocks, or are not the store's.
        """
        if pixels is not None:
            self._check_pixels(*pixels)
            self.let_go()
        parts = [] if pixels is None else [Part(_PIXELS, self.shape, *pixels)]
        self._counts.clear()
        folder = f"tables/{stage}/{key}"
        groups = {"tables", f"tables/{stage}"} - self._groups | {folder}
        with self._writing():
            remove_file(self._store, marker_key(stage, key))
            digests = write_arrays(
                self._store,
                {f"{folder}/{name}": of for name, of in arrays.items()},
                dict.fromkeys(sorted(groups), group_metadata({})),
                parts,
            )
            self._groups |= groups - {folder}
            records = {
                name: ArrayRecord.of(values, digest)
                for (name, values), digest in zip(arrays.items(), digests, strict=False)
            }
            done = None if pixels is None else (pixels[0], digests[-1])
            put(self._store, marker_key(stage, key), Marker(records, done).to_json())

    def _check_pixels(self, core: Area, data: NDArray[Any]) -> None:
        for part, length in zip(core, self.shape, strict=True):
            if part.start % self.block or (part.stop % self.block and part.stop != length):
                raise ParameterError(f"{_text(core)} does not consist of blocks of {self.block}")
        if data.dtype != self.dtype or data.shape != tuple(c.stop - c.start for c in core):
            raise ParameterError(
                f"pixels have dtype {data.dtype} and shape {data.shape}; expected {self.dtype} "
                f"and the shape of {_text(core)}"
            )

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
        return self._marker_text(stage, key) is not None

    def forget(self, stage: str, key: str) -> None:
        """Remove a marker and its table, so that they are computed again."""
        self._counts.clear()
        self.let_go()
        with self._writing():
            remove_file(self._store, marker_key(stage, key))
            remove_folder(self._store, f"tables/{stage}/{key}")

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
            found = faults(self._store, stage, key, (_PIXELS, self.shape, self.dtype))
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
        return self._parse(stage, key, self._marker_text(stage, key))

    def _marker_text(self, stage: str, key: str) -> bytes | None:
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
        known = {
            f"tables/{stage}/{key}/{name}": Rows(record.shape, record.dtype, rows)
            for key, (marker, names, rows) in tables.items()
            for name in names
            if (record := marker.arrays.get(name)) is not None
        }
        with self._reading(f"tables of stage {stage}"):
            found = read_arrays(self._store, known)
        read: dict[str, dict[str, NDArray[Any]]] = {key: {} for key in tables}
        for key, (_, names, _) in tables.items():
            for name in names:
                with self._reading(f"array {name} of table {stage} {key}"):
                    path = f"tables/{stage}/{key}/{name}"
                    array = found.get(path, DamagedError("its marker does not name it"))
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

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self.writable:
            raise StoreError(f"{self.url} was opened for reading only")
        with writing(self.url):
            yield


def _attach(url: str, attributes: Mapping[str, Any], writable: bool) -> TileStore:
    return TileStore(url, attributes, writable=writable)


def _text(window: Area) -> str:
    return ", ".join(f"{part.start}:{part.stop}" for part in window)
