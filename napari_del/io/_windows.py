"""Images that are gone through window by window, a few at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_del._threads import n_threads, thread_budget

__all__ = ["Window", "in_order", "read", "side_of", "windows"]

Window = tuple[slice, slice]
Item = TypeVar("Item")
Result = TypeVar("Result")

# Side of a window of an array that is not stored in chunks, in pixels.
_SIDE = 2048


def side_of(array: Any, multiple: int) -> int:
    """Side of windows that read few chunks of an array more than once.

    Parameters
    ----------
    array : array
        With ``chunksize`` if it is a dask array, or ``chunks`` if it is stored in chunks.
    multiple : int
        The side is a multiple of it.

    Returns
    -------
    int
        In pixels.
    """
    chunks = getattr(array, "chunksize", None) or getattr(array, "chunks", None) or (_SIDE, _SIDE)
    longest = min(max(chunks[:2]), 2 * _SIDE)
    return -(-longest // multiple) * multiple


def windows(shape: tuple[int, int], side: int) -> list[Window]:
    """Squares that cover an image, in raster order, cut off at its end."""
    return [
        (slice(y, min(y + side, shape[0])), slice(x, min(x + side, shape[1])))
        for y in range(0, shape[0], side)
        for x in range(0, shape[1], side)
    ]


def read(array: Any, index: Any) -> NDArray[Any]:
    """Part of a numpy, dask or zarr array, computed in the calling thread."""
    part = array[index]
    if hasattr(part, "compute"):
        part = part.compute(scheduler="synchronous")
    return np.asarray(part)


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Results of a function of each item, in their order, computed by all threads of the budget.

    Parameters
    ----------
    function : callable
        Of one item.
    items : iterable
        What to call it with. No more than two a thread are begun or wait to be taken.

    Yields
    ------
    object
        What the function returns.
    """
    workers = n_threads()

    def run(item: Item) -> Result:
        with thread_budget(1):
            return function(item)

    with ThreadPoolExecutor(workers, thread_name_prefix="napari-del-io") as pool:
        ahead: deque[Future[Result]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(run, item))
                if len(ahead) >= 2 * workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            # The consumer may have stopped, or a call may have failed.
            for future in ahead:
                future.cancel()
