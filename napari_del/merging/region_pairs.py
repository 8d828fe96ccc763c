"""What can be told of two adjacent regions before they are merged.

Edges between single superpixels are local. Two regions also have sizes, a mean embedding and
a mean colour each, a spread of both, and a border along which the boundary may be strong here
and weak there. `region_pairs` puts that into numbers for every pair of adjacent regions.

Everything is summed in the order of the tables, which is that of the superpixels, so the
numbers depend on nothing but the tables and the partition.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

__all__ = ["FEATURES", "RegionPairs", "SuperpixelTables", "region_pairs"]

FEATURES = (
    "dissimilarity along the border",
    "boundary along the border",
    "edge weight along the border",
    "least dissimilarity",
    "least boundary",
    "least edge weight",
    "spread of the edge weight",
    "share of the border with a small edge weight",
    "L1 distance of the mean embeddings",
    "spread of embeddings in the more even region",
    "spread of embeddings in the less even region",
    "difference of lightness",
    "difference of chroma",
    "contrast over the spread within",
    "contrast over that of the image",
    "difference of texture",
    "size of the smaller region",
    "size of the larger region",
    "border over the extent of the smaller region",
    "border over the shorter perimeter",
    "edge weight above that of the weakest border, the smaller of both regions'",
    "edge weight above that of the weakest border, the larger",
    "edge weight along the perimeter, the smaller of both regions'",
    "edge weight along the perimeter, the larger",
    "number of neighbours, the smaller of both regions'",
    "number of neighbours, the larger",
    "L1 distance above that of the nearest neighbour, the smaller of both regions'",
    "L1 distance above that of the nearest neighbour, the larger",
    "raggedness, the smaller of both regions'",
    "raggedness, the larger",
    "raggedness of their union",
    "raggedness of their union over the sum of both",
    "edge weight along all borders of the image",
    "L1 distance along all borders of the image",
    "boundary along all borders of the image",
    "contrast of the image",
    "mean size of the regions of the image",
    "edge weight above that along all borders",
    "L1 distance over that along all borders",
    "size of the smaller region over the mean size",
    "size of the larger region over the mean size",
)
"""The numbers of a pair, in the order of the columns of `RegionPairs.features`."""

_SMALL_WEIGHT = 0.3
# Beyond this many superpixels a region is large, and how large says no more.
_LARGEST = 4096.0
# Distances are compared with that along all borders plus this much, which may be next to nothing.
_LEAST_DISTANCE = 0.05


class SuperpixelTables(NamedTuple):
    """Superpixels and their edges, as `region_pairs` needs them.

    Attributes
    ----------
    sizes : ndarray of int64, shape (n,)
        Pixels of each superpixel.
    embeddings : ndarray of float32, shape (n, D)
        Mean embeddings.
    colors, color_squares : ndarray of float32, shape (n, F)
        Means of the colour features and of their squares over each superpixel; CIELAB where
        the image has three channels, else 0 to 100.
    edges : ndarray of int32, shape (m, 2)
        Adjacent superpixels u < v, sorted.
    lengths : ndarray of int64, shape (m,)
        Lengths of their borders.
    dissimilarity, boundary : ndarray of float64, shape (m,)
        Dissimilarity and mean boundary probability of each edge.
    superpixel_area : int
        Nominal area of a superpixel in pixels, the square of the step.
    """

    sizes: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    colors: NDArray[np.float32]
    color_squares: NDArray[np.float32]
    edges: NDArray[np.int32]
    lengths: NDArray[np.int64]
    dissimilarity: NDArray[np.float64]
    boundary: NDArray[np.float64]
    superpixel_area: int

    def edge_weights(self) -> NDArray[np.float64]:
        """Geometric mean of dissimilarity and boundary probability of each edge, (m,)."""
        weights: NDArray[np.float64] = np.sqrt(self.dissimilarity * self.boundary)
        return weights


class RegionPairs(NamedTuple):
    """Adjacent regions.

    Attributes
    ----------
    pairs : ndarray of int32, shape (p, 2)
        Regions u < v, sorted.
    lengths : ndarray of int64, shape (p,)
        Lengths of their borders.
    features : ndarray of float64, shape (p, len(FEATURES))
        See `FEATURES`.
    """

    pairs: NDArray[np.int32]
    lengths: NDArray[np.int64]
    features: NDArray[np.float64]


class _Regions(NamedTuple):
    """Sums over regions."""

    area: NDArray[np.float64]
    embedding: NDArray[np.float64]
    unevenness: NDArray[np.float64]
    color: NDArray[np.float64]
    color_spread: NDArray[np.float64]
    perimeter: NDArray[np.float64]
    weight_around: NDArray[np.float64]


def region_pairs(tables: SuperpixelTables, of_row: NDArray[np.integer], k: int) -> RegionPairs:
    """Find all pairs of adjacent regions, and what can be told of them.

    Parameters
    ----------
    tables : SuperpixelTables
        Superpixels and their edges.
    of_row : ndarray of int, shape (n,)
        Region of each superpixel, 0 to ``k - 1``.
    k : int
        Number of regions.

    Returns
    -------
    RegionPairs
    """
    ends = np.sort(np.asarray(of_row, np.int64)[tables.edges], axis=1)
    between = ends[:, 0] != ends[:, 1]
    ends = ends[between]
    keys, pair = np.unique(ends[:, 0] * k + ends[:, 1], return_inverse=True)
    pairs = np.stack([keys // k, keys % k], axis=1).astype(np.int32)
    regions = _regions(tables, np.asarray(of_row, np.int64), k, ends, between)
    length, along = _border(tables, between, pair, keys.size)
    whole = _whole_contrast(tables)
    contrasts = _contrasts(regions, pairs, length, tables, whole)
    context = _context(regions, pairs, weight=along[2], distance=contrasts[0])
    shapes = _shapes(regions, pairs, length)
    image = _image(tables, regions, between, pair, whole, along=along, contrasts=contrasts)
    features = np.column_stack([*along, *contrasts, *context, *shapes, *image])
    return RegionPairs(pairs, length.astype(np.int64), features)


def _border(
    tables: SuperpixelTables, between: NDArray[np.bool_], pair: NDArray[np.intp], p: int
) -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    """Length of each border, and what its edges say."""
    lengths = tables.lengths[between].astype(np.float64)
    length = np.bincount(pair, lengths, p).astype(np.float64)

    def mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out: NDArray[np.float64] = np.bincount(pair, lengths * values, p) / length
        return out

    def least(values: NDArray[np.float64]) -> NDArray[np.float64]:
        out = np.full(p, np.inf)
        np.minimum.at(out, pair, values)
        return out

    d, b = tables.dissimilarity[between], tables.boundary[between]
    w = tables.edge_weights()[between]
    weight = mean(w)
    spread = np.sqrt(np.maximum(mean(w * w) - weight**2, 0))
    small = mean((w < _SMALL_WEIGHT).astype(np.float64))
    return length, [mean(d), mean(b), weight, least(d), least(b), least(w), spread, small]


def _regions(
    tables: SuperpixelTables,
    of_row: NDArray[np.int64],
    k: int,
    ends: NDArray[np.int64],
    between: NDArray[np.bool_],
) -> _Regions:
    area = np.bincount(of_row, tables.sizes, k).astype(np.float64)

    def mean(values: NDArray[np.floating], power: int = 1) -> NDArray[np.float64]:
        out = np.zeros((k, values.shape[1]))
        _add_up(of_row, tables.sizes, values, power == 2, out)
        out /= area[:, np.newaxis]
        return out

    embedding, squares = mean(tables.embeddings), mean(tables.embeddings, 2)
    color, color_squares = mean(tables.colors), mean(tables.color_squares)

    def around(values: NDArray[np.float64]) -> NDArray[np.float64]:
        # Edge by edge, so that the sum of a region does not depend on its number.
        return np.bincount(ends.ravel(), np.repeat(values, 2), k).astype(np.float64)

    lengths = tables.lengths[between].astype(np.float64)
    perimeter = around(lengths)
    weight = around(lengths * tables.edge_weights()[between])
    return _Regions(
        area,
        embedding,
        np.sqrt(np.maximum(squares - embedding**2, 0)).sum(axis=1),
        color,
        np.sqrt(np.maximum(color_squares - color**2, 0)),
        perimeter,
        weight / np.maximum(perimeter, 1),
    )


@njit(nogil=True, cache=True)
def _add_up(
    of_row: NDArray[np.int64],
    sizes: NDArray[np.int64],
    values: NDArray[np.floating],
    squared: bool,
    out: NDArray[np.float64],
) -> None:
    for i in range(of_row.size):
        region, size = of_row[i], np.float64(sizes[i])
        for c in range(values.shape[1]):
            value = np.float64(values[i, c])
            out[region, c] += size * (value * value if squared else value)


def color_scale(planes: int) -> float:
    """Factor that makes a difference of all channels that of a grey image of that contrast."""
    return 1.0 if planes == 3 else 1 / float(np.sqrt(planes))


def _whole_contrast(tables: SuperpixelTables) -> float:
    """Standard deviation of the superpixels' colours from their mean."""
    colors = tables.colors.astype(np.float64)
    variance = ((colors - colors.mean(axis=0)) ** 2).sum(axis=1).mean()
    return color_scale(colors.shape[1]) * float(np.sqrt(variance))


def _relative_size(area: NDArray[np.float64], tables: SuperpixelTables) -> NDArray[np.float64]:
    """Logarithm of areas in superpixels."""
    out: NDArray[np.float64] = np.log(np.minimum(area / tables.superpixel_area, _LARGEST))
    return out


def _contrasts(
    regions: _Regions,
    pairs: NDArray[np.int32],
    length: NDArray[np.float64],
    tables: SuperpixelTables,
    whole: float,
) -> list[NDArray[np.float64]]:
    """What the two regions of each pair have in common and what not."""
    u, v = pairs.T
    planes = regions.color.shape[1]
    difference = np.abs(regions.color[u] - regions.color[v])
    spread = regions.color_spread
    # Images of other than three channels have no lightness; all their channels are one contrast.
    scale = color_scale(planes)
    if planes == 3:
        lightness = difference[:, 0]
        chroma = np.hypot(difference[:, 1], difference[:, 2])
    else:
        lightness = scale * np.sqrt((difference**2).sum(axis=1))
        chroma = np.zeros_like(lightness)
    contrast = np.hypot(lightness, chroma)
    within = scale * np.sqrt((spread[u] ** 2).sum(axis=1) + (spread[v] ** 2).sum(axis=1))
    uneven = np.sort(regions.unevenness[pairs], axis=1)
    area = np.sort(regions.area[pairs], axis=1)
    relative = _relative_size(area, tables)
    perimeter = np.minimum(regions.perimeter[u], regions.perimeter[v])
    return [
        np.abs(regions.embedding[u] - regions.embedding[v]).sum(axis=1),
        uneven[:, 0],
        uneven[:, 1],
        lightness,
        chroma,
        contrast / (1 + within),
        contrast / (1 + whole),
        scale**2 * np.abs(spread[u] - spread[v]).sum(axis=1),
        relative[:, 0],
        relative[:, 1],
        np.log(length / np.sqrt(area[:, 0])),
        length / perimeter,
    ]


def _context(
    regions: _Regions,
    pairs: NDArray[np.int32],
    *,
    weight: NDArray[np.float64],
    distance: NDArray[np.float64],
) -> list[NDArray[np.float64]]:
    """How a pair compares with the other neighbours of either region.

    A border of some weight is where a region ends if the others are weaker, and texture if they
    are as strong. The smaller value of each two comes first, as a pair has no order.
    """
    k = regions.area.size
    u, v = pairs.T

    def both(first: NDArray[np.float64], second: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        return [np.minimum(first, second), np.maximum(first, second)]

    def above_least(values: NDArray[np.float64]) -> list[NDArray[np.float64]]:
        least = np.full(k, np.inf)
        np.minimum.at(least, u, values)
        np.minimum.at(least, v, values)
        return both(values - least[u], values - least[v])

    neighbours = np.log(np.maximum(np.bincount(pairs.ravel(), minlength=k), 1))
    return [
        *above_least(weight),
        *both(regions.weight_around[u], regions.weight_around[v]),
        *both(neighbours[u], neighbours[v]),
        *above_least(distance),
    ]


def _shapes(
    regions: _Regions, pairs: NDArray[np.int32], length: NDArray[np.float64]
) -> list[NDArray[np.float64]]:
    """How ragged two regions are, and how ragged they would be as one.

    Raggedness is the logarithm of the squared perimeter over the area: least for a disc. Two
    round cells that touch make a union of the sum of theirs, and two parts of one make a union
    that is as round as either.
    """
    u, v = pairs.T
    perimeter, area = regions.perimeter, regions.area
    of_region = np.log(np.maximum(perimeter, 1) ** 2 / area)
    around = np.maximum(perimeter[u] + perimeter[v] - 2 * length, 1)
    union = np.log(around**2 / (area[u] + area[v]))
    return [
        np.minimum(of_region[u], of_region[v]),
        np.maximum(of_region[u], of_region[v]),
        union,
        union - np.log(np.exp(of_region[u]) + np.exp(of_region[v])),
    ]


def _image(
    tables: SuperpixelTables,
    regions: _Regions,
    between: NDArray[np.bool_],
    pair: NDArray[np.intp],
    whole: float,
    *,
    along: list[NDArray[np.float64]],
    contrasts: list[NDArray[np.float64]],
) -> list[NDArray[np.float64]]:
    """What kind of image it is, and how a pair compares with all others of it.

    Whether a faint border ends a region depends on how strong borders are elsewhere, which differs
    between a slide of stained tissue and a photograph.
    """
    lengths = tables.lengths[between].astype(np.float64)
    total = max(float(lengths.sum()), 1.0)
    _, boundary, weight = along[:3]
    distance, sizes = contrasts[0], contrasts[8:10]

    def mean(values: NDArray[np.float64]) -> float:
        # Edge by edge, so that the sum does not depend on how regions are numbered.
        return float((lengths * values[pair]).sum()) / total

    k = regions.area.size
    of_weight, of_distance, of_boundary = mean(weight), mean(distance), mean(boundary)
    size = float(_relative_size(tables.sizes.sum(dtype=np.float64, keepdims=True) / k, tables)[0])
    same = [of_weight, of_distance, of_boundary, float(np.log1p(whole)), size]
    return [
        *(np.full_like(weight, value) for value in same),
        weight - of_weight,
        distance / (of_distance + _LEAST_DISTANCE),
        *(values - size for values in sizes),
    ]
