"""Plain and slow forms of the linkages, and graphs to try them on."""

from __future__ import annotations

import random
from fractions import Fraction

import numpy as np
from hypothesis import strategies as st

# Few values, so that ties are everywhere, and the ends of the range.
FEW = (0, 1, 2, 3, 5, 2**31, 2**32 - 2, 2**32 - 1)


def grid(rows, columns):
    """Edges of a 4-connected grid, sorted, and its number of nodes."""
    index = np.arange(rows * columns).reshape(rows, columns)
    across = np.stack([index[:, :-1].ravel(), index[:, 1:].ravel()], axis=1)
    down = np.stack([index[:-1].ravel(), index[1:].ravel()], axis=1)
    edges = np.concatenate([across, down])
    return edges[np.lexsort((edges[:, 1], edges[:, 0]))].astype(np.int32), rows * columns


@st.composite
def graphs(draw):
    """Edges, weights, border lengths and number of nodes of a small graph with many ties."""
    if draw(st.booleans()):
        edges, n = grid(draw(st.integers(1, 7)), draw(st.integers(1, 7)))
    else:
        n = draw(st.integers(0, 20))
        pairs = [(u, v) for u in range(n) for v in range(u + 1, n)]
        chosen = draw(st.sets(st.sampled_from(pairs), max_size=60)) if pairs else set()
        edges = np.array(sorted(chosen), np.int32).reshape(-1, 2)
    m = len(edges)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    few = draw(st.lists(st.sampled_from(FEW), min_size=1, max_size=6, unique=True))
    weights = rng.choice(np.array(few, np.uint32), m)
    lengths = rng.integers(1, draw(st.sampled_from([2, 4, 2**22])), m)
    return edges, weights, lengths, n


def thresholds(weights):
    """Thresholds at, just below and just above all `weights`, and at both ends."""
    near = {int(w) + k for w in weights for k in (-1, 0, 1)} | {0, 2**32 - 1}
    return sorted(t for t in near if 0 <= t <= 2**32 - 1)


def partition(representatives):
    """The regions as a set of sets of rows."""
    regions = {}
    for row, representative in enumerate(representatives):
        regions.setdefault(int(representative), set()).add(row)
    return {frozenset(region) for region in regions.values()}


def components(pairs, n):
    """Connected components, as a set of sets of rows."""
    region = {i: frozenset([i]) for i in range(n)}
    for u, v in pairs:
        both = region[int(u)] | region[int(v)]
        region.update(dict.fromkeys(both, both))
    return set(region.values())


def total_order(weights):
    return sorted(range(len(weights)), key=lambda e: (int(weights[e]), e))


def average_merges(edges, weights, lengths, n, schedule=None):
    """Merges of average linkage: a list of (exact mean, merged region as a set of rows).

    `schedule` None merges the smallest border of all; a `random.Random` merges any border that
    is the smallest of both its regions.
    """
    region = {i: frozenset([i]) for i in range(n)}
    merges = []
    while True:
        borders = {}
        for e, (u, v) in enumerate(edges):
            a, b = region[int(u)], region[int(v)]
            if a != b:
                total, length, first = borders.get(frozenset([a, b]), (0, 0, e))
                w = int(weights[e]) * int(lengths[e])
                borders[frozenset([a, b])] = (total + w, length + int(lengths[e]), first)
        keys = {pair: (Fraction(t, k), first) for pair, (t, k, first) in borders.items()}
        if not keys:
            return merges
        if schedule is None:
            pair = min(keys, key=keys.get)
        else:
            nearest = {}
            for candidate in sorted(keys, key=keys.get):
                for side in candidate:
                    nearest.setdefault(side, candidate)
            mutual = [p for p in keys if all(nearest[side] == p for side in p)]
            pair = schedule.choice(sorted(mutual, key=keys.get))
        both = frozenset.union(*pair)
        merges.append((keys[pair][0], both))
        region.update(dict.fromkeys(both, both))


def partition_at(merges, threshold, n):
    """The partition by the merges whose mean, rounded down, is at most `threshold`."""
    region = {i: frozenset([i]) for i in range(n)}
    for mean, both in sorted(merges, key=lambda merge: len(merge[1])):
        if int(mean) <= threshold:
            region.update(dict.fromkeys(both, both))
    return set(region.values())


def egb_partition(edges, weights, n, threshold):
    region = {i: frozenset([i]) for i in range(n)}
    internal = dict.fromkeys(region.values(), 0)
    t = Fraction(threshold)
    for e in total_order(weights):
        a, b = (region[int(i)] for i in edges[e])
        w = int(weights[e])
        # w <= Int + t / (1 - t) * (2**32 - 1) / size, without a division by zero
        slack = t * (2**32 - 1)
        if a != b and all((1 - t) * (w - internal[r]) * len(r) <= slack for r in (a, b)):
            internal[a | b] = w
            region.update(dict.fromkeys(a | b, a | b))
        elif a != b and t == 1:
            raise AssertionError("a threshold of 1 joins all")
    return set(region.values())


def small_partition(regions, edges, weights, sizes, min_size):
    region = {i: r for r in regions for i in r}
    for e in total_order(weights):
        a, b = (region[int(i)] for i in edges[e])
        if a != b and min(sum(int(sizes[i]) for i in r) for r in (a, b)) < min_size:
            region.update(dict.fromkeys(a | b, a | b))
    return set(region.values())


def random_schedule(seed):
    return random.Random(seed)
