"""What a store says of itself: its format, what the run is of, and what is done."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_del.errors import StoreError
from napari_del.tiles.backend import (
    DamagedError,
    connect,
    first_line,
    get_many,
    local_folder,
)

__all__ = [
    "ArrayRecord",
    "Marker",
    "differences",
    "group_metadata",
    "marker_key",
    "plain",
    "read_attributes",
    "store_attributes",
]

FORMAT = "napari-del tiles"
FORMAT_VERSION = 5

Area = tuple[slice, slice]


class ArrayRecord(NamedTuple):
    """What the marker of a table says of one of its arrays.

    Attributes
    ----------
    shape : tuple of int
        Its shape.
    dtype : dtype
        Its type.
    sha256 : str
        Of its values.
    ends : tuple of int or None
        Of integers, the first and last number of the first column: the least and the greatest
        where rows are in ascending order. None if there are no rows, or no integers.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    sha256: str
    ends: tuple[int, int] | None = None

    @classmethod
    def of(cls, values: NDArray[Any], sha256: str) -> ArrayRecord:
        """The record of an array."""
        ends = None
        if values.size and values.dtype.kind in "iu":
            column = values.reshape(len(values), -1)[:, 0]
            ends = int(column[0]), int(column[-1])
        return cls(values.shape, values.dtype, sha256, ends)


class Marker(NamedTuple):
    """What was written of a table: its arrays by name, and the block of pixels done with it."""

    arrays: dict[str, ArrayRecord]
    pixels: tuple[Area, str] | None

    def to_json(self) -> bytes:
        """The bytes of the marker's file."""
        arrays = {
            name: {
                "shape": list(a.shape),
                "dtype": a.dtype.str,
                "sha256": a.sha256,
                "ends": a.ends,
            }
            for name, a in self.arrays.items()
        }
        pixels = self.pixels and {
            "window": [[part.start, part.stop] for part in self.pixels[0]],
            "sha256": self.pixels[1],
        }
        return json.dumps({"arrays": arrays, "pixels": pixels}).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Marker:
        """The marker whose file holds these bytes.

        Raises
        ------
        DamagedError
            If they are not those of a marker.
        """
        try:
            found = json.loads(text)
            arrays = {}
            for name, a in found["arrays"].items():
                ends = None
                if a["ends"] is not None:
                    first, last = map(int, a["ends"])
                    ends = first, last
                shape = tuple(map(int, a["shape"]))
                arrays[name] = ArrayRecord(shape, np.dtype(a["dtype"]), a["sha256"], ends)
            pixels = None
            if found["pixels"] is not None:
                rows, columns = (slice(*map(int, ends)) for ends in found["pixels"]["window"])
                pixels = (rows, columns), found["pixels"]["sha256"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError("its marker is damaged") from error
        return cls(arrays, pixels)


def marker_key(stage: str, key: str) -> str:
    """File of the marker of a table."""
    return f"done/{stage}/{key}.json"


def plain(value: Any) -> Any:
    """A value as JSON keeps it: lists, dicts with text as keys, Python's own numbers.

    NaN and infinities, which JSON lacks, become text.

    Raises
    ------
    TypeError
        If JSON has nothing like it.
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return json.loads(json.dumps(value))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not the same in two manifests.

    Parameters
    ----------
    old, new : dict
        Manifest of a store, and that of the run that was asked for.

    Returns
    -------
    list of str
        A line for each entry that differs; entries of nested dicts are joined by dots.

    Examples
    --------
    >>> differences({"step": 8, "shape": [64, 64]}, {"step": 16, "shape": (64, 64)})
    ['step: 8 in the store, 16 asked for']
    """
    there, asked = dict(_flat(plain(old))), dict(_flat(plain(new)))
    missing = object()
    lines = []
    for name in dict.fromkeys([*there, *asked]):
        a, b = there.get(name, missing), asked.get(name, missing)
        if a is missing:
            lines.append(f"{name}: not in the store, {b} asked for")
        elif b is missing:
            lines.append(f"{name}: {a} in the store, not asked for")
        elif a != b or isinstance(a, bool) != isinstance(b, bool):
            lines.append(f"{name}: {a} in the store, {b} asked for")
    return lines


def _flat(value: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        if isinstance(item, dict) and item:
            yield from _flat(item, f"{before}{key}.")
        else:
            yield before + key, item


def store_attributes(manifest: Mapping[str, Any], **others: Any) -> dict[str, Any]:
    """Attributes of the group of a new store."""
    from napari_del import __version__

    return {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "napari_del_version": __version__,
        "manifest": plain(manifest),
        **others,
    }


def group_metadata(attributes: Mapping[str, Any]) -> bytes:
    """The file ``zarr.json`` of a group."""
    document = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return json.dumps(document, indent=2).encode()


def read_attributes(url: str, *, any_version: bool = False) -> dict[str, Any]:
    """Attributes of the group of a store.

    Parameters
    ----------
    url : str
        A resolved URL.
    any_version : bool
        Whether the store may be of another format version.

    Raises
    ------
    StoreError
        If there is no store, it is something else, of another version, or damaged.
    """
    folder = local_folder(url)
    if folder is not None and not folder.is_dir():
        raise StoreError(f"{url} does not exist; expected the store of a tiled run")
    try:
        (text,) = get_many(connect(url, writable=False), ["zarr.json"])
    except StoreError:
        raise
    except Exception as error:  # file systems of fsspec have errors of their own
        raise StoreError(f"{url} cannot be read: {first_line(error)}") from error
    if text is None:
        raise StoreError(f"{url} is no zarr group; expected the store of a tiled run")
    try:
        document = json.loads(text)
        attributes: dict[str, Any] = dict(document["attributes"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{url} is damaged: its zarr.json is not that of a zarr group") from error
    name, version = attributes.get("format"), attributes.get("format_version")
    if name != FORMAT:
        raise StoreError(
            f"{url} is a zarr {document.get('node_type')} of format {name!r}; expected {FORMAT!r}"
        )
    if version != FORMAT_VERSION and not any_version:
        raise StoreError(
            f"{url} has version {version!r} of its format; this napari-del reads version "
            f"{FORMAT_VERSION}: open it with napari-del {attributes.get('napari_del_version')}, "
            "which wrote it, or choose another store"
        )
    lost = [key for key in ("manifest", "shape", "dtype", "block") if key not in attributes]
    if lost and not any_version:
        raise StoreError(f"{url} is damaged: its zarr.json lacks {', '.join(lost)}")
    return attributes
