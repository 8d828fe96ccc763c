"""How much of an image changes region from one partition of it to another."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

__all__ = ["share_that_changes"]


def share_that_changes(a: NDArray[np.integer], b: NDArray[np.integer]) -> float:
    """Share of the pixels whose region is another in `b` than in `a`, whatever its number.

    Regions of `a` and of `b` are matched one to one so that as many pixels as can be lie in two
    regions that are partners. All other pixels have changed region.

    Parameters
    ----------
    a, b : ndarray of int, same shape
        Region of each pixel.

    Returns
    -------
    float
        From 0, for the same partition under any numbers, to nearly 1.

    Examples
    --------
    >>> share_that_changes(np.array([1, 1, 2, 2]), np.array([5, 5, 3, 3]))
    0.0
    >>> share_that_changes(np.array([1, 1, 2, 2]), np.array([5, 5, 5, 3]))
    0.25
    """
    first, second = (np.unique(x.ravel(), return_inverse=True)[1].astype(np.int64) for x in (a, b))
    n, m = int(first.max()) + 1, int(second.max()) + 1
    pairs, counts = np.unique(first * m + second, return_counts=True)
    rows, columns = np.divmod(pairs, m)
    # Each region of `a` may also stay alone: it has a column to itself for that. All have one
    # pixel more than they have, since an edge of weight 0 is none.
    own = np.arange(n)
    weights = sparse.csr_array(
        (
            np.concatenate([counts + 1, np.ones(n, np.int64)]).astype(np.float64),
            (np.concatenate([rows, own]), np.concatenate([columns, m + own])),
        ),
        shape=(n, m + n),
    )
    chosen = min_weight_full_bipartite_matching(weights, maximize=True)
    kept = weights[chosen].sum() - n
    return float(1 - kept / a.size)
