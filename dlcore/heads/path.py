"""The optimum as a function of ln λ: where to solve it, and what lies between.

Where λ is large or small nothing changes any more; between, optimum and curvature change smoothly with ln λ. The
derivative along the way costs one solve with the curvature at hand.
"""

import numpy as np

NEAREST = 4
"""Anchors that an interpolation goes through; with their derivatives its degree is twice that, less one."""


def spaced(l2: np.ndarray, most: int) -> np.ndarray:
    """Indices of at most so many positive strengths, evenly over their logarithms, ascending; each value once."""
    positive = np.flatnonzero(l2 > 0)
    if not len(positive):
        return positive
    values, first = np.unique(l2[positive], return_index=True)
    if len(values) <= most:
        return positive[first]
    wanted = np.linspace(np.log(values[0]), np.log(values[-1]), most)
    nearest = np.unique(abs(np.log(values)[None] - wanted[:, None]).argmin(1))
    return positive[first[nearest]]


def between(knots: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(j, a) with each place at (1 - a)·knots[j] + a·knots[j + 1], a in [0, 1]; knots ascend."""
    if len(knots) == 1:
        return np.zeros(len(where), np.int32), np.zeros(len(where))
    left = np.clip(np.searchsorted(knots, where, side="right") - 1, 0, len(knots) - 2)
    share = (where - knots[left]) / (knots[left + 1] - knots[left])
    return left.astype(np.int32), np.clip(share, 0, 1)


def hermite(knots: np.ndarray, where: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Weights of the values and of the derivatives at the knots, (places, knots) each.

    With Lagrange's polynomials $l_i$ of the nearest knots the interpolant is
    $\sum_i (1 - 2(t - t_i)l_i'(t_i))\,l_i(t)^2 f_i + (t - t_i)\,l_i(t)^2 f_i'$.
    """
    near = np.sort(np.argsort(abs(knots - where[:, None]), axis=1, kind="stable")[:, :NEAREST])
    knot, t = knots[near], where[:, None]
    apart = knot[:, :, None] - knot[:, None, :]  # (places, i, j)
    own = np.eye(near.shape[1], dtype=bool)
    inverse = 1 / np.where(own, 1.0, apart)
    basis = np.where(own, 1.0, (t - knot)[:, None, :] * inverse).prod(-1) ** 2
    steepness = np.where(own, 0.0, inverse).sum(-1)
    values, slopes = np.zeros((2, len(where), len(knots)))
    np.put_along_axis(values, near, (1 - 2 * (t - knot) * steepness) * basis, axis=1)
    np.put_along_axis(slopes, near, (t - knot) * basis, axis=1)
    return values, slopes
