"""The models: which there are, where their weights lie, and how they are loaded.

Weights are read from safetensors files alone, never from pickles. Those that ship with the
package are checked against their SHA-256.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib import import_module
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from napari_del.errors import DeviceError, ModelError, WeightsError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

__all__ = [
    "MEAN_COLOR",
    "ModelInfo",
    "Network",
    "find_model",
    "list_models",
    "load_network",
    "resolve_device",
]

MEAN_COLOR = "mean-color"
_WEIGHTS = Path(__file__).parent / "weights"
# Used where a weights file names no thresholds of its own.
_THRESHOLDS = {"average": 0.5, "del": 0.5, "egb": 0.5}


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

    def __call__(self, x: Tensor, /) -> tuple[Tensor, Tensor | None]:
        """Embedding and boundary logits of an RGB image from 0 to 255."""
        ...


@dataclass(frozen=True)
class ModelInfo:
    """A model by name.

    Attributes
    ----------
    name : str
        What to give as `model`.
    description : str
        One line for people.
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
    """

    name: str
    description: str
    embedding_dim: int
    has_boundary: bool
    available: bool
    path: Path | None
    sha256: str | None
    licence: str
    default_thresholds: dict[str, float] = field(default_factory=lambda: dict(_THRESHOLDS))
    architecture: str | None = None


@dataclass(frozen=True)
class _Registered:
    description: str
    embedding_dim: int
    has_boundary: bool
    licence: str
    module: str
    network: str
    file: str
    sha256: str | None


_NETWORKS = {
    "del-lite": _Registered(
        "EfficientNet-Lite0 encoder with a light decoder: quick on a CPU, the default",
        64,
        True,
        "BSD-3-Clause, encoder pretrained on ImageNet (Apache-2.0)",
        "napari_del.models.lite",
        "DelLite",
        "del-lite.safetensors",
        "41b78401571f65c097eb126ba2aca146838f1f402cc3e7b8e5fbbb621ed3b4ce",
    ),
    "del-vgg16": _Registered(
        "the paper's network on VGG16: convert the authors' weights, see docs/caffe.md",
        64,
        False,
        "as the authors' weights",
        "napari_del.models.vgg16",
        "DelVgg16",
        "del-vgg16.safetensors",
        None,
    ),
}
_MEAN_COLOR_INFO = ModelInfo(
    MEAN_COLOR,
    "mean colour (or channel values) of a superpixel, without a network",
    0,
    False,
    True,
    None,
    None,
    "BSD-3-Clause",
    {"average": 0.494, "del": 0.267, "egb": 0.783},
)


def _header(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file, or a `WeightsError` that says what the file is."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise WeightsError(f"weights file {path} cannot be read: {error.strerror}") from error
    if start[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise WeightsError(
            f"weights file {path} is a PyTorch pickle; expected safetensors, because a pickle can "
            "run code: save its state dict with safetensors.torch.save_file"
        )
    try:
        with safe_open(path, framework="numpy") as file:
            return dict(file.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"weights file {path} is damaged or not in safetensors format "
            f"({str(error).splitlines()[0]}): get it again"
        ) from error


def _describe(name: str, registered: _Registered, path: Path) -> ModelInfo:
    """What is known of a model whose weights are expected at `path`."""
    thresholds = dict(_THRESHOLDS)
    if path.exists():
        stated = _header(path).get("default_thresholds")
        if stated is not None:
            try:
                thresholds |= {str(k): float(v) for k, v in json.loads(stated).items()}
                if not all(0 <= t <= 1 for t in thresholds.values()):  # NaN is not either
                    raise ValueError("out of range")
            except (ValueError, AttributeError, TypeError) as error:
                raise WeightsError(
                    f"weights file {path} has default_thresholds {stated!r}; expected a number "
                    "from 0 to 1 for each linkage, in JSON"
                ) from error
    return ModelInfo(
        name,
        registered.description,
        registered.embedding_dim,
        registered.has_boundary,
        path.exists(),
        path if path.exists() else None,
        registered.sha256 if name in _NETWORKS else None,
        registered.licence,
        thresholds,
        next(k for k, v in _NETWORKS.items() if v is registered),
    )


def list_models() -> tuple[ModelInfo, ...]:
    """All registered models, the default first.

    Returns
    -------
    tuple of ModelInfo
        Those without weights on this machine have ``available`` False.

    Examples
    --------
    >>> from napari_del import list_models
    >>> [model.name for model in list_models()]
    ['del-lite', 'del-vgg16', 'mean-color']
    """
    return (*(_listed(name, r) for name, r in _NETWORKS.items()), _MEAN_COLOR_INFO)


def _listed(name: str, registered: _Registered) -> ModelInfo:
    """Like `_describe`; a damaged file makes its model unavailable, not the list."""
    path = _WEIGHTS / registered.file
    try:
        return _describe(name, registered, path)
    except WeightsError as error:
        return replace(
            _describe(name, registered, path.with_suffix(".missing")), description=str(error)
        )


def find_model(model: str | PathLike[str]) -> ModelInfo:
    """Look a model up by its name, or by the path of its weights file.

    Parameters
    ----------
    model : str or path
        A registered name, or a ``.safetensors`` file whose metadata names its architecture.

    Returns
    -------
    ModelInfo
        An available model.

    Raises
    ------
    ModelError
        If there is no such model, or it has no weights on this machine.
    WeightsError
        If the file cannot be used.
    """
    if model == MEAN_COLOR:
        return _MEAN_COLOR_INFO
    if isinstance(model, str) and model in _NETWORKS:
        registered = _NETWORKS[model]
        info = _describe(model, registered, _WEIGHTS / registered.file)
        if not info.available:
            raise ModelError(
                f"model {model!r} has no weights on this machine; {registered.description}, and "
                "give the path of the file as the model"
            )
        return info
    path = Path(model)
    if not path.is_file():
        names = ", ".join([*_NETWORKS, MEAN_COLOR])
        raise ModelError(
            f"model {str(model)!r} is not known; expected one of {names}, or the path of a "
            ".safetensors file"
        )
    architecture = _header(path).get("architecture")
    if architecture not in _NETWORKS:
        raise WeightsError(
            f"weights file {path} names the architecture {architecture!r}; expected one of "
            f"{', '.join(_NETWORKS)} in its metadata"
        )
    return _describe(str(model), _NETWORKS[architecture], path)


def resolve_device(device: str | torch.device) -> torch.device:
    """The device to compute on.

    Parameters
    ----------
    device : str or torch.device
        "auto" for the GPU if there is one, else the CPU; or a device by name.

    Returns
    -------
    torch.device
        A device that this machine has.

    Raises
    ------
    DeviceError
        If it is not a device of this machine.
    """
    import torch

    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise DeviceError(
            f"device {device!r} is not known; expected 'auto', 'cpu', 'cuda' or 'cuda:N'"
        ) from error
    if found.type not in ("cpu", "cuda"):
        raise DeviceError(f"device {device!r} is not supported; expected 'auto', 'cpu' or 'cuda'")
    if found.type == "cuda":
        n = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if n == 0:
            raise DeviceError(
                f"device {device!r} needs CUDA, which PyTorch does not find here: use 'cpu' or "
                "'auto', or install a PyTorch build with CUDA and the driver"
            )
        if (found.index or 0) >= n:
            raise DeviceError(f"device {device!r} does not exist; there are {n}, from cuda:0 on")
    return found


@lru_cache(maxsize=4)
def _load(path: Path, modified: int, architecture: str, sha256: str | None, device: str) -> Network:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(
            f"weights file {path} has SHA-256 {digest}; expected {sha256}: "
            "install the package again"
        )
    try:
        state = load(data)
    except SafetensorError as error:
        raise WeightsError(f"weights file {path} is damaged ({error}): get it again") from error
    registered = _NETWORKS[architecture]
    build = cast(
        "Callable[[], torch.nn.Module]",
        getattr(import_module(registered.module), registered.network),
    )
    network = build()
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state.items()}
    if expected != found:
        name = min(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        raise WeightsError(
            f"weights file {path} is not of {architecture}: tensor {name} has shape "
            f"{found.get(name, 'missing')}; expected {expected.get(name, 'none of that name')}"
        )
    network.load_state_dict({name: t.float() for name, t in state.items()})
    network = network.eval().requires_grad_(False).to(device)
    return cast("Network", network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


def load_network(info: ModelInfo, device: torch.device) -> Network:
    """Load a model's network onto a device; loaded again only if the file has changed.

    Parameters
    ----------
    info : ModelInfo
        A model with weights, as `find_model` gives it.
    device : torch.device
        Where to compute.

    Returns
    -------
    Network
        In evaluation mode, 32-bit.

    Raises
    ------
    WeightsError
        If the file is damaged, of another network, or not the one that was shipped.
    """
    if info.path is None or info.architecture is None:
        raise ModelError(f"model {info.name!r} has no weights file")
    return _load(
        info.path,
        info.path.stat().st_mtime_ns,
        info.architecture,
        info.sha256,
        str(device),
    )
