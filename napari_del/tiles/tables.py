"""Tasks of a tiled run that put the tables of all blocks together, a band of rows at a time.

What blocks and windows counted are sums of integers, so the order in which they are added up
does not matter. Everything else is computed once, from the sums, by the functions that serve
images in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import parallel_for
from napari_del.contrast import color_moments
from napari_del.embedding import MEAN_COLOR_SCALE
from napari_del.errors import StoreError
from napari_del.graph import dissimilarity
from napari_del.pooling import EMBEDDING_SCALE, mean_embedding
from napari_del.tiles.job import Job, once
from napari_del.tiles.plan import Band

__all__ = ["edges", "nodes"]

# Fewest columns of a part of a sum: those of a cache line are written by one thread.
_COLUMNS = 16


class _Sums:
    """Sums by key, of parts that come one after another."""

    def __init__(self) -> None:
        self._keys: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.integer]] = []

    def add(self, keys: NDArray[np.int64], values: NDArray[np.integer]) -> None:
        self._keys.append(keys)
        self._values.append(values)

    def total(self, like: NDArray[np.integer]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Keys in ascending order, and the sum of each; `like` tells the shape of values."""
        if not any(keys.size for keys in self._keys):
            return np.empty(0, np.int64), np.empty((0, *like.shape[1:]), np.int64)
        keys = np.concatenate(self._keys)
        order = np.argsort(keys, kind="stable")
        keys = keys[order]
        is_first = np.diff(keys, prepend=keys[0] - 1) > 0
        places = np.empty(keys.size, np.int32)
        places[order] = np.cumsum(is_first, dtype=np.int32) - np.int32(1)
        keys = keys[is_first]
        sums = np.zeros((keys.size, *like.shape[1:]), np.int64)
        rows = sums.reshape(keys.size, -1)
        start = 0
        for values in self._values:
            stop = start + len(values)
            # Where they are, because values of many columns take long to be put in order.
            table = values.reshape(len(values), rows.shape[1])
            add = partial(_add, rows, places[start:stop], table)
            # Threads share the columns, so that no two write to the same number.
            parallel_for(add, rows.shape[1], grain=_COLUMNS)
            start = stop
        return keys, sums


@njit(nogil=True, cache=True)
def _add(
    sums: NDArray[np.int64],
    places: NDArray[np.int32],
    values: NDArray[np.integer],
    start: int,
    stop: int,
) -> None:
    """Add columns `start` to `stop` of each row of values to the row of sums at its place."""
    for k in range(places.size):
        row, more = sums[places[k]][start:stop], values[k][start:stop]
        for c in range(more.size):
            row[c] += more[c]


@once
def nodes(job: Job, key: str) -> None:
    """Write the rows of a band: ids, sizes, mean embeddings and colours of superpixels."""
    plan, store = job.plan, job.store
    band = plan.band_of(key)
    channels = job.source.n_channels
    with_colors = job.info.has_boundary
    counted, embedded = _Sums(), _Sums()
    for ids, counts in _parts(job, "superpixels", plan.blocks_in(band), band, "counts"):
        counted.add(ids, counts)
    for ids, sums in _parts(job, "embedding", plan.windows_in(band), band, "sums"):
        embedded.add(ids, sums)
    width = 1 + channels * (2 if with_colors else 1)
    ids, total = counted.total(np.empty((0, width), np.int64))
    size, color, square = np.split(total, [1, 1 + channels], axis=1)
    size = size[:, 0].copy()
    table: dict[str, NDArray[np.generic]] = {"ids": ids.astype(plan.ids_dtype), "sizes": size}
    if plan.has_network:
        total = embedded.total(np.empty((0, job.info.embedding_dim), np.int64))[1]
        table["embeddings"] = mean_embedding(total, EMBEDDING_SCALE, size)
    else:
        table["embeddings"] = mean_embedding(color, MEAN_COLOR_SCALE, size)
    if with_colors:
        table["colors"], table["color_squares"] = color_moments(color, square, size)
    store.write_table("nodes", key, table)


def _parts(
    job: Job, stage: str, keys: list[str], band: Band, name: str
) -> Iterator[tuple[NDArray[np.int64], NDArray[Any]]]:
    """Ids of a band in each of some tables, and their rows of a column there."""
    for rows in job.store.read_ranges(stage, keys, "ids", [name], range(band.first, band.stop)):
        yield rows["ids"], rows[name]


@once
def edges(job: Job, key: str) -> None:
    """Write the edges of a band: those whose first superpixel is one of its rows."""
    plan, store = job.plan, job.store
    band = plan.band_of(key)
    parts = list(_edges(job, "superpixels", plan.blocks_in(band), band))
    windows = plan.windows_in(band) if job.info.has_boundary else []
    borders = list(_edges(job, "embedding", windows, band))
    rows = _Rows(job, int(key), parts)
    lengths, boundary = _Sums(), _Sums()
    for pairs, values in parts:
        lengths.add(rows.key(pairs), values)
    for pairs, values in borders:
        boundary.add(rows.key(pairs), values)
    keys, length = lengths.total(np.empty(0, np.int64))
    found = np.stack([keys >> 32, keys & 0xFFFFFFFF], axis=1).astype(np.int32)
    table: dict[str, NDArray[np.generic]] = {
        "edges": found,
        "lengths": length,
        "dissimilarity": rows.dissimilarity(found),
    }
    if job.info.has_boundary:
        known, total = boundary.total(np.empty(0, np.int64))
        sums = np.zeros(keys.size, np.int64)
        sums[np.searchsorted(keys, known)] = total
        table["boundary_sums"] = sums
    store.write_table("edges", key, table)


def _edges(
    job: Job, stage: str, keys: list[str], band: Band
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Edges of a band in each of some tables, shape (k, 2), and the number that each has there."""
    for rows in job.store.read_ranges(stage, keys, "edges", [], range(band.first, band.stop)):
        yield rows["edges"][:, :2], rows["edges"][:, 2]


class _Rows:
    """Rows of the superpixels that the edges of a band have at their ends.

    Second ends may be rows of later bands, few of which are looked at.
    """

    def __init__(
        self, job: Job, band: int, parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]]
    ) -> None:
        plan = job.plan
        last = len(plan.band_keys) - 1
        # Superpixels of no cell are the last band; all others come soon after their neighbours.
        highest = max(
            (
                int(cells.max())
                for pairs, _ in parts
                if (cells := pairs[:, 1][pairs[:, 1] <= plan.grid.n_cells]).size
            ),
            default=0,
        )
        bands = {band, *range(band, plan.band_of_id(highest) + 1 if highest else band)} - {last}
        self._bands = [*sorted(bands), last]
        self._job = job
        ids = [job.store.read_table("nodes", str(b), ["ids"])["ids"] for b in self._bands]
        self._counts = [part.size for part in ids]
        counts = job.store.row_counts("nodes", "ids", plan.band_keys)
        starts = np.concatenate([[0], np.cumsum(counts)])
        if starts[-1] >= 2**31:
            raise StoreError(
                f"the image has {starts[-1]} superpixels; expected fewer than 2**31: choose a "
                "larger step"
            )
        # Rows of the bands but the last follow one another, and their ids are cells.
        self._n_cells = plan.grid.n_cells
        *parts_of_cells, self._other_ids = ids
        cells = np.concatenate([np.empty(0, np.int64), *parts_of_cells])
        self._first_row, self._first_other = int(starts[self._bands[0]]), int(starts[last])
        self._first_cell = int(cells[0]) if cells.size else 0
        self._row_of_cell = np.full(int(cells[-1]) - self._first_cell + 1 if cells.size else 1, -1)
        self._row_of_cell[cells - self._first_cell] = np.arange(cells.size) + self._first_row

    def key(self, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        """One number for each pair of ids, ascending as pairs of rows do."""
        rows = np.take(self._row_of_cell, pairs - self._first_cell, mode="clip")
        others = pairs > self._n_cells
        if others.any():
            rows[others] = self._first_other + np.searchsorted(self._other_ids, pairs[others])
        number: NDArray[np.int64] = (rows[:, 0] << 32) | rows[:, 1]
        return number

    def dissimilarity(self, pairs: NDArray[np.int32]) -> NDArray[np.uint32]:
        """Of pairs of rows, shape (k, 2)."""
        n = sum(self._counts[:-1])
        places = np.where(
            pairs < self._first_other, pairs - self._first_row, pairs - self._first_other + n
        )
        used = np.zeros(sum(self._counts), np.bool_)
        used[places] = True
        local = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return dissimilarity(local[places], self._embeddings(np.flatnonzero(used)))

    def _embeddings(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        found = [np.empty((0, 1), np.float32)]
        first = 0
        for key, count in zip(self._bands, self._counts, strict=True):
            own = places[(places >= first) & (places < first + count)] - first
            first += count
            if own.size:
                start = int(own[0])
                rows = self._job.store.read_rows(
                    "nodes", str(key), ["embeddings"], start, int(own[-1]) + 1
                )
                found.append(rows["embeddings"][own - start])
        return np.concatenate(found[1:] or found)
