"""Canonical windows, and pooling in integers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_del import segment
from napari_del._threads import torch_threads_restored, use_one_torch_thread
from napari_del.embedding import (
    MEAN_COLOR_UNIT,
    Window,
    canonical_windows,
    embed,
    mean_color,
    run_window,
)
from napari_del.graph import BOUNDARY_SCALE, number_nodes
from napari_del.models import find_model, load_network
from napari_del.normalise import UNIT, NormalisedImage, normalise
from napari_del.pooling import EMBEDDING_SCALE, pool

CPU = torch.device("cpu")


def silent(stage, done, total):
    pass


@pytest.fixture(scope="module")
def lite(lite_weights):
    return load_network(find_model(lite_weights), CPU)


class Coordinates(torch.nn.Module):
    """A network whose output is known: the mean input of each cell, and its red as a logit."""

    architecture = "coordinates"
    stride = 4
    embedding_dim = 3
    has_boundary = True

    def __init__(self, output_stride, core, margin):
        super().__init__()
        self.output_stride, self.core, self.margin = output_stride, core, margin
        self.seen = []

    def forward(self, x, core):
        assert x.dtype == torch.float32 and x.shape[:2] == (1, 3)
        assert x.shape[2] % self.stride == 0 and x.shape[3] % self.stride == 0
        self.seen.append(tuple(x.shape[2:]))
        small = torch.nn.functional.avg_pool2d(x, self.output_stride)[:, :, core[0], core[1]]
        return small / 64, small[:, :1] / 64 - 2


@st.composite
def grids(draw):
    stride = draw(st.sampled_from([1, 4, 32]))
    core = stride * draw(st.integers(1, 6))
    margin = stride * draw(st.integers(0, 3))
    shape = (draw(st.integers(1, 8 * stride)), draw(st.integers(1, 8 * stride)))
    return shape, core, margin, stride


@given(grids())
def test_windows_cover_each_pixel_once_and_start_at_multiples_of_the_stride(grid):
    shape, core, margin, stride = grid
    covered = np.zeros(shape, int)
    for window in canonical_windows(shape, core=core, margin=margin, stride=stride):
        covered[window.core] += 1
        for inner, outer, side in zip(window.core, window.extent, shape, strict=True):
            assert outer.start % stride == 0 and outer.stop % stride == 0
            assert outer.stop - outer.start <= core + 2 * margin
            # There is all the context that the image has, up to the margin.
            assert outer.start == max(0, inner.start - margin)
            assert outer.stop >= min(inner.stop + margin, side)
            assert outer.stop < side + stride
    assert (covered == 1).all()


def test_inner_windows_do_not_depend_on_the_shape_of_the_image():
    # Only windows that reach the end of the image may differ between two images.
    small = canonical_windows((700, 640), core=128, margin=32, stride=32)
    large = canonical_windows((5000, 4000), core=128, margin=32, stride=32)
    inner = [w for w in small if w.extent[0].stop < 640 and w.extent[1].stop < 608]
    assert len(inner) == 16
    assert all(window in large for window in inner)


def pooled_by_force(nodes, embedding, stride):
    out = np.zeros((nodes.ids.size, embedding.shape[2]), np.int64)
    for y, x in np.argwhere(nodes.image > 0):
        out[nodes.image[y, x] - 1] += embedding[y // stride, x // stride]
    return out


@given(
    st.integers(1, 21),
    st.integers(1, 21),
    st.sampled_from([1, 2, 4]),
    st.sampled_from([4, 8, 64]),
    st.integers(0, 2**32 - 1),
)
def test_pooling_equals_sums_by_force_for_any_grouping_into_windows(h, w, stride, core, seed):
    rng = np.random.default_rng(seed)
    display = rng.integers(0, 256, (h, w, 3), np.uint8)
    nodes = number_nodes(rng.integers(0, 7, (h, w)).astype(np.int32))
    normalised = NormalisedImage(np.zeros((1, h, w), np.int16), display, None)

    out = embed(normalised, nodes, Coordinates(stride, core, 4), CPU, silent)

    lack = [(0, -h % 4), (0, -w % 4), (0, 0)]
    # The reference reflects the whole image; a window that is reflected at the image's end has
    # the same pixels there, as long as the image is larger than what it lacks.
    padded = np.pad(display, lack, mode="reflect").astype(np.float64)
    rows, columns = padded.shape[0] // stride, padded.shape[1] // stride
    cells = padded.reshape(rows, stride, columns, stride, 3).mean(axis=(1, 3))
    fixed = np.rint(cells / 64 * EMBEDDING_SCALE).astype(np.int64)
    expected = pooled_by_force(nodes, fixed, stride)
    if min(h, w) > 4 or core == 64:
        np.testing.assert_array_equal(out.sums, expected)
        means = expected / nodes.sizes[:, None] / EMBEDDING_SCALE
        np.testing.assert_allclose(out.means(nodes.sizes), means, rtol=1e-6)
        needed = cells[: -(-h // stride), : -(-w // stride), 0]
        probability = 1 / (1 + np.exp(2 - needed / 64))
        np.testing.assert_allclose(out.boundary / BOUNDARY_SCALE, probability, atol=1e-4)
    assert out.stride == stride
    assert out.boundary.shape == (-(-h // stride), -(-w // stride))


def in_fixed_point(values):
    return np.clip(np.rint(values * EMBEDDING_SCALE), -(2**15), 2**15 - 1).astype(np.int64)


def test_values_beyond_the_fixed_point_are_clipped_at_both_ends():
    class Loud(Coordinates):
        def forward(self, x, core):
            return (x - 128) * 1e6, (x[:, :1] - 128) * 1e6

    display = np.zeros((4, 8, 3), np.uint8)
    display[:, 4:] = 255
    embedding, boundary = run_window(
        Loud(1, 8, 0), display, Window((slice(0, 4), slice(0, 8)), (slice(0, 4), slice(0, 8))), CPU
    )
    assert boundary.dtype == np.uint16
    assert (boundary[:, :4] == 0).all() and (boundary[:, 4:] == BOUNDARY_SCALE).all()
    pixels = np.arange(1, 33, dtype=np.int32).reshape(4, 8)
    sums = np.zeros((32, 3), np.int64)
    pool(pixels, embedding, 1, sums)
    sums = sums.reshape(4, 8, 3)
    assert (sums[:, :4] == -(2**15)).all() and (sums[:, 4:] == 2**15 - 1).all()


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_pooling_takes_floats_as_the_nearest_fixed_point_however_they_lie(h, w, seed):
    rng = np.random.default_rng(seed)
    # Halves of the unit among them, which go to the even number.
    whole = rng.integers(-90, 90, (h + 1, w + 2, 7)).astype(np.float32) / (2 * EMBEDDING_SCALE)
    values = whole[1:, 2:, :5]
    nodes = number_nodes(rng.integers(0, 4, (2 * h - 1, 2 * w)).astype(np.int32))
    expected = pooled_by_force(nodes, in_fixed_point(values), 2)
    for given_values in (
        values,
        np.ascontiguousarray(values),
        values.transpose(2, 0, 1).copy().transpose(1, 2, 0),
        in_fixed_point(values).astype(np.int16),
    ):
        for dtype in (np.int64, np.int32):
            sums = np.zeros(expected.shape, dtype)
            pool(nodes.image, given_values, 2, sums)
            np.testing.assert_array_equal(sums, expected)


def test_sums_of_65536_loud_pixels_fit_in_32_bits():
    sums = np.zeros((1, 3), np.int32)
    values = np.array([-(2**15), 2**15 - 1, 1], np.int16) * np.ones((256, 256, 1), np.int16)
    pool(np.ones((256, 256), np.int32), values, 1, sums)
    assert sums.tolist() == [[-(2**31), 2**31 - 2**16, 2**16]]


def test_a_node_of_many_loud_pixels_in_a_row_is_summed_up_in_full():
    # More pixels of the greatest value than a sum of 32 bits could take.
    values = np.full((1, 70_000, 2), -(2**15), np.int16)
    sums = np.zeros((1, 2), np.int64)
    pool(np.ones((1, 70_000), np.int32), values, 1, sums)
    assert sums.tolist() == [[-(2**15) * 70_000] * 2]


def test_progress_counts_windows():
    told = []
    display = np.zeros((17, 9, 3), np.uint8)
    nodes = number_nodes(np.ones((17, 9), np.int32))
    normalised = NormalisedImage(np.zeros((1, 17, 9), np.int16), display, None)
    network = Coordinates(2, 8, 4)
    embed(normalised, nodes, network, CPU, lambda *args: told.append(args))
    assert told == [("embedding", done, 6) for done in range(7)]
    # Several windows may run at a time.
    assert sorted(network.seen) == [(8, 8), (8, 12), (12, 8), (12, 12), (16, 8), (16, 12)]


@pytest.mark.parametrize("shape", [(1, 1), (7, 50), (33, 31)])
def test_a_network_runs_on_tiny_images(lite, shape):
    display = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    (window,) = canonical_windows(shape, core=lite.core, margin=lite.margin, stride=lite.stride)
    embedding, boundary = run_window(lite, display, window, CPU)
    cells = (-(-shape[0] // 2), -(-shape[1] // 2))
    assert embedding.shape == (*cells, 64) and embedding.dtype == np.float32
    assert boundary.shape == cells
    assert boundary.max() <= BOUNDARY_SCALE
    assert np.ptp(embedding) > 0


@pytest.mark.parametrize("shape", [(1, 1), (7, 50)])
def test_tiny_images_are_segmented_with_a_network(lite_weights, shape):
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    out = segment(image, model=lite_weights)
    assert out.embeddings.shape == (out.n_superpixels, 64)
    assert out.boundary.shape == (len(out.edges),)
    assert out.labels(1.0).max() == 1 and out.labels(1.0).min() == 1


def test_a_network_in_small_windows_equals_itself_in_the_same_windows(lite, monkeypatch):
    # What comes out of a window follows from its pixels alone, not from what ran before.
    monkeypatch.setattr(type(lite), "core", 64)
    monkeypatch.setattr(type(lite), "margin", 32)
    image = np.random.default_rng(2).integers(0, 256, (70, 130, 3), np.uint8)
    normalised = normalise(image)
    nodes = number_nodes(np.arange(1, 70 * 130 + 1, dtype=np.int32).reshape(70, 130) // 50 + 1)
    whole = embed(normalised, nodes, lite, CPU, silent)
    windows = canonical_windows((70, 130), core=64, margin=32, stride=32)
    assert len(windows) == 6
    sums = np.zeros_like(whole.sums)
    with torch_threads_restored():
        use_one_torch_thread()  # the number of threads decides on last bits
        for window in reversed(windows):
            pixels = normalised.display[window.extent]
            embedding, boundary = run_window(lite, pixels, window, CPU)
            embedding = in_fixed_point(embedding)
            part = nodes.image[window.core]
            for y, x in np.ndindex(part.shape):
                sums[part[y, x] - 1] += embedding[y // 2, x // 2]
            place = tuple(slice(c.start // 2, -(-c.stop // 2)) for c in window.core)
            np.testing.assert_array_equal(whole.boundary[place], boundary)
    np.testing.assert_array_equal(whole.sums, sums)


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_mean_colour_is_the_mean_of_the_features(n_features, seed):
    rng = np.random.default_rng(seed)
    features = rng.integers(-1600, 1601, (n_features, 9, 11)).astype(np.int16)
    nodes = number_nodes(rng.integers(0, 5, (9, 11)).astype(np.int32))
    out = mean_color(NormalisedImage(features, np.zeros((9, 11, 3), np.uint8), None), nodes)
    assert out.boundary is None
    for row in range(nodes.ids.size):
        mean = features[:, nodes.image == row + 1].mean(axis=1)
        np.testing.assert_allclose(
            out.means(nodes.sizes)[row], mean / (UNIT * MEAN_COLOR_UNIT), rtol=1e-5, atol=1e-6
        )


@pytest.mark.gpu
def test_a_network_on_cuda_is_close_to_the_cpu(lite_weights):
    image = np.random.default_rng(3).integers(0, 256, (100, 140, 3), np.uint8)
    cpu = segment(image, model=lite_weights, device="cpu")
    cuda = segment(image, model=lite_weights, device="cuda")
    np.testing.assert_array_equal(cpu.superpixels, cuda.superpixels)
    np.testing.assert_allclose(cpu.embeddings, cuda.embeddings, atol=0.02)
