"""The losses against their formulas, written out."""

from __future__ import annotations

import math

import pytest
import torch

from napari_del._threads import torch_threads_restored
from napari_del.training.losses import ClassShares, balanced_mean, boundary_loss, pair_loss


def pairs(seed, scale=0.3):
    generator = torch.Generator().manual_seed(seed)
    embedding = torch.randn(12, 5, generator=generator, dtype=torch.float64) * scale
    edges = torch.tensor([(u, v) for u in range(12) for v in range(u + 1, 12)])
    apart = torch.randint(0, 6, (len(edges),), generator=generator) / 5
    return embedding, edges, apart.double()


@pytest.mark.parametrize("scale", [0.01, 0.3, 2.0])
def test_pair_loss_is_the_balanced_cross_entropy_of_the_similarity(scale):
    embedding, edges, apart = pairs(0, scale)
    positive = negative = 0.0
    for (u, v), a in zip(edges.tolist(), apart.tolist(), strict=True):
        distance = sum(abs(x - y) for x, y in zip(embedding[u], embedding[v], strict=True))
        similarity = 2 / (1 + math.exp(distance))
        positive += a * -math.log(1 - similarity)
        negative += (1 - a) * -math.log(similarity)
    for prior in (ClassShares().adjacent, 0.7):
        expected = (positive / prior + negative / (1 - prior)) / (2 * len(edges))
        loss = pair_loss(embedding, edges, apart, prior=prior)
        assert loss.item() == pytest.approx(expected, rel=1e-9)


def test_the_gradient_of_pairs_is_the_same_each_time_and_with_any_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    embedding = torch.randn(2400, 64, generator=generator).requires_grad_()
    edges = torch.randint(0, 2400, (7000, 2), generator=generator)
    apart = torch.rand(7000, generator=generator)

    def gradient(threads):
        torch.set_num_threads(threads)
        (found,) = torch.autograd.grad(pair_loss(embedding, edges, apart), embedding)
        return found

    with torch_threads_restored():
        expected = gradient(1)
        assert all(torch.equal(gradient(2), expected) for _ in range(8))


def test_boundary_loss_is_the_balanced_cross_entropy_of_the_logits():
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(7, 9, generator=generator, dtype=torch.float64) * 3
    target = torch.randint(0, 6, (7, 9), generator=generator).double() / 5
    p = 1 / (1 + torch.exp(-logits))
    expected = -(target * p.log()).sum() / (2 * 0.2)
    expected -= ((1 - target) * (1 - p).log()).sum() / (2 * (1 - 0.2))
    expected /= target.numel()
    torch.testing.assert_close(boundary_loss(logits, target, prior=0.2), expected)


def test_either_class_counts_half_over_all_images():
    positive, negative = torch.full((100,), 3.0), torch.full((100,), 5.0)
    counts = (1, 4, 40)
    losses = [
        balanced_mean(positive, negative, (torch.arange(100) < n).float(), sum(counts) / 300)
        for n in counts
    ]
    assert sum(loss.item() for loss in losses) / 3 == pytest.approx(4.0)
    # An object more makes the same difference in an image of few as in one of many.
    more = balanced_mean(positive, negative, (torch.arange(100) < 5).float(), 0.15)
    same = balanced_mean(positive, negative, (torch.arange(100) < 41).float(), 0.15)
    assert (more - losses[1]).item() == pytest.approx((same - losses[2]).item(), rel=1e-4)


def test_samples_that_are_not_known_count_for_nothing():
    target, weight = torch.tensor([1.0, 0.0, 1.0]), torch.tensor([1.0, 1.0, 0.0])
    positive, negative = torch.tensor([2.0, 9.0, 1e6]), torch.tensor([9.0, 4.0, 1e6])
    loss = balanced_mean(positive, negative, target, 0.2, weight)
    assert loss.item() == pytest.approx((2 / 0.2 + 4 / 0.8) / 4)
    assert balanced_mean(positive, negative, target, 0.2, torch.zeros(3)).item() == 0


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_one_class_alone_gives_a_finite_loss(share):
    embedding, edges, _ = pairs(2)
    embedding.requires_grad_()
    loss = pair_loss(embedding, edges, torch.full((len(edges),), share, dtype=torch.float64))
    loss.backward()
    assert torch.isfinite(loss) and loss > 0
    assert torch.isfinite(embedding.grad).all()
    logits = torch.zeros(3, 3, requires_grad=True)
    loss = boundary_loss(logits, torch.full((3, 3), share))
    drawn = ClassShares().boundary
    of_class = drawn if share else 1 - drawn
    assert loss.item() == pytest.approx(math.log(2) / (2 * of_class))


@pytest.mark.parametrize("distance", [0.01, 1.0, 20.0, 29.0, 31.0, 1e4])
def test_gradients_push_apart_and_pull_together(distance):
    edges = torch.tensor([[0, 1]])
    for apart in (0.0, 1.0):
        embedding = torch.tensor([[0.0], [distance]], requires_grad=True)
        loss = pair_loss(embedding, edges, torch.tensor([apart]), prior=0.5)
        loss.backward()
        assert torch.isfinite(loss)
        pull = embedding.grad[1].item()  # descent moves against it
        if apart:
            assert pull < 0 or (pull == 0 and distance > 15)
            assert loss < 6
        else:
            assert pull > 0
            assert loss.item() == pytest.approx(
                math.log1p(math.exp(-distance)) + distance - math.log(2), rel=1e-5, abs=1e-5
            )


def test_equal_neighbours_that_belong_apart_cost_much_but_not_everything():
    embedding = torch.zeros(2, 3, requires_grad=True)
    loss = pair_loss(embedding, torch.tensor([[0, 1]]), torch.tensor([1.0]), prior=0.5)
    loss.backward()
    assert 2 < loss.item() < 20
    assert torch.isfinite(embedding.grad).all()


def test_descent_separates_what_belongs_apart():
    generator = torch.Generator().manual_seed(3)
    embedding = (torch.randn(20, 4, generator=generator) * 0.1).requires_grad_()
    half = torch.arange(20) < 10
    edges = torch.tensor([(u, v) for u in range(20) for v in range(u + 1, 20)])
    apart = (half[edges[:, 0]] != half[edges[:, 1]]).float()
    optimiser = torch.optim.Adam([embedding], lr=0.05)
    for _ in range(150):
        optimiser.zero_grad()
        pair_loss(embedding, edges, apart).backward()
        optimiser.step()
    distance = (embedding[edges[:, 0]] - embedding[edges[:, 1]]).abs().sum(dim=1)
    assert distance[apart == 1].min() > distance[apart == 0].max()
