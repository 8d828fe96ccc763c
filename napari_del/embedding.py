"""Networks in canonical windows, pooled over superpixels in fixed point.

A convolution's last bits depend on the shape it runs on and on the number of threads. So a
network only ever runs on the windows of one grid that follows from the shape of the whole
image: cores of a fixed size, each with a margin of context, all origins and sides multiples of
the network's largest stride. What the image lacks to a multiple is filled by reflection. Each
window has one thread, and as many windows run at a time as there are threads. The output is
quantised to integers before anything is summed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numba import njit
from numpy.typing import NDArray

from napari_del._threads import (
    n_threads,
    parallel_for,
    thread_budget,
    torch_threads_restored,
    use_one_torch_thread,
)
from napari_del.contrast import color_sums
from napari_del.graph import BOUNDARY_SCALE, Nodes
from napari_del.models.device import turn_on
from napari_del.normalise import UNIT, NormalisedImage

if TYPE_CHECKING:
    import torch

    from napari_del.models import Network

__all__ = [
    "EMBEDDING_SCALE",
    "MEAN_COLOR_SCALE",
    "Pooled",
    "Window",
    "canonical_windows",
    "embed",
    "mean_color",
    "mean_embedding",
    "pool",
    "run_window",
]

# Fixed point of embeddings: 1.0 becomes this; values beyond +-16 are clipped.
EMBEDDING_SCALE = 2**11
# Units of CIELAB that count as a distance of 1 between mean colours.
MEAN_COLOR_UNIT = 20
MEAN_COLOR_SCALE = UNIT * MEAN_COLOR_UNIT

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Window:
    """One run of the network.

    Attributes
    ----------
    core : tuple of slice
        Rows and columns of the image whose output is used.
    extent : tuple of slice
        Rows and columns that the network sees; they may end beyond the image.
    """

    core: tuple[slice, slice]
    extent: tuple[slice, slice]


def canonical_windows(
    shape: tuple[int, int], *, core: int, margin: int, stride: int
) -> list[Window]:
    """Windows that cover an image of `shape`, in raster order.

    Parameters
    ----------
    shape : tuple of int
        Image shape (Y, X).
    core, margin : int
        Sides of a core and the context around it in pixels, multiples of `stride`.
    stride : int
        Largest stride of the network.

    Returns
    -------
    list of Window
        Their cores cover each pixel once.
    """

    def axis(length: int) -> list[tuple[slice, slice]]:
        padded = -(-length // stride) * stride
        return [
            (
                slice(start, min(start + core, length)),
                slice(max(0, start - margin), min(start + core + margin, padded)),
            )
            for start in range(0, length, core)
        ]

    return [
        Window((y_core, x_core), (y_extent, x_extent))
        for y_core, y_extent in axis(shape[0])
        for x_core, x_extent in axis(shape[1])
    ]


def _filled(pixels: NDArray[np.uint8], window: Window) -> NDArray[np.uint8]:
    """Pixels of the window's extent, reflected where the image ends."""
    lack = [
        (0, extent.stop - extent.start - length)
        for extent, length in zip(window.extent, pixels.shape[:2], strict=True)
    ]
    if not any(after for _, after in lack):
        return np.ascontiguousarray(pixels)
    return np.pad(pixels, [*lack, (0, 0)], mode="reflect")


def run_window(
    network: Network, pixels: NDArray[np.uint8], window: Window, device: torch.device
) -> tuple[NDArray[np.int16], NDArray[np.uint16] | None]:
    """Run a network on one window and quantise the output of its core.

    Parameters
    ----------
    network : Network
        Network on `device`, in evaluation mode.
    pixels : ndarray of uint8, shape (h, w, 3)
        What the image has of the window's extent.
    window : Window
        One of `canonical_windows`.
    device : torch.device
        Where to compute. On the CPU last bits depend on the number of threads of PyTorch:
        call this after `use_one_torch_thread`.

    Returns
    -------
    embedding : ndarray of int16, shape (H, W, D)
        In units of ``1 / EMBEDDING_SCALE``, at the network's output stride.
    boundary : ndarray of uint16, shape (H, W), or None
        Boundary probability in units of ``1 / BOUNDARY_SCALE``.
    """
    import torch

    s = network.output_stride
    inner = tuple(
        slice((core.start - extent.start) // s, -(-(core.stop - extent.start) // s))
        for core, extent in zip(window.core, window.extent, strict=True)
    )
    with torch.inference_mode(), turn_on(device):
        x = torch.from_numpy(_filled(pixels, window)).to(device)
        # (Y, X, C) in memory is what PyTorch calls channels last, its fastest order here.
        embedding, logits = network(x.permute(2, 0, 1)[None].float())
        values = embedding[0, :, inner[0], inner[1]].permute(1, 2, 0)
        if device.type != "cpu":
            # As `_quantise` does it: half as many bytes are left to copy.
            values = (values * EMBEDDING_SCALE).round_().clamp_(-32768, 32767).to(torch.int16)
        output = values.cpu().numpy()
        boundary = None
        if logits is not None:
            probability = torch.sigmoid(logits[0, 0, inner[0], inner[1]])
            boundary = (probability * BOUNDARY_SCALE).round_().to(torch.int32).cpu()
    if device.type == "cpu":
        fixed = np.empty(output.shape, np.int16)
        parallel_for(lambda a, b: _quantise(a, b, output, fixed), len(output), grain=16)
    else:
        fixed = output
    return fixed, None if boundary is None else boundary.numpy().astype(np.uint16)


@njit(nogil=True, cache=True)
def _quantise(start: int, stop: int, values: NDArray[np.float32], fixed: NDArray[np.int16]) -> None:
    """Round rows `start` to `stop` to fixed point, half to even, clipped: all in one pass."""
    for i in range(start, stop):
        for j in range(values.shape[1]):
            for c in range(values.shape[2]):
                scaled = np.rint(values[i, j, c] * np.float32(EMBEDDING_SCALE))
                fixed[i, j, c] = np.int16(min(max(scaled, np.float32(-32768)), np.float32(32767)))


@njit(nogil=True, cache=True)
def _pool(
    start: int,
    stop: int,
    image: NDArray[np.int32],
    embedding: NDArray[np.int16],
    stride: int,
    sums: NDArray[np.int64],
) -> None:
    """Add channels `start` to `stop` of all pixels to the sums of their nodes.

    What follows in a row and belongs to one node is summed up on its own first, in 32 bits,
    which 65,536 pixels of 16 bits cannot exceed.
    """
    height, width = image.shape
    run = np.zeros(stop - start, np.int32)
    for i in range(embedding.shape[0]):
        y0, y1 = i * stride, min((i + 1) * stride, height)
        current = np.int32(0)
        length = 0
        for j in range(embedding.shape[1]):
            x0, x1 = j * stride, min((j + 1) * stride, width)
            node = image[y0, x0]
            uniform = True
            for y in range(y0, y1):
                for x in range(x0, x1):
                    if image[y, x] != node:
                        uniform = False
            if not uniform or node != current or length > 32768:
                if current > 0:
                    for c in range(run.size):
                        sums[current - 1, start + c] += run[c]
                run[:] = 0
                current = node if uniform else np.int32(0)
                length = 0
            if uniform:
                weight = np.int32((y1 - y0) * (x1 - x0))
                length += (y1 - y0) * (x1 - x0)
                for c in range(run.size):
                    run[c] += weight * embedding[i, j, start + c]
            else:
                for y in range(y0, y1):
                    for x in range(x0, x1):
                        here = image[y, x]
                        share = np.int32(0)
                        for v in range(y0, y1):
                            for u in range(x0, x1):
                                if image[v, u] == here:
                                    if share == 0 and (v < y or (v == y and u < x)):
                                        share = np.int32(-1)  # counted at that pixel
                                    if share >= 0:
                                        share += np.int32(1)
                        if here > 0 and share > 0:
                            for c in range(start, stop):
                                sums[here - 1, c] += share * embedding[i, j, c]
        if current > 0:
            for c in range(run.size):
                sums[current - 1, start + c] += run[c]
        run[:] = 0


def pool(
    image: NDArray[np.int32], embedding: NDArray[np.int16], stride: int, sums: NDArray[np.int64]
) -> None:
    """Add the embeddings of pixels to the sums of their nodes.

    Parameters
    ----------
    image : ndarray of int32, shape (H, W)
        1 + node of each pixel, 0 where masked.
    embedding : ndarray of int16, shape (ceil(H / stride), ceil(W / stride), D)
        Output of `run_window`.
    stride : int
        Pixels of the image for one of `embedding`, in each direction.
    sums : ndarray of int64, shape (n, D)
        Changed in place.
    """
    # Threads share the channels: each has columns of `sums` to itself.
    channels = sums.shape[1]
    share = -(-channels // n_threads())
    parallel_for(
        lambda a, b: _pool(a * share, min(b * share, channels), image, embedding, stride, sums),
        -(-channels // share),
    )


def mean_embedding(
    sums: NDArray[np.int64], scale: int, sizes: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Means of fixed-point sums.

    Parameters
    ----------
    sums : ndarray of int64, shape (n, D)
        In units of ``1 / scale``.
    scale : int
        Fixed point.
    sizes : ndarray of int64, shape (n,)
        Pixels of each node.

    Returns
    -------
    ndarray of float32, shape (n, D)
    """
    means = np.empty(sums.shape, np.float32)

    def divide(start: int, stop: int) -> None:
        part = slice(start, stop)
        means[part] = sums[part] / (sizes[part, np.newaxis] * float(scale))

    parallel_for(divide, len(means), grain=1024)
    return means


@dataclass(frozen=True)
class Pooled:
    """What a model says of superpixels.

    Attributes
    ----------
    sums : ndarray of int64, shape (n, D)
        Embedding in units of ``1 / scale``, summed over the pixels of each node.
    scale : int
        Fixed point of `sums`.
    boundary : ndarray of uint16, shape (ceil(Y / stride), ceil(X / stride)), or None
        Boundary probability in units of ``1 / BOUNDARY_SCALE``.
    stride : int
        Pixels of the image for one of `boundary`.
    """

    sums: NDArray[np.int64]
    scale: int
    boundary: NDArray[np.uint16] | None
    stride: int

    def means(self, sizes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Mean embedding of each node, shape (n, D), for nodes of `sizes` pixels."""
        return mean_embedding(self.sums, self.scale, sizes)


def mean_color(normalised: NormalisedImage, nodes: Nodes) -> Pooled:
    """Mean colour (or channel values) of each node as its embedding, without a network."""
    sums, _ = color_sums(normalised.features, nodes)
    return Pooled(sums, MEAN_COLOR_SCALE, None, 1)


def embed(
    normalised: NormalisedImage,
    nodes: Nodes,
    network: Network,
    device: torch.device,
    progress: Progress,
) -> Pooled:
    """Run a network over the whole image and sum its output over superpixels.

    Parameters
    ----------
    normalised : NormalisedImage
        The image.
    nodes : Nodes
        Its superpixels.
    network : Network
        Network on `device`, in evaluation mode.
    device : torch.device
        Where to compute.
    progress : callable
        Called as ``progress("embedding", done, total)`` after each window.

    Returns
    -------
    Pooled
        Sums over each node, and the boundary map.
    """
    shape = nodes.image.shape
    s = network.output_stride
    windows = canonical_windows(
        (shape[0], shape[1]), core=network.core, margin=network.margin, stride=network.stride
    )
    sums = np.zeros((nodes.ids.size, network.embedding_dim), np.int64)
    boundary = (
        np.zeros((-(-shape[0] // s), -(-shape[1] // s)), np.uint16)
        if network.has_boundary
        else None
    )
    # A window has one thread of PyTorch to itself, so that its result does not depend on how
    # many cores there are. Windows take turns on a GPU, each while others are read or pooled.
    workers = min(n_threads(), len(windows))
    threads = n_threads() // workers
    pooling = threading.Lock()

    def run(window: Window) -> None:
        use_one_torch_thread()
        with thread_budget(threads):
            pixels = normalised.display[window.extent]
            embedding, probability = run_window(network, pixels, window, device)
            with pooling:
                pool(nodes.image[window.core], embedding, s, sums)
            if boundary is not None and probability is not None:
                y, x = (slice(c.start // s, -(-c.stop // s)) for c in window.core)
                boundary[y, x] = probability

    progress("embedding", 0, len(windows))
    with torch_threads_restored(), ThreadPoolExecutor(workers, "napari-del windows") as executor:
        runs = [executor.submit(run, window) for window in windows]
        try:
            for done, finished in enumerate(as_completed(runs), start=1):
                finished.result()
                progress("embedding", done, len(windows))
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise
    return Pooled(sums, EMBEDDING_SCALE, boundary, s)
