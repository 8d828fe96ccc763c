"""How each linkage merges a piece of a graph as far as it is certain without the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_del.merging._edges import edge_order
from napari_del.merging._mean_merging import merge_means, prepare
from napari_del.merging._part_graph import Edges, Graph, combine_means, remaining
from napari_del.merging._region_graph import GONE, REGION
from napari_del.merging._union_find import roots
from napari_del.merging.spanning_forest import merge_edges

__all__ = ["AVERAGE", "SPANNING_FOREST", "PartLinkage"]


class PartLinkage(NamedTuple):
    """What a linkage does with edges between the same two regions, and with a graph.

    The graph is taken out of its list, so that its arrays can go when they are needed no more.
    """

    combine: Callable[[Edges], Edges]
    merge: Callable[[list[Graph], NDArray[np.int32], NDArray[np.uint32]], Graph]


def _merge_means(only: list[Graph], parent: NDArray[np.int32], height: NDArray[np.uint32]) -> Graph:
    graph = only.pop()
    edges, floors = graph.edges, graph.edges.floors
    total, length = edges.total, edges.length
    prepared = prepare(edges.ends, floors, total, length, edge_order(floors), graph.rows.size)
    # The most memory is taken now, and is less without these.
    none = edges.ends[:0]
    graph = graph._replace(edges=edges._replace(ends=none))
    del edges, floors
    smallest, _ = merge_means(
        prepared, total, length, graph.rows, graph.sizes, graph.outside, parent, height
    )
    half = prepared.half
    del prepared
    left = half[::2, REGION] != GONE
    ends = half[:, REGION].reshape(-1, 2)[left]
    number = graph.edges.number[smallest[left]]
    return remaining(graph, Edges(ends, total[left], length[left], number))


def _as_they_are(edges: Edges) -> Edges:
    """Kruskal's algorithm takes the first of several edges between two regions by itself."""
    return edges


def _merge_edges(only: list[Graph], parent: NDArray[np.int32], height: NDArray[np.uint32]) -> Graph:
    graph = only.pop()
    weights = graph.edges.floors
    left = graph.edges.take(
        merge_edges(
            graph.edges.ends,
            weights,
            edge_order(weights),
            graph.rows,
            graph.sizes,
            graph.outside,
            parent,
            height,
        )
    )
    # An end may be any node of its region; what stands for the region is also a node.
    ends = left.ends.ravel()
    inside = ends < graph.n_inside
    top = roots(parent, graph.rows[ends[inside]])
    ends[inside] = np.searchsorted(graph.rows[: graph.n_inside], top)
    return remaining(graph, left._replace(ends=ends.reshape(-1, 2)))


AVERAGE = PartLinkage(combine_means, _merge_means)
SPANNING_FOREST = PartLinkage(_as_they_are, _merge_edges)
