"""The linkage "learned", and what it is told of pairs of regions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from napari_del.errors import ParameterError
from napari_del.merging import (
    MergeFunction,
    SuperpixelTables,
    average,
    from_fixed,
    learned,
    to_fixed,
)
from napari_del.merging.learned import stages
from napari_del.merging.region_pairs import FEATURES, region_pairs


def grid_tables(rows: int = 9, columns: int = 11, seed: int = 0, planes: int = 3):
    """Superpixels on a grid, each adjacent to its four neighbours."""
    rng = np.random.default_rng(seed)
    n = rows * columns
    number = np.arange(n).reshape(rows, columns)
    across = np.stack([number[:, :-1].ravel(), number[:, 1:].ravel()], axis=1)
    down = np.stack([number[:-1].ravel(), number[1:].ravel()], axis=1)
    edges = np.concatenate([across, down]).astype(np.int32)
    edges = edges[np.lexsort((edges[:, 1], edges[:, 0]))]
    colors = rng.uniform(0, 100, (n, planes)).astype(np.float32)
    return SuperpixelTables(
        sizes=rng.integers(20, 90, n),
        embeddings=rng.normal(0, 0.2, (n, 5)).astype(np.float32),
        colors=colors,
        color_squares=(colors**2 + rng.uniform(0, 30, colors.shape)).astype(np.float32),
        edges=edges,
        lengths=rng.integers(1, 12, len(edges)),
        dissimilarity=rng.uniform(0, 1, len(edges)),
        boundary=rng.uniform(0, 1, len(edges)),
        superpixel_area=64,
    )


def some_function(seed: int = 0, levels: tuple[float, ...] = (0.35, 0.4, 0.5)) -> MergeFunction:
    rng = np.random.default_rng(seed)
    return MergeFunction(
        rng.normal(0, 1, len(FEATURES)),
        rng.uniform(0.5, 2, len(FEATURES)),
        tuple(
            rng.normal(0, deviation, shape).astype(np.float32)
            for deviation, shape in ((0.4, (2, 7, len(FEATURES))), (0.5, (2, 1, 7)))
        ),
        tuple(rng.normal(0, 0.1, shape).astype(np.float32) for shape in ((2, 7), (2, 1))),
        levels,
    )


def with_levels(tables: SuperpixelTables, function: MergeFunction, counts=(60, 30, 12)):
    """The function with levels that leave about so many regions."""
    function = replace(function, levels=(0.0,))
    for number, count in enumerate(counts):
        _, _, tree = list(stages(tables, function))[number]
        level = float(from_fixed(tree.threshold_for(count)))
        function = replace(function, levels=(*function.levels[:number], level))
        function = replace(function, levels=(*function.levels, 0.0))
    return replace(function, levels=function.levels[:-1])


def reference_features(tables: SuperpixelTables, of_row, u: int, v: int) -> list[float]:
    """The numbers of one pair, by their definitions, superpixel by superpixel."""
    w = np.sqrt(tables.dissimilarity * tables.boundary)
    shared = [
        e for e, (a, b) in enumerate(tables.edges) if {int(of_row[a]), int(of_row[b])} == {u, v}
    ]
    length = tables.lengths[shared]

    def along(values):
        return float(np.average(values[shared], weights=length))

    def region(r):
        rows = np.flatnonzero(of_row == r)
        share = tables.sizes[rows] / tables.sizes[rows].sum()
        mean = share @ tables.embeddings[rows].astype(float)
        spread = np.sqrt(share @ (tables.embeddings[rows] - mean) ** 2).sum()
        color = share @ tables.colors[rows].astype(float)
        deviation = np.sqrt(share @ tables.color_squares[rows].astype(float) - color**2)
        perimeter = sum(
            int(tables.lengths[e])
            for e, (a, b) in enumerate(tables.edges)
            if (of_row[a] == r) != (of_row[b] == r)
        )
        return tables.sizes[rows].sum(), mean, spread, color, deviation, perimeter

    def neighbours(r):
        others = {int(of_row[b]) for a, b in tables.edges if of_row[a] == r}
        others |= {int(of_row[a]) for a, b in tables.edges if of_row[b] == r}
        return sorted(others - {r})

    def weight_between(first, second):
        shared = [
            e
            for e, (a, b) in enumerate(tables.edges)
            if {int(of_row[a]), int(of_row[b])} == {first, second}
        ]
        return float(np.average(w[shared], weights=tables.lengths[shared]))

    def weight_around(r):
        outer = [e for e, (a, b) in enumerate(tables.edges) if (of_row[a] == r) != (of_row[b] == r)]
        return float(np.average(w[outer], weights=tables.lengths[outer]))

    def raggedness(of, r):
        inside = of == r
        outer = [e for e, (a, b) in enumerate(tables.edges) if inside[a] != inside[b]]
        return max(int(tables.lengths[outer].sum()), 1) ** 2 / int(tables.sizes[inside].sum())

    def distance(first, second):
        return float(np.abs(region(first)[1] - region(second)[1]).sum())

    above_weakest = sorted(
        along(w) - min(weight_between(r, other) for other in neighbours(r)) for r in (u, v)
    )
    above_nearest = sorted(
        distance(u, v) - min(distance(r, other) for other in neighbours(r)) for r in (u, v)
    )
    (area0, mean0, spread0, color0, deviation0, perimeter0) = region(u)
    (area1, mean1, spread1, color1, deviation1, perimeter1) = region(v)
    small, large = sorted((area0, area1))
    light = abs(color0[0] - color1[0])
    chroma = np.hypot(*(color0[1:] - color1[1:]))
    contrast = np.hypot(light, chroma)
    within = np.hypot(np.linalg.norm(deviation0), np.linalg.norm(deviation1))
    whole = np.sqrt(((tables.colors - tables.colors.mean(axis=0)) ** 2).sum(axis=1).mean())
    outer = [e for e, (a, b) in enumerate(tables.edges) if of_row[a] != of_row[b]]
    distances = [distance(of_row[a], of_row[b]) for a, b in tables.edges[outer]]
    everywhere, distance_everywhere, boundary_everywhere = (
        float(np.average(values, weights=tables.lengths[outer]))
        for values in (w[outer], distances, tables.boundary[outer])
    )
    mean_size = tables.sizes.sum() / np.unique(of_row).size
    return [
        along(tables.dissimilarity),
        along(tables.boundary),
        along(w),
        tables.dissimilarity[shared].min(),
        tables.boundary[shared].min(),
        w[shared].min(),
        np.sqrt(np.average((w[shared] - along(w)) ** 2, weights=length)),
        along((w < 0.3).astype(float)),
        np.abs(mean0 - mean1).sum(),
        min(spread0, spread1),
        max(spread0, spread1),
        light,
        chroma,
        contrast / (1 + within),
        contrast / (1 + whole),
        np.abs(deviation0 - deviation1).sum(),
        np.log(small / 64),
        np.log(large / 64),
        np.log(length.sum() / np.sqrt(small)),
        length.sum() / min(perimeter0, perimeter1),
        *above_weakest,
        *sorted(weight_around(r) for r in (u, v)),
        *sorted(np.log(len(neighbours(r))) for r in (u, v)),
        *above_nearest,
        *sorted(np.log(raggedness(of_row, r)) for r in (u, v)),
        np.log(raggedness(np.where(of_row == v, u, of_row), u)),
        np.log(
            raggedness(np.where(of_row == v, u, of_row), u)
            / (raggedness(of_row, u) + raggedness(of_row, v))
        ),
        everywhere,
        distance_everywhere,
        boundary_everywhere,
        np.log(1 + whole),
        np.log(mean_size / 64),
        along(w) - everywhere,
        distance(u, v) / (0.05 + distance_everywhere),
        np.log(small / mean_size),
        np.log(large / mean_size),
    ]


def test_features_are_what_their_names_say():
    tables = grid_tables()
    of_row = np.random.default_rng(1).integers(0, 8, len(tables.sizes))
    found = region_pairs(tables, of_row, 8)
    expected_pairs = sorted(
        {
            tuple(sorted((int(of_row[a]), int(of_row[b]))))
            for a, b in tables.edges
            if of_row[a] != of_row[b]
        }
    )
    assert found.pairs.tolist() == [list(pair) for pair in expected_pairs]
    assert found.features.shape == (len(expected_pairs), len(FEATURES))
    for (u, v), features in zip(expected_pairs, found.features, strict=True):
        np.testing.assert_allclose(
            features, reference_features(tables, of_row, u, v), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("planes", [1, 2, 5])
def test_equal_channels_say_what_one_says(planes):
    one = grid_tables(planes=1)
    many = one._replace(
        colors=np.repeat(one.colors, planes, axis=1),
        color_squares=np.repeat(one.color_squares, planes, axis=1),
    )
    of_row = np.random.default_rng(1).integers(0, 8, len(one.sizes))
    np.testing.assert_allclose(
        region_pairs(one, of_row, 8).features, region_pairs(many, of_row, 8).features, atol=1e-5
    )


def test_pairs_do_not_depend_on_how_regions_are_numbered():
    tables = grid_tables()
    rng = np.random.default_rng(2)
    of_row, turned = rng.integers(0, 8, len(tables.sizes)), rng.permutation(8)
    found, other = region_pairs(tables, of_row, 8), region_pairs(tables, turned[of_row], 8)
    place = {tuple(sorted(turned[list(pair)])): i for i, pair in enumerate(found.pairs)}
    order = [place[tuple(pair)] for pair in other.pairs]
    np.testing.assert_array_equal(other.features, found.features[order])


def test_function_is_the_mean_of_networks_of_rectified_layers():
    function = some_function()
    x = np.random.default_rng(3).normal(0, 3, (5000, len(FEATURES)))
    values = np.clip((x - function.mean) / function.scale, -6, 6)
    answers = []
    for network in range(2):
        (first, last), (bias, end) = (
            [layer[network] for layer in layers] for layers in (function.weights, function.biases)
        )
        answers.append(np.maximum(values @ first.T + bias, 0) @ last.T + end)
    expected = 1 / (1 + np.exp(-np.mean(answers, axis=0)[:, 0]))
    np.testing.assert_allclose(function(x), expected, rtol=1e-5)
    # Alone or among others, a pair gets the same answer to the last bit.
    np.testing.assert_array_equal(function(x[77:78]), function(x)[77:78])


def test_function_survives_being_kept_as_arrays():
    function = some_function()
    again = MergeFunction.from_tensors(function.tensors())
    twice = MergeFunction.from_tensors(again.tensors())
    x = np.random.default_rng(3).normal(size=(50, len(FEATURES)))
    np.testing.assert_allclose(again(x), function(x), rtol=1e-4)
    np.testing.assert_array_equal(again(x), twice(x))
    assert again.levels == pytest.approx(function.levels)


def test_a_function_of_fewer_features_goes_on_without_the_others():
    older = some_function()
    older = replace(
        older,
        mean=older.mean[:20],
        scale=older.scale[:20],
        weights=(older.weights[0][..., :20], older.weights[1]),
    )
    newer = some_function()
    newer.weights[0][..., 20:] = 0
    x = np.random.default_rng(3).normal(size=(50, len(FEATURES)))
    np.testing.assert_allclose(older(x), newer(x), rtol=1e-5)
    np.testing.assert_array_equal(older(x[:, :20]), older(x))


def test_layers_that_do_not_fit_are_refused():
    function = some_function()
    with pytest.raises(ParameterError, match="merge function has layers"):
        replace(function, weights=(function.weights[0][..., 1:], function.weights[1]))
    with pytest.raises(ParameterError, match="levels"):
        replace(function, levels=())
    wider = np.zeros(len(FEATURES) + 1)
    with pytest.raises(ParameterError, match=f"from at most {len(FEATURES)} features"):
        replace(
            function,
            mean=wider,
            scale=wider + 1,
            weights=(np.zeros((2, 7, wider.size)), function.weights[1]),
        )


def partition(tables: SuperpixelTables, function: MergeFunction) -> list[np.ndarray]:
    """Region of each superpixel at the end of each level, by merging level by level."""
    of_row = np.arange(len(tables.sizes))
    tree = average(tables.edges, to_fixed(tables.edge_weights()), tables.lengths, of_row.size)
    out = []
    for level in function.levels:
        of_row = np.unique(tree.cut(int(to_fixed(level)))[of_row], return_inverse=True)[1]
        out.append(of_row)
        found = region_pairs(tables, of_row, int(of_row.max()) + 1)
        tree = average(
            found.pairs, to_fixed(function(found.features)), found.lengths, int(of_row.max()) + 1
        )
    return out


def same_partition(a, b) -> bool:
    pairs = np.unique(np.stack([a, b], axis=1), axis=0)
    return len(pairs) == len(np.unique(a)) == len(np.unique(b))


@pytest.mark.parametrize("seed", range(5))
def test_hierarchy_holds_the_partition_at_the_end_of_each_level(seed):
    tables = grid_tables(seed=seed)
    function = with_levels(tables, some_function(seed))
    tree = learned(tables, function)
    expected = partition(tables, function)
    assert len(np.unique(expected[0])) > len(np.unique(expected[-1])) > 1
    for number, regions in enumerate(expected, start=1):
        threshold = int((2**32 - 1) * 0.4 * number / len(function.levels))
        assert same_partition(tree.cut(threshold), regions)
    # Beyond the last level heights are those of the last hierarchy, on a smaller scale.
    _, _, last = list(stages(tables, function))[-1]
    for p in (0.2, 0.5, 0.8):
        cut = last.cut(int(to_fixed(p)))[expected[-1]]
        assert same_partition(tree.cut(int(to_fixed(0.4 + 0.6 * p))), cut)


@pytest.mark.parametrize("seed", range(5))
def test_partitions_are_nested(seed):
    tables = grid_tables(seed=seed)
    tree = learned(tables, with_levels(tables, some_function(seed)))
    before = tree.cut(0)
    for threshold in np.linspace(0, 2**32 - 2, 40).astype(np.int64):
        now = tree.cut(int(threshold))
        assert len(np.unique(np.stack([before, now], axis=1), axis=0)) == len(np.unique(before))
        before = now


def test_one_superpixel_is_one_region():
    tables = grid_tables(1, 1)
    assert learned(tables, some_function()).cut(2**32 - 1).tolist() == [0]
