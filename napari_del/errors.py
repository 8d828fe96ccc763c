"""The errors and warnings that napari-del raises.

Every message names the value that was given, what was expected and what to do about it, in
one line, because the command line and the widget show it as it is.
"""

from __future__ import annotations

__all__ = [
    "Cancelled",
    "DeviceError",
    "ImageError",
    "ModelError",
    "NapariDelError",
    "NonFiniteWarning",
    "OutputError",
    "ParameterError",
    "ReadError",
    "SchedulerError",
    "StoreError",
    "WeightsError",
]


class NapariDelError(Exception):
    """Base class of all errors that napari-del raises on purpose."""


class ImageError(NapariDelError, ValueError):
    """An image or mask that cannot be segmented: its shape, dtype, channels or values."""


class ParameterError(NapariDelError, ValueError):
    """A parameter outside its range, such as a step of 3 or a threshold of 1.5."""


class ModelError(NapariDelError, ValueError):
    """A model that is not known or not installed."""


class WeightsError(ModelError):
    """A weights file that is damaged, of another network, or not in safetensors format."""


class DeviceError(NapariDelError, RuntimeError):
    """A compute device that this machine does not have."""


class ReadError(NapariDelError, OSError):
    """An input file that cannot be read."""


class OutputError(NapariDelError, OSError):
    """An output file that exists already, cannot be written or has an unknown suffix."""


class StoreError(NapariDelError, OSError):
    """A store of a tiled run that is of another run or version, damaged, or cannot be written."""


class SchedulerError(NapariDelError, RuntimeError):
    """Workers of a tiled run that cannot be reached, are of another version, or died."""


class Cancelled(NapariDelError):
    """The run was stopped by its progress callback."""


class NonFiniteWarning(UserWarning):
    """Some pixels are NaN or infinite and are treated as nodata."""
