"""A superpixel depends on pixels a bounded number of cells away, and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from napari_del.superpixels import slic_features
from napari_del.superpixels.grid import Grid

STEP = 4


def noise(cells, seed, largest=800):
    rng = np.random.default_rng(seed)
    shape = (2, cells[0] * STEP, cells[1] * STEP)
    return rng.integers(-largest, largest, shape).astype(np.int16)


def in_grid(ids, origin, grid, whole):
    """Ids of a tile whose first cell is `origin`, as the whole image numbers them."""
    width, wide = grid.shape[1], whole.shape[1]
    cell = ids - 1
    row, column = cell // grid.columns + origin[0], cell % grid.columns + origin[1]
    first = ids - grid.n_cells - 1
    y, x = first // width + origin[0] * STEP, first % width + origin[1] * STEP
    out = np.where(
        ids <= grid.n_cells,
        1 + row * whole.columns + column,
        whole.n_cells + 1 + y * wide + x,
    )
    return np.where(ids == 0, 0, out)


def tiled(features, iterations, tile, halo, mask=None):
    """Superpixels computed in tiles of `tile` cells with `halo` cells around each of them."""
    whole = Grid(features.shape[1:], STEP)
    out = np.full(features.shape[1:], -1, np.int64)
    for i in range(0, whole.rows, tile):
        for j in range(0, whole.columns, tile):
            origin = max(0, i - halo), max(0, j - halo)
            end = min(whole.rows, i + tile + halo), min(whole.columns, j + tile + halo)
            cut = tuple(slice(a * STEP, b * STEP) for a, b in zip(origin, end, strict=True))
            part = np.ascontiguousarray(features[:, *cut])
            ids = slic_features(
                part,
                step=STEP,
                compactness=2.0,
                iterations=iterations,
                mask=None if mask is None else np.ascontiguousarray(mask[cut]),
            )
            ids = in_grid(ids, origin, Grid(ids.shape, STEP), whole)
            core = tuple(
                slice((a - o) * STEP, (a - o + tile) * STEP)
                for a, o in zip((i, j), origin, strict=True)
            )
            place = tuple(slice(a * STEP, (a + tile) * STEP) for a in (i, j))
            out[place] = ids[core]
    return out


@pytest.mark.parametrize("iterations", [1, 2, 5])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_halo_of_twice_the_iterations_and_three_cells_is_enough_without_a_mask(iterations, seed):
    features = noise((31, 27), seed)
    whole = slic_features(features, step=STEP, compactness=2.0, iterations=iterations)
    parts = tiled(features, iterations, 7, 2 * iterations + 3)
    np.testing.assert_array_equal(parts, whole)


def test_a_halo_of_one_cell_is_not_enough_for_noise():
    features = noise((31, 27), 0)
    whole = slic_features(features, step=STEP, compactness=2.0, iterations=5)
    assert (tiled(features, 5, 7, 1) != whole).any()


def test_pixels_that_no_superpixel_reached_are_numbered_alike_in_tiles():
    features = noise((31, 27), 3)
    # Walls one pixel thick leave islands, of which only one keeps the id of its cluster.
    mask = np.ones(features.shape[1:], bool)
    mask[::3] = False
    mask[:, ::3] = False
    whole = slic_features(features, step=STEP, compactness=2.0, iterations=2, mask=mask)
    assert whole.max() > Grid(whole.shape, STEP).n_cells
    parts = tiled(features, 2, 9, 2 * 2 + 5, mask)
    np.testing.assert_array_equal(parts, whole)


def test_part_cells_at_the_border_belong_to_the_whole_image_alone():
    features = noise((12, 12), 5)[:, :-3, :-1]
    whole = slic_features(features, step=STEP, compactness=2.0, iterations=2)
    right = slic_features(
        np.ascontiguousarray(features[:, :, STEP:]), step=STEP, compactness=2.0, iterations=2
    )
    mapped = in_grid(right, (0, 1), Grid(right.shape, STEP), Grid(whole.shape, STEP))
    # Beyond seven cells of halo the image without its first column of cells cannot differ.
    np.testing.assert_array_equal(mapped[:, 7 * STEP :], whole[:, 8 * STEP :])
