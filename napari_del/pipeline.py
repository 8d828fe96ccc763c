"""`segment`: the whole line from an image to its `Segmentation`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from napari_del.contrast import color_moments, color_sums
from napari_del.embedding import embed, mean_color
from napari_del.errors import ImageError
from napari_del.graph import adjacency, dissimilarity, number_nodes
from napari_del.models import (
    MEAN_COLOR,
    check_precision,
    check_scale,
    find_model,
    load_merge_function,
    load_network,
    resolve_device,
)
from napari_del.normalise import normalise
from napari_del.segmentation import Segmentation
from napari_del.superpixels import DEFAULT_COMPACTNESS, slic_features
from napari_del.superpixels.grid import check_step

if TYPE_CHECKING:
    import torch

__all__ = ["segment"]


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def segment(
    image: ArrayLike,
    *,
    model: str | PathLike[str] = "del-lite",
    step: int = 8,
    scale: float = 1.0,
    compactness: float = DEFAULT_COMPACTNESS,
    channels: Sequence[int] | None = None,
    mask: ArrayLike | None = None,
    device: str | torch.device = "auto",
    precision: str = "float32",
    progress: Callable[[str, int, int], None] | None = None,
) -> Segmentation:
    """Segment an image into superpixels with embeddings, ready to be merged.

    Parameters
    ----------
    image : array_like, shape (Y, X) or (Y, X, C)
        numpy, dask or zarr array of any integer or floating dtype. Three channels are taken as
        red, green and blue. A network sees one channel as grey and of more than three the
        first three; superpixels see all.
    model : str or path
        Name of a model, see `list_models`, or a ``.safetensors`` file.
    step : int
        Distance of superpixels in pixels, 4 to 256.
    scale : float
        At which the network looks at the image: 0.25, 0.5, 1 or 2 pixels for one of the image.
        2 finds objects of few pixels better, in four times the time; 0.5 does so for objects
        that fill much of the image. Superpixels and labels stay those of the image.
    compactness : float
        Weight of distance against colour in the superpixels, see `slic`.
    channels : sequence of int, optional
        Channels to use, in this order; all by default.
    mask : array_like of bool, shape (Y, X), optional
        True where a pixel is segmented. Pixels that are NaN or infinite never are.
    device : str or torch.device
        "auto" for the GPU if there is one, "cpu", "cuda" or "cuda:N".
    precision : str
        What the network computes in. With "bfloat16" it takes about half its time on
        processors that have it, and longer on others; about as good regions differ in places.
        The figures of models are of "float32".
    progress : callable, optional
        Called as ``progress(stage, done, total)`` with the stages "normalise", "superpixels",
        "embedding" and "graph" in turn, first with `done` 0, last with `done` equal to
        `total`. An exception that it raises, such as `napari_del.errors.Cancelled`, ends the
        run.

    Returns
    -------
    Segmentation
        Superpixels, embeddings and graph; its `labels` gives regions.

    Raises
    ------
    NapariDelError
        A subclass that names what is wrong with the image, a parameter, the model or the
        device.

    References
    ----------
    Liu et al., "DEL: Deep Embedding Learning for Efficient Image Segmentation", IJCAI 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_del import segment
    >>> image = np.zeros((64, 96, 3), np.uint8)
    >>> image[:, 48:] = (200, 50, 50)
    >>> segmentation = segment(image, model="mean-color")
    >>> np.unique(segmentation.labels(0.5))
    array([1, 2], dtype=int32)
    """
    tell = _silent if progress is None else progress
    # What can be wrong with the arguments is found before anything long starts.
    step = check_step(step)
    info = find_model(model)
    scale = check_scale(scale, info)
    precision = check_precision(precision, info)
    # Without a network there is little for a GPU to do, and no need to load PyTorch.
    where = (
        None if info.name == MEAN_COLOR and device in ("auto", "cpu") else resolve_device(device)
    )
    network = None
    if info.name != MEAN_COLOR and where is not None:
        network = load_network(info, where, scale, precision)

    tell("normalise", 0, 1)
    normalised = normalise(image, channels=channels, mask=mask)
    if normalised.valid is not None and not normalised.valid.any():
        raise ImageError("no pixel is left to segment: the mask and nodata exclude all of them")
    tell("normalise", 1, 1)

    tell("superpixels", 0, 1)
    superpixels = slic_features(
        normalised.features,
        step=step,
        compactness=compactness,
        mask=normalised.valid,
        device="cpu" if where is None else where,
    )
    nodes = number_nodes(superpixels)
    tell("superpixels", 1, 1)

    if network is None or where is None:
        tell("embedding", 0, 1)
        pooled = mean_color(normalised, nodes)
        tell("embedding", 1, 1)
    else:
        pooled = embed(normalised, nodes, network, where, tell)

    tell("graph", 0, 1)
    graph = adjacency(nodes, pooled.boundary, stride=pooled.stride)
    embeddings = pooled.means(nodes.sizes)
    weights = dissimilarity(graph.edges, embeddings)
    function = None if network is None else load_merge_function(info)
    colors = None
    if info.has_boundary:
        colors = color_moments(*color_sums(normalised.features, nodes), nodes.sizes)
    parameters = {
        "model": str(model),
        "step": step,
        "scale": scale,
        "compactness": float(compactness),
        "channels": None if channels is None else [int(c) for c in channels],
        "precision": precision,
    }
    segmentation = Segmentation(
        nodes,
        graph,
        embeddings,
        weights,
        dict(info.default_thresholds),
        parameters,
        colors=colors,
        merge_function=function,
    )
    tell("graph", 1, 1)
    return segmentation
