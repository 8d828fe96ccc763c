"""What a tiled run computes, and where each part begins and ends: pure arithmetic, no pixels.

The image is cut into blocks for superpixels, into canonical windows for the network, and the
superpixels into bands of rows of grid cells for the tables. Windows and bands follow from the
image's shape, the step and the network alone. Blocks are the user's choice, and nothing but
the order of the work depends on them.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from napari_del.embedding import Window, canonical_windows
from napari_del.errors import ParameterError
from napari_del.superpixels import DEFAULT_ITERATIONS
from napari_del.superpixels.grid import Grid

__all__ = ["Area", "Band", "Block", "Plan", "shape_of"]

Area = tuple[slice, slice]

# Cells beyond its own that a superpixel may reach into, and one to spare.
_REACH = 4
# Most cells in a band of tables. With a network, whose embeddings take more room and longer, half
# as many, or a quarter, so that there are about `_BANDS`: enough for many workers.
_BAND_CELLS, _BANDS = 2**19, 16


def shape_of(area: Area) -> tuple[int, int]:
    """Height and width of an area in pixels."""
    return area[0].stop - area[0].start, area[1].stop - area[1].start


class Block(NamedTuple):
    """One task of the superpixels.

    Attributes
    ----------
    core : tuple of slice
        Rows and columns of the image that the block writes.
    ring : tuple of slice
        The core and one row and one column after it, where the image has them: borders
        between the two belong to this block.
    extent : tuple of slice
        What it reads, whole grid cells: all that the superpixels of the ring depend on.
    """

    core: Area
    ring: Area
    extent: Area


class Band(NamedTuple):
    """A range of superpixel ids whose rows are one part of each table.

    Attributes
    ----------
    first, stop : int
        Ids from `first` to ``stop - 1``.
    rows : slice
        Rows of the image where these superpixels may be.
    """

    first: int
    stop: int
    rows: slice


@dataclass(frozen=True)
class Plan:
    """Blocks, windows and bands of an image.

    Parameters
    ----------
    shape : tuple of int
        Image shape (Y, X) in pixels.
    step : int
        Superpixel step.
    block : int
        Side of a block in pixels; at least the `halo`, unless the image is one block.
    iterations : int
        Iterations of SLIC.
    core, margin, stride, output_stride : int
        Geometry of the network's windows, see `canonical_windows`; 0 without a network.
    scale : float
        At which the network looks at the image.

    Raises
    ------
    ParameterError
        If the block is smaller than the halo, or the step so small that there would be too many
        superpixels.
    """

    shape: tuple[int, int]
    step: int
    block: int
    iterations: int = DEFAULT_ITERATIONS
    core: int = 0
    margin: int = 0
    stride: int = 0
    output_stride: int = 0
    scale: float = 1.0

    def __post_init__(self) -> None:
        try:
            side = operator.index(self.block)
        except TypeError:
            side = 0
        if side < min(self.halo, max(self.shape)) or side < 1:
            raise ParameterError(
                f"block is {self.block!r}; expected a whole number of at least {self.halo} pixels, "
                f"the halo of superpixels of step {self.step}"
            )
        if self.grid.n_cells >= 2**31:  # rows of tables have 32 bits
            raise ParameterError(
                f"step is {self.step}; expected a larger one, because {self.shape[0]} x "
                f"{self.shape[1]} pixels have {self.grid.n_cells} superpixels, and fewer than "
                f"{2**31} can be numbered"
            )

    @property
    def halo(self) -> int:
        """Pixels around a block that its superpixels may depend on, in each direction.

        With T iterations, the cluster that a pixel chooses depends on pixels 2 T - 1 cells away,
        and whether a pixel is in the largest piece of its cluster on those 2 cells further.
        Pixels of other pieces are reached from up to 2 cells away. What is not reached,
        behind a mask, is numbered after a first pixel that may be 2 cells away again.
        """
        return self.halo_cells * self.step

    @property
    def halo_cells(self) -> int:
        """The halo in grid cells."""
        return 2 * self.iterations + 5

    @property
    def grid(self) -> Grid:
        """Grid of seeds of the whole image."""
        return Grid(self.shape, self.step)

    @property
    def ids_dtype(self) -> np.dtype[np.signedinteger]:
        """Type of superpixel ids: 32 bits where they suffice."""
        return np.dtype(np.int32 if self.grid.largest_id < 2**31 - 1 else np.int64)

    @cached_property
    def block_keys(self) -> tuple[str, ...]:
        """Names of the blocks ``row_column``, in raster order."""
        return _keys(-(-self.shape[0] // self.block), -(-self.shape[1] // self.block))

    def block_of(self, key: str) -> Block:
        """The block of a name."""
        core, ring, extent = [], [], []
        for place, length in zip(_place(key), self.shape, strict=True):
            start = place * self.block
            stop = min(start + self.block, length)
            last = min(stop + 1, length)
            core.append(slice(start, stop))
            ring.append(slice(start, last))
            first_cell = max(0, start // self.step - self.halo_cells)
            last_cell = (last - 1) // self.step + self.halo_cells
            extent.append(slice(first_cell * self.step, min((last_cell + 1) * self.step, length)))
        return Block((core[0], core[1]), (ring[0], ring[1]), (extent[0], extent[1]))

    @property
    def has_network(self) -> bool:
        """Whether there are windows of a network."""
        return self.core > 0

    @cached_property
    def _windows(self) -> dict[str, Window]:
        if not self.has_network:
            return {}
        windows = canonical_windows(
            self.shape, core=self.core, margin=self.margin, stride=self.stride
        )
        keys = _keys(-(-self.shape[0] // self.core), -(-self.shape[1] // self.core))
        return dict(zip(keys, windows, strict=True))

    @cached_property
    def window_keys(self) -> tuple[str, ...]:
        """Names of the windows ``row_column``, in raster order; none without a network."""
        return tuple(self._windows)

    def window_of(self, key: str) -> Window:
        """The window of a name."""
        return self._windows[key]

    def around(self, window: Window) -> Area:
        """A window's core and one step of the network's output around it, within the image."""
        s = self.output_stride
        y, x = (
            slice(max(0, core.start - s), min(core.stop + s, length))
            for core, length in zip(window.core, self.shape, strict=True)
        )
        return y, x

    @property
    def band_rows(self) -> int:
        """Rows of cells in a band."""
        cells = _BAND_CELLS
        if self.has_network:
            cells = min(cells // 2, max(cells // 4, -(-self.grid.n_cells // _BANDS)))
        return max(1, cells // self.grid.columns)

    @cached_property
    def band_keys(self) -> tuple[str, ...]:
        """Names of the bands; the last is of superpixels that are not of a grid cell."""
        return tuple(str(b) for b in range(-(-self.grid.rows // self.band_rows) + 1))

    def band_of(self, key: str) -> Band:
        """The band of a name."""
        b, grid = int(key), self.grid
        if b == len(self.band_keys) - 1:
            return Band(grid.n_cells + 1, grid.largest_id + 1, slice(0, self.shape[0]))
        first, stop = b * self.band_rows, min((b + 1) * self.band_rows, grid.rows)
        rows = slice(max(0, (first - _REACH) * self.step), (stop + _REACH) * self.step)
        return Band(1 + first * grid.columns, 1 + stop * grid.columns, rows)

    def band_of_id(self, number: int) -> int:
        """Index of the band that a superpixel id belongs to."""
        if number > self.grid.n_cells:
            return len(self.band_keys) - 1
        return (number - 1) // (self.grid.columns * self.band_rows)

    def blocks_in(self, band: Band) -> list[str]:
        """Names of the blocks that may hold superpixels of a band."""
        return _within(self.block_keys, -(-self.shape[1] // self.block), band.rows, self.block)

    def windows_in(self, band: Band) -> list[str]:
        """Names of the windows that may hold superpixels of a band."""
        # What a window says of borders reaches one pixel beyond its core.
        rows = slice(max(0, band.rows.start - 1), band.rows.stop + 1)
        columns = -(-self.shape[1] // self.core) if self.has_network else 0
        return _within(self.window_keys, columns, rows, self.core)


def _keys(rows: int, columns: int) -> tuple[str, ...]:
    return tuple(f"{i}_{j}" for i in range(rows) for j in range(columns))


def _place(key: str) -> tuple[int, int]:
    i, j = key.split("_")
    return int(i), int(j)


def _within(keys: tuple[str, ...], columns: int, rows: slice, side: int) -> list[str]:
    """Those of squares of a side, `columns` in a row, that share rows of the image."""
    if not keys:
        return []
    first, last = rows.start // side, (rows.stop - 1) // side
    return list(keys[first * columns : (last + 1) * columns])
