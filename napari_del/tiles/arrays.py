"""Arrays of a store: how they are cut into chunks, written, read and checked.

They are arrays of zarr's format 3, which zarr opens. Their chunks are encoded here, on the thread
that has them or on all threads of its budget: zarr would send each step of each chunk to another
thread, which for tables of a few kilobytes to megabytes takes several times longer than the work.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import zarr
from numcodecs import Blosc
from numcodecs.checksum32 import CRC32C
from numpy.typing import NDArray
from zarr.abc.store import Store
from zarr.codecs import BloscCodec, Crc32cCodec
from zarr.storage import MemoryStore, StorePath

from napari_del._threads import parallel_for
from napari_del.tiles.backend import (
    DamagedError,
    first_line,
    get_each,
    get_many,
    put_many,
)

__all__ = [
    "Layout",
    "Part",
    "new_array",
    "open_array",
    "read_area",
    "read_areas",
    "row_parts",
    "sha256",
    "write_arrays",
]

Area = tuple[slice, ...]

# Sorted by the bytes of each number and with lz4, tables take less room than with zstd, and less
# than half the time. Ids of superpixels take a ninth of their bytes, with zstd a twentieth, and are
# read in half the time.
_LEVEL = 5
_COMPRESSOR = BloscCodec(cname="lz4", clevel=_LEVEL, shuffle="shuffle")
_BLOSC, _CRC = Blosc(cname="lz4", clevel=_LEVEL, shuffle=Blosc.SHUFFLE), CRC32C(location="end")
# What a chunk of a table holds at most: files cost more than their bytes where tables are small.
_CHUNK_BYTES, _CHUNK_ROWS = 2**22, 2**18


def _row_chunks(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Chunks of a table: all columns of as many rows as take about 4 MiB, at most 2**18.

    All have as many rows, or the last a few less: next to nothing is added to fill it up.
    """
    width = max(1, dtype.itemsize * int(np.prod(shape[1:])))
    most = int(np.clip(_CHUNK_BYTES // width, 1, _CHUNK_ROWS))
    n_chunks = max(1, -(-shape[0] // most))
    return (max(1, -(-shape[0] // n_chunks)), *(max(1, n) for n in shape[1:]))


@lru_cache(maxsize=64)
def _template(dtype: str, n_axes: int) -> dict[str, Any]:
    """Metadata of an array of one element, as zarr writes them."""
    memory = MemoryStore()
    zarr.create_array(
        memory,
        shape=(1,) * n_axes,
        dtype=dtype,
        chunks=(1,) * n_axes,
        compressors=[_COMPRESSOR, Crc32cCodec()],
        fill_value=0,
        zarr_format=3,
    )
    (found,) = get_many(memory, ["zarr.json"])
    assert found is not None
    document: dict[str, Any] = json.loads(found)
    return document


class Layout(NamedTuple):
    """Where in a store an array is, and how it is cut."""

    path: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]

    @classmethod
    def of_table(cls, path: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
        """The layout of an array of a table."""
        return cls(path, shape, dtype, _row_chunks(shape, dtype))

    @property
    def metadata_key(self) -> str:
        """File of its metadata."""
        return f"{self.path}/zarr.json"

    def _document(self) -> dict[str, Any]:
        # Shapes alone differ from table to table: zarr takes a millisecond for each.
        document = _template(self.dtype.str, len(self.shape))
        grid = document["chunk_grid"] | {"configuration": {"chunk_shape": list(self.chunks)}}
        return document | {"shape": list(self.shape), "chunk_grid": grid}

    def metadata(self) -> bytes:
        """What this file holds."""
        return json.dumps(self._document(), indent=2).encode()

    def check(self, metadata: bytes | None) -> None:
        """Raise `DamagedError` unless these are its metadata, down to keys that zarr ignores."""
        if metadata is None:
            raise DamagedError("its metadata, zarr.json, are missing")
        try:
            # Keys that versions of zarr leave out where there is nothing to say.
            found = {"attributes": {}, "storage_transformers": []} | json.loads(metadata)
        except (ValueError, TypeError) as error:
            raise DamagedError(
                f"its metadata, zarr.json, are damaged: {first_line(error)}"
            ) from error
        known = self._document()
        if found != known:
            keys = sorted(key for key in found | known if found.get(key) != known.get(key))
            raise DamagedError(
                f"its metadata, zarr.json, are not those of {self.dtype} of shape {self.shape}: "
                f"look at {', '.join(keys)}"
            )

    def chunks_in(self, area: Area) -> Iterator[tuple[str, Area]]:
        """Files of the chunks that an area touches, and where in the array they are."""
        if any(part.start >= part.stop for part in area):
            return
        sides = list(zip(area, self.chunks, self.shape, strict=True))
        places = product(*(range(p.start // n, (p.stop - 1) // n + 1) for p, n, _ in sides))
        for place in places:
            yield (
                f"{self.path}/c/{'/'.join(map(str, place))}",
                tuple(
                    slice(k * n, min((k + 1) * n, length))
                    for k, (_, n, length) in zip(place, sides, strict=True)
                ),
            )

    def whole(self) -> Area:
        """The area of all of it."""
        return tuple(slice(0, length) for length in self.shape)


class Part(NamedTuple):
    """Values for whole chunks of an array that is there."""

    layout: Layout
    area: Area
    values: NDArray[Any]


def new_array(store: Store, layout: Layout) -> None:
    """Write the metadata of an array.

    Nothing is removed, unlike by functions of zarr that make arrays: a worker that was thought
    lost may write the very same table, byte for byte, at the same time.
    """
    put_many(store, {layout.metadata_key: layout.metadata()})


def write_arrays(
    store: Store,
    arrays: Mapping[str, NDArray[Any]],
    groups: Mapping[str, bytes],
    parts: Sequence[Part] = (),
) -> list[str]:
    """Write the arrays of a table by their paths, parts of others, and metadata of groups.

    Arrays without elements have no files: what is to be known of them is in the marker.

    Returns
    -------
    list of str
        SHA-256 of each array, in order, and of the values of each part.
    """
    for part, found in zip(
        parts, get_many(store, [part.layout.metadata_key for part in parts]), strict=True
    ):
        part.layout.check(found)
    files = {f"{path}/zarr.json": text for path, text in groups.items()}
    written = [*parts]
    for path, values in arrays.items():
        layout = Layout.of_table(path, values.shape, values.dtype)
        if values.size:
            files[layout.metadata_key] = layout.metadata()
        written.append(Part(layout, layout.whole(), values))
    digests = [""] * len(written)

    def digest(k: int) -> None:
        digests[k] = sha256([written[k].values])

    def encode(key: str, layout: Layout, values: NDArray[Any]) -> None:
        files[key] = _encode(values, layout.chunks)

    # All digests before all chunks: neighbours go to one thread, and pixels, the largest, to two.
    tasks = [partial(digest, k) for k in range(len(written))]
    for part in written:
        for key, place in part.layout.chunks_in(part.area):
            values = part.values[_within(place, part.area)]
            tasks.append(partial(encode, key, part.layout, values))
    _run(tasks)
    put_many(store, files)
    return [*digests[len(parts) :], *digests[: len(parts)]]


def _run(tasks: Sequence[Callable[[], None]]) -> None:
    """Call some functions, on all threads of the budget."""

    def some(start: int, stop: int) -> None:
        for task in tasks[start:stop]:
            task()

    parallel_for(some, len(tasks))


def _within(area: Area, outer: Area) -> Area:
    """An area as seen from the first element of another."""
    return tuple(
        slice(own.start - first.start, own.stop - first.start)
        for own, first in zip(area, outer, strict=True)
    )


def _encode(values: NDArray[Any], chunk: tuple[int, ...]) -> bytes:
    """The file of a chunk; zeros stand for what is beyond the end of the array."""
    if values.shape != chunk:
        padded = np.zeros(chunk, values.dtype)
        padded[tuple(map(slice, values.shape))] = values
        values = padded
    little = values.dtype.newbyteorder("<")
    return bytes(_CRC.encode(_BLOSC.encode(np.ascontiguousarray(values, little))))


def _decode(file: bytes | None, key: str, layout: Layout) -> NDArray[Any]:
    """The values of a chunk.

    Raises
    ------
    DamagedError
        If it is missing, cut short or altered.
    """
    if file is None:
        raise DamagedError(f"chunk {key.removeprefix(layout.path + '/')} is missing")
    values = np.empty(layout.chunks, layout.dtype.newbyteorder("<"))
    try:
        packed = _CRC.decode(file)
        # Blosc's header says from its fifth byte on how many it has packed.
        length = int.from_bytes(packed[4:8].tobytes(), "little")
        if length != values.nbytes:
            raise ValueError(f"it holds {length} bytes in place of {values.nbytes}")
        if length:
            _BLOSC.decode(packed, out=values.reshape(-1).view(np.uint8))
    except Exception as error:  # numcodecs raises errors of several kinds
        raise DamagedError(f"a chunk is damaged: {first_line(error)}") from error
    return values.astype(layout.dtype, copy=False)


def read_areas(
    store: Store, wanted: Sequence[tuple[Layout, Area]]
) -> list[NDArray[Any] | Exception]:
    """Areas of some arrays, asked for at once.

    Returns
    -------
    list of ndarray or exception
        In their order, each writable and of its own. Where one could not be read it is a
        `DamagedError`, or the `OSError` that says why.
    """
    chunks = [list(layout.chunks_in(area)) for layout, area in wanted]
    keys = [
        key
        for (layout, _), some in zip(wanted, chunks, strict=True)
        for key in (layout.metadata_key, *(key for key, _ in some))
        if some
    ]
    files = dict(zip(keys, get_each(store, keys), strict=True))
    results: list[NDArray[Any] | Exception] = []
    tasks: list[Callable[[], None]] = []

    def take(key: str) -> bytes | None:
        found = files[key]
        if isinstance(found, Exception):
            raise found
        return found

    def load(k: int, key: str, place: Area) -> None:
        layout, area = wanted[k]
        out = results[k]
        if isinstance(out, Exception):
            return
        try:
            values = _decode(take(key), key, layout)
        except (DamagedError, OSError) as error:
            results[k] = error
            return
        if len(chunks[k]) == 1 and values.shape == out.shape:
            results[k] = values
            return
        common = tuple(
            slice(max(a.start, b.start), min(a.stop, b.stop))
            for a, b in zip(area, place, strict=True)
        )
        out[_within(common, area)] = values[_within(common, place)]

    for k, ((layout, area), some) in enumerate(zip(wanted, chunks, strict=True)):
        try:
            if some:
                layout.check(take(layout.metadata_key))
        except (DamagedError, OSError) as error:
            results.append(error)
            continue
        results.append(np.empty([part.stop - part.start for part in area], layout.dtype))
        tasks += [partial(load, k, *chunk) for chunk in some]
    _run(tasks)
    return results


def read_area(store: Store, layout: Layout, area: Area) -> NDArray[Any]:
    """Part of an array.

    Raises
    ------
    DamagedError
        If its metadata or a chunk are missing or damaged.
    OSError
        If a file cannot be read.
    """
    (found,) = read_areas(store, [(layout, area)])
    if isinstance(found, Exception):
        raise found
    return found


def open_array(store: Store, layout: Layout) -> zarr.Array[Any]:
    """An array as zarr sees it, to be read.

    Raises
    ------
    DamagedError
        If its metadata are missing or damaged.
    """
    (metadata,) = get_many(store, [layout.metadata_key])
    layout.check(metadata)
    document = json.loads(layout.metadata())
    return zarr.Array(zarr.AsyncArray(document, StorePath(store, layout.path)))


def row_parts(store: Store, layout: Layout, area: Area) -> Iterator[NDArray[Any]]:
    """An area of an array, a few rows after another."""
    rows, step = area[0], layout.chunks[0]
    for start in range(rows.start, rows.stop, step):
        yield read_area(store, layout, (slice(start, min(start + step, rows.stop)), *area[1:]))


def sha256(parts: Iterable[NDArray[Any]]) -> str:
    """SHA-256 of the bytes of arrays, one after another, in C order."""
    digest = hashlib.sha256()
    for part in parts:
        if part.size:
            digest.update(np.ascontiguousarray(part).data.cast("B"))
    return digest.hexdigest()
