"""Arrays of a store: how they are cut into chunks, written, read and checked."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.metadata import ArrayV3Metadata
from zarr.storage import MemoryStore, StorePath

from napari_del.tiles.backend import (
    DamagedError,
    at_once,
    first_line,
    get_bytes,
    get_many,
    put,
    set_bytes,
)

if TYPE_CHECKING:
    from zarr.core.array_spec import ArrayConfigParams

__all__ = [
    "Part",
    "Rows",
    "find_array",
    "new_array",
    "read",
    "read_arrays",
    "row_chunks",
    "row_parts",
    "sha256",
    "write_arrays",
]

# Sorted by the bytes of each number and with lz4, tables take less room than with zstd, and less
# than half the time. Ids of superpixels take a ninth of their bytes, with zstd a twentieth, and are
# read in half the time.
_COMPRESSOR = BloscCodec(cname="lz4", clevel=5, shuffle="shuffle")
_CHUNK_BYTES = 2**20


def row_chunks(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Chunks of a table: all columns of as many rows as take about 1 MiB, 2**13 to 2**16.

    A function of the columns alone, so that tables of any length have chunks of one size.
    """
    width = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    rows = 2 ** int(np.log2(max(1, _CHUNK_BYTES // width)))
    return (int(np.clip(rows, 2**13, 2**16)), *(max(1, n) for n in shape[1:]))


@lru_cache(maxsize=64)
def _template(dtype: str, chunks: tuple[int, ...]) -> dict[str, Any]:
    """Metadata of an array of one chunk, as zarr writes them."""
    memory = MemoryStore()
    zarr.create_array(
        memory,
        shape=chunks,
        dtype=dtype,
        chunks=chunks,
        compressors=[_COMPRESSOR, Crc32cCodec()],
        fill_value=0,
        zarr_format=3,
    )
    (found,) = get_many(memory, ["zarr.json"])
    assert found is not None
    document: dict[str, Any] = json.loads(found)
    return document


def _metadata(shape: tuple[int, ...], dtype: str, chunks: tuple[int, ...]) -> bytes:
    # The shape alone differs from table to table: zarr takes a millisecond for each.
    return json.dumps(_template(dtype, chunks) | {"shape": shape}, indent=2).encode()


def new_array(
    store: Store, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], chunks: tuple[int, ...]
) -> None:
    """Write the metadata of an array.

    Nothing is removed, unlike by functions of zarr that make arrays: a worker that was thought
    lost may write the very same table, byte for byte, at the same time.
    """
    put(store, f"{path}/zarr.json", _metadata(shape, dtype.str, chunks))


class Part(NamedTuple):
    """Values for rows and columns of an array that is there."""

    path: str
    shape: tuple[int, int]
    area: tuple[slice, slice]
    values: NDArray[Any]


def write_arrays(
    store: Store,
    arrays: Mapping[str, NDArray[Any]],
    groups: Mapping[str, bytes],
    parts: Sequence[Part] = (),
) -> list[str]:
    """Write the arrays of a table by their paths, parts of others, and metadata of groups.

    All at once: one thread hashes and compresses while another waits for the disk.

    Returns
    -------
    list of str
        SHA-256 of each array, in order, and of the values of each part.
    """

    async def write(path: str, values: NDArray[Any], metadata: bytes) -> str:
        await set_bytes(store, f"{path}/zarr.json", metadata)
        return await fill(_array(store, path, metadata), ..., values)

    async def write_part(part: Part) -> str:
        metadata = await get_bytes(store, f"{part.path}/zarr.json")
        array = _known(store, part.path, metadata, part.shape, part.values.dtype)
        return await fill(array, part.area, part.values)

    async def fill(array: zarr.AsyncArray[Any], area: Any, values: NDArray[Any]) -> str:
        digest = asyncio.create_task(asyncio.to_thread(sha256, [values]))
        if values.size:
            await array.setitem(area, values)
        return await digest

    tasks: list[Coroutine[Any, Any, str | None]] = []
    for path, values in arrays.items():
        chunks = row_chunks(values.shape, values.dtype)
        tasks.append(write(path, values, _metadata(values.shape, values.dtype.str, chunks)))
    tasks += map(write_part, parts)
    tasks += [set_bytes(store, f"{path}/zarr.json", text) for path, text in groups.items()]
    results = at_once(tasks)
    for result in results:
        if isinstance(result, Exception):
            raise result
    return [digest for digest in results if isinstance(digest, str)]


def _array(store: Store, path: str, metadata: bytes) -> zarr.AsyncArray[Any]:
    """The array of these metadata; `zarr.open_array` would read them again, for a millisecond."""
    # Chunks of zeros are written too, so that one that is missing is noticed.
    config: ArrayConfigParams = {"write_empty_chunks": True}
    return zarr.AsyncArray(json.loads(metadata), StorePath(store, path), config)


def find_array(
    store: Store, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> zarr.Array[Any]:
    """An array that was written, to be read.

    Raises
    ------
    DamagedError
        If it is missing or another one.
    """
    (metadata,) = get_many(store, [f"{path}/zarr.json"])
    return zarr.Array(_known(store, path, metadata, shape, dtype))


def _known(
    store: Store,
    path: str,
    metadata: bytes | None,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
) -> zarr.AsyncArray[Any]:
    if metadata is None:
        raise DamagedError("its metadata, zarr.json, are missing")
    try:
        array = _array(store, path, metadata)
        is_understood = _is_understood(metadata)
    except Exception as error:  # zarr raises what JSON and its checks of metadata raise
        raise DamagedError(f"its metadata, zarr.json, are damaged: {first_line(error)}") from error
    if not is_understood:
        raise DamagedError("its metadata, zarr.json, are damaged: they say what zarr ignores")
    if array.shape != shape or array.dtype != dtype:
        raise DamagedError(
            f"its metadata say {array.dtype} of shape {array.shape}, its marker {dtype} of {shape}"
        )
    return array


def _is_understood(metadata: bytes) -> bool:
    """Whether all that the metadata of an array say means something to zarr, which ignores more."""
    document = json.loads(metadata)
    document["shape"] = [1] * len(document["shape"])
    return _is_kept(json.dumps(document))


@lru_cache(maxsize=256)
def _is_kept(text: str) -> bool:
    """Whether zarr would write again all that it reads here, whatever else it may write."""

    def is_within(said: Any, known: Any) -> bool:
        if isinstance(said, dict) and isinstance(known, dict):
            return all(key in known and is_within(of, known[key]) for key, of in said.items())
        if isinstance(said, list) and isinstance(known, list):
            return len(said) == len(known) and all(map(is_within, said, known))
        return bool(said == known)

    document = json.loads(text)
    written = ArrayV3Metadata.from_dict(document).to_buffer_dict(default_buffer_prototype())
    return is_within(document, json.loads(written["zarr.json"].to_bytes()))


def read(array: zarr.Array[Any], selection: tuple[slice, ...]) -> NDArray[Any]:
    """Part of an array.

    Raises
    ------
    DamagedError
        If a chunk is missing, cut short or altered.
    OSError
        If a file cannot be read.
    """
    with _reading_chunks():
        return np.ascontiguousarray(array[selection])


@contextmanager
def _reading_chunks() -> Iterator[None]:
    try:
        yield
    except OSError:
        raise
    except Exception as error:  # zarr raises what its codecs raise
        raise DamagedError(f"a chunk is damaged: {first_line(error)}") from error


class Rows(NamedTuple):
    """Rows of an array of a table, whose shape and dtype are known."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    rows: slice


def read_arrays(store: Store, arrays: Mapping[str, Rows]) -> dict[str, NDArray[Any] | Exception]:
    """Rows of arrays of tables by their paths, all at once.

    Returns
    -------
    dict of ndarray or exception
        By path. Where an array could not be read it is what `read` or `find_array` would raise.
    """

    async def load(path: str) -> NDArray[Any]:
        shape, dtype, rows = arrays[path]
        metadata = await get_bytes(store, f"{path}/zarr.json")
        array = _known(store, path, metadata, shape, dtype)
        with _reading_chunks():
            return np.ascontiguousarray(await array.getitem((rows,)))

    return dict(zip(arrays, at_once(map(load, arrays)), strict=True))


def row_parts(array: zarr.Array[Any], window: tuple[slice, slice] | None) -> Iterator[Any]:
    """The rows of a whole array, or of a window of it, part by part."""
    rows = slice(0, array.shape[0]) if window is None else window[0]
    other = () if window is None else (window[1],)
    step = array.chunks[0]
    for start in range(rows.start, rows.stop, step):
        yield read(array, (slice(start, min(start + step, rows.stop)), *other))


def sha256(parts: Iterable[NDArray[Any]]) -> str:
    """SHA-256 of the bytes of arrays, one after another, in C order."""
    digest = hashlib.sha256()
    for part in parts:
        if part.size:
            digest.update(np.ascontiguousarray(part).data.cast("B"))
    return digest.hexdigest()
