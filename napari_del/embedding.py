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
from numpy.typing import NDArray

from napari_del._threads import (
    n_threads,
    thread_budget,
    torch_threads_restored,
    use_one_torch_thread,
)
from napari_del.contrast import color_sums
from napari_del.graph import BOUNDARY_SCALE, Nodes
from napari_del.models.device import turn_on
from napari_del.normalise import UNIT, NormalisedImage
from napari_del.pooling import EMBEDDING_SCALE, mean_embedding, pool

if TYPE_CHECKING:
    import torch

    from napari_del.models import Network

__all__ = [
    "MEAN_COLOR_SCALE",
    "Pooled",
    "Window",
    "canonical_windows",
    "embed",
    "mean_color",
    "run_window",
]

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
) -> tuple[NDArray[np.float32] | NDArray[np.int16], NDArray[np.uint16] | None]:
    """Run a network on one window and give the output of its core.

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
    embedding : ndarray of float32 or int16, shape (H, W, D)
        At the network's output stride, for `pool`. From a GPU it comes in fixed point, int16 in
        units of ``1 / EMBEDDING_SCALE``, which is half as much to copy.
    boundary : ndarray of uint16, shape (H, W), or None
        Boundary probability in units of ``1 / BOUNDARY_SCALE``.
    """
    import torch

    s = network.output_stride
    rows, columns = (
        slice((core.start - extent.start) // s, -(-(core.stop - extent.start) // s))
        for core, extent in zip(window.core, window.extent, strict=True)
    )
    with torch.inference_mode(), turn_on(device):
        x = torch.from_numpy(_filled(pixels, window)).to(device)
        # (Y, X, C) in memory is what PyTorch calls channels last, its fastest order here.
        embedding, logits = network(x.permute(2, 0, 1)[None].float(), (rows, columns))
        values = embedding[0].permute(1, 2, 0)
        if device.type != "cpu":
            # As `_to_fixed` does it.
            values = (values * EMBEDDING_SCALE).round_().clamp_(-32768, 32767).to(torch.int16)
        output = values.cpu().numpy()
        boundary = None
        if logits is not None:
            probability = torch.sigmoid(logits[0, 0])
            boundary = (probability * BOUNDARY_SCALE).round_().to(torch.int32).cpu()
    return output, None if boundary is None else boundary.numpy().astype(np.uint16)


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
