"""What a run reads from an image layer, and where its labels belong.

A run segments one plane: the two axes that the viewer shows. Labels lie in a layer of the same
number of dimensions, one plane thick, so that they appear with their plane and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import CompositeAffine

from napari_del.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Labels

__all__ = ["Source", "channel_axes", "guess_channel_axis", "n_channels", "source_of"]

_CHANNEL_LABELS = frozenset({"c", "ch", "channel", "channels", "band", "bands", "wavelength"})


@dataclass(frozen=True)
class Source:
    """One plane of an image layer.

    Parameters
    ----------
    data : array
        The layer's data at full resolution: numpy, dask, zarr or the like.
    index : tuple of int and slice
        Selects the plane and all its channels.
    channel_axis : int or None
        Axis of the channels after indexing.
    plane : tuple of int
        Position of the plane on the axes that are not shown.
    shape : tuple of int
        Shape of the labels layer: 1 along the axes that are not shown.
    placement : dict
        Keyword arguments that put a labels layer of this shape on the plane.
    """

    data: Any
    index: tuple[int | slice, ...]
    channel_axis: int | None
    plane: tuple[int, ...]
    shape: tuple[int, ...]
    placement: dict[str, Any]

    def read(self) -> Any:
        """The plane as an array (Y, X) or (Y, X, C); may read from a file or stay lazy.

        Returns
        -------
        ndarray or dask.array.Array
        """
        array = self.data[self.index]
        # Only these two are known to have every method that is used from here on.
        if not (isinstance(array, np.ndarray) or type(array).__module__.startswith("dask.")):
            array = np.asarray(array)
        if self.channel_axis is not None:
            array = np.moveaxis(array, self.channel_axis, -1)
        return array


def channel_axes(layer: Image) -> list[int]:
    """Axes of a layer that may hold channels: all but the last two, none for RGB."""
    return [] if layer.rgb else list(range(layer.ndim - 2))


def guess_channel_axis(layer: Image) -> int | None:
    """The axis whose label says that it holds channels, such as "c" or "channel"."""
    for axis in channel_axes(layer):
        if layer.axis_labels[axis].strip().lower() in _CHANNEL_LABELS:
            return axis
    return None


def n_channels(layer: Image, channel_axis: int | None) -> int:
    """Number of channels to choose from; 1 for a grey image."""
    shape = _full_resolution(layer).shape
    if layer.rgb:
        return int(shape[-1])
    return 1 if channel_axis is None else int(shape[channel_axis])


def source_of(layer: Image | Labels, dims: Dims, channel_axis: int | None = None) -> Source:
    """The plane of a layer that the viewer shows.

    Parameters
    ----------
    layer : napari.layers.Image or napari.layers.Labels
        Of any number of dimensions; of a multiscale layer the full resolution is taken.
    dims : napari.components.Dims
        The viewer's axes: which are shown, and where the others stand.
    channel_axis : int, optional
        Axis of `layer` that holds channels.

    Returns
    -------
    Source

    Raises
    ------
    ImageError
        If the layer has no plane where the viewer stands.
    ParameterError
        If the channel axis is shown.
    """
    data, ndim = _full_resolution(layer), layer.ndim
    # Layers of fewer dimensions than the viewer are lined up at the last axis.
    shown = sorted(axis - (dims.ndim - ndim) for axis in dims.order[-2:])
    if shown[0] < 0:
        raise ImageError(
            f"layer {layer.name!r} has {ndim} dimensions and lacks an axis that the viewer "
            "shows; change the order of the axes to show two axes of the layer"
        )
    if channel_axis is not None and channel_axis in shown:
        raise ParameterError(
            f"axis {channel_axis} of layer {layer.name!r} is shown, so it cannot hold channels; "
            "choose another channel axis or change the order of the axes"
        )
    hidden = [axis for axis in range(ndim) if axis not in shown]
    at = dict.fromkeys(hidden, 0)
    point = _point_in(layer, dims)
    for axis in hidden:
        if axis == channel_axis and axis == 0:
            continue  # dropped below, so it has no position
        at[axis], size = round(point[axis]), data.shape[axis]
        if not 0 <= at[axis] < size:
            raise ImageError(
                f"layer {layer.name!r} has no plane at the position shown: {at[axis]} on axis "
                f"{axis}, which has 0 to {size - 1}; move the slider below the image"
            )
    index: list[int | slice] = [at.get(axis, slice(None)) for axis in range(data.ndim)]
    position = None
    if channel_axis is not None:
        index[channel_axis] = slice(None)
        position = sum(axis < channel_axis for axis in shown)
    elif getattr(layer, "rgb", False):  # labels have no such attribute
        position = 2
    # Channels that come first are left out of the labels, which then show over all of them.
    kept = [axis for axis in range(ndim) if not (axis == channel_axis == 0)]
    return Source(
        data=data,
        index=tuple(index),
        channel_axis=position,
        plane=tuple(at[axis] for axis in hidden if axis != channel_axis),
        shape=tuple(1 if axis in at else int(data.shape[axis]) for axis in kept),
        placement=_placement(layer, [at.get(axis, 0) for axis in range(ndim)], kept),
    )


def _full_resolution(layer: Image | Labels) -> Any:
    # np.asarray of a multiscale layer's data would give the coarsest level.
    return layer.data[0] if layer.multiscale else layer.data


def _point_in(layer: Image | Labels, dims: Dims) -> list[float]:
    """Where the viewer stands, in data coordinates of a layer."""
    point = np.array(dims.point[-layer.ndim :], dtype=float)
    world_units = getattr(dims, "units", None) or layer.units  # napari >= 0.7 converts units
    for axis, (world, own) in enumerate(zip(world_units[-layer.ndim :], layer.units, strict=True)):
        if world != own and world.is_compatible_with(own):
            point[axis] *= (1 * world).to(own).magnitude
    return [float(value) for value in layer.world_to_data(point)]


def _placement(layer: Image | Labels, corner: list[int], kept: list[int]) -> dict[str, Any]:
    own = CompositeAffine(
        scale=layer.scale, translate=layer.translate, rotate=layer.rotate, shear=layer.shear
    )
    translate = np.asarray(own(corner))[kept] if any(corner) else layer.translate[kept]
    part = own.set_slice(kept)
    return {
        "scale": layer.scale[kept],
        "translate": translate,
        "rotate": part.rotate,
        "shear": part.shear,
        "affine": layer.affine.set_slice(kept),
        "units": tuple(layer.units[axis] for axis in kept),
        "axis_labels": tuple(layer.axis_labels[axis] for axis in kept),
    }
