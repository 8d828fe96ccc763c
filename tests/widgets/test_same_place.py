"""Labels belong to an image only where their pixels lie on each other."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_del.errors import ImageError
from napari_del.widgets._source import check_same_place, source_of

PLANE = np.zeros((6, 7))
STACK = np.zeros((5, 6, 7))


def check(image: Image, labels: Labels, **step: int) -> None:
    viewer = ViewerModel()
    viewer.add_layer(image)
    viewer.add_layer(labels)
    for axis, value in step.items():
        viewer.dims.set_current_step(int(axis[1:]), value)
    sizes = [source_of(layer, viewer.dims).size for layer in (image, labels)]
    check_same_place(image, labels, sizes, viewer.dims)


def labels(array: np.ndarray, **options: Any) -> Labels:
    return Labels(array.astype(int), name="mine", **options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"scale": (0.3, 0.2), "translate": (5, -7)},
        {"rotate": 30, "scale": (2, 2)},
        {"affine": [[1, 0.2, 3], [0, 1, 4], [0, 0, 1]]},
    ],
)
def test_the_same_transform(options: dict[str, Any]) -> None:
    check(Image(PLANE, **options), labels(PLANE, **options))


def test_stacks_and_planes() -> None:
    scale = (3, 2, 2)
    check(Image(STACK, scale=scale), labels(STACK, scale=scale), a0=3)
    check(Image(STACK, scale=scale), labels(PLANE, scale=scale[1:]), a0=3)
    check(Image(np.zeros((5, 6, 7, 3)), rgb=True), labels(STACK), a0=1)
    levels = [STACK, STACK[:, ::2, ::2]]
    check(Image(levels, multiscale=True), labels(STACK))


def test_units_are_converted_as_the_viewer_does() -> None:
    check(
        Image(PLANE, scale=(2, 2), units=("um", "um")),
        labels(PLANE, scale=(2000, 2000), units=("nm", "nm")),
    )
    with pytest.raises(ImageError, match="does not lie"):
        check(Image(PLANE, units=("um", "um")), labels(PLANE, units=("nm", "nm")))


def test_less_than_half_a_pixel_does_not_matter() -> None:
    check(Image(PLANE, scale=(2, 2)), labels(PLANE, scale=(2, 2), translate=(0.9, 0)))


@pytest.mark.parametrize(
    "options",
    [{"scale": (2, 2)}, {"scale": (1, 1.3)}, {"translate": (0, 2)}, {"rotate": 90}],
)
def test_another_transform(options: dict[str, Any]) -> None:
    with pytest.raises(ImageError, match="labels layer 'mine' does not lie on image layer"):
        check(Image(PLANE), labels(PLANE, **options))


def test_another_size() -> None:
    with pytest.raises(ImageError, match="'mine' has 7 x 6 pixels, image layer .* 6 x 7; expected"):
        check(Image(PLANE), labels(PLANE.T))
    with pytest.raises(ImageError, match="'mine' has 3 x 4 pixels"):  # of half the resolution
        check(Image(PLANE), labels(PLANE[::2, ::2], scale=(2, 2)))
