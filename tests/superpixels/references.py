"""Integer SLIC and its connectivity in plain Python, pixel by pixel."""

from __future__ import annotations

from collections import Counter, defaultdict
from itertools import product

import numpy as np
from skimage.measure import label


def clusters(features, step, pitch, iterations, mask):
    """Grid cell (i, j) whose cluster each pixel (y, x) chose."""
    height, width = features.shape[1:]

    def seed(p, side):
        cell = p // step
        sliver = cell > 0 and 2 * (side - cell * step) < step
        return cell - sliver

    def position(p):
        return (2 * (p % step) + 1) * pitch // (2 * step) + p // step * pitch

    pixels = [(y, x) for y, x in product(range(height), range(width)) if mask[y, x]]
    point = {(y, x): [*features[:, y, x].tolist(), position(y), position(x)] for y, x in pixels}
    chosen = {(y, x): (seed(y, height), seed(x, width)) for y, x in pixels}
    for _ in range(iterations):
        members = defaultdict(list)
        for pixel, cell in chosen.items():
            members[cell].append(point[pixel])
        centres = {
            cell: [
                (2 * sum(values) + len(points)) // (2 * len(points))
                for values in zip(*points, strict=True)
            ]
            for cell, points in members.items()
        }
        for y, x in pixels:
            around = product((-1, 0, 1), (-1, 0, 1))
            near = [(y // step + i, x // step + j) for i, j in around]
            chosen[y, x] = min(
                (sum((a - b) ** 2 for a, b in zip(point[y, x], centres[c], strict=True)), c)
                for c in near
                if c in centres
            )[1]
    return chosen


def connected(ids, step, n_cells):
    """Superpixels from the ids of clusters: the largest piece stays, the rest joins neighbours."""
    ids = ids.copy()
    pieces = label(ids, background=0, connectivity=1)
    kept = {}
    for piece, size in sorted(Counter(pieces[pieces > 0].tolist()).items()):
        number = int(ids[pieces == piece][0])
        first = int(np.flatnonzero(pieces == piece)[0])
        kept[number] = min(kept.get(number, (0, 0, 0)), (-size, first, piece))
    stays = np.isin(pieces, [piece for _, _, piece in kept.values()])
    loose = np.argwhere(~stays & (ids > 0)).tolist()
    now = np.where(stays, ids, 0)
    for _ in range(2 * step):
        before = np.pad(now, 1)
        for y, x in loose:
            if now[y, x] == 0:
                beside = [before[y + i, x + j] for i, j in ((0, 1), (1, 0), (1, 2), (2, 1))]
                votes = Counter(int(i) for i in beside if i > 0)
                if votes:
                    now[y, x] = min(votes, key=lambda i: (-votes[i], i))
    rest = label(np.where(now == 0, ids, 0), background=0, connectivity=1)
    for piece in range(1, rest.max() + 1):
        now[rest == piece] = n_cells + 1 + np.flatnonzero(rest == piece)[0]
    return now.astype(np.int32)


def superpixels(features, step, pitch, iterations, mask):
    columns = -(-features.shape[2] // step)
    rows = -(-features.shape[1] // step)
    ids = np.zeros(features.shape[1:], np.int32)
    for pixel, (i, j) in clusters(features, step, pitch, iterations, mask).items():
        ids[pixel] = 1 + i * columns + j
    return connected(ids, step, rows * columns)
