"""Which plane of a layer is segmented, and where its labels lie."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_del.errors import ImageError, ParameterError
from napari_del.widgets._source import guess_channel_axis, n_channels, source_of

STACK = np.arange(5 * 6 * 7, dtype=np.uint16).reshape(5, 6, 7)


def place(image: Image, **step: int) -> tuple[ViewerModel, Image]:
    viewer = ViewerModel()
    viewer.add_layer(image)
    for axis, value in step.items():
        viewer.dims.set_current_step(int(axis[1:]), value)
    return viewer, image


def labels_on(source: Any) -> Labels:
    return Labels(np.ones(source.shape, np.int32), **source.placement)


def test_grey_image() -> None:
    viewer, image = place(Image(STACK[0]))
    source = source_of(image, viewer.dims)
    assert source.plane == ()
    assert source.shape == (6, 7)
    np.testing.assert_array_equal(source.read(), STACK[0])


@pytest.mark.parametrize("n", [3, 4])
def test_rgb_image_and_stack_of_them(n: int) -> None:
    data = np.random.default_rng(0).integers(0, 255, (4, 6, 7, n)).astype(np.uint8)
    viewer, image = place(Image(data, rgb=True), a0=2)
    source = source_of(image, viewer.dims)
    assert (source.plane, source.shape) == ((2,), (1, 6, 7))
    np.testing.assert_array_equal(source.read(), data[2])
    assert n_channels(image, None) == n


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr"])
def test_plane_of_a_stack_lies_where_it_was_taken_from(kind: str) -> None:
    wrap = {"numpy": np.asarray, "dask": da.from_array, "zarr": zarr.array}[kind]
    viewer, image = place(Image(wrap(STACK), scale=(3, 2, 2), translate=(10, 0, 5)), a0=3)
    source = source_of(image, viewer.dims)
    assert (source.plane, source.shape) == ((3,), (1, 6, 7))
    np.testing.assert_array_equal(np.asarray(source.read()), STACK[3])
    np.testing.assert_allclose(
        labels_on(source).data_to_world((0, 1, 2)), image.data_to_world((3, 1, 2))
    )


def test_plane_follows_the_order_of_the_axes() -> None:
    viewer, image = place(Image(STACK))
    viewer.dims.order = (1, 0, 2)
    viewer.dims.set_current_step(1, 4)
    source = source_of(image, viewer.dims)
    assert (source.plane, source.shape) == ((4,), (5, 1, 7))
    np.testing.assert_array_equal(source.read(), STACK[:, 4])


def test_image_of_fewer_dimensions_than_the_viewer() -> None:
    viewer, _ = place(Image(STACK), a0=3)
    flat = Image(STACK[0])
    viewer.add_layer(flat)
    assert source_of(flat, viewer.dims).shape == (6, 7)
    viewer.dims.order = (2, 0, 1)
    with pytest.raises(ImageError, match="lacks an axis that the viewer shows"):
        source_of(flat, viewer.dims)


def test_position_outside_the_image_says_what_to_do() -> None:
    viewer, image = place(Image(STACK))
    viewer.add_layer(Image(np.zeros((20, 6, 7))))
    viewer.dims.set_current_step(0, 12)
    with pytest.raises(ImageError, match=r"no plane at the position shown: 12 .* 0 to 4; move"):
        source_of(image, viewer.dims)


def test_leading_channels_are_left_out_of_the_labels() -> None:
    image = Image(STACK, axis_labels=("c", "y", "x"), scale=(1, 2, 3), translate=(7, 8, 9))
    viewer, _ = place(image)
    assert guess_channel_axis(image) == 0
    assert n_channels(image, 0) == 5
    source = source_of(image, viewer.dims, 0)
    assert source.shape == (6, 7)
    np.testing.assert_array_equal(source.read(), np.moveaxis(STACK, 0, -1))
    labels = labels_on(source)
    assert labels.axis_labels == ("y", "x")
    np.testing.assert_allclose(labels.scale, (2, 3))
    np.testing.assert_allclose(labels.translate, (8, 9))


def test_channels_in_the_middle() -> None:
    data = np.random.default_rng(0).random((2, 3, 6, 7))
    viewer, image = place(Image(data, axis_labels=("z", "channel", "y", "x")), a0=1, a1=2)
    assert guess_channel_axis(image) == 1
    source = source_of(image, viewer.dims, 1)
    assert (source.plane, source.shape) == ((1,), (1, 1, 6, 7))
    np.testing.assert_array_equal(source.read(), np.moveaxis(data[1], 0, -1))


def test_channel_axis_that_is_shown() -> None:
    viewer, image = place(Image(STACK))
    viewer.dims.order = (1, 0, 2)
    with pytest.raises(ParameterError, match="is shown, so it cannot hold channels"):
        source_of(image, viewer.dims, 0)


def test_multiscale_is_read_at_full_resolution() -> None:
    levels = [np.random.default_rng(0).random((64, 48)), np.zeros((32, 24)), np.zeros((16, 12))]
    viewer, image = place(Image(levels, multiscale=True))
    source = source_of(image, viewer.dims)
    assert source.shape == (64, 48)
    np.testing.assert_array_equal(source.read(), levels[0])


def test_geometry_is_carried_over() -> None:
    affine = np.array([[1, 0.1, 0, 3], [0, 1, 0.2, -4], [0, 0, 1, 5], [0, 0, 0, 1]])
    image = Image(
        STACK,
        scale=(3, 0.5, 0.25),
        translate=(1, 2, 3),
        rotate=(0, 0, 20),
        shear=(0.1, 0.2, 0.3),
        affine=affine,
        units=("um", "um", "um"),
        axis_labels=("depth", "row", "column"),
    )
    viewer, _ = place(image)
    source = source_of(image, viewer.dims)
    labels = labels_on(source)
    assert labels.units == image.units
    assert labels.axis_labels == image.axis_labels
    z = source.plane[0]
    for corner in ((0, 0, 0), (0, 5, 0), (0, 2, 6)):
        world = image.data_to_world((z + corner[0], *corner[1:]))
        np.testing.assert_allclose(labels.data_to_world(corner), world)


def test_units_of_the_viewer_that_differ_from_the_layers() -> None:
    coarse = Image(STACK, units=("um",) * 3)
    fine = Image(STACK, scale=(1000,) * 3, units=("nm",) * 3)
    viewer, _ = place(coarse)
    viewer.add_layer(fine)
    viewer.dims.set_current_step(0, 2)
    assert source_of(coarse, viewer.dims).plane == (2,)
    assert source_of(fine, viewer.dims).plane == (2,)
