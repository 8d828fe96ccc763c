"""Average-linkage merging against scikit-image's, to the last region of the same graph."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from skimage.color import rgb2lab
from skimage.graph import RAG, merge_hierarchical

from benchmarks._images import natural_image
from benchmarks._measure import Comparison, Options, compare
from napari_del import merging, slic
from napari_del.graph import adjacency, number_nodes


def weight_by_border(graph: RAG, src: int, dst: int, n: int) -> dict[str, Any]:
    """Weight of the border between a region `n` and the two that merge into `dst`."""
    absent = {"weight": 0.0, "count": 0}
    first = graph[src].get(n, absent)
    second = graph[dst].get(n, absent)
    count = first["count"] + second["count"]
    weight = (first["count"] * first["weight"] + second["count"] * second["weight"]) / count
    return {"weight": weight, "count": count}


def rows(options: Options) -> Iterator[Comparison]:
    image = natural_image(160, 240) if options.quick else natural_image(321, 481)
    nodes = number_nodes(slic(image))
    graph = adjacency(nodes)
    n = nodes.ids.size
    lab = rgb2lab(image)
    means = (
        np.stack(
            [
                np.bincount(nodes.image.ravel(), plane.ravel())[1:]
                for plane in np.moveaxis(lab, 2, 0)
            ],
            axis=1,
        )
        / nodes.sizes[:, np.newaxis]
    )
    distance = np.linalg.norm(means[graph.edges[:, 0]] - means[graph.edges[:, 1]], axis=1)
    weights = distance / (distance.max() + 1)
    fixed = merging.to_fixed(weights)

    rag = RAG()
    for node in range(n):
        rag.add_node(node, labels=[node])
    for (u, v), weight, count in zip(
        graph.edges.tolist(), weights.tolist(), graph.lengths.tolist(), strict=True
    ):
        rag.add_edge(u, v, weight=weight, count=count)
    rounds = 3 if options.quick else 5
    # Merging changes the graph; copies are made beforehand so that they are not timed.
    copies = [copy.deepcopy(rag) for _ in range(rounds + 1)]

    def reference(threshold: float, graph: RAG) -> np.ndarray:
        return merge_hierarchical(
            np.arange(n),
            graph,
            thresh=threshold,
            rag_copy=False,
            in_place_merge=True,
            merge_func=lambda *_: None,
            weight_func=weight_by_border,
        )

    # The same question, so the same answer: cut between the same two merges, one partition.
    tree = merging.average(graph.edges, fixed, graph.lengths, n)
    below, above = tree.merge_heights[-(n // 10) :][:2].tolist()
    cut = (below + above) // 2
    theirs = reference(float(merging.from_fixed(cut)), copy.deepcopy(rag))
    pairs = len({*zip(tree.cut(cut).tolist(), theirs.tolist(), strict=True)})
    same = pairs == tree.n_regions(cut) == np.unique(theirs).size
    note = f"{tree.n_regions(cut)} regions {'the same' if same else 'DIFFER'}"
    yield compare(
        f"average linkage, {n} superpixels, {graph.edges.shape[0]} edges",
        ("skimage.graph.merge_hierarchical", lambda: reference(np.inf, copies.pop())),
        (
            "napari_del.merging.average",
            lambda: merging.average(graph.edges, fixed, graph.lengths, n),
        ),
        rounds=rounds,
        note=note,
    )
