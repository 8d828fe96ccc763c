"""Arrays in files, mapped into memory, that other processes open for themselves."""

from __future__ import annotations

import mmap
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mapped"]


class Mapped:
    """A memory-mapped array that pickles as its place in a file instead of its values.

    Parameters
    ----------
    array : ndarray
        An `numpy.memmap` of a named file, or any view of one.

    Examples
    --------
    >>> import pickle, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.save(folder + "/image.npy", np.zeros((500, 500)))
    ...     image = Mapped.of(np.load(folder + "/image.npy", mmap_mode="r")[::2])
    ...     len(pickle.dumps(image)) < 1000
    True
    """

    def __init__(self, array: NDArray[Any]) -> None:
        self.array = array

    @classmethod
    def of(cls, array: object) -> Mapped | None:
        """Wrap an array; None if it is not mapped from a file that can be opened again."""
        if isinstance(array, np.ndarray) and array.size and array.dtype.kind != "O":
            base = _memmap_below(array)
            # Changes to a copy-on-write map are in no file.
            if base is not None and base.filename is not None and base.mode != "c":
                return cls(array)
        return None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Data type of the array."""
        return self.array.dtype

    def __getitem__(self, key: Any) -> NDArray[Any]:
        return np.asarray(self.array[key])

    def __reduce__(self) -> tuple[Any, ...]:
        array = self.array
        base = _memmap_below(array)
        assert base is not None
        # Views carry the offset of the memmap they are of. The map begins at a whole page of
        # memory, so the place in the file follows from the address.
        start = base.offset - base.offset % mmap.ALLOCATIONGRANULARITY
        mapped = np.frombuffer(cast("Any", base)._mmap, np.uint8)
        first = start + _address(array) - _address(mapped)
        spans = [s * (n - 1) for s, n in zip(array.strides, array.shape, strict=True)]
        before = -sum(span for span in spans if span < 0)
        n_bytes = before + sum(span for span in spans if span > 0) + array.itemsize
        place = (str(base.filename), first - before, n_bytes, before)
        return _open, (*place, array.shape, array.strides, array.dtype)


def _open(
    filename: str,
    start: int,
    n_bytes: int,
    before: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    dtype: np.dtype[Any],
) -> Mapped:
    """Map `n_bytes` of a file; the first value of the array lies `before` bytes after `start`."""
    content = np.memmap(filename, np.uint8, "r", offset=start, shape=(n_bytes,))
    return Mapped(np.ndarray(shape, dtype, buffer=content, offset=before, strides=strides))


def _memmap_below(array: NDArray[Any]) -> np.memmap[Any, Any] | None:
    """The memmap that an array is or is a view of."""
    base: Any = array
    while isinstance(base, np.ndarray):
        # Results of arithmetic on a memmap are memmaps by type, but not of a file.
        if isinstance(base, np.memmap) and getattr(base, "_mmap", None) is not None:
            return base
        base = base.base
    return None


def _address(array: NDArray[Any]) -> int:
    return int(array.__array_interface__["data"][0])
