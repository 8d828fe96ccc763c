"""Composites whose regions are known exactly.

A map of regions is drawn (cells, parcels, blobs, with membranes or roads between them), and
each region is filled with a texture cut from inside a region of a training image, in a tone of
its own; or objects of one kind are strewn over a ground, as cells are in a microscope's field of
view. There is no end of such images, and no annotator has to agree with another.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from napari_del.evaluation.datasets import AnnotatedImage

__all__ = ["COMPOSITES", "composite", "region_map", "texture_patches"]

COMPOSITES = ("mixed", "textures")
"""Kinds of composites: "textures" are patchworks of textures that are all as strong; "mixed" are
objects over a ground, and patchworks whose textures may be of different strength."""
_LEAST_PATCH = 20
# Share of the mixed composites that are objects over a ground.
_STREWN = 0.6


def texture_patches(
    images: Iterable[AnnotatedImage], *, per_image: int = 3
) -> list[NDArray[np.uint8]]:
    """Cut squares that lie inside one labelled region.

    Parameters
    ----------
    images : iterable of AnnotatedImage
        Images as uint8 RGB.
    per_image : int
        Squares from each image, of different regions, the largest first.

    Returns
    -------
    list of ndarray of uint8, shape (s, s, 3)
        Of various sizes s from 20 pixels.
    """
    patches = []
    for item in images:
        labels = item.segmentations[0]
        image = np.asarray(item.image)
        inside = np.zeros(labels.shape, bool)
        inside[1:-1, 1:-1] = (
            (labels[1:-1, 1:-1] >= 0)
            & (labels[1:-1, 1:-1] == labels[:-2, 1:-1])
            & (labels[1:-1, 1:-1] == labels[2:, 1:-1])
            & (labels[1:-1, 1:-1] == labels[1:-1, :-2])
            & (labels[1:-1, 1:-1] == labels[1:-1, 2:])
        )
        depth = ndimage.distance_transform_cdt(inside, "chessboard")
        for _ in range(per_image):
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            half = int(depth[y, x]) - 1
            if 2 * half < _LEAST_PATCH:
                break
            half = min(half, 64)
            patches.append(np.ascontiguousarray(image[y - half : y + half, x - half : x + half]))
            depth[labels == labels[y, x]] = 0
    return patches


def _smooth_noise(
    size: tuple[int, int], scale: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Noise of unit variance that varies over about `scale` pixels."""
    rows, columns = (max(2, round(side / scale) + 2) for side in size)
    coarse = rng.standard_normal((rows, columns)).astype(np.float32)
    zoom = ((size[0] + 1) / (rows - 1), (size[1] + 1) / (columns - 1))
    fine = ndimage.zoom(coarse, zoom, order=3, prefilter=False)[: size[0], : size[1]]
    out: NDArray[np.float32] = fine / max(float(fine.std()), 1e-3)
    return out


def _bent(
    size: tuple[int, int], scale: float, amount: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Coordinates (Y, X, 2) of pixels, displaced smoothly by about `amount` pixels."""
    grid: NDArray[np.float32] = np.stack(list(np.indices(size)), axis=-1).astype(np.float32)
    for axis in range(2):
        grid[..., axis] += amount * _smooth_noise(size, scale, rng)
    return grid


def _cells(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int32]:
    """Voronoi cells with bent walls, from tiny to a quarter of the image."""
    spacing = float(np.exp(rng.uniform(np.log(14), np.log(150))))
    count = max(3, round(size[0] * size[1] / spacing**2))
    points = rng.uniform(-0.1, 1.1, (count, 2)) * size
    bend = rng.uniform(0, 0.3)
    where = _bent(size, max(8.0, spacing * 0.6), bend * spacing * 0.4, rng)
    nearest = KDTree(points).query(where.reshape(-1, 2))[1].reshape(size)
    labels: NDArray[np.int32] = nearest.astype(np.int32)
    if rng.random() < 0.5:  # cells of one region may be many: join some at random
        labels = rng.integers(0, max(2, count // 2), count).astype(np.int32)[labels]
    return labels


def _parcels(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int32]:
    """Rectangles cut in two again and again, turned as a whole."""
    angle = rng.uniform(0, np.pi / 2)
    y, x = np.indices(size).astype(np.float32)
    y, x = y - size[0] / 2, x - size[1] / 2
    u = y * np.cos(angle) + x * np.sin(angle)
    v = x * np.cos(angle) - y * np.sin(angle)
    reach = float(np.hypot(*size)) / 2
    least = float(np.exp(rng.uniform(np.log(14), np.log(90))))
    labels = np.zeros(size, np.int32)
    number = 0
    stack = [(-reach, reach, -reach, reach)]
    while stack:
        u0, u1, v0, v1 = stack.pop()
        long, cut = max(u1 - u0, v1 - v0), rng.uniform(0.3, 0.7)
        if long > 2 * least and (long > 6 * least or rng.random() < 0.85):
            if u1 - u0 >= v1 - v0:
                middle = u0 + cut * (u1 - u0)
                stack += [(u0, middle, v0, v1), (middle, u1, v0, v1)]
            else:
                middle = v0 + cut * (v1 - v0)
                stack += [(u0, u1, v0, middle), (u0, u1, middle, v1)]
            continue
        labels[(u >= u0) & (u < u1) & (v >= v0) & (v < v1)] = number
        number += 1
    return labels


def _blobs(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int32]:
    """Level sets of smooth noise: land and water, tissue and its holes."""
    scale = float(np.exp(rng.uniform(np.log(10), np.log(90))))
    levels = np.sort(rng.uniform(-1.2, 1.2, int(rng.integers(1, 4))))
    kinds = np.digitize(_smooth_noise(size, scale, rng), levels)
    return _parts(kinds)


def _discs(
    size: tuple[int, int], rng: np.random.Generator, least: float = 5, most: float = 40
) -> NDArray[np.int32]:
    """Round or bent objects strewn over a background: nuclei, cells, trees."""
    radius = float(np.exp(rng.uniform(np.log(least), np.log(most))))
    labels = np.zeros(size, np.int32)
    count = int(rng.uniform(0.1, 0.5) * size[0] * size[1] / (3.2 * radius**2)) + 2
    where = _bent(size, max(6.0, radius), rng.uniform(0, 0.25) * radius, rng)
    for number in range(1, min(count, 400) + 1):
        centre = rng.uniform(0, 1, 2) * size
        a, b = radius * np.exp(rng.uniform(-0.5, 0.5, 2))
        angle = rng.uniform(0, np.pi)
        reach = int(1.6 * max(a, b)) + 4
        rows = slice(max(0, int(centre[0]) - reach), int(centre[0]) + reach)
        columns = slice(max(0, int(centre[1]) - reach), int(centre[1]) + reach)
        dy = where[rows, columns, 0] - centre[0]
        dx = where[rows, columns, 1] - centre[1]
        along = dy * np.cos(angle) + dx * np.sin(angle)
        across = dx * np.cos(angle) - dy * np.sin(angle)
        labels[rows, columns][(along / a) ** 2 + (across / b) ** 2 < 1] = number
    return labels


def _parts(kinds: NDArray[np.integer]) -> NDArray[np.int32]:
    """Connected parts of equal values, numbered from 0."""
    labels = np.zeros(kinds.shape, np.int32)
    number = 0
    for kind in np.unique(kinds):
        found, count = ndimage.label(kinds == kind)
        labels[found > 0] = found[found > 0] + (number - 1)
        number += count
    return labels


def _walls(labels: NDArray[np.int32], width: int) -> NDArray[np.bool_]:
    """Pixels within about half of `width` of a border."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    wide: NDArray[np.bool_] = ndimage.maximum_filter(edge, size=width)
    return wide


def region_map(size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.int32]:
    """Draw a map of regions.

    Parameters
    ----------
    size : tuple of int
        Height and width.
    rng : numpy.random.Generator
        Source of chance.

    Returns
    -------
    ndarray of int32, shape `size`
        Regions from 0, which need not be connected.
    """
    draw = (_cells, _parcels, _blobs, _discs)[int(rng.choice(4, p=[0.3, 0.25, 0.2, 0.25]))]
    labels = draw(size, rng)
    if draw in (_cells, _parcels) and rng.random() < 0.4:
        # Membranes and roads between the regions are one region of their own.
        walls = _walls(labels, int(rng.integers(2, 6)))
        labels = np.where(walls, labels.max() + 1, labels).astype(np.int32)
    if rng.random() < 0.3:
        over = _discs(size, rng) if rng.random() < 0.5 else _cells(size, rng)
        chosen = rng.random(over.max() + 1) < 0.3
        chosen[0] = False
        above = over + (labels.max() + 1)
        labels = np.where(chosen[over], above, labels).astype(np.int32)
    return _numbered(labels)


def _numbered(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """The same regions, numbered from 0 without gaps."""
    numbers = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)
    out: NDArray[np.int32] = numbers.astype(np.int32)
    return out


def composite(
    size: tuple[int, int],
    patches: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
    kind: str = "mixed",
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Make an image of textures or of objects, and its regions.

    Parameters
    ----------
    size : tuple of int
        Height and width.
    patches : sequence of ndarray of uint8, shape (s, s, 3)
        Textures, see `texture_patches`.
    rng : numpy.random.Generator
        Source of chance.
    kind : str
        One of `COMPOSITES`.

    Returns
    -------
    image : ndarray of uint8, shape (Y, X, 3)
    segmentations : ndarray of int32, shape (1, Y, X)
        Regions from 0.
    """
    if kind == "textures":
        value, labels = _patchwork(size, patches, rng, alike=True)
    elif rng.random() < _STREWN:
        value, labels = _strewn(size, patches, rng)
    else:
        value, labels = _patchwork(size, patches, rng)
    image = np.clip(np.rint(value), 0, 255).astype(np.uint8)
    return image, labels[np.newaxis]


def _patchwork(
    size: tuple[int, int],
    patches: Sequence[NDArray[np.uint8]],
    rng: np.random.Generator,
    alike: bool = False,
) -> tuple[NDArray[np.floating], NDArray[np.int32]]:
    """Regions that are filled with textures, `alike` in strength or not."""
    labels = region_map(size, rng)
    n = int(labels.max()) + 1
    kinds = int(rng.integers(2, 9))
    textures = np.stack([_spread_out(patches, size, rng) for _ in range(kinds)])
    # A texture keeps its structure and takes a tone of its own in each region. With little
    # texture regions differ by tone alone, as nuclei do; with little tone by texture alone.
    least, most = np.log(0.05), np.log(1.2)
    if alike:
        # In float32, as when the weights that ship were trained.
        structure = np.full(kinds, np.exp(rng.uniform(least, most)), np.float32)
    else:
        structure = np.exp(rng.uniform(least, most, kinds))
        if rng.random() < 0.6:  # else some are even and some are not, as water is beside a wood
            structure[:] = structure[0]
    own_tone = rng.random() < 0.7
    kind = rng.integers(0, kinds, n)
    base = textures.mean(axis=(1, 2))[kind]
    if own_tone:
        spread = rng.uniform(10, 70)
        base = base + rng.normal(0, spread, (n, 1)) + rng.normal(0, spread / 4, (n, 3))
    gain = structure[kind] * rng.uniform(0.7, 1.3, n)
    flat = textures - textures.mean(axis=(1, 2), keepdims=True)
    rows, columns = np.indices(size)
    value = flat[kind[labels], rows, columns] * gain[labels][..., np.newaxis] + base[labels]
    if rng.random() < 0.3:  # objects are shaded across, as round things are
        value = value + rng.uniform(5, 20) * _smooth_noise(size, 60, rng)[..., np.newaxis]
    sigma = rng.uniform(0, 1.2)
    return ndimage.gaussian_filter(value, (sigma, sigma, 0), truncate=2.5), labels


def _strewn(
    size: tuple[int, int], patches: Sequence[NDArray[np.uint8]], rng: np.random.Generator
) -> tuple[NDArray[np.floating], NDArray[np.int32]]:
    """Objects of one kind over an even ground, some with a core: cells, nuclei, grains.

    All have about one tone, brighter or darker than the ground, and differ in strength; they
    may be faint, touch, and be out of focus.
    """
    objects = _discs(size, rng, 3.5, 60)
    n = int(objects.max()) + 1
    depth = ndimage.distance_transform_edt(~_walls(objects, 1))
    radius = max(4.0, float(depth[objects > 0].max(initial=0)))
    # From 0 outside to 1 in the middle of each object.
    middle = np.maximum(ndimage.maximum(depth, objects, np.arange(n)), 1)
    inside = np.where(objects > 0, depth / middle[objects], 0)
    cored = radius > 8 and rng.random() < 0.4
    tones = _tones(cored, rng)
    strength = np.exp(rng.normal(0, rng.uniform(0.05, 0.6), n))[objects]
    # From even to domed, as a ball is.
    dome = rng.uniform(0, 1)
    amount = np.where(objects > 0, strength * (1 - dome + dome * np.sqrt(inside)), 0)
    value = tones[0] + amount[..., np.newaxis] * (tones[1] - tones[0])
    labels = objects
    if cored:
        lobed = inside + rng.uniform(0, 0.3) * _smooth_noise(size, radius, rng)
        core = (lobed > rng.uniform(0.2, 0.7)) & (inside > 0.1)
        value[core] = tones[0] + strength[core, np.newaxis] * (tones[2] - tones[0])
        labels = np.where(core, objects + n, objects)
    texture = _spread_out(patches, size, rng)
    texture -= texture.mean(axis=(0, 1))
    # Most grounds are plain, as a dark field is; some have the texture of objects, as tissue has.
    rough = 0.6 if rng.random() < 0.3 else 0.2
    grain = np.where(objects > 0, rng.uniform(0, 0.6), rng.uniform(0, rough)) * rng.random()
    value = value + texture * grain[..., np.newaxis]
    if rng.random() < 0.4:  # uneven light
        value = value + rng.uniform(3, 15) * _smooth_noise(size, 80, rng)[..., np.newaxis]
    sigma = rng.uniform(0, 2) * min(1, radius / 8)
    value = ndimage.gaussian_filter(value, (sigma, sigma, 0), truncate=2.5)
    noise = np.exp(rng.uniform(np.log(0.3), np.log(8)))
    value = value + noise * rng.standard_normal((*size, 1))
    return value, _numbered(labels)


def _tones(cored: bool, rng: np.random.Generator) -> NDArray[np.float64]:
    """Tones of a ground, of objects and of their cores, (3, 3): a glow in the dark, or a stain."""
    dark, bright = rng.uniform(0, 60), rng.uniform(110, 250)
    contrast = np.exp(rng.uniform(np.log(0.08), 0)) * (bright - dark)
    ground = dark
    if rng.random() < 0.5:
        ground, contrast = bright, -contrast
    share = 1.0
    if cored and rng.random() < 0.75:  # a core stands out more than what is around it
        share = rng.uniform(0.15, 0.7)
    steps = contrast * np.array([0, share, 1 if share < 1 else rng.uniform(0, 0.6)])
    if rng.random() < 0.4:
        colour = np.ones((3, 3))  # grey
    else:  # what is stained is less of some colours
        colour = rng.uniform(0.1, 1.5, (3, 3))
    tones: NDArray[np.float64] = ground + steps[:, np.newaxis] * colour
    return tones


def _spread_out(
    patches: Sequence[NDArray[np.uint8]], size: tuple[int, int], rng: np.random.Generator
) -> NDArray[np.float32]:
    """A patch turned at random and continued by its mirror images over an area."""
    patch = np.rot90(patches[int(rng.integers(len(patches)))], int(rng.integers(4)))
    side = patch.shape[0]
    offset = rng.integers(0, 2 * side, 2)
    index = [
        side - 1 - np.abs((np.arange(length) + shift) % (2 * side) - side + 0.5).astype(np.intp)
        for length, shift in zip(size, offset, strict=True)
    ]
    out: NDArray[np.float32] = patch[index[0][:, np.newaxis], index[1]].astype(np.float32)
    return out
