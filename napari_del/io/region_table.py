"""Tables of regions: where they are, how large, and what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del.errors import ImageError, OutputError
from napari_del.io._windows import Window, in_order, read, side_of, windows
from napari_del.io.outputs import check_output, replacing

if TYPE_CHECKING:
    from napari_del.segmentation import Segmentation

__all__ = ["region_table", "write_region_table"]

Progress = Callable[[int, int], object]

# Superpixels whose embeddings are held at a time.
_ROWS = 2**17


def region_table(
    segmentation: Segmentation,
    threshold: float | None = None,
    linkage: str | None = None,
    min_size: int = 0,
    *,
    image: Any = None,
    progress: Progress | None = None,
) -> dict[str, NDArray[Any]]:
    """Measure every region of a partition.

    The image is gone through once, window by window; what is held grows with the number of
    regions, not with that of pixels.

    Parameters
    ----------
    segmentation : Segmentation
        In memory or in a store.
    threshold, linkage, min_size
        The partition, as for `Segmentation.labels`.
    image : array, shape (Y, X) or (Y, X, C), optional
        numpy, dask or zarr array, or anything else with a shape, a dtype and slicing, whose
        channels are averaged. Sums of integers of up to 32 bits are exact; those of other types
        are taken in float64, and their last digits may depend on how the array is stored.
    progress : callable, optional
        Called as ``progress(done, total)`` with numbers of pixels. An exception that it raises
        ends the measuring.

    Returns
    -------
    dict of ndarray
        Columns of k regions:

        ``label`` : int32
            1 to k, as in `Segmentation.labels`.
        ``area`` : int64
            In pixels.
        ``min_row``, ``min_col``, ``max_row``, ``max_col`` : int64
            Bounding box in pixels, half open: the maxima lie outside.
        ``centroid_row``, ``centroid_col`` : float64
            Mean position of the centres of its pixels, of which the first is (0, 0).
        ``mean_0``, ``mean_1``, ... : float64
            Mean of each channel, with `image`.
        ``embedding`` : float32 (k, D)
            Mean embedding of its pixels.

    Raises
    ------
    ImageError
        If `image` is not of the segmented shape or not of real numbers.
    ParameterError
        As `Segmentation.labels` does.

    Examples
    --------
    >>> from napari_del import segment
    >>> image = np.zeros((64, 96, 3), np.uint8)
    >>> image[:, 48:] = (200, 50, 50)
    >>> table = region_table(segment(image, model="mean-color"), 0.5, image=image)
    >>> table["area"], table["mean_0"]
    (array([3072, 3072]), array([  0., 200.]))
    """
    _check_image(image, segmentation.shape)
    numbers = segmentation._linkages.numbers(segmentation._cut(threshold, linkage, min_size, 0))
    labels = segmentation.labels(threshold, linkage, min_size)
    k = int(numbers.max(initial=0))
    moments = np.zeros((k, 3), np.int64)
    box = np.empty((k, 4), np.int64)
    box[:, :2], box[:, 2:] = np.iinfo(np.int64).max, 0
    channels = 0 if image is None else 1 if len(image.shape) == 2 else image.shape[2]
    sums = np.zeros((k, channels), np.float64 if image is None else _sum_dtype(image.dtype))

    def load(window: Window) -> tuple[Window, NDArray[np.int32], NDArray[Any]]:
        part = read(labels, window)
        if image is None:
            return window, part, np.empty((*part.shape, 0), np.uint8)
        pixels = read(image, window).reshape(*part.shape, channels)
        return window, part, np.ascontiguousarray(pixels, _kernel_dtype(pixels.dtype))

    y, x = segmentation.shape
    done = 0
    for window, part, pixels in in_order(load, windows((y, x), side_of(labels, 1))):
        _measure(part, window[0].start, window[1].start, pixels, moments, box, sums)
        done += part.size
        if progress is not None:
            progress(done, y * x)
    area = moments[:, 0]
    table: dict[str, NDArray[Any]] = {"label": np.arange(1, k + 1, dtype=np.int32), "area": area}
    for i, name in enumerate(("min_row", "min_col", "max_row", "max_col")):
        table[name] = np.ascontiguousarray(box[:, i])
    for i, name in enumerate(("centroid_row", "centroid_col"), start=1):
        table[name] = moments[:, i] / area
    for i in range(channels):
        table[f"mean_{i}"] = sums[:, i] / area
    table["embedding"] = _mean_embeddings(segmentation, numbers, area)
    return table


def write_region_table(
    path: str | os.PathLike[str],
    segmentation: Segmentation,
    threshold: float | None = None,
    linkage: str | None = None,
    min_size: int = 0,
    *,
    image: Any = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Measure every region of a partition and write the table as a Parquet file.

    Parameters
    ----------
    path : path-like
        File with suffix ``.parquet``.
    segmentation, threshold, linkage, min_size, image, progress
        As for `region_table`, whose columns the file has; embeddings are lists of fixed size.
    overwrite : bool
        Whether a file that exists is replaced.

    Raises
    ------
    OutputError
        If pyarrow is not installed, or the file exists and `overwrite` is not set, has another
        suffix or cannot be written. Nothing is left behind then.
    ImageError, ParameterError
        As `region_table` does.
    """
    path = check_output(path, (".parquet",), overwrite=overwrite)
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise OutputError(
            f"{path} cannot be written: Parquet files need pyarrow; install it with "
            "pip install 'napari-del[tables]'"
        ) from None
    found = region_table(segmentation, threshold, linkage, min_size, image=image, progress=progress)
    embedding = found.pop("embedding")
    columns = {name: pa.array(column) for name, column in found.items()}
    columns["embedding"] = pa.FixedSizeListArray.from_arrays(
        pa.array(embedding.ravel()), embedding.shape[1]
    )
    with replacing(path, overwrite=overwrite) as temporary:
        parquet.write_table(pa.table(columns), temporary, compression="zstd")


def _check_image(image: Any, shape: tuple[int, int]) -> None:
    if image is None:
        return
    if len(image.shape) not in (2, 3) or tuple(image.shape[:2]) != shape:
        raise ImageError(
            f"image has shape {tuple(image.shape)}; expected {shape} or {(*shape, 'channels')}, "
            "as it was segmented"
        )
    if np.dtype(image.dtype).kind not in "biuf":
        raise ImageError(f"image has dtype {image.dtype}; expected real numbers")


def _sum_dtype(dtype: Any) -> type[np.int64] | type[np.float64]:
    """Type to add up in: 64 bits hold the sum of 2**31 values of 32 bits."""
    kind = np.dtype(dtype)
    return np.int64 if kind.kind in "biu" and kind.itemsize <= 4 else np.float64


def _kernel_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The type itself in the byte order of the machine, or one that kernels know."""
    if dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.dtype(np.float64)
    return np.dtype(np.uint8) if dtype.kind == "b" else dtype.newbyteorder("=")


@njit(nogil=True, cache=True)
def _measure(
    labels: NDArray[np.int32],
    top: int,
    left: int,
    pixels: NDArray[Any],
    moments: NDArray[np.int64],
    box: NDArray[np.int64],
    sums: NDArray[Any],
) -> None:
    """Add a window to areas and sums of positions (`moments`), bounding boxes and sums."""
    for i in range(labels.shape[0]):
        for j in range(labels.shape[1]):
            region = labels[i, j] - 1
            if region < 0:
                continue
            y, x = top + i, left + j
            moments[region, 0] += 1
            moments[region, 1] += y
            moments[region, 2] += x
            box[region, 0] = min(box[region, 0], y)
            box[region, 1] = min(box[region, 1], x)
            box[region, 2] = max(box[region, 2], y + 1)
            box[region, 3] = max(box[region, 3], x + 1)
            for c in range(sums.shape[1]):
                sums[region, c] += pixels[i, j, c]


def _mean_embeddings(
    segmentation: Segmentation, numbers: NDArray[np.int32], area: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Mean over the pixels of each region, in one order of superpixels for every store."""
    embeddings, sizes = segmentation.embeddings, segmentation.sizes
    total = np.zeros((area.size, embeddings.shape[1]), np.float64)
    for start in range(0, len(sizes), _ROWS):
        rows = slice(start, start + _ROWS)
        _add_rows(read(embeddings, rows), sizes[rows], numbers[rows], total)
    means: NDArray[np.float64] = total / area[:, np.newaxis]
    return means.astype(np.float32)


@njit(nogil=True, cache=True)
def _add_rows(
    embeddings: NDArray[np.float32],
    sizes: NDArray[np.int64],
    numbers: NDArray[np.int32],
    total: NDArray[np.float64],
) -> None:
    for i in range(numbers.size):
        for c in range(total.shape[1]):
            total[numbers[i] - 1, c] += np.float64(embeddings[i, c]) * sizes[i]
