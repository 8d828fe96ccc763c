"""Pixels and rows of a store as dask arrays: what is asked for is computed, chunk by chunk.

The graph of each has one task for a chunk, which calls `__getitem__` of one object that stands
for the whole array. That object has no arrays itself; sent to another process, it opens the
store there.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_del._look_up import look_up
from napari_del._threads import thread_budget
from napari_del.errors import ReadError
from napari_del.linkages import Cut, Linkages
from napari_del.superpixels.grid import Grid
from napari_del.tiles.ids import number_places

if TYPE_CHECKING:
    import dask.array as da

    from napari_del.tiles.stored import StoredTables

__all__ = ["lazy_embeddings", "lazy_labels", "lazy_superpixels", "write_into"]

Index = tuple[slice, ...]


def lazy_superpixels(tables: StoredTables) -> da.Array:
    """Superpixel ids as a dask array, int32 or int64 (Y, X)."""
    return _array(_Superpixels(tables), (tables.store.block,) * 2, tables)


def lazy_labels(tables: StoredTables, linkages: Linkages, cut: Cut) -> da.Array:
    """Label image of a partition as a dask array, int32 (Y, X).

    Parameters
    ----------
    tables : StoredTables
        Superpixels.
    linkages : Linkages
        Of these tables.
    cut : Cut
        The partition.

    Returns
    -------
    dask.array.Array
        With the chunks of the store.
    """
    return _array(_Labels(tables, linkages, cut), (tables.store.block,) * 2, tables, cut)


def lazy_embeddings(tables: StoredTables) -> da.Array:
    """Mean embeddings as a dask array, float32 (n, D), with a chunk for each band."""
    rows = _Embeddings(tables)
    counts = [count for count in np.diff(tables.starts).tolist() if count]
    return _array(rows, (tuple(counts), (rows.shape[1],)), tables)


def write_into(lazy: da.Array, out: NDArray[np.int32]) -> None:
    """Compute a dask array into one in memory."""
    import dask.array as da

    da.store([lazy], [out], lock=False)


def _array(source: _Chunked, chunks: Any, tables: StoredTables, *token: object) -> da.Array:
    import dask.array as da
    from dask.base import tokenize

    kind = type(source).__name__.strip("_").lower()
    return cast(
        "da.Array",
        da.from_array(
            source,
            chunks=chunks,
            # The same content has the same name, so a viewer's cache knows it again.
            name=f"{kind}-{tokenize(tables.url, tables.digest, *token)}",
            lock=False,
            fancy=False,
            meta=np.empty((0, 0), source.dtype),
        ),
    )


class _Chunked:
    """What dask takes for an array; indices are slices, and whole numbers for one row or column.

    Attributes
    ----------
    shape : tuple of int
        Two lengths.
    dtype : dtype
        Of the elements.
    """

    ndim = 2

    def __init__(self, shape: tuple[int, int], dtype: Any) -> None:
        self.shape = shape
        self.dtype = np.dtype(dtype)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        whole = tuple(slice(i, i + 1) if not isinstance(i, slice) else i for i in index)
        found = self._read(
            tuple(slice(*s.indices(n)) for s, n in zip(whole, self.shape, strict=True))
        )
        return found[tuple(slice(None) if isinstance(i, slice) else 0 for i in index)]

    def _read(self, index: Index) -> NDArray[Any]:
        raise NotImplementedError


class _Superpixels(_Chunked):
    def __init__(self, tables: StoredTables) -> None:
        super().__init__(tables.shape, tables.store.dtype)
        self._tables = tables

    def _read(self, index: Index) -> NDArray[Any]:
        return _pixels(self._tables, index)


def _pixels(tables: StoredTables, index: Index) -> NDArray[Any]:
    """Superpixel ids, of which every so many may be asked for."""
    y, x = (slice(s.start, max(s.start, s.stop)) for s in index)
    return tables.store.read_pixels((y, x))[:: index[0].step, :: index[1].step]


class _Labels(_Chunked):
    def __init__(self, tables: StoredTables, linkages: Linkages, cut: Cut) -> None:
        super().__init__(tables.shape, np.int32)
        self._tables = tables
        self._linkages = linkages
        self._cut = cut

    def _read(self, index: Index) -> NDArray[Any]:
        superpixels = _pixels(self._tables, index)
        grid = Grid(self.shape, self._tables.step)
        image, ids = number_places(superpixels, (index[0], index[1]), grid)
        rows = self._tables.rows_of(ids)
        known = rows >= 0
        numbers = np.full(ids.size, -1, np.int32)
        numbers[known] = self._linkages.numbers_of(self._cut, rows[known])
        # Chunks are computed side by side already.
        with thread_budget(1):
            labels = look_up(image, numbers)
        if labels.min(initial=0) < 0:
            raise ReadError(
                f"{self._tables.url} is damaged: its tables lack superpixels that its pixels "
                "have; verify the store"
            )
        return labels


class _Embeddings(_Chunked):
    def __init__(self, tables: StoredTables) -> None:
        width = tables.store.marker("nodes", tables.bands[0]).arrays["embeddings"].shape[1]
        super().__init__((tables.n, width), np.float32)
        self._tables = tables

    def _read(self, index: Index) -> NDArray[Any]:
        rows, columns = index
        if rows.stop <= rows.start:
            return np.empty((0, self.shape[1]), np.float32)[:, columns]
        starts = self._tables.starts
        band = bisect_right(starts, rows.start) - 1
        first = starts[band]
        part = self._tables.store.read_rows(
            "nodes", self._tables.bands[band], ["embeddings"], rows.start - first, rows.stop - first
        )
        return part["embeddings"][:: rows.step, columns]
