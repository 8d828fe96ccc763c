"""The results of a tiled run, in zarr format: pixels, tables, and markers of what is done.

The arrays of a table are below ``tables/STAGE/KEY``. Its marker ``done/STAGE/KEY.json`` is
written last, with the SHA-256 of all that belongs to it. A table without a marker does not
exist: it is computed again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_del.errors import ParameterError, StoreError
from napari_del.tiles.arrays import Part, new_array, write_arrays
from napari_del.tiles.backend import (
    DamagedError,
    get_many,
    local_folder,
    new_place,
    put_many,
    remove_file,
    remove_folder,
    remove_place,
    resolve,
    writing,
)
from napari_del.tiles.manifest import (
    ArrayRecord,
    Marker,
    differences,
    group_metadata,
    marker_key,
    read_attributes,
    store_attributes,
)
from napari_del.tiles.reading import Area, StoreReader, text_of

__all__ = ["TileStore", "differences"]


class TileStore(StoreReader):
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
        Side of the chunks of pixels, where the image is not smaller.
    writable : bool
        Whether it was opened for writing.
    """

    def __init__(self, url: str, attributes: Mapping[str, Any], *, writable: bool) -> None:
        super().__init__(url, attributes, writable=writable)
        # Groups above the tables whose metadata were written.
        self._groups: set[str] = set()

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
            Side of the chunks of pixels, at least 1, where the image is not smaller.

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
            put_many(store._store, {"zarr.json": group_metadata(attributes)})
            new_array(store._store, store._pixels)
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

    def _recover(self) -> None:
        try:
            self._pixels.check(*get_many(self._store, [self._pixels.metadata_key]))
        except DamagedError:
            new_array(self._store, self._pixels)
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
        parts = [] if pixels is None else [Part(self._pixels, *pixels)]
        self._counts.clear()
        folder = f"tables/{stage}/{key}"
        groups = set()
        if any(values.size for values in arrays.values()):
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
            put_many(self._store, {marker_key(stage, key): Marker(records, done).to_json()})

    def _check_pixels(self, core: Area, data: NDArray[Any]) -> None:
        for part, length in zip(core, self.shape, strict=True):
            if part.start % self.block or (part.stop % self.block and part.stop != length):
                raise ParameterError(f"{text_of(core)} does not consist of blocks of {self.block}")
        if data.dtype != self.dtype or data.shape != tuple(c.stop - c.start for c in core):
            raise ParameterError(
                f"pixels have dtype {data.dtype} and shape {data.shape}; expected {self.dtype} "
                f"and the shape of {text_of(core)}"
            )

    def forget(self, stage: str, key: str) -> None:
        """Remove a marker and its table, so that they are computed again."""
        self._counts.clear()
        self.let_go()
        with self._writing():
            remove_file(self._store, marker_key(stage, key))
            remove_folder(self._store, f"tables/{stage}/{key}")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        if not self.writable:
            raise StoreError(f"{self.url} was opened for reading only")
        with writing(self.url):
            yield


def _attach(url: str, attributes: Mapping[str, Any], writable: bool) -> TileStore:
    return TileStore(url, attributes, writable=writable)
