"""Which models there are: those of the package, then a user's own."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike
from pathlib import Path

from napari_del.errors import ModelError, WeightsError
from napari_del.models.info import MEAN_COLOR, NETWORKS, ModelInfo
from napari_del.models.loading import describe_file
from napari_del.models.user import describe_user_model, list_user_models, user_model_names

__all__ = ["find_model", "list_models"]

_WEIGHTS = Path(__file__).parent / "weights"
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


def _without_weights(name: str) -> ModelInfo:
    network = NETWORKS[name]
    return ModelInfo(
        name,
        network.description,
        network.embedding_dim,
        network.has_boundary,
        available=False,
        path=None,
        sha256=network.sha256,
        licence=network.licence,
        architecture=name,
    )


def _built_in(name: str) -> ModelInfo:
    """A network of the package, with the weights that ship with it if there are any."""
    info = _without_weights(name)
    path = _WEIGHTS / NETWORKS[name].file
    if not path.exists():
        return info
    thresholds = describe_file(path, name).default_thresholds
    return replace(info, available=True, path=path, default_thresholds=thresholds)


def _listed(name: str) -> ModelInfo:
    """Like `_built_in`; a damaged file makes its model unavailable, not the list."""
    try:
        return _built_in(name)
    except WeightsError as error:
        return replace(_without_weights(name), description=str(error))


def list_models() -> tuple[ModelInfo, ...]:
    """All models: the default first, then the others of the package, then user models.

    Returns
    -------
    tuple of ModelInfo
        Those that cannot be used on this machine have ``available`` False.

    Examples
    --------
    >>> from napari_del import list_models
    >>> [model.name for model in list_models() if model.kind == "built-in"]
    ['del-lite', 'del-vgg16', 'mean-color']
    """
    user = {info.name: info for info in list_user_models()}
    built_in = [_listed(name) for name in NETWORKS]
    # A user's weights take the place of those that do not ship with the package.
    built_in = [info if info.available else user.pop(info.name, info) for info in built_in]
    return (*built_in, _MEAN_COLOR_INFO, *user.values())


def find_model(model: str | PathLike[str]) -> ModelInfo:
    """Look a model up by its name, or by the path of its weights file.

    Parameters
    ----------
    model : str or path
        Name of a built-in or user model, or a ``.safetensors`` file whose metadata names its
        architecture.

    Returns
    -------
    ModelInfo
        An available model.

    Raises
    ------
    ModelError
        If there is no such model, or it has no weights on this machine.
    WeightsError
        If its file cannot be used.
    """
    if model == MEAN_COLOR:
        return _MEAN_COLOR_INFO
    if isinstance(model, str) and model in NETWORKS:
        info = _built_in(model)
        if info.available:
            return info
    user = user_model_names() if isinstance(model, str) else []
    if isinstance(model, str) and model in user:
        return describe_user_model(model)
    if isinstance(model, str) and model in NETWORKS:
        raise ModelError(
            f"model {model!r} has no weights on this machine; {NETWORKS[model].description}, and "
            "give the path of the file as the model"
        )
    path = Path(model)
    if not path.is_file():
        names = ", ".join([*NETWORKS, MEAN_COLOR, *user])
        raise ModelError(
            f"model {str(model)!r} is not known; expected one of {names}, or the path of a "
            ".safetensors file"
        )
    return describe_file(path, str(model))
