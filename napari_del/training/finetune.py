"""Fine-tune a model on regions that a user painted, in minutes on a CPU."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from os import PathLike, fspath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import safe_open

from napari_del._threads import limit_torch
from napari_del.errors import ImageError, ParameterError
from napari_del.evaluation.datasets import UNLABELLED, AnnotatedImage, regions_of
from napari_del.io.outputs import check_output
from napari_del.models import find_model, load_merge_function, resolve_device
from napari_del.models.loading import MERGE_PREFIX
from napari_del.normalise import normalise
from napari_del.training.augment import crop, recolour, turn
from napari_del.training.gradients import reach_of
from napari_del.training.losses import ClassShares
from napari_del.training.merge_adaptation import adapt_merge_function, replay_pictures
from napari_del.training.merge_function import merge_sample, superpixel_tables
from napari_del.training.merge_pairs import MergeSample
from napari_del.training.replay import Replay, replay_images
from napari_del.training.samples import distant_pairs, make_sample
from napari_del.training.settings import TrainingSettings
from napari_del.training.start import trainable_copy
from napari_del.training.trainer import Trainer
from napari_del.training.weights import export_weights

if TYPE_CHECKING:
    from torch import Tensor

    from napari_del.merging import MergeFunction
    from napari_del.merging.region_pairs import SuperpixelTables
    from napari_del.models import ModelInfo
    from napari_del.models.lite import DelLite

__all__ = ["fine_tune"]

_WINDOW = 256
_SCALES = (0.8, 1.25)
_STRENGTH = 0.2
# Windows tried until one holds two regions, and pixels kept of each region to centre them on.
_TRIES = 8
_ANCHORS = 256
_RATE = 7e-4
_REPLAY = 1.0
_ALL_STAGES = 7
# Windows in which the shares of the classes are measured, and the least and the largest share:
# what is rarer than that, or hardly there at all, would count for too much.
_LOOKED_AT = 12
_SHARES = (0.02, 0.5)
# Windows from which the merge function learns what was painted.
_MERGED = 24
# Per cent of its adaptation that are spent on segmenting.
_SEGMENTING = 40


def fine_tune(
    images: Sequence[ArrayLike],
    labels: Sequence[ArrayLike],
    *,
    model: str | PathLike[str] = "del-lite",
    output: str | PathLike[str],
    steps: int = 150,
    device: str | torch.device = "auto",
    progress: Callable[[str, int, int], None] | None = None,
    seed: int = 0,
) -> Path:
    """Fine-tune a model on painted regions.

    The encoder keeps its weights and the decoder learns slowly, so that a few painted regions
    do not cost the model what it knows of other images. The function of the linkage "learned",
    if the model has one, is then adapted to what the network says now.

    Parameters
    ----------
    images : sequence of array_like, shape (Y, X) or (Y, X, C)
        Images of any integer or floating dtype, as `napari_del.segment` takes them.
    labels : sequence of array_like of int, shape (Y, X)
        Painted regions of each image: 0 is not annotated and ignored, each other value is one
        region. What counts is which pixels belong together and which do not, so regions that
        touch teach most.
    model : str or path
        Model to begin with: a name, see `list_models`, or a ``.safetensors`` file.
    output : path
        Weights file to write, ``.safetensors``; replaced if it exists. It is used by its path,
        as ``segment(image, model=output)``.
    steps : int
        Number of steps, one window of 256 x 256 pixels each.
    device : str or torch.device
        "auto" for the GPU if there is one, "cpu", "cuda" or "cuda:N".
    progress : callable, optional
        Called as ``progress(stage, done, total)`` with the stages "samples", while images are
        prepared, "training", and "merging", while a merge function is adapted. An exception
        that it raises, such as `napari_del.errors.Cancelled`, ends the run; nothing is left
        behind.
    seed : int
        Seed of everything drawn by chance.

    Returns
    -------
    Path
        The weights file. It keeps the default thresholds of the model it began with.

    Raises
    ------
    ParameterError
        If there are no images, their number is not that of the labels, or no image has two
        painted regions.
    ImageError
        If shapes differ, or labels are not integers.
    ModelError
        If the model is not known or cannot be fine-tuned.
    OutputError
        If `output` cannot be written.
    NapariDelError
        If the loss is not a number.
    """
    tell = _silent if progress is None else progress
    # What can be wrong is found before anything long starts.
    settings = TrainingSettings(
        steps=steps, batch=1, learning_rate=_RATE, frozen_stages=_ALL_STAGES, seed=seed
    )
    destination = check_output(output, (".safetensors",), overwrite=True)
    painted = _check(images, labels)
    where = resolve_device(device)
    info = find_model(model)
    network = trainable_copy(model)
    beside = _beside_network(info, network)
    function = load_merge_function(info)

    pictures = [] if function is None else replay_pictures()
    count = len(painted) + len(pictures)
    tell("samples", 0, count)
    prepared = []
    for number, (image, regions) in enumerate(zip(images, painted, strict=True)):
        prepared.append(_prepare(f"image {number}", image, regions, seed))
        tell("samples", number + 1, count)
    # Now, as nobody knows what the file will hold when the training is over.
    before = []
    for picture in pictures:
        before.append(superpixel_tables(picture, model, device=where))
        tell("samples", len(painted) + len(before), count)
    source = _PaintedWindows([item for item in prepared if item.anchors], seed)

    replay = Replay(network, replay_images(), weight=_REPLAY, seed=seed)
    shares = _class_shares(source, network, settings)
    trainer = Trainer(network, source, settings, device=where, shares=shares, extra=replay)
    with limit_torch():
        tell("training", 0, steps)
        while trainer.step < steps:
            trainer.advance()
            tell("training", trainer.step, steps)
    if function is not None:
        adapted = _adapted(function, network, before, pictures, source, where, seed, tell)
        for name, value in adapted.tensors().items():
            beside[MERGE_PREFIX + name] = torch.from_numpy(value)
    export_weights(
        network,
        destination,
        {
            "base_model": info.name if isinstance(model, str) else fspath(model),
            "default_thresholds": json.dumps(info.default_thresholds),
            "training": json.dumps(asdict(settings)),
        },
        beside=beside,
    )
    return destination


def _silent(stage: str, done: int, total: int) -> None:
    """Progress that nobody asked for."""


def _beside_network(info: ModelInfo, network: DelLite) -> dict[str, Tensor]:
    """What else the weights file of a model holds, such as its merge function."""
    assert info.path is not None
    known = network.state_dict()
    with safe_open(info.path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys() if name not in known}  # noqa: SIM118 - no dict


def _adapted(
    function: MergeFunction,
    network: DelLite,
    before: Sequence[SuperpixelTables],
    pictures: Sequence[NDArray[np.uint8]],
    source: _PaintedWindows,
    device: torch.device,
    seed: int,
    tell: Callable[[str, int, int], None],
) -> MergeFunction:
    """The merge function, adapted to the network as it is now."""
    tell("merging", 0, 100)
    after: list[SuperpixelTables] = []
    painted: list[MergeSample] = []
    # The network is listened to as the file will hold it, in 16 bits.
    with TemporaryDirectory(prefix="napari-del-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "network.safetensors"
        export_weights(network, path, {})
        count = len(pictures) + _MERGED
        for picture in pictures:
            after.append(superpixel_tables(picture, path, device=device))
            tell("merging", _SEGMENTING * len(after) // count, 100)
        for position in range(_MERGED):
            item = AnnotatedImage(*source.draw(position))
            painted.append(merge_sample(item, path, device=device))
            tell("merging", _SEGMENTING * (len(after) + len(painted)) // count, 100)

    def passed_on(done: int, total: int) -> None:
        tell("merging", _SEGMENTING + (100 - _SEGMENTING) * done // total, 100)

    return adapt_merge_function(function, before, after, painted, seed=seed, progress=passed_on)


def _check(images: Sequence[ArrayLike], labels: Sequence[ArrayLike]) -> list[NDArray[np.integer]]:
    """The labels as arrays, or an error that says what is wrong with them."""
    if len(images) == 0 or len(images) != len(labels):
        raise ParameterError(
            f"there are {len(images)} images and {len(labels)} labels; expected at least one "
            "image, and labels for each"
        )
    painted = []
    most = 0
    for number, (image, given) in enumerate(zip(images, labels, strict=True)):
        array = np.asarray(given)
        shape = np.shape(image)
        if array.dtype.kind not in "iu":
            raise ImageError(
                f"labels {number} have dtype {array.dtype}; expected integers, 0 where nothing "
                "is annotated"
            )
        if array.ndim != 2 or array.shape != shape[:2]:
            raise ImageError(
                f"labels {number} have shape {array.shape}, their image has {shape}; expected "
                "labels (Y, X) of the same height and width"
            )
        most = max(most, np.unique(array[array != 0]).size)
        painted.append(array)
    if most < 2:
        raise ParameterError(
            f"labels have {most} painted regions in an image; expected at least 2 in one of "
            "them: paint what should be apart with different labels"
        )
    return painted


@dataclass(frozen=True)
class _Painted:
    """One image with its painted regions, and pixels of each to look at."""

    name: str
    image: NDArray[np.uint8]
    segmentations: NDArray[np.int32]
    anchors: list[NDArray[np.intp]]


def _prepare(name: str, image: ArrayLike, labels: NDArray[np.integer], seed: int) -> _Painted:
    normalised = normalise(image)
    regions, _ = regions_of(labels.astype(np.int64), None)
    if normalised.valid is not None:
        regions[~normalised.valid] = UNLABELLED
    rng = np.random.default_rng([seed, 3])
    anchors = []
    for region in np.unique(regions[regions >= 0]):
        pixels = np.argwhere(regions == region)
        anchors.append(rng.permutation(pixels)[:_ANCHORS])
    return _Painted(name, normalised.display, regions[np.newaxis], anchors)


class _PaintedWindows:
    """Draws windows around painted regions, each image and each region alike."""

    def __init__(self, images: Sequence[_Painted], seed: int) -> None:
        self._images = images
        self._seed = seed

    def draw(self, position: int) -> tuple[str, NDArray[np.uint8], NDArray[np.int32]]:
        """Name, image and labels of a position, always the same."""
        rng = np.random.default_rng([self._seed, 1, position])
        item = self._images[int(rng.integers(len(self._images)))]
        scale = float(np.exp(rng.uniform(*np.log(_SCALES))))
        side = round(_WINDOW / scale)
        window: tuple[slice, ...] = (slice(None), slice(None))
        for _ in range(_TRIES):
            anchors = item.anchors[int(rng.integers(len(item.anchors)))]
            centre = anchors[int(rng.integers(len(anchors)))]
            window = tuple(
                _around(int(middle), side, length, rng)
                for middle, length in zip(centre, item.image.shape[:2], strict=True)
            )
            inside = item.segmentations[0][window]
            if np.unique(inside[inside >= 0]).size > 1:
                break
        image, labels = item.image[window], item.segmentations[:, *window]
        image, labels = crop(image, labels, (_WINDOW, _WINDOW), scale, rng)
        image, labels = turn(image, labels, rng)
        image = recolour(image, rng, strength=_STRENGTH)
        return item.name, image, np.ascontiguousarray(labels)


def _class_shares(
    source: _PaintedWindows, network: DelLite, settings: TrainingSettings
) -> ClassShares:
    """Shares of what was painted that is apart: strokes are no fair sample of an image."""
    found: dict[str, list[float]] = {"adjacent": [], "distant": [], "boundary": []}
    for position in range(_LOOKED_AT):
        _, image, labels = source.draw(position)
        sample = make_sample(
            image,
            labels,
            stride=network.stride,
            output_stride=network.output_stride,
            step=settings.superpixel_step,
        )
        adjacent = sample.adjacent
        rng = np.random.default_rng([settings.seed, 5, position])
        distant = distant_pairs(sample, len(adjacent.nodes), reach_of(settings), rng)
        for name, target, weight in (
            ("adjacent", adjacent.apart, adjacent.weight),
            ("distant", distant.apart, distant.weight),
            ("boundary", sample.boundary, sample.boundary_weight),
        ):
            if float(weight.sum()) > 0:
                found[name].append(float((target * weight).sum() / weight.sum()))
    usual = ClassShares()._asdict()
    shares = {name: np.mean(values) if values else usual[name] for name, values in found.items()}
    return ClassShares(**{name: float(np.clip(share, *_SHARES)) for name, share in shares.items()})


def _around(middle: int, side: int, length: int, rng: np.random.Generator) -> slice:
    """Range of `side` pixels with `middle` in its inner half, within an axis."""
    start = middle - side // 2 + int(rng.integers(-side // 4, side // 4 + 1))
    start = min(max(start, 0), max(length - side, 0))
    return slice(start, min(start + side, length))
