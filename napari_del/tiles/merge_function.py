"""The model's merge function as a table of a store."""

from __future__ import annotations

import numpy as np
from safetensors.numpy import load, save

from napari_del.merging import MergeFunction
from napari_del.tiles.store import TileStore

__all__ = ["read_merge_function", "write_merge_function"]

# Stage and key of the table.
_MERGE_FUNCTION = ("model", "merge_function")


def write_merge_function(store: TileStore, function: MergeFunction) -> None:
    """Keep the model's merge function in a store, if it is not there."""
    stage, key = _MERGE_FUNCTION
    if key not in store.done(stage):
        # Its many small arrays as one: each would be two files.
        packed = np.frombuffer(save(function.tensors()), np.uint8)
        store.write_table(stage, key, {"safetensors": packed})


def read_merge_function(store: TileStore) -> MergeFunction | None:
    """The merge function in a store, None if there is none."""
    stage, key = _MERGE_FUNCTION
    if key not in store.done(stage):
        return None
    packed = store.read_table(stage, key)["safetensors"]
    return MergeFunction.from_tensors(load(packed.tobytes()))
