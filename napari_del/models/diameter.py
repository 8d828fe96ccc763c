"""The scale and the superpixel step that suit objects of a diameter."""

from __future__ import annotations

import math
from os import PathLike
from typing import TypedDict

from napari_del.errors import ParameterError
from napari_del.models.registry import find_model

__all__ = ["SizeSettings", "settings_for"]


class SizeSettings(TypedDict):
    """Arguments of `napari_del.segment`."""

    scale: float
    step: int


# Objects of diameters below the first number, in pixels, are found best at this scale and step.
# Measured with del-lite on training images of eight sets (benchmarks/diameters.py).
_RULE = ((24, 2.0, 6), (44, 1.0, 6), (math.inf, 1.0, 8))


def settings_for(diameter: float, model: str | PathLike[str] = "del-lite") -> SizeSettings:
    """Scale and step that suit objects of a diameter.

    Small objects are found better in an image that the network sees enlarged, and cut into
    smaller superpixels. The rule was measured with ``del-lite``.

    Parameters
    ----------
    diameter : float
        Diameter of typical objects in pixels: that of a disc of the same area.
    model : str or path
        Model that is to be used. One without a network has a scale of 1 alone.

    Returns
    -------
    dict
        ``scale`` and ``step`` for `napari_del.segment` and `napari_del.segment_large`.

    Raises
    ------
    ParameterError
        If the diameter is not a number above 0.
    ModelError
        If the model is not known.

    Examples
    --------
    >>> from napari_del import settings_for
    >>> settings_for(diameter=17)
    {'scale': 2.0, 'step': 6}
    >>> settings_for(diameter=100)
    {'scale': 1.0, 'step': 8}
    """
    try:
        value = (
            0.0 if isinstance(diameter, bool) or float(diameter) != diameter else float(diameter)
        )
    except (TypeError, ValueError):  # text, None
        value = 0.0
    if not 0 < value < math.inf:
        raise ParameterError(
            f"diameter is {diameter!r}; expected that of typical objects in pixels, above 0"
        )
    info = find_model(model)
    scale, step = next((scale, step) for below, scale, step in _RULE if value < below)
    return {"scale": scale if info.architecture is not None else 1.0, "step": step}
