"""Parts of larger arrays that are read when they are sliced."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_del.errors import ReadError

__all__ = ["Both", "Converted", "Plane", "find_plane", "nonzero", "slices_of"]


def slices_of(key: Any, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Slices with a start and a stop, one for each axis.

    Parameters
    ----------
    key : slice, Ellipsis or tuple of them
        What stands in the square brackets. Steps other than 1 are not taken.
    shape : tuple of int
        Of the array.

    Returns
    -------
    tuple of slice

    Examples
    --------
    >>> slices_of((slice(-5, None), ...), (20, 30, 3))
    (slice(15, 20, 1), slice(0, 30, 1), slice(0, 3, 1))
    """
    parts = list(key) if isinstance(key, tuple) else [key]
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts[at : at + 1] = [slice(None)] * (len(shape) - len(parts) + 1)
    parts += [slice(None)] * (len(shape) - len(parts))
    if len(parts) != len(shape) or not all(
        isinstance(part, slice) and part.step in (None, 1) for part in parts
    ):
        raise IndexError(f"[{key}] is not read; expected at most {len(shape)} slices of step 1")
    return tuple(slice(*part.indices(n)) for part, n in zip(parts, shape, strict=True))


class _Sliced:
    """What arrays that are read when sliced have in common."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    def __getitem__(self, key: Any) -> npt.NDArray[Any]:
        return self._read(slices_of(key, self.shape))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        return np.asarray(self[...], dtype=dtype)

    def _read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        raise NotImplementedError


class Plane(_Sliced):
    """One plane (Y, X) or (Y, X, C) of an array with more axes or in another order.

    Parameters
    ----------
    array : array
        Anything with shape, dtype and slicing.
    index : tuple of int or None
        Position on each axis of `array`; None along the axes that the plane keeps.
    order : tuple of int
        Axes of `array` that are Y, X and, if there are any, the channels.
    """

    def __init__(self, array: Any, index: tuple[int | None, ...], order: tuple[int, ...]) -> None:
        self.array = array
        self.index = index
        self.order = order
        self.shape = tuple(int(array.shape[axis]) for axis in order)
        self.dtype = np.dtype(array.dtype)

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks that the array is stored in, None if it is not."""
        chunks = getattr(self.array, "chunks", None)
        return None if chunks is None else tuple(chunks[axis] for axis in self.order)

    def _read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        key: list[int | slice | None] = list(self.index)
        for axis, part in zip(self.order, window, strict=True):
            key[axis] = part
        data = np.asarray(self.array[tuple(key)])
        kept = sorted(self.order)
        return data.transpose([kept.index(axis) for axis in self.order])


class Converted(_Sliced):
    """A plane of which each pixel goes through a function when it is read.

    Parameters
    ----------
    plane : array, shape (Y, X) or (Y, X, C)
        Anything with shape, dtype and slicing.
    function : callable
        From an array (y, x[, c]) to one (y, x[, d]), of each pixel by itself.
    """

    def __init__(
        self, plane: Any, function: Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
    ) -> None:
        self.plane = plane
        self.function = function
        example = function(np.zeros((1, 1, *plane.shape[2:]), plane.dtype))
        self.shape = (*plane.shape[:2], *example.shape[2:])
        self.dtype = example.dtype

    @property
    def chunks(self) -> tuple[int, ...] | None:
        """Shape of the chunks that the plane is stored in, None if it is not."""
        chunks = getattr(self.plane, "chunks", None)
        return None if chunks is None else (*chunks[:2], *self.shape[2:])

    def _read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        converted: npt.NDArray[Any] = self.function(np.asarray(self.plane[window[:2]]))
        return converted[:, :, window[2]] if len(window) == 3 else converted


class Both(_Sliced):
    """Pixels that both of two masks keep.

    Parameters
    ----------
    first, second : array of bool, shape (Y, X)
        Anything with shape and slicing.
    """

    def __init__(self, first: Any, second: Any) -> None:
        self.first = first
        self.second = second
        self.shape = tuple(first.shape)
        self.dtype = np.dtype(bool)

    def _read(self, window: tuple[slice, ...]) -> npt.NDArray[Any]:
        kept: npt.NDArray[np.bool_] = np.logical_and(self.first[window], self.second[window])
        return kept


def nonzero(data: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Pixels of which any channel differs from 0, shape (Y, X)."""
    different: npt.NDArray[np.bool_] = np.not_equal(data, 0)
    return np.any(different, axis=-1) if data.ndim == 3 else different


def find_plane(
    name: object, array: Any, axes: Sequence[str], select: Mapping[str, int], channels: str
) -> tuple[Plane, str]:
    """Find the one plane that an array has, or that is selected of it.

    Parameters
    ----------
    name : path-like
        File, for messages.
    array : array
        Anything with shape, dtype and slicing.
    axes : sequence of str
        Name of each axis of `array`, in capitals; among them Y and X.
    select : mapping of str to int
        Position along axes other than Y, X and the channels.
    channels : str
        Axes that may hold channels, the one that is taken first.

    Returns
    -------
    plane : Plane
        Channels last; axes of length 1 dropped.
    channel : str
        Name of the axis of the channels, or ``""``.

    Raises
    ------
    ReadError
        If there are more axes than a plane has, or the selection does not fit.
    """
    shape = tuple(int(n) for n in array.shape)
    text = "".join(axes) if all(len(axis) == 1 for axis in axes) else ", ".join(axes)
    if "Y" not in axes or "X" not in axes:
        raise ReadError(f"{name} has axes {text} of shape {shape}; expected axes Y and X")
    lengths = dict(zip(axes, shape, strict=True))
    select = {axis.upper(): position for axis, position in select.items()}
    for axis, position in select.items():
        if axis not in axes or axis in ("Y", "X"):
            raise ReadError(f"{name} has axes {text}; axis {axis} cannot be selected")
        if not 0 <= position < lengths[axis]:
            raise ReadError(
                f"{name} has positions 0 to {lengths[axis] - 1} along axis {axis}; got {position}"
            )
    # Axes of length 1 have one plane.
    is_open = [axis for axis in axes if axis not in select and lengths[axis] > 1]
    channel = next((axis for axis in channels if axis in is_open), "")
    stacked = [axis for axis in is_open if axis not in ("Y", "X", channel)]
    if stacked:
        example = ",".join(f"{axis}=0" for axis in stacked)
        raise ReadError(
            f"{name} is a stack with axes {text} of shape {shape}; "
            f"choose one plane of it, such as select {example}"
        )
    kept = ["Y", "X", *([channel] if channel else [])]
    index = tuple(None if axis in kept else select.get(axis, 0) for axis in axes)
    return Plane(array, index, tuple(list(axes).index(axis) for axis in kept)), channel
