"""Chunks of an array that were read last, for windows that overlap."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["RECENT_BYTES", "RecentChunks"]

# Bytes of chunks that are held: four blocks of superpixel ids of 2048 pixels.
RECENT_BYTES = 2**26
# Chunks beyond which it is quicker to decode those of a window again than to look for each.
_MOST_CHUNKS = 256

Area = tuple[slice, slice]
Place = tuple[int, int]


class RecentChunks:
    """Reads windows of an array that is stored in chunks, and holds the chunks read last.

    Neighbouring windows with margins have most chunks in common, which are decoded once in place
    of once for each window. Threads share it; what one is reading another waits for. Sent to
    another process it holds nothing.

    Parameters
    ----------
    read : callable
        Gives the rows and columns of two slices as an ndarray, shape (h, w) or (h, w, C).
    shape, chunks : tuple of int
        Rows and columns of the array, and of a chunk.
    pixel_bytes : int
        Bytes of a pixel.
    """

    def __init__(
        self,
        read: Callable[[Area], NDArray[Any]],
        shape: tuple[int, int],
        chunks: tuple[int, int],
        pixel_bytes: int,
    ) -> None:
        self._read, self._shape, self._chunks = read, shape, chunks
        self._pixel_bytes = pixel_bytes
        # Chunks that a window may touch; of more none would be left for the next one.
        chunk_bytes = max(1, chunks[0] * chunks[1] * pixel_bytes)
        self._most = min(_MOST_CHUNKS, RECENT_BYTES // chunk_bytes)
        self._lock = threading.Lock()
        self._held: OrderedDict[Place, Future[NDArray[Any]]] = OrderedDict()

    def __reduce__(self) -> tuple[Any, ...]:
        return RecentChunks, (self._read, self._shape, self._chunks, self._pixel_bytes)

    @property
    def holds_all(self) -> bool:
        """Whether there is room for all chunks of the array."""
        sides = zip(self._shape, self._chunks, strict=True)
        return math.prod(-(-length // n) for length, n in sides) <= self._most

    def clear(self) -> None:
        """Hold nothing."""
        with self._lock:
            self._held.clear()

    def read(self, window: Area) -> NDArray[Any]:
        """A window, with a start and a stop within the array; its values belong to the caller.

        Raises
        ------
        Exception
            Whatever reading raises, in each thread that waits for it.
        """
        rows, columns = (
            range(part.start // n, -(-part.stop // n))
            for part, n in zip(window, self._chunks, strict=True)
        )
        places = list(product(rows, columns))
        if len(places) > self._most:
            return np.array(self._read(window), order="C")
        with self._lock:
            found = {place: self._held[place] for place in places if place in self._held}
            for place in found:
                self._held.move_to_end(place)
            new: dict[Place, Future[NDArray[Any]]] = {
                place: Future() for place in places if place not in found
            }
            self._held.update(new)
        if new:
            self._fill(new)
        out: NDArray[Any] | None = None
        for place, future in (found | new).items():
            chunk = future.result()
            into, source = _common(window, self._area(place))
            if out is None:
                lengths = [part.stop - part.start for part in window]
                out = np.empty((*lengths, *chunk.shape[2:]), chunk.dtype)
            out[into] = chunk[source]
        assert out is not None  # no window is empty
        return out

    def _area(self, place: Place) -> Area:
        y, x = (
            slice(k * n, min((k + 1) * n, length))
            for k, n, length in zip(place, self._chunks, self._shape, strict=True)
        )
        return y, x

    def _fill(self, new: dict[Place, Future[NDArray[Any]]]) -> None:
        """Read chunks, all at once, and hold them in place of those that were read long ago."""
        areas = {place: self._area(place) for place in new}
        around = tuple(
            slice(min(part.start for part in parts), max(part.stop for part in parts))
            for parts in zip(*areas.values(), strict=True)
        )
        try:
            values = self._read((around[0], around[1]))
        except BaseException as error:
            with self._lock:
                for place, future in new.items():
                    self._held.pop(place, None)
                    future.set_exception(error)
            raise
        for place, future in new.items():
            _, source = _common(areas[place], (around[0], around[1]))
            # A chunk that was read by itself, as an array of its own, need not be copied.
            is_own = len(new) == 1 and values.base is None and values.flags.c_contiguous
            future.set_result(values if is_own else np.array(values[source], order="C"))
        with self._lock:
            sizes = {p: f.result().nbytes for p, f in self._held.items() if f.done()}
            excess = sum(sizes.values()) - RECENT_BYTES
            for place, size in sizes.items():
                if excess <= 0:
                    break
                del self._held[place]
                excess -= size


def _common(window: Area, other: Area) -> tuple[Area, Area]:
    """What two areas have in common, as seen from the first pixel of each."""
    both = [
        (max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, other, strict=True)
    ]
    (y, x), (other_y, other_x) = (
        [slice(a - part.start, b - part.start) for (a, b), part in zip(both, area, strict=True)]
        for area in (window, other)
    )
    return (y, x), (other_y, other_x)
