"""What one training step is given: pooling, shares of annotators, augmentation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_del import slic
from napari_del.graph import adjacency, number_nodes
from napari_del.training.samples import augment, make_sample, share_apart


def annotated(shape=(45, 70), annotators=3, seed=0):
    """An image of smooth noise with blocky labels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-shape[0] // 5), -(-shape[1] // 5), 3), np.uint8)
    image = small.repeat(5, 0).repeat(5, 1)[: shape[0], : shape[1]]
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = [(y // (11 + k) * 5 + x // (17 - k)) for k in range(annotators)]
    return np.ascontiguousarray(image), np.array(labels, np.int16)


def test_input_is_padded_to_multiples_of_the_stride_by_reflection():
    image, labels = annotated()
    sample = make_sample(image, labels, stride=32, output_stride=2)
    assert sample.image.shape == (1, 3, 64, 96) and sample.image.dtype == torch.float32
    padded = sample.image[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(padded[:45, :70], image)
    np.testing.assert_array_equal(padded[45:, :70], image[43:24:-1])
    np.testing.assert_array_equal(padded[:45, 70:], image[:, 68:42:-1])


@pytest.mark.parametrize("output_stride", [1, 2, 4])
@pytest.mark.parametrize("shape", [(45, 70), (32, 64), (33, 31)])
def test_pooling_gives_the_means_over_superpixels(output_stride, shape):
    image, labels = annotated(shape)
    sample = make_sample(image, labels, stride=32, output_stride=output_stride, step=6)
    h, w = (side // output_stride for side in sample.image.shape[2:])
    superpixels = slic(image, 6)
    ids = np.unique(superpixels)
    assert sample.pooling.shape == (ids.size, h * w)
    rows = torch.sparse.sum(sample.pooling, dim=1).to_dense()
    torch.testing.assert_close(rows, torch.ones(ids.size))
    output = np.random.default_rng(1).random((h, w, 2)).astype(np.float32)
    found = torch.sparse.mm(sample.pooling, torch.from_numpy(output.reshape(-1, 2)))
    full = output.repeat(output_stride, 0).repeat(output_stride, 1)[: shape[0], : shape[1]]
    expected = [full[superpixels == i].mean(axis=0) for i in ids]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-5)


def test_edges_and_shares_belong_to_the_superpixels():
    image, labels = annotated()
    sample = make_sample(image, labels, stride=32, output_stride=2)
    nodes = number_nodes(slic(image))
    graph = adjacency(nodes)
    np.testing.assert_array_equal(sample.edges.numpy(), graph.edges)
    assert sample.edges.dtype == torch.int64
    np.testing.assert_array_equal(
        sample.apart.numpy(), share_apart(nodes.image, graph.edges, labels)
    )
    assert 0 < sample.apart.mean() < 1


@given(st.integers(1, 14), st.integers(1, 14), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_share_of_the_annotators_who_separate_two_superpixels(height, width, annotators, seed):
    rng = np.random.default_rng(seed)
    nodes = number_nodes(rng.integers(1, 7, (height, width)).astype(np.int32))
    edges = adjacency(nodes).edges
    labels = rng.integers(0, 4, (annotators, height, width)).astype(np.int16)
    found = share_apart(nodes.image, edges, labels)

    def region(node, of):
        inside = of[nodes.image == node + 1]
        return min(set(inside.tolist()), key=lambda r: (-np.count_nonzero(inside == r), r))

    expected = [
        np.mean([region(u, of) != region(v, of) for of in labels]) for u, v in edges.tolist()
    ]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.dtype == np.float32


@pytest.mark.parametrize("output_stride", [1, 2, 4])
def test_boundary_is_where_a_cell_holds_a_pixel_beside_another_region(output_stride):
    image, labels = annotated((37, 50))
    sample = make_sample(image, labels, stride=32, output_stride=output_stride)
    rows, columns = -(-37 // output_stride), -(-50 // output_stride)
    expected = np.zeros((rows, columns))
    for of in labels:
        drawn = np.zeros((rows, columns), bool)
        for y, x in np.ndindex(of.shape):
            for b, a in ((y, x + 1), (y, x - 1), (y + 1, x), (y - 1, x)):
                if 0 <= b < 37 and 0 <= a < 50 and of[b, a] != of[y, x]:
                    drawn[y // output_stride, x // output_stride] = True
        expected += drawn
    assert sample.boundary.dtype == torch.float32
    np.testing.assert_allclose(sample.boundary.numpy(), expected / len(labels), atol=1e-6)


def test_augmentation_keeps_image_and_labels_together():
    # Labels that can be read off the image, whatever happens to colours: two grey values.
    _, labels = annotated((20, 30), annotators=1)
    labels = (labels % 2).astype(np.int16)
    image = np.repeat(np.where(labels[0] == 1, 200, 90)[..., None], 3, 2).astype(np.uint8)
    shapes, mirrored = set(), set()
    for seed in range(24):
        out, moved = augment(image, labels, np.random.default_rng(seed))
        assert out.dtype == np.uint8 and moved.dtype == np.int16
        assert out.flags.c_contiguous and moved.flags.c_contiguous
        assert out.shape[:2] == moved.shape[1:]
        shapes.add(out.shape[:2])
        mirrored.add(moved.tobytes())
        bright, dark = out[moved[0] == 1], out[moved[0] == 0]
        assert (bright.sum(axis=1).min() > dark.sum(axis=1).max()) and np.ptp(
            dark, axis=0
        ).max() == 0
    assert shapes == {(20, 30), (30, 20)}
    assert len(mirrored) == 8


def test_augmentation_changes_colours_and_is_repeatable():
    image, labels = annotated()
    before = image.copy()
    one, two = (augment(image, labels, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    np.testing.assert_array_equal(image, before)
    histograms = {
        np.bincount(
            augment(image, labels, np.random.default_rng(s))[0].ravel(), minlength=256
        ).tobytes()
        for s in range(6)
    }
    assert len(histograms) == 6
