"""Negative controls of the exactness matrix: rules that look as good and are not exact.

Each breaks one rule that the exactness rests on and shows that the checksums tell. The same
runs without the change are equal, so it is the rule that matters and not the test.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from napari_del import segment_large
from napari_del.errors import Cancelled
from napari_del.merging import parts
from napari_del.models.lite import DelLite
from napari_del.normalise import normalise
from napari_del.superpixels import slic_features
from napari_del.tiles import run
from napari_del.tiles.plan import Plan
from napari_del.tiles.store import TileStore
from tests.tiles.scenes import digests, scene, sha256


def noise(side, seed, holes=0.0):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (side, side, 3)).astype(np.uint8)
    return image, rng.random((side, side)) >= holes if holes else None


def corridors(side, seed):
    """Noise of three values in corridors one pixel wide, few of which no superpixel reaches."""
    rng = np.random.default_rng(seed)
    image = (rng.integers(0, 3, (side, side, 3)) * 120).astype(np.uint8)
    mask = rng.random((side, side)) < 0.05
    mask[::2] = rng.random((side // 2, side)) >= 0.02
    return image, mask


# Found by going through seeds until superpixels differed with the halo of the last column.
@pytest.mark.parametrize(
    ("make", "iterations", "short"),
    [
        (partial(noise, 160, 46), 1, 4),
        (partial(noise, 220, 87, 0.3), 2, 6),
        (partial(noise, 330, 10), 5, 10),
        (partial(corridors, 160, 40), 1, 5),
    ],
    ids=["noise-1", "noise-2", "noise-5", "corridors-1"],
)
def test_a_halo_too_short_changes_superpixels(make, iterations, short, monkeypatch, tmp_path):
    """With 2 T + 5 cells all is as without blocks.

    Noise shows that 2 T + 2 are too few for T = 1 and 2, and 10 for the 5 of `segment`. Behind
    a mask 2 T + 3 are too few as well.
    """
    image, mask = make()
    monkeypatch.setattr(run, "Plan", partial(Plan, iterations=iterations))
    options = {"model": "mean-color", "step": 4, "compactness": 2.0, "mask": mask}
    options["block"] = 4 * (2 * iterations + 5)
    whole = slic_features(
        normalise(image, mask=mask).features,
        step=4,
        compactness=2.0,
        iterations=iterations,
        mask=mask,
    )

    def tiled(name):
        def stop(stage, done, total):
            if stage == "nodes":
                raise Cancelled("that is enough")

        with pytest.raises(Cancelled):
            segment_large(image, tmp_path / name, progress=stop, **options)
        return TileStore.open(tmp_path / name).superpixels[:]

    assert sha256(tiled("exact")) == sha256(whole)
    monkeypatch.setattr(Plan, "halo_cells", short)
    wrong = tiled("short")
    assert sha256(wrong) != sha256(whole)
    # Hardly more than a pixel: it takes a checksum to notice.
    assert 0 < np.count_nonzero(wrong != whole) < 100


@pytest.fixture
def parts_of(monkeypatch):
    """Have hierarchies merged in parts of at most so many rows."""

    def choose(rows):
        monkeypatch.setattr("napari_del.tiles.edge_parts._PART_ROWS", rows)

    return choose


def test_ties_by_node_id_depend_on_how_the_graph_is_cut(parts_of, monkeypatch, tmp_path):
    """Of equal means, the border with the smallest original edge comes first, in every part."""
    # Few values make many borders equal.
    rng = np.random.default_rng(5)
    image = np.repeat(np.repeat(rng.integers(0, 3, (30, 40, 1)) * 60, 8, 0), 8, 1).astype(np.uint8)
    image = np.repeat(image, 3, axis=2)

    def hashes(name):
        found = set()
        for rows in (30, 100, 10_000):
            parts_of(rows)
            path = tmp_path / f"{name} {rows}"
            result = segment_large(image, path, model="mean-color", compactness=100, block=160)
            found.add(tuple(digests(result, ["average"]).items()))
        return found

    assert len(hashes("exact")) == 1
    join = parts.join

    def by_node(graphs, borders, parent, combine):
        """Borders numbered by the ids of the two regions that they lie between by now."""
        graph = join(graphs, borders, parent, combine)
        nodes = np.sort(graph.rows[graph.edges.ends], axis=1)
        number = nodes[:, 0].astype(np.int64) << 32 | nodes[:, 1]
        edges = graph.edges._replace(number=number)
        return graph._replace(edges=edges.take(np.argsort(number, kind="stable")))

    monkeypatch.setattr(parts, "join", by_node)
    assert len(hashes("by node")) > 1


def test_windows_that_follow_the_blocks_change_the_embedding(monkeypatch, tmp_path):
    """The network's windows are of one grid; those of blocks would give other last bits."""
    image, _ = scene("natural", (300, 340))

    def of(name, block, core):
        monkeypatch.setattr(DelLite, "core", core)
        found = segment_large(image, tmp_path / name, model="del-lite", block=block)
        return found, digests(found, ["average"])

    (_, first), (_, second) = of("canonical 128", 128, 256), of("canonical 192", 192, 256)
    assert first == second
    (a, first), (b, second) = of("following 128", 128, 128), of("following 192", 192, 192)
    assert first["superpixels"] == second["superpixels"]
    assert first["graph"] != second["graph"]
    # By little, which no look at the regions would tell, but it can move a merge.
    embeddings = np.asarray(a.embeddings), np.asarray(b.embeddings)
    np.testing.assert_allclose(*embeddings, atol=2)
    assert (embeddings[0] != embeddings[1]).any()
