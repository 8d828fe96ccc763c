"""Write trained weights, and anything else that must not be half-written."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from napari_del.io.outputs import replacing
from napari_del.models.lite import DelLite

__all__ = ["export_weights", "write_whole"]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is never half-written: what was there survives a full disk.

    Parameters
    ----------
    path : Path
        Destination, replaced if it exists.
    data : bytes
        All of it. Libraries that write files themselves name a full disk in ways of their own.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    with replacing(path, overwrite=True) as temporary, temporary.open("wb") as stream:
        stream.write(data)
        stream.flush()
        # Some file systems notice only now that there is no room.
        os.fsync(stream.fileno())


def export_weights(
    network: DelLite,
    path: Path,
    metadata: Mapping[str, str],
    *,
    beside: Mapping[str, Tensor] | None = None,
) -> None:
    """Write a network's weights as float16 safetensors that the model registry reads.

    Parameters
    ----------
    network : DelLite
        Trained network.
    path : Path
        Destination, replaced if it exists.
    metadata : mapping of str
        Kept in the file's header beside the name of the architecture.
    beside : mapping of str to Tensor, optional
        What else the file holds, as it is.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    tensors = {
        name: tensor.half().contiguous().cpu() for name, tensor in network.state_dict().items()
    }
    header = {"architecture": network.architecture, "format_version": "1", **metadata}
    write_whole(Path(path), save({**tensors, **(beside or {})}, header))
