"""Stores that hold what `segment` found in memory, written through the interface of the store."""

from __future__ import annotations

import numpy as np

from napari_del import Segmentation
from napari_del.tiles.merge_function import write_merge_function
from napari_del.tiles.plan import Plan
from napari_del.tiles.store import TileStore


def fill(path, segmentation: Segmentation, block: int, *, stages=("superpixels", "nodes", "edges")):
    """A store, open for writing, with the tables that a tiled run would write."""
    tables, function = segmentation._tables, segmentation._linkages.function
    manifest = {
        "parameters": segmentation.parameters,
        "default_thresholds": segmentation._default_thresholds,
    }
    store = TileStore.create(path, manifest, shape=tables.shape, dtype=np.int32, block=block)
    if function is not None:
        write_merge_function(store, function)
    plan = Plan(tables.shape, segmentation.parameters["step"], max(tables.shape))
    if "superpixels" in stages:
        for y in range(0, tables.shape[0], block):
            for x in range(0, tables.shape[1], block):
                core = tuple(
                    slice(start, min(start + block, length))
                    for start, length in zip((y, x), tables.shape, strict=True)
                )
                pixels = tables.superpixels[core]
                ids = np.unique(pixels)
                key = f"{y // block}_{x // block}"
                store.write_table("superpixels", key, {"ids": ids[ids > 0]}, pixels=(core, pixels))
    columns = {"ids": tables.ids, "sizes": tables.sizes, "embeddings": tables.embeddings}
    if tables.colors is not None:
        columns |= {"colors": tables.colors.means, "color_squares": tables.colors.squares}
    edge_columns = {
        "edges": tables.edges,
        "lengths": tables.lengths,
        "dissimilarity": tables.dissimilarity,
    }
    if tables.boundary_sums is not None:
        edge_columns["boundary_sums"] = tables.boundary_sums
    for key in plan.band_keys:
        band = plan.band_of(key)
        start, stop = np.searchsorted(tables.ids, [band.first, band.stop])
        first, last = np.searchsorted(tables.edges[:, 0], [start, stop])
        if "nodes" in stages:
            own = {name: column[start:stop] for name, column in columns.items()}
            store.write_table("nodes", key, own)
        if "edges" in stages:
            own = {name: column[first:last] for name, column in edge_columns.items()}
            store.write_table("edges", key, own)
    return store
