"""Quantisation of images: colours, stretches, dtypes, and what is refused."""

from __future__ import annotations

import warnings

import dask.array as da
import numpy as np
import pytest
import zarr
from skimage.color import rgb2lab

from napari_del.errors import ImageError, NonFiniteWarning
from napari_del.normalise import UNIT, check_mask, normalise


def noise(shape, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(dtype)


def test_cielab_within_half_a_unit_of_scikit_image():
    steps = np.array([0, 1, 2, 5, 10, 11, 12, 30, 60, 90, 128, 170, 200, 230, 254, 255], np.uint8)
    rgb = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(64, 64, 3)
    lab = normalise(rgb).features
    assert lab.dtype == np.int16 and lab.shape == (3, 64, 64)
    difference = np.moveaxis(lab, 0, 2) / UNIT - rgb2lab(rgb)
    assert np.abs(difference).max() < 0.5


def test_grey_colours_have_no_hue():
    rgb = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    lightness, a, b = normalise(rgb).features[:, 0]
    assert lightness[0] == 0 and lightness[-1] == 100 * UNIT
    assert (np.diff(lightness) > 0).all()
    assert np.abs(a).max() <= 1 and np.abs(b).max() <= 1


def test_colour_images_of_8_bits_reach_the_network_untouched():
    rgb = noise((9, 14, 3)) // 4 + 100
    out = normalise(rgb)
    np.testing.assert_array_equal(out.display, rgb)
    assert out.display.dtype == np.uint8 and out.display.flags.c_contiguous
    assert out.valid is None


def test_the_stretch_leaves_out_a_thousandth_at_either_end():
    values = np.arange(10_000, dtype=np.uint16).reshape(100, 100)
    out = normalise(values).features[0].ravel()
    # The 0.1 and 99.9 percentiles of 0 to 9999 are 9.999 and 9989.001.
    assert out.min() == 0 and out.max() == 100 * UNIT
    assert (out[:10] == 0).all() and (out[9990:] == 100 * UNIT).all()
    expected = (np.arange(10_000) - 9.999) / (9989.001 - 9.999) * 100 * UNIT
    np.testing.assert_allclose(out, expected.clip(0, 1600), atol=0.51)


def test_colours_of_16_bits_share_one_range_and_channels_have_their_own():
    ramp = np.linspace(0, 1, 400).reshape(20, 20)
    three = np.stack([ramp * 60_000, ramp * 30_000, ramp * 0], -1).astype(np.uint16)
    display = normalise(three).display
    assert display[..., 0].max() == 255
    assert abs(int(display[..., 1].max()) - 128) <= 1
    assert not display[..., 2].any()
    two = normalise(three[..., :2]).features
    np.testing.assert_allclose(two[0], two[1], atol=1)


def test_a_network_sees_grey_thrice_and_of_many_channels_the_first_three():
    grey = normalise(noise((8, 9))).display
    assert (grey[..., 0] == grey[..., 1]).all() and (grey[..., 0] == grey[..., 2]).all()
    five = noise((8, 9, 5))
    display = normalise(five).display
    for channel in range(3):
        np.testing.assert_array_equal(
            display[..., channel], normalise(five[..., channel]).display[..., 0]
        )
    two = normalise(five[..., :2]).display
    np.testing.assert_array_equal(two[..., 1], two[..., 2])


@pytest.mark.parametrize(
    "value", [0, 7, 255, -3.5, 1e300, float(np.float32(3e38))], ids=lambda v: f"{v:g}"
)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_constant_image_gives_constants(value, channels):
    image = np.full((5, 6, channels), value)
    out = normalise(image)
    assert np.ptp(out.features, axis=(1, 2)).max() == 0
    assert np.ptp(out.display) == 0


def test_a_small_bright_object_on_an_even_ground_is_seen():
    # It covers less than what the percentiles leave out.
    for dtype in (bool, np.uint8, np.float32):
        image = np.zeros((100, 100), dtype)
        image[40:42, 50:52] = 1
        features = normalise(image).features[0]
        np.testing.assert_array_equal(features == 100 * UNIT, image == 1)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int32, np.uint64, np.float16, np.longdouble])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_real_dtypes_go_through(dtype, channels):
    image = (noise((12, 13, channels)) % 2).astype(dtype)
    features = normalise(image).features
    np.testing.assert_array_equal(features[0] == features[0].max(), image.all(axis=2))


def test_negative_and_large_integers_keep_their_order():
    image = np.array([[-(2**62), -5, 0, 5, 2**62]])
    assert (np.diff(normalise(image).features[0, 0].astype(int)) >= 0).all()
    image = np.array([[0, 2**63, 2**64 - 1]], np.uint64)
    np.testing.assert_allclose(normalise(image).features[0, 0], [0, 800, 1600], atol=2)


def test_a_masked_value_at_the_end_of_the_floats_does_not_overflow():
    nodata = np.array([[-1.7976931348623157e308, 0.0001, 0.0002, 0.0003]])
    out = normalise(nodata, mask=nodata > -1)
    np.testing.assert_allclose(out.features[0, 0, 1:], [0, 800, 1600], atol=8)


def test_masked_pixels_do_not_count_for_the_stretch():
    image = np.linspace(0, 1, 100).reshape(10, 10)
    outlier = image.copy()
    outlier[0, 0] = 1e6
    mask = np.ones((10, 10), bool)
    mask[0, 0] = False
    out, expected = normalise(outlier, mask=mask), normalise(image, mask=mask)
    np.testing.assert_array_equal(out.features[0][mask], expected.features[0][mask])
    np.testing.assert_array_equal(out.valid, mask)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_masked_with_a_warning(channels, value):
    image = np.random.default_rng(0).random((6, 7, channels))
    clean = image.copy()
    image[2, 3, channels - 1] = value
    with pytest.warns(NonFiniteWarning, match="^1 of 42 pixels are NaN or infinite .* nodata$"):
        out = normalise(image)
    assert out.valid is not None
    np.testing.assert_array_equal(np.argwhere(~out.valid), [[2, 3]])
    mask = np.ones((6, 7), bool)
    mask[2, 3] = False
    expected = normalise(clean, mask=mask)
    np.testing.assert_array_equal(out.features[:, mask], expected.features[:, mask])
    np.testing.assert_array_equal(out.display[mask], expected.display[mask])


def test_mask_and_nodata_add_up():
    image = np.ones((4, 4))
    image[0, 0] = np.nan
    mask = np.ones((4, 4), bool)
    mask[3, 3] = False
    with pytest.warns(NonFiniteWarning):
        out = normalise(image, mask=mask)
    assert np.argwhere(~out.valid).tolist() == [[0, 0], [3, 3]]


def test_unchosen_channels_may_be_nan():
    image = np.random.default_rng(0).random((5, 5, 3))
    image[..., 1] = np.nan
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert normalise(image, channels=[0, 2]).valid is None


def test_an_image_of_nan_alone_is_refused():
    with pytest.raises(ImageError, match="no pixel with finite values"):
        normalise(np.full((4, 5), np.nan))


@pytest.mark.parametrize("shape", [(), (5,), (3, 4, 5, 6)])
def test_wrong_number_of_dimensions(shape):
    with pytest.raises(ImageError, match=rf"^image has {len(shape)} dimensions.*\(Y, X, C\)"):
        normalise(np.zeros(shape))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5, 5, 0), (0, 0, 0)])
def test_zero_size(shape):
    with pytest.raises(ImageError, match="^image has shape .*at least one pixel"):
        normalise(np.zeros(shape))


@pytest.mark.parametrize("dtype", [object, complex, "U3", "S2", "M8[s]"])
def test_dtypes_that_are_not_numbers_on_a_line(dtype):
    image = np.zeros((3, 4), dtype)
    with pytest.raises(ImageError, match="^image has dtype .*: convert it$"):
        normalise(image)
    with pytest.raises(ImageError, match="^image has dtype"):
        normalise(da.from_array(image, chunks=2))


@pytest.mark.parametrize("channels", [[3], [-1], [0, 7], [0.5], [True], ["red"], [None]])
def test_channels_out_of_range(channels):
    with pytest.raises(ImageError, match="^channel .* does not exist; expected .* from 0 to 2"):
        normalise(noise((4, 5, 3)), channels=channels)


def test_channels_of_a_grey_image_and_no_channels():
    grey = noise((4, 5))
    np.testing.assert_array_equal(normalise(grey, channels=[0]).features, normalise(grey).features)
    with pytest.raises(ImageError, match="channel 1 .* from 0 to 0"):
        normalise(grey, channels=[1])
    with pytest.raises(ImageError, match="^channels is empty"):
        normalise(grey, channels=[])


def test_channels_are_taken_in_the_order_given():
    image = noise((6, 7, 5))
    out = normalise(image, channels=(4, 0, 2))
    np.testing.assert_array_equal(out.display, image[..., [4, 0, 2]])


def test_mask_of_another_shape_or_kind():
    with pytest.raises(ImageError, match=r"^mask has shape \(4, 5\); expected \(5, 4\)"):
        normalise(np.zeros((5, 4)), mask=np.ones((4, 5), bool))
    with pytest.raises(ImageError, match="mask has shape"):
        normalise(np.zeros((5, 4, 3)), mask=np.ones((5, 4, 3), bool))
    with pytest.raises(ImageError, match="^mask has dtype float64"):
        normalise(np.zeros((5, 4)), mask=np.ones((5, 4)))


def test_a_mask_of_labels_is_true_where_it_is_not_zero():
    mask = check_mask([[0, 3], [255, 1]], (2, 2))
    assert mask.dtype == bool
    assert mask.tolist() == [[False, True], [True, True]]
    assert check_mask(None, (2, 2)) is None


@pytest.mark.parametrize("shape", [(12, 17), (12, 17, 3), (12, 17, 4)])
@pytest.mark.parametrize("channels", [None, [0]])
def test_dask_and_zarr_arrays_are_taken_as_numpy_arrays(shape, channels):
    image = noise(shape, np.uint16)
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=image, chunks=(5,) * image.ndim)
    expected = normalise(image, channels=channels)
    for array in (da.from_array(image, chunks=5), stored, image.tolist()):
        out = normalise(array, channels=channels)
        np.testing.assert_array_equal(out.features, expected.features)
        np.testing.assert_array_equal(out.display, expected.display)


def test_several_channels_of_a_zarr_array():
    image = noise((12, 17, 5), np.float32)
    stored = zarr.create_array(zarr.storage.MemoryStore(), data=image, chunks=(5, 5, 2))
    for array in (da.from_array(image, chunks=(5, 5, 2)), stored):
        np.testing.assert_array_equal(
            normalise(array, channels=[3, 1]).features, normalise(image[..., [3, 1]]).features
        )


def test_the_image_is_not_changed_and_any_order_in_memory_will_do():
    image = np.asfortranarray(np.random.default_rng(0).random((9, 8, 4)))
    before = image.copy()
    out = normalise(image)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(out.features, normalise(np.ascontiguousarray(image)).features)
    image.flags.writeable = False
    normalise(image)


def test_a_large_image_is_sampled_on_a_lattice_that_may_miss_the_mask(monkeypatch):
    image = np.random.default_rng(0).random((40, 40))
    mask = np.zeros((40, 40), bool)
    mask[1::4, 1::4] = True
    inside = image[mask]
    expected = np.rint((inside - inside.min()) / np.ptp(inside) * 1600)
    monkeypatch.setattr("napari_del.normalise._SAMPLE", 100)  # every fourth row and column
    np.testing.assert_array_equal(normalise(image, mask=mask).features[0][mask], expected)
