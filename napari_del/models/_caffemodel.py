"""Read the weights in a ``.caffemodel`` file, which is one protobuf message.

Only the few fields that hold names, shapes and values are decoded, so neither Caffe nor
protobuf is needed. The format is described in protobuf's "Encoding" page and the messages in
Caffe's ``src/caffe/proto/caffe.proto``.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from napari_del.errors import ReadError, WeightsError

__all__ = ["read_caffemodel"]

# Field numbers in caffe.proto.
_NET_LAYER, _NET_LAYERS_V1 = 100, 2
_NAME_AND_BLOBS = {_NET_LAYER: (1, 7), _NET_LAYERS_V1: (4, 6)}
_BLOB_LEGACY_SHAPE = (1, 2, 3, 4)  # num, channels, height, width
_BLOB_DATA, _BLOB_SHAPE, _BLOB_DOUBLE_DATA = 5, 7, 8
_SHAPE_DIM = 1
_MAXIMUM_DIMENSIONS = 32  # Caffe's own limit

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class _Malformed(Exception):
    """The bytes are no protobuf message of the expected kind."""


def _varint(view: memoryview, at: int) -> tuple[int, int]:
    """Read a variable-length integer; return it and the position after it."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(view):
            raise _Malformed("it ends inside a number")
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Malformed("it holds a number of more than 64 bits")


def _fields(view: memoryview) -> Iterator[tuple[int, int, int | memoryview]]:
    """Yield field number, wire type and value of each field of a message."""
    at = 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire_type = tag >> 3, tag & 7
        if number == 0:
            raise _Malformed("it holds a field numbered 0")
        if wire_type == _VARINT:
            value, at = _varint(view, at)
            yield number, wire_type, value
            continue
        if wire_type == _BYTES:
            length, at = _varint(view, at)
        elif wire_type in (_FIXED32, _FIXED64):
            length = 4 if wire_type == _FIXED32 else 8
        else:
            raise _Malformed(f"it holds a field of the unknown wire type {wire_type}")
        if length > len(view) - at:
            raise _Malformed(f"it ends {length - (len(view) - at)} bytes early")
        yield number, wire_type, view[at : at + length]
        at += length


def _message(value: int | memoryview, what: str) -> memoryview:
    if isinstance(value, int):
        raise _Malformed(f"it holds a number where {what} should be")
    return value


def _integers(value: int | memoryview) -> Iterator[int]:
    """Yield the integers of a repeated field: one alone, or several packed."""
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _blob(view: memoryview, layer: str) -> npt.NDArray[np.float32]:
    """Decode a BlobProto message into an array that owns its memory."""
    shape: list[int] | None = None
    legacy = dict.fromkeys(_BLOB_LEGACY_SHAPE, 0)
    data: dict[int, memoryview | bytearray] = {}
    for number, wire_type, value in _fields(view):
        if number == _BLOB_SHAPE:
            shape = [] if shape is None else shape
            for inner, _, dims in _fields(_message(value, "a shape")):
                if inner == _SHAPE_DIM:
                    shape.extend(_integers(dims))
        elif number in legacy and isinstance(value, int):
            legacy[number] = value
        elif number in (_BLOB_DATA, _BLOB_DOUBLE_DATA):
            # Packed (a run of bytes) or one value for each field: the bytes are the same.
            size, alone = (4, _FIXED32) if number == _BLOB_DATA else (8, _FIXED64)
            part = _message(value, f"the values of {layer!r}")
            if wire_type not in (_BYTES, alone) or len(part) % size:
                raise _Malformed(f"the values of {layer!r} are not whole {size}-byte numbers")
            if number not in data:
                data[number] = part
            else:
                before = data[number]
                joined = before if isinstance(before, bytearray) else bytearray(before)
                joined += part
                data[number] = joined

    number, dtype = (_BLOB_DOUBLE_DATA, "<f8") if _BLOB_DOUBLE_DATA in data else (_BLOB_DATA, "<f4")
    if not data.get(number):
        raise _Malformed(f"a blob of {layer!r} holds no values")
    # Values in the file lie at any byte; the copy is aligned and outlives the file.
    with np.errstate(over="ignore"):
        values = np.frombuffer(data[number], dtype).astype(np.float32)
    if shape is None:
        shape = list(legacy.values()) if any(legacy.values()) else [values.size]
    if math.prod(shape) != values.size or len(shape) > _MAXIMUM_DIMENSIONS:
        raise _Malformed(
            f"a blob of {layer!r} has the shape {tuple(shape[:_MAXIMUM_DIMENSIONS])} "
            f"but {values.size} values"
        )
    return values.reshape(shape)


def _layers(view: memoryview) -> dict[str, list[npt.NDArray[np.float32]]]:
    layers: dict[str, list[npt.NDArray[np.float32]]] = {}
    for number, _, value in _fields(view):
        if number not in _NAME_AND_BLOBS:
            continue
        name_field, blobs_field = _NAME_AND_BLOBS[number]
        name, blobs = "", []
        for inner, _, content in _fields(_message(value, "a layer")):
            if inner == name_field:
                name = bytes(_message(content, "a layer's name")).decode()
            elif inner == blobs_field:
                blobs.append(_message(content, "a blob"))
        if blobs:
            if name in layers:
                raise _Malformed(f"it holds the layer {name!r} twice")
            layers[name] = [_blob(blob, name) for blob in blobs]
    return layers


def read_caffemodel(path: str | os.PathLike[str]) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Read the weights in a Caffe model file.

    Both generations of the format are read: layers of type ``LayerParameter`` and of the older
    ``V1LayerParameter``; blobs with a shape and with the older four dimensions; values of single
    and double precision, packed or not.

    Parameters
    ----------
    path : str or path-like
        A binary ``.caffemodel`` file.

    Returns
    -------
    dict of str to list of numpy.ndarray
        Blobs by layer name, float32, in the order of the file; for a convolution the weights
        of shape (outputs, inputs, height, width) and the biases. Layers without blobs are left
        out.

    Raises
    ------
    ReadError
        If the file cannot be opened.
    WeightsError
        If the file is truncated, is no Caffe model or holds no weights.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size == 0:  # cannot be mapped
                raise WeightsError(f"{path} is empty; expected a .caffemodel file")
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise ReadError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        layers = _layers(memoryview(mapped))
        problem = "" if layers else "it holds no layer with weights"
    except UnicodeDecodeError:
        problem = "the name of a layer is not text"
    except _Malformed as error:
        problem = str(error)
    if problem:
        raise WeightsError(
            f"{path} is not a binary .caffemodel file or is truncated: {problem}; "
            "download it again or choose another file"
        )
    return layers
