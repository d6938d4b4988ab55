"""Choose the strengths that are fitted first, the anchors, and start the heads between them by a polynomial.

The optimum is a smooth function of ln λ. A polynomial through some optima starts the others so near that one or
two passes remain.
"""

import numpy as np

SPACING = 1.22
"""The largest step of ln λ between two strengths that are fitted first, where others lie between them.

A smaller spacing (0.8) has more anchors. With a larger one (1.7) the heads between need more passes.
"""
NODES = 8
"""The number of optima that a polynomial goes through."""


def choose_anchors(l2: np.ndarray) -> np.ndarray:
    """Return which strengths are fitted first, booleans of shape (L,).

    The first and last strengths are anchors. Further anchors keep neighbouring anchors within `SPACING` in ln λ,
    if strengths lie between them.

    Args:
      l2: the strengths in descending order, shape (L,). Those of 0 are fitted first.

    Example:
      >>> choose_anchors(np.array([1.0, 0.8, 0.6, 0.1, 0.05, 0.0]))
      array([ True, False,  True,  True,  True,  True])
    """
    anchors = np.ones(len(l2), bool)
    last = l2[0]
    for k in range(1, len(l2) - 1):
        anchors[k] = l2[k + 1] <= 0 or np.log(last / l2[k + 1]) > SPACING
        last = l2[k] if anchors[k] else last
    return anchors


def interpolate(l2: np.ndarray, anchors: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return values at other strengths, by the polynomial in ln λ through the `NODES` anchors about each.

    Args:
      l2: the strengths, positive, shape (L,).
      anchors: the strengths of the values, shape (A,). Zeros and repeated anchors are ignored.
      values: the values at the anchors, shape (A, …).

    Returns:
      Values of shape (L, …), those of an anchor where the strength is equal.

    Source: Berrut and Trefethen, Barycentric Lagrange interpolation, SIAM Review 46 (2004), equation 2.1.

    Example:
      >>> interpolate(np.array([0.1]), np.array([1.0, 0.01]), np.array([0.0, 2.0]))
      array([1.])
    """
    distinct, first = np.unique(anchors, return_index=True)
    nodes, values = np.log(distinct[distinct > 0]), values[first[distinct > 0]]
    count = min(NODES, len(nodes))
    weights = np.zeros((len(l2), len(nodes)))
    for row, at in zip(weights, np.log(l2), strict=True):
        start = np.clip(np.searchsorted(nodes, at) - count // 2, 0, len(nodes) - count)
        near, others = nodes[start : start + count], ~np.eye(count, dtype=bool)
        factors = (at - near) / np.where(others, near[:, None] - near, 1)
        row[start : start + count] = np.where(others, factors, 1).prod(1)
    return np.tensordot(weights, values, 1)
