"""What one training step is given: pooling, shares of annotators, boundaries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from napari_del import slic
from napari_del.evaluation.datasets import OTHER, UNLABELLED
from napari_del.graph import adjacency, number_nodes
from napari_del.training.samples import distant_pairs, majority_labels, make_sample, share_apart


def annotated(shape=(45, 70), annotators=3, seed=0):
    """An image of smooth noise with blocky labels."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (-(-shape[0] // 5), -(-shape[1] // 5), 3), np.uint8)
    image = small.repeat(5, 0).repeat(5, 1)[: shape[0], : shape[1]]
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = [(y // (11 + k) * 5 + x // (17 - k)) for k in range(annotators)]
    return np.ascontiguousarray(image), np.array(labels, np.int32)


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
    np.testing.assert_array_equal(sample.adjacent.nodes.numpy(), graph.edges)
    assert sample.adjacent.nodes.dtype == torch.int64
    np.testing.assert_array_equal(sample.majority, majority_labels(nodes.image, labels))
    apart, known = share_apart(sample.majority, graph.edges)
    np.testing.assert_array_equal(sample.adjacent.apart.numpy(), apart)
    np.testing.assert_array_equal(sample.adjacent.weight.numpy(), known)
    assert 0 < apart.mean() < 1 and known.min() == 1


@given(st.integers(1, 14), st.integers(1, 14), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_shares_are_those_of_the_annotators_who_know(height, width, annotators, seed):
    rng = np.random.default_rng(seed)
    nodes = number_nodes(rng.integers(1, 7, (height, width)).astype(np.int32))
    edges = adjacency(nodes).edges
    labels = rng.integers(OTHER, 4, (annotators, height, width)).astype(np.int32)
    apart, known = share_apart(majority_labels(nodes.image, labels), edges)

    def region(node, of):
        inside = of[nodes.image == node + 1]
        return min(set(inside.tolist()), key=lambda r: (-np.count_nonzero(inside == r), r))

    for (u, v), share, weight in zip(edges.tolist(), apart, known, strict=True):
        said = []
        for of in labels:
            a, b = region(u, of), region(v, of)
            if UNLABELLED not in (a, b) and not (a == b == OTHER):
                said.append(a != b)
        assert weight == pytest.approx(len(said) / annotators)
        assert share == pytest.approx(np.mean(said) if said else 0)
    assert apart.dtype == known.dtype == np.float32


def test_what_is_not_labelled_says_nothing_and_other_is_not_one_region():
    # Left to right: region 0, region 1, other, other, unlabelled.
    majority = np.array([[0, 1, OTHER, OTHER, UNLABELLED]])
    pairs = np.array([(0, 0), (0, 1), (1, 2), (2, 3), (3, 4), (0, 4)])
    apart, known = share_apart(majority, pairs)
    np.testing.assert_array_equal(known, [1, 1, 1, 0, 0, 0])
    np.testing.assert_array_equal(apart[:3], [0, 1, 1])


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
    assert (sample.boundary_weight == 1).all()


def test_boundaries_are_known_only_away_from_what_is_not_labelled():
    image, _ = annotated((32, 64), 1)
    labels = np.zeros((1, 32, 64), np.int32)
    labels[:, :, 16:32] = 1
    labels[:, :, 32:48] = UNLABELLED
    labels[:, :, 48:] = OTHER
    sample = make_sample(image, labels, stride=32, output_stride=2)
    known, drawn = sample.boundary_weight.numpy(), sample.boundary.numpy()
    assert (known[:, :15] == 1).all()  # also between regions 0 and 1
    assert (drawn[:, [7, 8]] == 1).all() and drawn[:, :7].max() == 0
    # The end of the paint is no border of a region: nothing is said within a pixel of it.
    assert (known[:, 15:] == 0).all()


def test_the_border_of_other_is_known_and_its_inside_is_not():
    image, _ = annotated((32, 64), 1)
    labels = np.zeros((1, 32, 64), np.int32)
    labels[:, :, 32:] = OTHER
    sample = make_sample(image, labels, stride=32, output_stride=2)
    known, drawn = sample.boundary_weight.numpy(), sample.boundary.numpy()
    assert (drawn[:, [15, 16]] == 1).all() and drawn.sum() == 2 * 16
    assert (known[:, :17] == 1).all() and (known[:, 17:] == 0).all()


def test_distant_pairs_are_pairs_of_the_image_with_their_shares():
    image, labels = annotated((64, 96))
    sample = make_sample(image, labels, stride=32, output_stride=2)
    one, two = (distant_pairs(sample, 400, 30.0, np.random.default_rng(7)) for _ in range(2))
    assert torch.equal(one.nodes, two.nodes)
    assert 300 < len(one.nodes) <= 400 and (one.nodes[:, 0] != one.nodes[:, 1]).all()
    assert 0 <= one.nodes.min() and one.nodes.max() < sample.nodes.ids.size
    apart, known = share_apart(sample.majority, one.nodes.numpy())
    np.testing.assert_array_equal(one.apart.numpy(), apart)
    np.testing.assert_array_equal(one.weight.numpy(), known)
    adjacent = {tuple(pair) for pair in sample.graph.edges.tolist()}
    far = [
        pair for pair in np.sort(one.nodes.numpy(), axis=1).tolist() if tuple(pair) not in adjacent
    ]
    assert len(far) > 200
