"""Weighted sums over rows, the last axis of every array. Leading axes are predictions, such as those of heads."""

import numpy as np


def scale_weights(weight: np.ndarray) -> np.ndarray:
    """Return weights times a power of two, the largest in [½, 1), so that no sum of them overflows."""
    return np.ldexp(weight, -np.frexp(weight.max())[1])


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return the weighted mean of the rows, shape (…,). Rows that are all 1 have a mean of exactly 1.

    Args:
      values: shape (…, n).
      weight: weights of the rows, shape (n,).
    """
    return (values * weight).sum(-1) / weight.sum()


def sums_by_group(group: np.ndarray, weight: np.ndarray, groups: int) -> np.ndarray:
    """Return the sum of the weights of each group of rows, shape (…, groups).

    Args:
      group: the number of the group of each row, from 0, shape (…, n).
      weight: shape (…, n), or one that broadcasts to it.
      groups: the number of groups.
    """
    leading = group.shape[:-1]
    flat = group.reshape(-1, group.shape[-1])
    cells = flat + groups * np.arange(len(flat))[:, None]
    weights = np.broadcast_to(weight, group.shape)
    return np.bincount(cells.ravel(), weights.ravel(), groups * len(flat)).reshape(*leading, groups)
