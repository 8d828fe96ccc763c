"""Tasks of a tiled run that look at pixels: statistics, superpixels, and the network."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_del._look_up import look_up
from napari_del._threads import use_one_torch_thread
from napari_del.contrast import color_sums
from napari_del.embedding import run_window
from napari_del.graph import Nodes, adjacency, count_ids, number_nodes
from napari_del.normalise import (
    displayed,
    lattice_spacing,
    lattice_values,
    quantise,
    value_range,
)
from napari_del.pooling import pool
from napari_del.superpixels import slic_features
from napari_del.superpixels.grid import Grid
from napari_del.tiles.ids import number_part, to_whole
from napari_del.tiles.job import Job, once
from napari_del.tiles.plan import Area, shape_of

__all__ = ["embedding", "statistics", "superpixels"]


@once
def statistics(job: Job, key: str) -> None:
    """Write what the limits of the stretch need of a block."""
    core = job.plan.block_of(key).core
    array, valid, n_bad = job.read(core)
    spacing = lattice_spacing(job.plan.shape)
    origin = core[0].start, core[1].start
    ends = value_range(array, valid)
    job.store.write_table(
        "statistics",
        key,
        {
            "values": lattice_values(array, valid, spacing, origin),
            "ends": np.empty((0, array.shape[2])) if ends is None else ends,
            "not_finite": np.array([n_bad], np.int64),
        },
    )


def _inside(area: Area, outer: Area) -> Area:
    """An area as seen from the first pixel of another."""
    y, x = (
        slice(own.start - first.start, own.stop - first.start)
        for own, first in zip(area, outer, strict=True)
    )
    return y, x


@once
def superpixels(job: Job, key: str) -> None:
    """Write the superpixels of a block, and what it counts of them and of their borders."""
    plan = job.plan
    block = plan.block_of(key)
    array, valid, _ = job.read(block.extent)
    normalised = quantise(array, valid, job.limits)
    del array
    ids = slic_features(
        normalised.features,
        step=plan.step,
        compactness=job.compactness,
        iterations=plan.iterations,
        mask=normalised.valid,
        device=job.device or "cpu",
    )
    part = Grid(shape_of(block.extent), plan.step)
    origin = block.extent[0].start, block.extent[1].start
    # Borders to the next blocks are among the pixels of the ring.
    ring = number_nodes(np.ascontiguousarray(ids[_inside(block.ring, block.extent)]))
    whole = to_whole(ring.ids, part, origin, plan.grid)
    graph = adjacency(ring, inner=shape_of(block.core))

    height, width = shape_of(block.core)
    image = ring.image[:height, :width]
    counts = np.zeros(whole.size + 1, np.int64)
    if image.size == ring.image.size:  # no blocks follow
        counts[1:] = ring.sizes
    else:
        count_ids(image, counts)
    y, x = _inside(block.core, block.extent)
    sums, squares = color_sums(normalised.features[:, y, x], Nodes(image, ring.ids, counts[1:]))
    own = counts[1:] > 0
    # Pixels, and sums and squares of each channel.
    columns = [counts[1:], sums, *[squares] * job.info.has_boundary]
    job.store.write_table(
        "superpixels",
        key,
        {
            "ids": whole[own],
            "counts": np.column_stack([column[own] for column in columns]),
            "edges": np.column_stack([whole[graph.edges], graph.lengths]),
        },
        pixels=(block.core, look_up(image, whole.astype(plan.ids_dtype))),
    )


@once
def embedding(job: Job, key: str) -> None:
    """Write the sums of a window's embedding over superpixels, and of its boundary on edges."""
    plan = job.plan
    window = plan.window_of(key)
    network, device = job.network()
    extent: Area = (
        slice(window.extent[0].start, min(window.extent[0].stop, plan.shape[0])),
        slice(window.extent[1].start, min(window.extent[1].stop, plan.shape[1])),
    )
    array, _, _ = job.read(extent)
    use_one_torch_thread()
    values, probability = run_window(network, displayed(array, job.limits), window, device)
    del array

    s = network.output_stride
    around = plan.around(window)
    nodes = number_part(job.store.read_near_pixels(around), around, plan.grid)
    core = _inside(window.core, around)
    inner = number_nodes(np.ascontiguousarray(nodes.image[core]))
    # 2**16 values of 16 bits fit in 32.
    few = inner.sizes.max(initial=0) <= 2**16
    sums = np.zeros((inner.ids.size, values.shape[2]), np.int32 if few else np.int64)
    pool(inner.image, values, s, sums)
    tables = {"ids": nodes.ids[inner.ids - 1].astype(np.int64), "sums": sums}
    if probability is not None:
        tables["edges"] = _border(nodes, core, probability, s)
    job.store.write_table("embedding", key, tables)


def _border(
    nodes: Nodes, core: Area, probability: NDArray[np.uint16], stride: int
) -> NDArray[np.int64]:
    """What the pixels of a core add to the boundary sums of edges, those to pixels beyond too.

    A pair of pixels has the sum of both. Each window adds its own pixels' share: those around
    its core count 0.

    Returns
    -------
    ndarray of int64, shape (k, 3)
        Two ids and the sum.
    """
    height, width = nodes.image.shape
    boundary = np.zeros((-(-height // stride), -(-width // stride)), np.uint16)
    y, x = (slice(c.start // stride, -(-c.stop // stride)) for c in core)
    boundary[y, x] = probability
    graph = adjacency(nodes, boundary, stride=stride)
    assert graph.boundary_sums is not None
    known = graph.boundary_sums > 0
    ids = nodes.ids.astype(np.int64)[graph.edges[known]]
    return np.column_stack([ids, graph.boundary_sums[known]])
