"""Superpixels: what always holds of them, and equality with a plain form of the method."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label

from napari_del import slic
from napari_del.errors import ImageError, NonFiniteWarning, ParameterError
from napari_del.normalise import UNIT, normalise
from napari_del.superpixels import slic_features
from napari_del.superpixels.grid import Grid
from tests.superpixels import references

TEXTURES = ("noise", "blocks", "ramp", "flat")


def texture(kind, shape, channels, seed):
    """An image of uint8 with a last axis of channels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    if kind == "noise":
        return rng.integers(0, 256, (*shape, channels), np.uint8)
    if kind == "blocks":
        palette = rng.integers(0, 256, (7, channels), np.uint8)
        return palette[(y // 5 * 3 + x // 7) % 7]
    if kind == "ramp":
        return np.stack([(y * (c + 1) + x * 2) % 256 for c in range(channels)], -1).astype(np.uint8)
    return np.full((*shape, channels), 90, np.uint8)


@st.composite
def masks(draw, shape):
    """None, a random mask, or one with thin walls that cut pixels off."""
    kind = draw(st.sampled_from(["none", "random", "walls"]))
    if kind == "none":
        return None
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if kind == "random":
        return rng.random(shape) < draw(st.sampled_from([0.05, 0.5, 0.95]))
    mask = np.ones(shape, bool)
    mask[:: draw(st.integers(2, 9))] = False
    mask[:, :: draw(st.integers(2, 9))] = False
    return mask


@st.composite
def images(draw, channels=(1, 2, 3, 4, 5), side=48):
    shape = (draw(st.integers(1, side)), draw(st.integers(1, side)))
    kind = draw(st.sampled_from(TEXTURES))
    return texture(kind, shape, draw(st.sampled_from(channels)), draw(st.integers(0, 2**32 - 1)))


def cells(ids, step, shape):
    """Row and column of the cell of each id."""
    columns = -(-shape[1] // step)
    return (ids - 1) // columns, (ids - 1) % columns


@given(st.data())
def test_superpixels_cover_what_is_not_masked_and_are_connected_near_their_cell(data):
    image = data.draw(images())
    shape = image.shape[:2]
    mask = data.draw(masks(shape))
    step = data.draw(st.sampled_from([4, 5, 8, 13, 256]))
    compactness = data.draw(st.sampled_from([1.0, 10.0, 200.0]))

    out = slic(image, step, compactness=compactness, mask=mask)

    assert out.shape == shape and out.dtype == np.int32
    expected = np.ones(shape, bool) if mask is None else mask
    np.testing.assert_array_equal(out > 0, expected)
    assert label(out, background=0, connectivity=1).max() == np.unique(out[out > 0]).size
    y, x = np.nonzero(out)
    ids = out[y, x]
    grid = Grid(shape, step)
    of_cell = ids <= grid.n_cells
    row, column = cells(ids[of_cell], step, shape)
    # 3 x 3 cells by choice; fragments of others add a fringe of two cells at most.
    assert np.abs(y[of_cell] // step - row).max(initial=0) <= 3
    assert np.abs(x[of_cell] // step - column).max(initial=0) <= 3
    # The others are numbered after their first pixel.
    for number in np.unique(ids[~of_cell]):
        assert np.flatnonzero(out.ravel() == number)[0] == number - grid.n_cells - 1


def test_superpixels_stay_within_three_by_three_cells_without_noise(two_tone):
    for image in (two_tone, texture("ramp", (67, 90), 3, 0)):
        out = slic(image, 8)
        y, x = np.indices(out.shape)
        row, column = cells(out, 8, out.shape)
        assert np.abs(y // 8 - row).max() <= 1
        assert np.abs(x // 8 - column).max() <= 1


@given(
    images(channels=(2, 4, 5), side=40),
    st.randoms(use_true_random=False),
)
def test_the_order_of_channels_does_not_matter(image, random):
    order = random.sample(range(image.shape[2]), image.shape[2])
    np.testing.assert_array_equal(slic(image, 6), slic(image[..., order], 6))
    np.testing.assert_array_equal(slic(image, 6), slic(image, 6, channels=order))


@given(st.data())
def test_equal_to_the_plain_form(data):
    channels = data.draw(st.integers(1, 4))
    shape = data.draw(st.tuples(st.integers(1, 21), st.integers(1, 21)))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    # Few values make ties in distance, size and votes; many make fragments.
    values = data.draw(st.sampled_from([2, 30, 1600]))
    features = rng.integers(-values, values, (channels, *shape)).astype(np.int16)
    mask = data.draw(masks(shape))
    step = data.draw(st.sampled_from([4, 5, 7, 8]))
    iterations = data.draw(st.integers(1, 6))
    compactness = data.draw(st.sampled_from([0.01, 1.0, 10.0, 1000.0]))

    out = slic_features(
        features, step=step, compactness=compactness, iterations=iterations, mask=mask
    )

    pitch = max(1, round(compactness * UNIT))
    inside = np.ones(shape, bool) if mask is None else mask
    expected = references.superpixels(features, step, pitch, iterations, inside)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    "dtype", [np.uint8, np.uint16, np.int16, np.int64, np.float16, np.float32, np.float64]
)
def test_integer_and_floating_dtypes_give_the_same_superpixels(dtype):
    # The values from 0 to 100 fit all of the dtypes, and the stretch takes their range away.
    image = np.random.default_rng(3).integers(0, 101, (24, 31))
    np.testing.assert_array_equal(slic(image.astype(dtype), 6), slic(image.astype(np.uint8), 6))


def test_boolean_image_is_cut_along_its_values():
    image = np.zeros((24, 32), bool)
    image[:, 13:] = True
    out = slic(image, 8)
    assert not set(np.unique(out[image])) & set(np.unique(out[~image]))


def test_grey_image_is_its_own_single_channel():
    image = texture("noise", (30, 41), 1, 0)
    np.testing.assert_array_equal(slic(image[..., 0]), slic(image))


@pytest.mark.parametrize(
    ("shape", "n"), [((1, 1), 1), ((3, 3), 1), ((1, 60), 8), ((7, 5000), 625), ((60, 1), 8)]
)
def test_small_and_narrow_flat_images_get_a_superpixel_a_cell(shape, n):
    assert np.unique(slic(np.zeros(shape, np.uint8), 8)).tolist() == list(range(1, n + 1))


@pytest.mark.parametrize("shape", [(1, 60), (7, 500), (5, 3)])
def test_small_and_narrow_images_of_noise_are_covered(shape):
    out = slic(texture("noise", shape, 3, 1), 8)
    assert out.min() >= 1
    assert label(out, connectivity=1).max() == np.unique(out).size


@pytest.mark.parametrize("step", [4, 5, 8, 16])
@pytest.mark.parametrize("compactness", [2.0, 10.0, 1000.0])
def test_flat_image_falls_into_its_grid_cells(step, compactness):
    out = slic(np.full((3 * step, 5 * step), 7.0), step, compactness=compactness)
    y, x = np.indices(out.shape)
    np.testing.assert_array_equal(out, 1 + y // step * 5 + x // step)


@pytest.mark.parametrize(("rest", "columns"), [(1, 4), (3, 4), (4, 5), (7, 5)])
def test_a_sliver_at_the_border_joins_the_cell_before_it(rest, columns):
    out = slic(np.zeros((16, 32 + rest), np.uint8), 8)
    assert np.unique(out).size == 2 * columns
    assert np.bincount(out.ravel())[out.max()] >= 8 * 4


@given(st.integers(9, 55), st.booleans())
def test_a_straight_boundary_is_followed_exactly(position, lying):
    image = np.zeros((40, 64, 3), np.uint8)
    image[:, position:] = (250, 120, 30)
    if lying:
        image = image.swapaxes(0, 1)
    out = slic(image, 8)
    bright = image[..., 0] > 0
    assert not set(np.unique(out[bright])) & set(np.unique(out[~bright]))


def test_the_boundary_of_a_disc_is_followed_exactly():
    y, x = np.mgrid[:64, :80]
    disc = (y - 30) ** 2 + (x - 37) ** 2 < 21**2
    out = slic(np.where(disc[..., None], [220, 60, 40], [20, 70, 160]).astype(np.uint8), 8)
    assert not set(np.unique(out[disc])) & set(np.unique(out[~disc]))


def test_compactness_makes_superpixels_regular():
    image = texture("noise", (64, 64), 3, 8)

    def spread(compactness):
        out = slic(image, 8, compactness=compactness)
        return np.bincount(out.ravel())[1:].std()

    assert spread(1000.0) < spread(20.0) < spread(1.0)


def test_not_finite_pixels_are_masked_with_a_warning():
    image = np.random.default_rng(0).random((20, 24))
    image[3, 4] = np.nan
    image[10:12, 5:9] = np.inf
    with pytest.warns(NonFiniteWarning, match="9 of 480"):
        out = slic(image, 5)
    np.testing.assert_array_equal(out == 0, ~np.isfinite(image))


def test_a_mask_without_any_pixel_gives_no_superpixel():
    out = slic(np.zeros((9, 9)), 4, mask=np.zeros((9, 9), bool))
    assert not out.any()


@pytest.mark.parametrize(
    "step", [3, 257, 0, -8, 8.5, True, "eight", None, float("nan"), float("inf")]
)
def test_step_out_of_range(step):
    with pytest.raises(ParameterError, match="^step is .*whole number of pixels from 4 to 256$"):
        slic(np.zeros((8, 8)), step)


def test_step_may_be_a_whole_float_or_a_numpy_integer():
    image = texture("noise", (20, 20), 1, 0)
    for step in (8.0, np.int64(8), np.uint8(8)):
        np.testing.assert_array_equal(slic(image, step), slic(image, 8))


@pytest.mark.parametrize(
    ("parameter", "value"),
    [
        ("compactness", 0),
        ("compactness", -1.0),
        ("compactness", 1001),
        ("compactness", float("nan")),
        ("iterations", 0),
        ("iterations", 51),
        ("iterations", 2.5),
        ("iterations", True),
    ],
)
def test_parameter_out_of_range(parameter, value):
    with pytest.raises(ParameterError, match=f"^{parameter} is {value!r}; expected"):
        slic(np.zeros((8, 8)), **{parameter: value})


def test_ids_that_would_not_fit_are_refused():
    with pytest.raises(ImageError, match="46341 x 46341 pixels; expected fewer than 21"):
        slic_features(np.broadcast_to(np.int16(0), (1, 46341, 46341)), step=256)


def test_features_are_those_of_normalise():
    image = texture("noise", (20, 33), 3, 2)
    np.testing.assert_array_equal(slic(image, 7), slic_features(normalise(image).features, step=7))
