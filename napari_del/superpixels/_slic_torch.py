"""Iterations of integer SLIC with PyTorch, for CUDA devices.

The same definition as `napari_del.superpixels._slic_cpu`, in the same integers, so that the
result is equal on every device. All pixels compare one of the nine candidates at a time.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_del.superpixels._slic_cpu import distance_bound, magnitudes
from napari_del.superpixels.grid import Grid

__all__ = ["assign"]


def _shifted(cells: Tensor, di: int, dj: int, fill: int) -> Tensor:
    """Value of the cell `di` rows below and `dj` columns to the right of each cell.

    Parameters
    ----------
    cells : Tensor, shape (..., rows, columns)
        One value a cell.
    fill : int
        Value beyond the grid.
    """
    rows, columns = cells.shape[-2:]
    out = torch.full_like(cells, fill)
    out[..., max(0, -di) : rows - max(0, di), max(0, -dj) : columns - max(0, dj)] = cells[
        ..., max(0, di) : rows + min(0, di), max(0, dj) : columns + min(0, dj)
    ]
    return out


def assign(
    features: NDArray[np.int16],
    mask: NDArray[np.bool_] | None,
    grid: Grid,
    pitch: int,
    iterations: int,
    device: str | torch.device,
) -> NDArray[np.int32]:
    """Choose a cluster for each pixel; see `napari_del.superpixels._slic_cpu.assign`.

    Parameters
    ----------
    features : ndarray of int16, shape (F, Y, X)
        Feature planes.
    mask : ndarray of bool, shape (Y, X), or None
        True where a pixel takes part.
    grid : Grid
        Grid of seeds.
    pitch : int
        What a distance of one step counts, in units of the features.
    iterations : int
        Number of assignments, at least 1.
    device : str or torch.device
        Where to compute.

    Returns
    -------
    ndarray of int32, shape (Y, X)
        1 + index of the cluster's cell in raster order; 0 where masked.
    """
    n_features, height, width = features.shape
    step, rows, columns = grid.step, grid.rows, grid.columns
    bound = distance_bound(magnitudes(features), pitch)
    number = torch.int64 if bound >= 2**31 else torch.int32
    largest = torch.iinfo(number).max

    offsets = (torch.arange(step, device=device) * 2 + 1) * pitch // (2 * step)
    y = torch.arange(height, device=device)
    x = torch.arange(width, device=device)
    values = torch.empty((n_features + 2, height, width), dtype=number, device=device)
    values[:n_features] = torch.from_numpy(features).to(device)
    values[n_features] = offsets[y % step][:, None]
    values[n_features + 1] = offsets[x % step][None, :]
    inside = None if mask is None else torch.from_numpy(mask).to(device)
    cell = ((y // step)[:, None] * columns + (x // step)[None, :]).reshape(-1)

    def sums(chosen: Tensor) -> tuple[Tensor, Tensor]:
        """Sums of values and counts of each cluster, shapes (F + 2, rows, columns) and (...)."""
        choice = chosen.reshape(-1).long()
        shift = torch.stack([choice // 3 - 1, choice % 3 - 1])
        cluster = cell + shift[0] * columns + shift[1]
        if inside is not None:
            keep = inside.reshape(-1)
            cluster = torch.where(keep, cluster, rows * columns)  # one bin more, for nothing
        n_bins = rows * columns + 1
        total = torch.zeros((n_features + 2, n_bins), dtype=torch.int64, device=device)
        for v in range(n_features + 2):
            amount = values[v].reshape(-1).long()
            if v >= n_features:
                # Positions count from the pixel's own cell; make it the cluster's.
                amount = amount - shift[v - n_features] * pitch
            total[v].index_add_(0, cluster, amount)
        count = torch.bincount(cluster, minlength=n_bins)
        return (
            total[:, :-1].reshape(n_features + 2, rows, columns),
            count[:-1].reshape(rows, columns),
        )

    # Slivers at the border start in the cell before them.
    above = (y // step > 0) & (2 * (height - y // step * step) < step)
    before = (x // step > 0) & (2 * (width - x // step * step) < step)
    choice = 4 - 3 * above[:, None].to(torch.uint8) - before[None, :].to(torch.uint8)
    centres = torch.zeros((n_features + 2, rows, columns), dtype=torch.int64, device=device)
    for _ in range(iterations):
        total, count = sums(choice)
        alive = count > 0
        mean = torch.div(2 * total + count, 2 * count.clamp_min(1), rounding_mode="floor")
        centres = torch.where(alive, mean, centres)
        nearest = torch.full((height, width), largest, dtype=number, device=device)
        for k in range(9):
            di, dj = k // 3 - 1, k % 3 - 1
            centre = _shifted(centres, di, dj, 0)
            centre[n_features] += di * pitch
            centre[n_features + 1] += dj * pitch
            there = _shifted(alive.to(torch.uint8), di, dj, 0).bool()
            constant = torch.where(there, 16 * (centre * centre).sum(0) + k, largest)
            weight = torch.where(there, -32 * centre, 0).to(number)

            def at_pixels(cells: Tensor) -> Tensor:
                wide = cells.repeat_interleave(step, dim=-2)[..., :height, :]
                return wide.repeat_interleave(step, dim=-1)[..., :width]

            key = at_pixels(constant.to(number))
            for v in range(n_features + 2):
                key = key + values[v] * at_pixels(weight[v])
            nearest = torch.minimum(nearest, key)
        choice = (nearest & 15).to(torch.uint8)
        if inside is not None:
            # A masked pixel may have found no candidate; its choice counts for nothing.
            choice = torch.where(inside, choice, 4)
    chosen = choice.reshape(-1).int()
    ids = 1 + cell.int() + (chosen // 3 - 1) * columns + (chosen % 3 - 1)
    if inside is not None:
        ids = torch.where(inside.reshape(-1), ids, 0)
    result: NDArray[np.int32] = ids.reshape(height, width).cpu().numpy()
    return result
