"""Convert the weights that the authors of DEL published as Caffe files into safetensors.

In a terminal::

    python -m napari_del.models.caffe MODEL.caffemodel MODEL.safetensors
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from napari_del.errors import NapariDelError, OutputError, WeightsError
from napari_del.models._caffemodel import read_caffemodel

__all__ = ["convert_caffemodel", "main", "read_caffemodel"]

DEFAULT_THRESHOLDS = {"average": 0.5, "del": 0.4, "egb": 0.5}
"""Thresholds to start from, by linkage, written beside the weights."""

Array: TypeAlias = npt.NDArray[np.float32]
Layers: TypeAlias = Mapping[str, Sequence[Array]]


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(length for length in shape if length != 1)


def _pick(
    layers: Layers, layer: str, expected: Mapping[str, tuple[int, ...]], path: Path
) -> dict[str, Array]:
    """Return the blobs of one layer by parameter name, their number and shapes checked."""
    blobs = layers.get(layer)
    if blobs is None:
        raise WeightsError(
            f"{path} has no weights for the layer {layer!r}, which del-vgg16 needs; it has "
            f"{', '.join(layers)}"
        )
    if len(blobs) != len(expected):
        raise WeightsError(
            f"{path}: the layer {layer!r} has {len(blobs)} blobs; expected {len(expected)} "
            f"({', '.join(expected)})"
        )
    picked = {}
    for (parameter, shape), blob in zip(expected.items(), blobs, strict=True):
        # Biases and scales are also found as (1, 1, 1, n) and (1, n, 1, 1).
        vector = len(shape) == 1 and blob.ndim > 0 and _squeezed(blob.shape) == _squeezed(shape)
        if blob.shape != shape and not vector:
            raise WeightsError(
                f"{path}: {parameter} of the layer {layer!r} has the shape {blob.shape}; "
                f"expected {shape}"
            )
        if not np.isfinite(blob).all():
            raise WeightsError(
                f"{path}: {parameter} of the layer {layer!r} holds NaN or infinite values; "
                "expected finite ones"
            )
        picked[parameter] = blob.reshape(shape)
    return picked


def _check_upsampling(layers: Layers, factors: Mapping[str, int], path: Path) -> None:
    """Raise unless the upsampling layers, where the file has them, are plain bilinear ones.

    They are fixed in the published training, and the network here computes them without weights.
    """
    for layer, factor in factors.items():
        for index, blob in enumerate(layers.get(layer, ())):
            expected = np.zeros_like(blob)
            if index == 0:  # the kernel; a bias, which has to be 0, may follow
                size = 2 * factor
                if blob.ndim != 4 or blob.shape[2:] != (size, size):
                    raise WeightsError(
                        f"{path}: the kernel of the layer {layer!r} has the shape {blob.shape}; "
                        f"expected (channels, channels, {size}, {size})"
                    )
                ramp = 1 - np.abs(np.arange(size) - (factor - 0.5)) / factor
                channel = np.arange(blob.shape[0])
                # A kernel for each channel: on the diagonal, or in one column where grouped.
                expected[channel, channel % blob.shape[1]] = np.outer(ramp, ramp)
            difference = float(np.abs(blob - expected).max(initial=0))
            if not difference < 0.01:
                raise WeightsError(
                    f"{path}: the layer {layer!r} differs from bilinear upsampling by "
                    f"{difference:.3g}; expected at most 0.01, as in the published networks"
                )


def _state_dict(layers: Layers, path: Path) -> dict[str, Array]:
    """Weights of `DelVgg16` by their PyTorch names."""
    import torch

    from napari_del.models.vgg16 import HEADS, DelVgg16

    factors = {head.source.replace("conv", "upsample"): head.factor for head in HEADS}
    _check_upsampling(layers, factors, path)
    with torch.device("meta"):  # shapes only
        network = DelVgg16()
    state: dict[str, Array] = {}
    for layer, module in network.named_children():
        expected = {name: tuple(value.shape) for name, value in module.named_parameters()}
        for name, blob in _pick(layers, layer, expected, path).items():
            state[f"{layer}.{name}"] = blob
    return state


def _cast(value: Array, dtype: str, name: str) -> npt.NDArray[np.floating]:
    with np.errstate(over="ignore"):  # reported below
        cast = value.astype(dtype)
    if not np.isfinite(cast).all():
        raise WeightsError(
            f"{name} holds {np.abs(value).max():.3g}, which is too large for {dtype}; "
            "convert to float32 instead"
        )
    return cast


def _write(
    tensors: dict[str, npt.NDArray[np.floating]], metadata: dict[str, str], destination: Path
) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    partial = destination.with_name(f".{destination.name}.{uuid.uuid4().hex}.part")
    try:
        save_file(tensors, partial, metadata=metadata)
        partial.replace(destination)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {destination}: {reason}") from error
    finally:
        partial.unlink(missing_ok=True)


def convert_caffemodel(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    dtype: Literal["float16", "float32"] = "float16",
    overwrite: bool = False,
) -> Path:
    """Convert a published DEL network from Caffe to safetensors.

    Every layer of the network is looked up by its name and its shapes are checked; further
    layers, such as those of the loss, are ignored. The file appears under its name only when it
    is complete.

    Parameters
    ----------
    source : str or path-like
        The ``.caffemodel`` file.
    destination : str or path-like
        The ``.safetensors`` file to write; `napari_del.segment` takes its path as ``model``.
    dtype : {"float16", "float32"}
        Type of the stored weights. Half precision halves the file (37 MB) and changes the
        embedding by about a thousandth of its size.
    overwrite : bool
        Replace `destination` if it exists.

    Returns
    -------
    pathlib.Path
        `destination`.

    Raises
    ------
    ReadError
        If `source` cannot be opened.
    WeightsError
        If `source` is damaged, lacks a layer or has one of another shape, or holds values that
        are not finite or too large for `dtype`.
    OutputError
        If `destination` exists, has another suffix or cannot be written.
    """
    source, destination = Path(source), Path(destination)
    if destination.suffix.lower() != ".safetensors":
        raise OutputError(
            f"cannot write {destination}: its suffix is {destination.suffix!r}; "
            "expected '.safetensors'"
        )
    if destination.exists() and not overwrite:
        raise OutputError(
            f"{destination} exists already; choose another name or allow it to be overwritten"
        )
    state = _state_dict(read_caffemodel(source), source)
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = {
        "architecture": "del-vgg16",
        "format_version": "1",
        "source_sha256": digest,
        "default_thresholds": json.dumps(DEFAULT_THRESHOLDS),
    }
    _write(
        {name: _cast(value, dtype, name) for name, value in state.items()}, metadata, destination
    )
    return destination


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the converter as a command; return its exit code, 2 where a file cannot be converted."""
    parser = argparse.ArgumentParser(
        prog="python -m napari_del.models.caffe",
        description="Convert a published DEL network (.caffemodel) to .safetensors.",
    )
    parser.add_argument("source", metavar="IN", help="the .caffemodel file")
    parser.add_argument("destination", metavar="OUT", help="the .safetensors file to write")
    parser.add_argument(
        "--dtype",
        choices=("float16", "float32"),
        default="float16",
        help="type of the stored weights (default: %(default)s)",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")
    options = parser.parse_args(arguments)
    try:
        path = convert_caffemodel(
            options.source, options.destination, dtype=options.dtype, overwrite=options.overwrite
        )
    except NapariDelError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
