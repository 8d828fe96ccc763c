"""User models: weights files that were installed under a name, for every program to find.

Each is a file ``NAME.safetensors`` in one folder, beside it ``NAME.sha256`` in the format of
the program ``sha256sum``: the SHA-256 of the file as it was installed. A file that is damaged,
was changed since or was never installed is not used.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from dataclasses import replace
from functools import lru_cache
from os import PathLike
from pathlib import Path

from napari_del.errors import ModelError, OutputError, WeightsError
from napari_del.models.info import MEAN_COLOR, NETWORKS, ModelInfo
from napari_del.models.loading import build_network, describe_file, read_bytes

__all__ = [
    "check_model_name",
    "describe_user_model",
    "install_model",
    "list_user_models",
    "models_folder",
    "remove_model",
    "user_model_names",
]

_SUFFIX = ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def models_folder() -> Path:
    """The folder of user models; it need not exist.

    Returns
    -------
    Path
        That of the environment variable ``NAPARI_DEL_MODELS``, or else one in the user's data
        directory.
    """
    override = os.environ.get("NAPARI_DEL_MODELS")
    if override:
        return Path(override).expanduser()
    from platformdirs import user_data_path

    return user_data_path("napari-del", appauthor=False) / "models"


def _path(name: str) -> Path:
    return models_folder() / (name + _SUFFIX)


def _record(name: str) -> Path:
    return models_folder() / (name + ".sha256")


def user_model_names() -> list[str]:
    """Names of the weights files in the folder, usable or not, in alphabetical order."""
    paths = models_folder().glob("[!.]*" + _SUFFIX)
    names = [path.name.removesuffix(_SUFFIX) for path in paths]
    return sorted(names, key=lambda name: (name.casefold(), name))


def describe_user_model(name: str) -> ModelInfo:
    """What is known of a user model that can be used.

    Parameters
    ----------
    name : str
        One of `user_model_names`.

    Returns
    -------
    ModelInfo
        Of the kind "user", with the SHA-256 of the file.

    Raises
    ------
    WeightsError
        If the file is damaged, was never installed, or is not the one that was.
    """
    path = _path(name)
    info = describe_file(path, name)
    try:
        recorded = _record(name).read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        recorded = []
    if not recorded:
        raise WeightsError(
            f"weights file {path} has no record of its SHA-256: install it with `napari-del "
            f"models install`, --name {name} and --overwrite, or remove it"
        )
    status = path.stat()
    digest = _digest(path, status.st_mtime_ns, status.st_size)
    if digest != recorded[0]:
        raise WeightsError(
            f"weights file {path} has SHA-256 {digest}; expected {recorded[0]}, as it was "
            "installed: install the model again"
        )
    base = info.base_model or info.architecture
    return replace(info, kind="user", sha256=digest, base_model=base)


@lru_cache(maxsize=64)
def _digest(path: Path, modified: int, size: int) -> str:
    """SHA-256 of a file, computed again only if the file has changed."""
    return hashlib.sha256(read_bytes(path)).hexdigest()


def list_user_models() -> list[ModelInfo]:
    """All user models in alphabetical order; one that cannot be used says why.

    Returns
    -------
    list of ModelInfo
        Of the kind "user". Those with ``available`` False have the reason as description.
    """
    return [_listed(name) for name in user_model_names()]


def _listed(name: str) -> ModelInfo:
    try:
        return describe_user_model(name)
    except (WeightsError, OSError) as error:
        return ModelInfo(name, str(error), 0, False, False, None, None, "not known", kind="user")


def check_model_name(name: str, *, overwrite: bool = False, architecture: str | None = None) -> str:
    """Check that a user model can be installed under a name.

    Parameters
    ----------
    name : str
        Letters, digits, ``.``, ``_`` and ``-``, up to 64, the first a letter or digit.
    overwrite : bool
        Whether a user model of that name may exist.
    architecture : str, optional
        Of the model. The name of a network whose weights do not ship with the package is
        allowed for weights of that network, and for no others.

    Returns
    -------
    str
        The name.

    Raises
    ------
    ModelError
        If the name is that of another model, or has other characters.

    Examples
    --------
    >>> check_model_name("nuclei-2")
    'nuclei-2'
    >>> check_model_name("del-lite")
    Traceback (most recent call last):
    napari_del.errors.ModelError: 'del-lite' is the name of a built-in model; choose another name
    """
    if not _NAME.fullmatch(name) or name.endswith((_SUFFIX, ".")):
        raise ModelError(
            f"{name!r} cannot be the name of a model; expected up to 64 of the letters a to z, "
            "digits, '.', '_' and '-', beginning with a letter or digit"
        )
    # Some file systems take names for the same that differ in case alone.
    folded = name.casefold()
    vacant = name == architecture and NETWORKS[name].sha256 is None
    if folded in {n.casefold() for n in (*NETWORKS, MEAN_COLOR)} and not vacant:
        raise ModelError(f"{name!r} is the name of a built-in model; choose another name")
    taken = next((n for n in user_model_names() if n.casefold() == folded), None)
    if taken is not None and not (overwrite and taken == name):
        raise ModelError(
            f"a model named {taken!r} is installed already; choose another name, or replace "
            f"that one (--overwrite) or remove it (napari-del models remove {taken})"
        )
    return name


def install_model(
    path: str | PathLike[str], *, name: str | None = None, overwrite: bool = False
) -> ModelInfo:
    """Copy a weights file to the folder of user models, so that its name is enough to use it.

    Parameters
    ----------
    path : path
        Safetensors file whose metadata names its architecture.
    name : str, optional
        Name of the model; by default that of the file, without the suffix.
    overwrite : bool
        Whether a user model of that name is replaced.

    Returns
    -------
    ModelInfo
        The model as it is installed.

    Raises
    ------
    ModelError
        If the name is taken or has bad characters.
    WeightsError
        If the file is damaged, or not of a network that there is.
    OutputError
        If the folder cannot be written to; then nothing is changed.
    """
    from napari_del.io.outputs import replacing

    path = Path(path)
    data = read_bytes(path)
    info = describe_file(path, str(path))
    assert info.architecture is not None  # of any file that can be described
    if name is None:
        name = path.name.removesuffix(_SUFFIX)
    check_model_name(name, overwrite=overwrite, architecture=info.architecture)
    network = build_network(data, path, info.architecture)
    for key, tensor in network.state_dict().items():
        if not bool(tensor.isfinite().all()):
            raise WeightsError(f"weights file {path} has NaN or infinite values in tensor {key}")
    folder, target = models_folder(), _path(name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"model folder {folder} cannot be made: {error.strerror or error}; name another "
            "with the environment variable NAPARI_DEL_MODELS"
        ) from error
    line = f"{hashlib.sha256(data).hexdigest()}  {target.name}\n"
    # The weights are complete before the record takes its place, and follow at once. A record
    # without weights is not a model, so it goes first.
    with replacing(target, overwrite=overwrite) as weights:
        weights.write_bytes(data)
        with replacing(_record(name), overwrite=True) as record:
            record.write_bytes(line.encode())
    return describe_user_model(name)


def remove_model(name: str) -> Path:
    """Remove a user model; also one that is damaged.

    Parameters
    ----------
    name : str
        Its name.

    Returns
    -------
    Path
        The weights file that was removed.

    Raises
    ------
    ModelError
        If there is no user model of that name.
    OutputError
        If it cannot be removed.
    """
    names = user_model_names()
    if name not in names:
        if name == MEAN_COLOR or name in NETWORKS:
            raise ModelError(f"{name!r} is a built-in model; only user models can be removed")
        close = difflib.get_close_matches(name, names, 1)
        hint = (
            f"did you mean {close[0]!r}?" if close else f"installed: {', '.join(names) or 'none'}"
        )
        raise ModelError(f"no user model is named {name!r}; {hint}")
    path = _path(name)
    try:
        path.unlink()
        _record(name).unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"{path} cannot be removed: {error.strerror or error}") from error
    return path
