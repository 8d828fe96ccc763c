"""Weights files: what their headers say, and how a network is loaded from one.

Weights are read from safetensors files alone, never from pickles, which can run code.
"""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, cast

from napari_del.errors import ModelError, ParameterError, WeightsError
from napari_del.models.info import NETWORKS, THRESHOLDS, ModelInfo, Network

if TYPE_CHECKING:
    import torch

    from napari_del.merging import MergeFunction

__all__ = ["build_network", "describe_file", "load_merge_function", "load_network", "read_bytes"]

# Tensors of the merge function are kept beside those of the network under this prefix.
MERGE_PREFIX = "merge."

_LONGEST = 200


def _unreadable(path: Path, error: OSError) -> WeightsError:
    return WeightsError(f"weights file {path} cannot be read: {error.strerror or error}")


def read_bytes(path: Path) -> bytes:
    """The bytes of a weights file, or a `WeightsError` that says why there are none."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from error


def _header(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file, or a `WeightsError` that says what the file is."""
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as stream:
            start = stream.read(4)
    except OSError as error:
        raise _unreadable(path, error) from error
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


def _thresholds(path: Path, stated: str | None) -> dict[str, float]:
    if stated is None:
        return dict(THRESHOLDS)
    try:
        thresholds = THRESHOLDS | {str(k): float(v) for k, v in json.loads(stated).items()}
        if not all(0 <= t <= 1 for t in thresholds.values()):  # NaN is not either
            raise ValueError("out of range")
    except (ValueError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"weights file {path} has default_thresholds {stated!r}; expected a number "
            "from 0 to 1 for each linkage, in JSON"
        ) from error
    return thresholds


def _line(text: str) -> str:
    """A text of a foreign file on one line that is safe to print, cut to a decent length."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"


def describe_file(path: Path, name: str) -> ModelInfo:
    """What the header of a weights file says of the model in it.

    Parameters
    ----------
    path : Path
        Safetensors file.
    name : str
        Name of the model.

    Returns
    -------
    ModelInfo
        Of the kind "file", without a SHA-256.

    Raises
    ------
    WeightsError
        If the file is damaged, or names no architecture that there is.
    """
    header = _header(path)
    architecture = header.get("architecture")
    if architecture not in NETWORKS:
        raise WeightsError(
            f"weights file {path} names the architecture {architecture!r}; expected one of "
            f"{', '.join(NETWORKS)} in its metadata"
        )
    network = NETWORKS[architecture]
    base = _line(header.get("base_model", "")) or None
    made = f"fine-tuned from {base}" if base else f"weights of your own for {architecture}"
    return ModelInfo(
        name,
        _line(header.get("description", "")) or made,
        network.embedding_dim,
        network.has_boundary,
        available=True,
        path=path,
        sha256=None,
        licence=_line(header.get("licence", "")) or "not stated",
        default_thresholds=_thresholds(path, header.get("default_thresholds")),
        architecture=architecture,
        kind="file",
        base_model=base,
    )


def build_network(data: bytes, path: Path, architecture: str) -> torch.nn.Module:
    """A network with the weights of a file.

    Parameters
    ----------
    data : bytes
        What the file holds.
    path : Path
        Its name, for messages.
    architecture : str
        Name of the network.

    Returns
    -------
    torch.nn.Module
        On the CPU, 32-bit, in evaluation mode.

    Raises
    ------
    WeightsError
        If the file is damaged, or its tensors are not those of the network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        state = {k: t for k, t in load(data).items() if not k.startswith(MERGE_PREFIX)}
    except SafetensorError as error:
        raise WeightsError(f"weights file {path} is damaged ({error}): get it again") from error
    registered = NETWORKS[architecture]
    kind = getattr(import_module(registered.module), registered.network)
    network = cast("torch.nn.Module", kind.for_tensors(state))
    expected = {name: tuple(t.shape) for name, t in network.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in state.items()}
    if expected != found:
        name = min(k for k in expected.keys() | found.keys() if expected.get(k) != found.get(k))
        raise WeightsError(
            f"weights file {path} is not of {architecture}: tensor {name} has shape "
            f"{found.get(name, 'missing')}; expected {expected.get(name, 'none of that name')}"
        )
    network.load_state_dict({name: t.float() for name, t in state.items()})
    return network.eval().requires_grad_(False)


@lru_cache(maxsize=4)
def _load(
    path: Path, modified: int, architecture: str, sha256: str | None, advice: str, device: str
) -> Network:
    import torch

    data = read_bytes(path)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256:
        raise WeightsError(f"weights file {path} has SHA-256 {digest}; expected {sha256}: {advice}")
    network = build_network(data, path, architecture).to(device)
    return cast("Network", network.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


@lru_cache(maxsize=4)
def _load_merge_function(path: Path, modified: int) -> MergeFunction | None:
    from safetensors import SafetensorError, safe_open

    from napari_del.merging import MergeFunction

    try:
        with safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(MERGE_PREFIX)]  # noqa: SIM118
            tensors = {name[len(MERGE_PREFIX) :]: file.get_tensor(name) for name in names}
        return MergeFunction.from_tensors(tensors) if tensors else None
    except (SafetensorError, OSError, KeyError, ParameterError) as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"weights file {path} has a damaged merge function ({reason}): get it again"
        ) from error


def load_merge_function(info: ModelInfo) -> MergeFunction | None:
    """Load the function that the linkage "learned" asks, if a model has one.

    Parameters
    ----------
    info : ModelInfo
        A model, as `find_model` gives it.

    Returns
    -------
    MergeFunction or None

    Raises
    ------
    WeightsError
        If the file is damaged.
    """
    if info.path is None or not info.has_boundary:
        return None
    return _load_merge_function(info.path, info.path.stat().st_mtime_ns)


def load_network(
    info: ModelInfo, device: torch.device, scale: float = 1.0, precision: str = "float32"
) -> Network:
    """Load a model's network onto a device; loaded again only if the file has changed.

    Parameters
    ----------
    info : ModelInfo
        A model with weights, as `find_model` gives it.
    device : torch.device
        Where to compute.
    scale : float
        At which it is to look at images, one of `SCALES`.
    precision : str
        Numbers that it computes in, one of `PRECISIONS`.

    Returns
    -------
    Network
        In evaluation mode, with 32-bit weights and outputs.

    Raises
    ------
    WeightsError
        If the file is damaged, of another network, or not the one that was shipped or installed.
    """
    if info.path is None or info.architecture is None:
        raise ModelError(f"model {info.name!r} has no weights file")
    try:
        modified = info.path.stat().st_mtime_ns
    except OSError as error:
        raise _unreadable(info.path, error) from error
    what = "the package" if info.kind == "built-in" else "the model"
    advice = f"install {what} again"
    network = _load(info.path, modified, info.architecture, info.sha256, advice, str(device))
    if precision != "float32":
        from napari_del.models.precision import Bfloat16Network  # needs PyTorch

        network = Bfloat16Network(network).eval()
    if scale == 1:
        return network
    from napari_del.models.rescaled import RescaledNetwork  # needs PyTorch

    return RescaledNetwork(network, scale).eval()
