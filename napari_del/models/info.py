"""What is known of a model without loading it, and the networks that there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from napari_del.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "MEAN_COLOR",
    "NETWORKS",
    "PRECISIONS",
    "SCALES",
    "THRESHOLDS",
    "ModelInfo",
    "Network",
    "Registered",
    "check_precision",
    "check_scale",
]

MEAN_COLOR = "mean-color"
# Used where a weights file names none of its own. That for "contrast" is what suits del-lite, by
# the images that its others were found on.
THRESHOLDS = {"learned": 0.5, "average": 0.5, "contrast": 0.3687, "del": 0.5, "egb": 0.5}


SCALES = (0.25, 0.5, 1.0, 2.0)
"""Scales at which a network can look at an image: pixels it sees for one of the image."""

PRECISIONS = ("float32", "bfloat16")
"""Numbers that a network can compute in."""


class Network(Protocol):
    """What a network offers to the rest of the package, beside being a `torch.nn.Module`.

    Attributes
    ----------
    architecture : str
        Name under which weights files refer to it.
    stride, output_stride : int
        Largest stride, and the stride of the output.
    core, margin : int
        Canonical windows, see `napari_del.embedding.canonical_windows`.
    embedding_dim : int
        Channels of the embedding.
    has_boundary : bool
        Whether there is a boundary channel.
    """

    architecture: str
    stride: int
    output_stride: int
    core: int
    margin: int
    embedding_dim: int
    has_boundary: bool

    def __call__(
        self, x: Tensor, core: tuple[slice, slice] | None = None, /
    ) -> tuple[Tensor, Tensor | None]:
        """Embedding and boundary logits of an RGB image from 0 to 255, or of a core of them."""
        ...


@dataclass(frozen=True)
class ModelInfo:
    """A model by name.

    Attributes
    ----------
    name : str
        What to give as `model`.
    description : str
        One line for people; of a model that cannot be used, what is wrong with it.
    embedding_dim : int
        Length of a superpixel's embedding; 0 where it follows the image's channels.
    has_boundary : bool
        Whether the model says how likely a boundary is.
    available : bool
        Whether it can be used now.
    path : Path or None
        Weights file; None if there is none, or none is needed.
    sha256 : str or None
        Expected SHA-256 of the weights file, or None where any file will do.
    licence : str
        Licence of the weights.
    default_thresholds : dict of float
        For each linkage, the threshold that a segmentation starts with.
    architecture : str or None
        Name of the network; None for none.
    kind : str
        "built-in"; "user" for a model that was installed on this machine; "file" for a weights
        file that is given by its path.
    base_model : str or None
        The model whose weights training began with, where the weights file says so.
    """

    name: str
    description: str
    embedding_dim: int
    has_boundary: bool
    available: bool
    path: Path | None
    sha256: str | None
    licence: str
    default_thresholds: dict[str, float] = field(default_factory=lambda: dict(THRESHOLDS))
    architecture: str | None = None
    kind: str = "built-in"
    base_model: str | None = None


def check_scale(scale: float, info: ModelInfo) -> float:
    """Return `scale` as a float, or raise `ParameterError` if a model cannot look at it."""
    known = SCALES if info.architecture is not None else (1.0,)
    if isinstance(scale, bool) or scale not in known:
        why = "" if len(known) > 1 else f", because {info.name} has no network that looks at it"
        raise ParameterError(
            f"scale is {scale!r}; expected {', '.join(f'{one:g}' for one in known)}{why}"
        )
    return float(scale)


def check_precision(precision: str, info: ModelInfo) -> str:
    """Return `precision`, or raise `ParameterError` if a model cannot compute in it."""
    known = PRECISIONS if info.architecture is not None else PRECISIONS[:1]
    if precision not in known:
        why = "" if len(known) > 1 else f", because {info.name} has no network"
        raise ParameterError(f"precision is {precision!r}; expected {' or '.join(known)}{why}")
    return precision


@dataclass(frozen=True)
class Registered:
    """A network by name, and the weights file that ships with it under that name.

    Attributes
    ----------
    module, network : str
        Where its class is.
    file : str
        Name of the weights file in the package.
    sha256 : str or None
        SHA-256 of that file; None if none ships, so that a user may install one.
    window_bytes : int
        Memory that a window takes on the CPU for each pixel that the network sees: measured as
        peak resident memory of runs with two windows at a time, and rounded up.
    """

    description: str
    embedding_dim: int
    has_boundary: bool
    licence: str
    module: str
    network: str
    file: str
    sha256: str | None
    window_bytes: int


NETWORKS = {
    "del-lite": Registered(
        "EfficientNet-Lite0 encoder with a light decoder: quick on a CPU, the default",
        64,
        True,
        "BSD-3-Clause, encoder pretrained on ImageNet (Apache-2.0)",
        "napari_del.models.lite",
        "DelLite",
        "del-lite.safetensors",
        "664a0ce2930b47d0ede47db2e73bf52886dddb1fd79cdaa6bc468a59f21f39ee",
        280,
    ),
    "del-vgg16": Registered(
        "the paper's network on VGG16: convert the authors' weights, see docs/caffe.md",
        64,
        False,
        "as the authors' weights",
        "napari_del.models.vgg16",
        "DelVgg16",
        "del-vgg16.safetensors",
        None,
        3600,
    ),
}
