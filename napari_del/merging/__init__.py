"""Merging of adjacent superpixels into regions: arrays in, arrays out.

A graph of `n` nodes (superpixels) has edges ``int32 (m, 2)`` of row numbers, ``u < v``, sorted
lexicographically, and weights ``uint32 (m,)`` in fixed point: 0 to 2**32 - 1 stands for a
dissimilarity of 0 to 1. Edges are compared by (weight, edge number), a total order, so that
every linkage has exactly one result, whatever the order in which regions are merged.

============== ======================================================== =====================
linkage        two adjacent regions join when                           result
============== ======================================================== =====================
``learned``    a trained function of what both are as a whole says that `Hierarchy`
               people would not separate them, up to the threshold
``average``    the mean dissimilarity along their common border is the  `Hierarchy`
               smallest of all, up to the threshold
``contrast``   the same, where colours count as much as a network, for  `Hierarchy`
               kinds of images that it never met
``del``        any edge between them is within the threshold [1]_       `Hierarchy`
``egb``        an edge is small against the variation inside both [2]_  one partition
============== ======================================================== =====================

References
----------
.. [1] Y. Liu, P.-T. Jiang, V. Petrosyan, S.-J. Li, J. Bian, L. Zhang, M.-M. Cheng, "DEL: Deep
   Embedding Learning for Efficient Image Segmentation", IJCAI 2018, pp. 864-870.
.. [2] P. F. Felzenszwalb, D. P. Huttenlocher, "Efficient Graph-Based Image Segmentation",
   International Journal of Computer Vision 59(2), 2004, pp. 167-181.
"""

from __future__ import annotations

from napari_del.merging._edges import edge_order
from napari_del.merging.average import average
from napari_del.merging.egb import egb
from napari_del.merging.fixed_point import from_fixed, threshold_to_fixed, to_fixed
from napari_del.merging.hierarchy import Hierarchy, sequential
from napari_del.merging.learned import MergeFunction, learned
from napari_del.merging.region_pairs import SuperpixelTables
from napari_del.merging.small import join_small
from napari_del.merging.spanning_forest import spanning_forest

__all__ = [
    "LINKAGES",
    "Hierarchy",
    "MergeFunction",
    "SuperpixelTables",
    "average",
    "edge_order",
    "egb",
    "from_fixed",
    "join_small",
    "learned",
    "sequential",
    "spanning_forest",
    "threshold_to_fixed",
    "to_fixed",
]

LINKAGES = ("learned", "average", "contrast", "del", "egb")
