"""The TOML file that describes a training: its data, its network and how to train."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from napari_del.errors import ParameterError, ReadError
from napari_del.evaluation.datasets import FOLDS
from napari_del.training.config_values import KEYS
from napari_del.training.merge_function import MERGE_LAYERS
from napari_del.training.settings import TrainingSettings

__all__ = ["DataConfig", "NetworkConfig", "TrainingConfig", "ValidationConfig", "load_config"]

_Table = TypeVar("_Table")
# What a configuration has beside plain keys.
_TABLES = ("data", "training", "network", "validation")


@dataclass(frozen=True)
class DataConfig:
    """One folder of training images, ``[[data]]``.

    Attributes
    ----------
    path : Path
        Folder that `napari_del.evaluation.load_set` reads; relative to the configuration.
    name : str
        Name of the set; that of the folder by default.
    weight : float
        Share of the training samples, relative to those of other sets.
    scales : tuple of float
        Least and largest scale at which images are shown.
    strength : float
        How much colours and sharpness are changed, 0 to 1, see `recolour`.
    crowding : float
        Draw images in proportion to the number of their regions to this power, 0 to 1.
    merge_weight : float, optional
        Share of the images that the merge function is trained on; `weight` by default.
    pasting : float
        Share of the samples over which regions of other images are pasted, 0 to 1.
    hold_out : bool
        Leave every fifth image out, see `napari_del.evaluation.held_out`.
    fold : int
        Which of every five that is, 0 to 4; by default the last.
    limit : int, optional
        Use this many images at most, evenly spaced over the sorted names.
    """

    path: Path
    name: str = ""
    weight: float = 1.0
    scales: tuple[float, float] = (0.7, 1.5)
    strength: float = 1.0
    crowding: float = 0.0
    merge_weight: float | None = None
    pasting: float = 0.0
    hold_out: bool = False
    fold: int = FOLDS - 1
    limit: int | None = None


@dataclass(frozen=True)
class NetworkConfig:
    """The network and the weights that it starts with, ``[network]``.

    Attributes
    ----------
    model : str
        Architecture; "del-lite".
    initial : str
        "imagenet" for an encoder trained on ImageNet and a new decoder, the name of a model,
        or a ``.safetensors`` file, relative to the configuration.
    encoder : str
        One of `ENCODERS`, for "imagenet"; a model or file has its own.
    average_with : str
        A second model or file, as for `initial`: training starts with the mean of both weights.
        Of networks that come from one another, one trained on natural images and one on all
        kinds, the mean is good at both (Wortsman et al., "Robust fine-tuning of zero-shot
        models", CVPR 2022).
    average_after : str
        A model or file, as for `initial`: the trained weights are averaged with these. The mean
        of the weights before and after a training is mostly better than either.
    average_share : float
        Share of `average_after` in that mean, 0 to 1.
    imagenet_share : float
        Share of the encoder's weights of ImageNet in the mean with the trained ones, 0 to 1, taken
        at the end. They have not seen the training images, and some of them lets the network
        rely less on what it knows of these by heart (Wortsman et al., as above).
    """

    model: str = "del-lite"
    initial: str = "imagenet"
    encoder: str = ""
    average_with: str = ""
    average_after: str = ""
    average_share: float = 0.5
    imagenet_share: float = 0.0


@dataclass(frozen=True)
class ValidationConfig:
    """Images that are looked at meanwhile and that thresholds are chosen on, ``[validation]``.

    Attributes
    ----------
    path : Path
        Folder as for training images.
    name : str
        Name of the set; that of the folder by default.
    every : int
        Steps between two looks.
    images : int
        Images in the picture sheet.
    hold_out : bool
        Use only the images that training with ``hold_out`` leaves out.
    fold : int
        Which of every five these are, as for training images.
    limit : int, optional
        Use this many images at most, evenly spaced over the sorted names.
    """

    path: Path
    name: str = ""
    every: int = 500
    images: int = 4
    hold_out: bool = False
    fold: int = FOLDS - 1
    limit: int | None = 40


@dataclass(frozen=True)
class TrainingConfig:
    """A training.

    Attributes
    ----------
    data : tuple of DataConfig
        At least one.
    training : TrainingSettings
        How to train.
    network : NetworkConfig
        What to train.
    validation : ValidationConfig, optional
        Nothing is looked at without it.
    synthetic : float
        Share of composites, relative to the weights of the data, see `composite`.
    composites : str
        Their kind, one of `COMPOSITES`.
    size : tuple of int
        Height and width of training samples; less where an image is smaller.
    output : Path, optional
        Weights file to write, relative to the configuration.
    merge_images : int
        Images on which the function for the linkage "learned" is trained at the end, see
        `napari_del.training.merge_function`; 0 for none.
    merge_sets : tuple of str
        Names of the sets that these images are of; of all, and composites, by default.
    merge_layers : tuple of int
        Width of each hidden layer of that function.
    """

    data: tuple[DataConfig, ...]
    training: TrainingSettings = field(default_factory=TrainingSettings)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    validation: ValidationConfig | None = None
    synthetic: float = 0.0
    composites: str = "mixed"
    size: tuple[int, int] = (320, 320)
    output: Path | None = None
    merge_images: int = 300
    merge_sets: tuple[str, ...] = ()
    merge_layers: tuple[int, ...] = MERGE_LAYERS

    def recipe(self) -> dict[str, Any]:
        """What the course of the training depends on beside `training`; plain values.

        Where the data lie, and what is looked at meanwhile, makes no difference.
        """
        data: dict[str, Any] = {}
        for item in self.data:
            values = {key: value for key, value in asdict(item).items() if key != "path"}
            data[item.name] = {**values, "scales": list(item.scales)}
        return {
            # A folder by another name, or another checkout, holds the same weights.
            "network": {
                "model": self.network.model,
                "initial": Path(self.network.initial).name,
                "encoder": self.network.encoder,
                "average_with": Path(self.network.average_with).name,
                "average_after": Path(self.network.average_after).name,
                "average_share": self.network.average_share,
                "imagenet_share": self.network.imagenet_share,
            },
            "data": data,
            "synthetic": self.synthetic,
            "composites": self.composites,
            "size": list(self.size),
        }


def load_config(path: str | PathLike[str]) -> TrainingConfig:
    """Read the configuration of a training.

    Parameters
    ----------
    path : path
        TOML file with the keys of `TrainingConfig`: the tables ``[training]``, ``[network]``,
        ``[validation]`` and one or more ``[[data]]``, and above them ``synthetic``,
        ``composites``, ``size``, ``merge_images``, ``merge_sets``, ``merge_layers`` and
        ``output``.

    Returns
    -------
    TrainingConfig
        Paths are relative to the folder of the file no more.

    Raises
    ------
    ReadError
        If the file cannot be read or is no TOML.
    ParameterError
        If a key is not known, missing, of a wrong type or out of range.
    """
    path = Path(path)
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ReadError(f"configuration {path} cannot be read: {reason}") from error
    return _Reader(path).config(given)


class _Reader:
    """Reads the tables of one file, and says where in it a value is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def config(self, given: Mapping[str, Any]) -> TrainingConfig:
        self._known(given, [f.name for f in fields(TrainingConfig)], "")
        tables = given.get("data", [])
        if not isinstance(tables, list) or not tables:
            raise self._error("", f"data is {tables!r}; expected one or more tables [[data]]")
        data = tuple(
            self._table(DataConfig, table, f"[[data]] {number}")
            for number, table in enumerate(tables, start=1)
        )
        names = [item.name for item in data]
        for name in names:
            if names.count(name) > 1:
                raise self._error("[[data]]", f"name {name!r} is given twice; choose another name")
        validation = given.get("validation")
        # Keys that are not given keep the one default that there is, in the class.
        rest = self._values({k: v for k, v in given.items() if k not in _TABLES}, "")
        return TrainingConfig(
            data,
            self._table(TrainingSettings, given.get("training", {}), "[training]"),
            self._table(NetworkConfig, given.get("network", {}), "[network]"),
            None
            if validation is None
            else self._table(ValidationConfig, validation, "[validation]"),
            **rest,
        )

    def _table(self, kind: Callable[..., _Table], given: object, where: str) -> _Table:
        if not isinstance(given, Mapping):
            raise self._error("", f"{where} is {given!r}; expected a table")
        self._known(given, [f.name for f in fields(kind)], where)  # type: ignore[arg-type]  # a dataclass
        if kind is TrainingSettings:
            try:
                return kind(**given)
            except ParameterError as error:
                raise self._error(where, str(error)) from error
        values = self._values(given, where)
        if kind in (DataConfig, ValidationConfig):
            if "path" not in values:
                raise self._error(where, "path is missing; expected the folder of the images")
            values.setdefault("name", values["path"].resolve().name)
        for key in ("initial", "average_with", "average_after"):
            if str(values.get(key, "")).endswith(".safetensors"):
                values[key] = str(self._path.parent / values[key])
        return kind(**values)

    def _known(self, given: Mapping[str, Any], known: list[str], where: str) -> None:
        for key in given:
            if key not in known:
                near = get_close_matches(key, known, n=1, cutoff=0.0)[0]
                raise self._error(
                    where,
                    f"key {key!r} is not known, did you mean {near!r}? expected {', '.join(known)}",
                )

    def _values(self, given: Mapping[str, Any], where: str) -> dict[str, Any]:
        values = {}
        for key, value in given.items():
            read, expected = KEYS[key]
            try:
                values[key] = read(value)
            except (TypeError, ValueError):
                raise self._error(where, f"{key} is {value!r}; expected {expected}") from None
            if isinstance(values[key], Path):
                values[key] = self._path.parent / values[key]
        return values

    def _error(self, where: str, message: str) -> ParameterError:
        place = f"{self._path}, {where}" if where else str(self._path)
        return ParameterError(f"{place}: {message}")
