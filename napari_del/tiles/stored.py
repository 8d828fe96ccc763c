"""A `Segmentation` whose superpixels and tables are in a store."""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_del._memory import trim
from napari_del.contrast import ColorMoments
from napari_del.errors import ReadError
from napari_del.graph import AdjacencyGraph
from napari_del.linkages import Cut, Linkages
from napari_del.merging import Hierarchy
from napari_del.merging.parts import average_in_parts, spanning_forest_in_parts
from napari_del.segmentation import Segmentation
from napari_del.tables import check_out
from napari_del.tiles.edge_parts import edge_parts
from napari_del.tiles.lazy import lazy_embeddings, lazy_labels, lazy_superpixels, write_into
from napari_del.tiles.merge_function import read_merge_function
from napari_del.tiles.plan import Plan
from napari_del.tiles.store import TileStore

if TYPE_CHECKING:
    import dask.array as da

__all__ = ["StoredLinkages", "StoredTables", "read_stored"]


def read_stored(store: TileStore) -> Segmentation:
    """The segmentation in a store; its tables are read when they are asked for.

    The manifest of the store says ``parameters`` (as of `Segmentation`, with the step) and
    ``default_thresholds``.

    Parameters
    ----------
    store : TileStore
        With all pixels, and the tables of all bands. Hierarchies are kept in it if it may be
        written to.

    Returns
    -------
    Segmentation

    Raises
    ------
    ReadError
        If the store is not complete.
    """
    tables = StoredTables(store)
    tables.check_complete()
    return Segmentation.from_tables(
        tables,
        StoredLinkages(tables),
        {str(k): float(v) for k, v in store.manifest["default_thresholds"].items()},
        dict(store.manifest["parameters"]),
    )


class StoredTables:
    """Superpixels and tables that are read from a store when first asked for.

    Parameters
    ----------
    store : TileStore
        Where they are.
    """

    def __init__(self, store: TileStore) -> None:
        self.store = store
        self.shape: tuple[int, int] = store.shape
        self.step = int(store.manifest["parameters"]["step"])
        # Bands do not depend on the blocks.
        windows = store.manifest.get("windows", {})
        self._plan = Plan(self.shape, self.step, max(self.shape), **windows)

    def __reduce__(self) -> tuple[Any, ...]:
        return _tables_at, (self.store.url, self.digest)

    @property
    def url(self) -> str:
        """Where the store is."""
        return self.store.url

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest: stores with the same have the same content."""
        text = json.dumps(self.store.manifest, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the bands, in the order of their rows."""
        return self._plan.band_keys

    def check_complete(self) -> None:
        """Raise `ReadError` if a table of a band is missing."""
        done = {stage: len(self.store.done(stage)) for stage in ("superpixels", "nodes", "edges")}
        # Bands are the last to be written.
        if all(done[stage] == len(self.bands) for stage in ("nodes", "edges")):
            return
        blocks = math.prod(-(-length // self.store.block) for length in self.shape)
        raise ReadError(
            f"{self.url} is not complete: superpixels of {done['superpixels']} of {blocks} blocks, "
            f"tables of {done['edges']} of {len(self.bands)} bands; run segment_large again with "
            "the same arguments, and it goes on from there"
        )

    @cached_property
    def starts(self) -> list[int]:
        """First row of each band, and n at the end."""
        return self._starts("nodes", "ids")

    @cached_property
    def _edge_starts(self) -> list[int]:
        return self._starts("edges", "edges")

    def _starts(self, stage: str, name: str) -> list[int]:
        counts = self.store.row_counts(stage, name, self.bands)
        return [0, *np.cumsum(np.asarray(counts, np.int64)).tolist()]

    @property
    def n(self) -> int:
        """Number of superpixels."""
        return self.starts[-1]

    @property
    def n_edges(self) -> int:
        """Number of edges."""
        return self._edge_starts[-1]

    # The last band, of superpixels without a cell, is the smallest to look into.
    @cached_property
    def has_boundary(self) -> bool:
        """Whether there is a boundary along edges."""
        return "boundary_sums" in self.store.marker("edges", self.bands[-1]).arrays

    @cached_property
    def has_colors(self) -> bool:
        """Whether there are colours of superpixels."""
        return "colors" in self.store.marker("nodes", self.bands[-1]).arrays

    def _column(self, stage: str, name: str, starts: list[int]) -> NDArray[Any]:
        """One column of the tables of all bands."""
        out: NDArray[Any] | None = None
        for k, band in enumerate(self.bands):
            part = self.store.read_table(stage, band, [name])[name]
            if out is None:
                out = np.empty((starts[-1], *part.shape[1:]), part.dtype)
            out[starts[k] : starts[k + 1]] = part
        assert out is not None  # there is at least the band of superpixels without a cell
        return out

    @cached_property
    def ids(self) -> NDArray[np.signedinteger]:
        """Ids of superpixels, ascending."""
        return self._column("nodes", "ids", self.starts)

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Pixels of each superpixel."""
        return self._column("nodes", "sizes", self.starts)

    @cached_property
    def colors(self) -> ColorMoments | None:
        """Colours of superpixels, where there are any."""
        if not self.has_colors:
            return None
        return ColorMoments(
            self._column("nodes", "colors", self.starts),
            self._column("nodes", "color_squares", self.starts),
        )

    @cached_property
    def edges(self) -> NDArray[np.int32]:
        """Adjacent rows u < v, sorted."""
        return self._column("edges", "edges", self._edge_starts)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Length of the border of each edge."""
        return self._column("edges", "lengths", self._edge_starts)

    @cached_property
    def boundary_sums(self) -> NDArray[np.int64] | None:
        """Boundary probability summed along each edge, where there is one."""
        if not self.has_boundary:
            return None
        return self._column("edges", "boundary_sums", self._edge_starts)

    @cached_property
    def boundary(self) -> NDArray[np.float64] | None:
        """Mean boundary probability along each edge, where there is one."""
        return AdjacencyGraph(self.edges, self.lengths, self.boundary_sums).boundary()

    @cached_property
    def dissimilarity(self) -> NDArray[np.uint32]:
        """Dissimilarity of each edge in fixed point."""
        return self._column("edges", "dissimilarity", self._edge_starts)

    def rows_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Rows of some superpixels, and -1 for ids that there are none of."""
        if self.n and self.ids[-1] == self.n:  # no gaps
            return np.where(ids <= self.n, ids - 1, -1)
        rows = np.searchsorted(self.ids, ids.astype(self.ids.dtype))
        found = self.ids[np.minimum(rows, self.n - 1)] == ids
        return np.where(found, rows, -1)

    @cached_property
    def superpixels(self) -> da.Array:
        """Superpixel id of each pixel, as a dask array."""
        return lazy_superpixels(self)

    @cached_property
    def embeddings(self) -> da.Array:
        """Mean embedding of each superpixel, as a dask array with a chunk for each band."""
        return lazy_embeddings(self)

    def labels(self, linkages: Linkages, cut: Cut, out: NDArray[np.int32] | None) -> Any:
        """Label image of a partition, as a dask array, or in `out`."""
        if out is None:
            return lazy_labels(self, linkages, cut)
        check_out(out, self.shape)
        write_into(lazy_labels(self, linkages, cut), out)
        return out


class StoredLinkages(Linkages):
    """Hierarchies that are read from the store, or computed in parts and kept there.

    Threads may share it: what several ask for at a time is computed once.

    Parameters
    ----------
    tables : StoredTables
        Superpixels and their graph.
    """

    def __init__(self, tables: StoredTables) -> None:
        super().__init__(tables, tables.step, read_merge_function(tables.store))
        self._stored = tables
        self._lock = threading.RLock()
        self._last: tuple[Cut, NDArray[np.int32]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _linkages_at, (self._stored.url, self._stored.digest)

    def hierarchy(
        self, linkage: str, progress: Callable[[int, int], object] | None = None
    ) -> Hierarchy:
        """Partitions at all thresholds; the linkage is any but "egb".

        Parameters
        ----------
        linkage : str
            "average", "contrast", "del" or, with a merge function, "learned".
        progress : callable, optional
            Called as ``progress(done, total)`` while any but "learned" is computed.

        Returns
        -------
        Hierarchy
        """
        with self._lock:
            if linkage not in self._hierarchies:
                self._hierarchies[linkage] = self._read(linkage) or self._compute(linkage, progress)
            return self._hierarchies[linkage]

    def _read(self, linkage: str) -> Hierarchy | None:
        store = self._stored.store
        if linkage not in store.done("hierarchy"):
            return None
        table = store.read_table("hierarchy", linkage)
        if len(table["parent"]) != self._stored.n:
            raise ReadError(
                f"{store.url} is damaged: the hierarchy {linkage!r} has {len(table['parent'])} "
                f"rows; expected {self._stored.n}"
            )
        return Hierarchy(table["parent"], table["height"])

    def _compute(self, linkage: str, progress: Callable[[int, int], object] | None) -> Hierarchy:
        tables, store = self._stored, self._stored.store
        if linkage != "learned":
            trim(tables.n)
            load, starts = edge_parts(tables, linkage)
            merge = spanning_forest_in_parts if linkage == "del" else average_in_parts
            tree = merge(load, starts, tables.n, progress=progress)
        else:
            tree = self._merge(linkage)
        if store.writable:
            store.write_table("hierarchy", linkage, {"parent": tree.parent, "height": tree.height})
        return tree

    def numbers(self, cut: Cut) -> NDArray[np.int32]:
        """Number of the region of each superpixel; those of the last cut are held."""
        with self._lock:
            if self._last is None or self._last[0] != cut:
                self._last = cut, super().numbers(cut)
            return self._last[1]


# A process that a lazy array is sent to opens the store once, and reads each table once.
@lru_cache(maxsize=2)
def _linkages_at(url: str, digest: str) -> StoredLinkages:
    return StoredLinkages(_tables_at(url, digest))


@lru_cache(maxsize=2)
def _tables_at(url: str, digest: str) -> StoredTables:
    tables = StoredTables(TileStore.open(url))
    if tables.digest != digest:
        raise ReadError(f"{url} has been replaced by another segmentation meanwhile; load it again")
    return tables
