"""What a run reads from an image layer, and where its labels belong.

A run segments one plane: the two axes that the viewer shows. Labels lie in a layer of the same
number of dimensions, one plane thick, so that they appear with their plane and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import CompositeAffine
from numpy.typing import NDArray

from napari_del.errors import ImageError, ParameterError

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Labels

__all__ = [
    "Source",
    "channel_axes",
    "check_same_place",
    "guess_channel_axis",
    "n_channels",
    "source_of",
]

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

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the plane."""
        shape = [n for n, i in zip(self.data.shape, self.index, strict=True) if i == slice(None)]
        if self.channel_axis is not None:
            del shape[self.channel_axis]
        return int(shape[0]), int(shape[1])

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


def check_same_place(
    image: Image, labels: Labels, sizes: Sequence[tuple[int, int]], dims: Dims
) -> None:
    """Check that the pixels of a labels layer are those of an image.

    Parameters
    ----------
    image, labels : napari.layers.Layer
        Layers whose planes are shown.
    sizes : sequence of (int, int)
        Height and width of the plane of each.
    dims : napari.components.Dims
        The viewer's axes.

    Raises
    ------
    ImageError
        If the planes differ in size, or lie apart by more than half a pixel in the viewer.
    """
    (h, w), other = sizes
    if (h, w) != other:
        raise ImageError(
            f"labels layer {labels.name!r} has {other[0]} x {other[1]} pixels, image layer "
            f"{image.name!r} {h} x {w}; expected the same: make the labels with the button for new "
            "labels while the image is the only layer"
        )
    mine, theirs = (_corners(layer, (h, w), dims) for layer in (image, labels))
    pixel = np.linalg.norm(mine[1:] - mine[0], axis=1) / np.maximum([h - 1, w - 1], 1)
    if np.abs(mine - theirs).max() > max(pixel.max() / 2, 1e-9):
        raise ImageError(
            f"labels layer {labels.name!r} does not lie on image layer {image.name!r}: scale, "
            "translate or another transform differs; give the labels layer those of the image"
        )


def _corners(layer: Image | Labels, size: tuple[int, int], dims: Dims) -> NDArray[np.float64]:
    """Where three corners of the plane that is shown are in the viewer, (3, 2)."""
    shown = sorted(axis - (dims.ndim - layer.ndim) for axis in dims.order[-2:])
    units = _world_in_own_units(layer, dims)
    corners = []
    for corner in ((0, 0), (size[0] - 1, 0), (0, size[1] - 1)):
        point = _point_in(layer, dims)
        point[shown[0]], point[shown[1]] = corner
        world = np.asarray(layer.data_to_world(point)) / units
        corners.append(world[shown])
    return np.array(corners)


def _full_resolution(layer: Image | Labels) -> Any:
    # np.asarray of a multiscale layer's data would give the coarsest level.
    return layer.data[0] if layer.multiscale else layer.data


def _world_in_own_units(layer: Image | Labels, dims: Dims) -> NDArray[np.float64]:
    """How many of a layer's own units one unit of the viewer is, for each of its axes."""
    factors = np.ones(layer.ndim)
    world_units = getattr(dims, "units", None) or layer.units  # napari >= 0.7 converts units
    for axis, (world, own) in enumerate(zip(world_units[-layer.ndim :], layer.units, strict=True)):
        if world != own and world.is_compatible_with(own):
            factors[axis] = (1 * world).to(own).magnitude
    return factors


def _point_in(layer: Image | Labels, dims: Dims) -> list[float]:
    """Where the viewer stands, in data coordinates of a layer."""
    point = np.array(dims.point[-layer.ndim :], dtype=float) * _world_in_own_units(layer, dims)
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
