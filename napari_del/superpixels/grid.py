"""The global grid of seeds: pure arithmetic, no pixels."""

from __future__ import annotations

from dataclasses import dataclass

from napari_del.errors import ParameterError

__all__ = ["MAX_STEP", "MIN_STEP", "Grid", "check_step"]

MIN_STEP = 4
MAX_STEP = 256


def check_step(step: int) -> int:
    """Return `step` as an int, or raise `ParameterError` if it is not one of 4 to 256."""
    try:
        whole = 0 if isinstance(step, bool) or int(step) != step else int(step)
    except (TypeError, ValueError, OverflowError):  # text, None, NaN, infinity
        whole = 0
    if not MIN_STEP <= whole <= MAX_STEP:
        raise ParameterError(
            f"step is {step!r}; expected a whole number of pixels from {MIN_STEP} to {MAX_STEP}"
        )
    return whole


@dataclass(frozen=True)
class Grid:
    """Grid cells of `step` x `step` pixels that cover an image, one seed in each.

    Cells are counted from the first pixel of the image; those at the lower and right border
    may be cut off. The id of a superpixel is a function of its cell alone.

    Parameters
    ----------
    shape : tuple of int
        Image shape (Y, X) in pixels, both at least 1.
    step : int
        Distance of neighbouring seeds, in pixels.
    """

    shape: tuple[int, int]
    step: int

    @property
    def rows(self) -> int:
        """Number of rows of cells."""
        return -(-self.shape[0] // self.step)

    @property
    def columns(self) -> int:
        """Number of columns of cells."""
        return -(-self.shape[1] // self.step)

    @property
    def n_cells(self) -> int:
        """Number of cells, which is the highest id of a cell."""
        return self.rows * self.columns

    @property
    def largest_id(self) -> int:
        """Highest id that a superpixel can have.

        A superpixel that is not of a grid cell is numbered after its first pixel, so that ids
        go up to the number of cells plus the number of pixels.
        """
        return self.n_cells + self.shape[0] * self.shape[1]
