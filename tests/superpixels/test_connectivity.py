"""What becomes of the pieces of a cluster, on images drawn by hand."""

from __future__ import annotations

import numpy as np

from napari_del.superpixels._connectivity import connect
from napari_del.superpixels.grid import Grid

OWN, LEFT, RIGHT, MASKED = 4, 3, 5, 255


def superpixels(choices, step):
    """Connected superpixels of pixels that chose among the clusters around their cell."""
    grid = Grid(choices.shape, step)
    y, x = np.indices(choices.shape) // step
    down, right = np.divmod(choices.astype(int), 3)
    clusters = 1 + (y + down - 1) * grid.columns + x + right - 1
    return connect(np.where(choices == MASKED, 0, clusters).astype(np.int32), grid)


def test_fragments_are_taken_in_for_twice_the_step_and_no_further():
    # The first row is a corridor, open at its right end alone, beside four cells of step 4.
    choices = np.full((4, 16), OWN, np.uint8)
    choices[1, :15] = MASKED
    out = superpixels(choices, 4)
    below = np.repeat([1, 2, 3, 4], 4)
    np.testing.assert_array_equal(out[2:], [below, below])
    assert out[1].tolist() == [0] * 15 + [4]
    # Eight pixels join; the piece of the first cell that is left is numbered after its first
    # pixel, beyond the ids of the four cells.
    assert out[0].tolist() == [5] * 4 + [4] * 12


def test_the_largest_piece_stays_and_of_equal_ones_the_first():
    choices = np.full((4, 12), OWN, np.uint8)
    choices[:, 0] = RIGHT  # 4 pixels of cluster 2, cut off
    choices[:, 8] = LEFT  # beside its cell
    out = superpixels(choices, 4)
    assert out[0].tolist() == [1] * 4 + [2] * 5 + [3] * 3
    choices[:, 4:9] = OWN
    choices[:, 4:8] = LEFT  # all of cell 2 chose cluster 1: cluster 2 has the first column alone
    out = superpixels(choices, 4)
    assert out[0].tolist() == [2] + [1] * 7 + [3] * 4
    choices[:, 0] = OWN
    choices[:, 2:6] = RIGHT
    choices[:, 4:6] = OWN + 1  # cluster 3, cut off from its cell
    choices[:, 6:8] = LEFT
    out = superpixels(choices, 4)
    # Cluster 1 has two pieces of two columns each, and the first of them stays.
    assert (out[:, :2] == 1).all() and not (out[:, 6:8] == 1).any()


def test_a_fragment_joins_the_superpixel_with_most_of_its_neighbours():
    choices = np.full((8, 8), OWN, np.uint8)
    choices[3, 3] = 8  # one pixel of cell 1 chose cluster 4, which it only touches at a corner
    choices[3, 4] = OWN
    out = superpixels(choices, 4)
    assert out[3, 3] == 1  # above and to the left 1, to the right 2, below 3
    choices[2, 3] = choices[3, 2] = MASKED
    out = superpixels(choices, 4)
    assert out[3, 3] == 2  # one neighbour each: the lowest id
