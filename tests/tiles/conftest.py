"""Segmentations in memory, and the same in stores."""

from __future__ import annotations

import numpy as np
import pytest

from napari_del import Segmentation, segment
from napari_del.contrast import color_moments, color_sums
from napari_del.graph import adjacency, dissimilarity, number_nodes
from napari_del.merging import MergeFunction
from napari_del.merging.region_pairs import FEATURES
from napari_del.normalise import normalise
from tests.tiles.filling import fill

SHAPE = (83, 117)


def noisy_picture(shape=SHAPE, seed=0, noise=25):
    """Blocks of different colours under noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    palette = rng.integers(40, 216, (12, 3))
    blocks = palette[(y // 15 * 4 + x // 17) % 12]
    return (blocks + rng.integers(-noise, noise + 1, (*shape, 3))).astype(np.uint8)


def holes(shape=SHAPE):
    """A mask with a whole block left out, a wall, and single pixels within the left-out part."""
    mask = np.ones(shape, bool)
    mask[30:70, 20:66] = False
    mask[:, 90:93] = False
    mask[33:68:5, 23:64:6] = True
    return mask


@pytest.fixture(scope="session")
def plain():
    """Ids without gaps."""
    return segment(noisy_picture(noise=2), model="mean-color", compactness=100)


@pytest.fixture(scope="session")
def masked():
    """Ids with gaps, and superpixels that have no cell."""
    return segment(noisy_picture(), model="mean-color", mask=holes())


@pytest.fixture(scope="session")
def learned():
    """With a boundary, colours and a merge function, none of which is trained."""
    rng = np.random.default_rng(0)
    image = noisy_picture()
    without = segment(image, model="mean-color", step=5, mask=holes())
    nodes = number_nodes(without.superpixels)
    boundary = rng.integers(0, 2**15, (42, 59)).astype(np.uint16)
    graph = adjacency(nodes, boundary, stride=2)
    function = MergeFunction(
        np.zeros(len(FEATURES)),
        np.ones(len(FEATURES)),
        (rng.normal(0, 0.1, (1, 1, len(FEATURES))),),
        (np.zeros((1, 1)),),
        (0.4, 0.45),
    )
    return Segmentation(
        nodes,
        graph,
        without.embeddings,
        dissimilarity(graph.edges, without.embeddings),
        {"learned": 0.5, "average": 0.5, "del": 0.5, "egb": 0.5},
        dict(without.parameters),
        colors=color_moments(*color_sums(normalise(image).features, nodes), nodes.sizes),
        # As from a file: rounded to 32 bits.
        merge_function=MergeFunction.from_tensors(function.tensors()),
    )


@pytest.fixture(params=["plain", "masked", "learned"])
def name(request):
    """One of the segmentations above."""
    return request.param


@pytest.fixture
def in_memory(name, request):
    return request.getfixturevalue(name)


def _small_bands(patch):
    """Bands of a few rows of cells and parts of a few bands, for images of a hundred pixels."""
    patch.setattr("napari_del.tiles.plan._BAND_CELLS", 60)
    patch.setattr("napari_del.tiles.edge_parts._PART_ROWS", 60)


@pytest.fixture
def many_bands(monkeypatch):
    """Let stores be read as those of `filled` were written."""
    _small_bands(monkeypatch)


@pytest.fixture(scope="session")
def filled(request, tmp_path_factory):
    """Folder of the store of a segmentation above, in blocks of 32; not to be written to."""
    folder = tmp_path_factory.mktemp("stores")

    def path(name):
        if not (folder / name).exists():
            with pytest.MonkeyPatch.context() as patch:
                _small_bands(patch)
                fill(folder / name, request.getfixturevalue(name), 32)
        return folder / name

    return path
