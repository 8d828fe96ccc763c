"""One tiled segmentation of an image by napari-del or scikit-image, in a process of its own.

Writes a label image as zarr array, and prints what there is to say as JSON.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import zarr
from dask.delayed import delayed
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from skimage import graph
from skimage.segmentation import slic

from napari_del import segment_large
from napari_del._threads import n_threads

STEP = 8
COMPACTNESS = 10.0
# Of RGB values: as in the examples of scikit-image.
THRESHOLD = 29.0


def napari_del(image: Path, labels: Path, tile: int) -> None:
    """Superpixels of step 8 merged by mean colour, blocks of `tile` pixels."""
    source = zarr.open_array(image, mode="r")
    store = labels.with_suffix(".store")
    segmentation = segment_large(source, store, model="mean-color", step=STEP, block=tile)
    threshold = segmentation.default_threshold()
    da.to_zarr(segmentation.labels(threshold), str(labels), compute=True)


def regions_of_tile(source: Any, local: Any, rows: slice, columns: slice) -> NDArray[np.float64]:
    """Segment a tile and write its regions, from 1 on; gives the mean colour of each."""
    pixels = source[rows, columns]
    height, width = pixels.shape[:2]
    superpixels = slic(
        pixels,
        n_segments=max(1, height * width // STEP**2),
        compactness=COMPACTNESS,
        start_label=1,
    )
    regions = graph.cut_threshold(superpixels, graph.rag_mean_color(pixels, superpixels), THRESHOLD)
    regions = np.unique(regions, return_inverse=True)[1].reshape(regions.shape) + 1
    local[rows, columns] = regions
    sizes = np.bincount(regions.ravel())[1:]
    sums = [np.bincount(regions.ravel(), pixels[..., c].ravel())[1:] for c in range(3)]
    return np.stack(sums, axis=1) / sizes[:, np.newaxis]


def scikit_image(image: Path, labels: Path, tile: int, join: str) -> None:
    """SLIC and a cut of the region graph in each tile, then regions joined over tile borders.

    Tiles are computed by dask in as many processes as there are cores.
    """
    source = zarr.open_array(image, mode="r")
    local = zarr.create_array(
        labels.with_suffix(".tiles"), shape=source.shape[:2], dtype="i4", chunks=(tile, tile)
    )
    tiles = [
        (slice(y, min(y + tile, source.shape[0])), slice(x, min(x + tile, source.shape[1])))
        for y in range(0, source.shape[0], tile)
        for x in range(0, source.shape[1], tile)
    ]
    tasks = [delayed(regions_of_tile)(source, local, *place) for place in tiles]
    colors = dask.compute(*tasks, scheduler="processes", num_workers=n_threads())
    offsets = np.cumsum([0, *map(len, colors)])
    numbered = da.from_zarr(local, chunks=(tile, tile)).map_blocks(
        lambda block, block_info: (
            block + offsets[_index(block_info[0]["chunk-location"], source.shape[1], tile)]
        ).astype(np.int32),
        dtype=np.int32,
    )
    if join == "touch":
        from dask_image.ndmeasure._utils import _label

        touching = _label.label_adjacency_graph(numbered, None, int(offsets[-1]))
        groups = _label.connected_components_delayed(touching)
        joined = _label.relabel_blocks(numbered, groups)
    else:
        groups = joined_by_color(numbered, np.concatenate(colors), tile)
        joined = numbered.map_blocks(lambda block: groups[block], dtype=np.int32)
    da.to_zarr(joined, str(labels), compute=True)


def _index(place: tuple[int, int], width: int, tile: int) -> int:
    return place[0] * -(-width // tile) + place[1]


def joined_by_color(
    numbered: da.Array, colors: NDArray[np.float64], tile: int
) -> NDArray[np.int32]:
    """Group of each region: those that touch over a tile border and are of nearly one colour.

    The rule that `cut_threshold` goes by within a tile.
    """
    found = []
    for axis in (0, 1):
        for line in range(tile, numbered.shape[axis], tile):
            across = (slice(line - 1, line + 1), slice(None))
            face = np.asarray(numbered[across if axis == 0 else across[::-1]])
            found.append((face if axis == 0 else face.T).T)
    n = len(colors) + 1
    pairs = np.unique(np.concatenate([np.empty((0, 2), np.int32), *found]), axis=0)
    difference = np.linalg.norm(colors[pairs[:, 0] - 1] - colors[pairs[:, 1] - 1], axis=1)
    u, v = pairs[difference < THRESHOLD].T
    groups: NDArray[np.int32] = connected_components(
        sparse.coo_array((np.ones(u.size, np.int8), (u, v)), shape=(n, n)), directed=False
    )[1]
    return groups


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks._other_route")
    parser.add_argument("route", choices=("napari-del", "scikit-image"))
    parser.add_argument("image", type=Path)
    parser.add_argument("labels", type=Path)
    parser.add_argument("--tile", type=int, required=True)
    parser.add_argument("--join", choices=("touch", "color"), default="color")
    args = parser.parse_args()
    if args.route == "napari-del":
        napari_del(args.image, args.labels, args.tile)
    else:
        scikit_image(args.image, args.labels, args.tile, args.join)
    print(json.dumps({"labels": str(args.labels)}))


if __name__ == "__main__":
    main()
