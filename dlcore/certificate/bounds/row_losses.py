r"""The loss of one row for the bound by curvature: its value and its derivatives.

A loss has a bound by curvature if $|\varphi'''| \le \rho\,\varphi''$ along every line. Here φ is the loss of a row
on the line, and ρ bounds the largest difference between the changes of two logits of the row. With a single
logit, the second logit is the constant 0.
`dlcore.certificate.bounds.curvature` derives the bound and defines ξ and W.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore.certificate.rounding.base import UNIT


class RowTerms(NamedTuple):
    """Derivatives of the loss at the rows of a block, in the coordinates of W. D is the number of columns.

    Attributes:
      factors: the Hessian of a row is FᵀF, where F are its factors, shape (n, factors, KD).
      slope: the gradient of a row, shape (n, KD).
      xi: ξ, shape (n, K, KD). For classes, the ξ of the true class is subtracted.
      largest: an upper bound on ‖ξ‖, shape (n,).
      error_weight: an upper bound on the factor by which a squared error of ξ enters the squared error of
        `factors`, shape (n,). For classes it is the probability of the wrong classes, for counts the rate.
      residual: the magnitude of the coefficient of ξ in the gradient, shape (n,). None if it is `error_weight`.
    """

    factors: np.ndarray
    slope: np.ndarray
    xi: np.ndarray
    largest: np.ndarray
    error_weight: np.ndarray
    residual: np.ndarray | None = None


class RowLoss(NamedTuple):
    """A loss of one row as two functions of arrays.

    Attributes:
      terms: a function that takes coefficients (K, D), rows (n, D), targets (n,) and W, shape (KD, K, D), and
        returns `RowTerms`.
      losses: a function that takes logits (n, K), targets (n,) and the error of a logit (n,). It returns the
        losses and a bound on their errors, shape (n,) each.
    """

    terms: Callable[[np.ndarray, np.ndarray, np.ndarray, np.ndarray], RowTerms]
    losses: Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


def margins(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the logit of the true class minus that of each class. The true class itself has infinity.

    Args:
      logits: shape (n, K). K is 1 for the sigmoid.
      label: classes, shape (n,).
    """
    if logits.shape[1] == 1:
        return (2.0 * label[:, None] - 1) * logits
    index = np.arange(len(label))
    margin = logits[index, label][:, None] - logits
    margin[index, label] = np.inf
    return margin


def _class_losses(logits: np.ndarray, y: np.ndarray, err: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the cross-entropies of classes, and a bound on their errors."""
    excess = -margins(logits, y.astype(np.intp))
    top = np.maximum(excess.max(1), 0)
    return top + np.log(np.exp(excess - top[:, None]).sum(1) + np.exp(-top)), 4 * err + 16 * UNIT


def _class_terms(coef: np.ndarray, rows: np.ndarray, y: np.ndarray, w: np.ndarray) -> RowTerms:
    """Return the derivatives of the cross-entropies of classes."""
    p, p_true, xi, largest = _transformed_rows(coef, rows, y.astype(np.intp), w)
    mean = np.matmul(p[:, None, :], xi)  # the mean of ξ, which is 0 for the true class
    factors = np.concatenate([np.sqrt(p)[:, :, None] * (xi - mean), np.sqrt(p_true)[:, None, None] * mean], axis=1)
    return RowTerms(factors, mean[:, 0], xi, largest, p.sum(1))


def _transformed_rows(
    coef: np.ndarray, rows: np.ndarray, label: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the probabilities and the transformed rows of a block.

    Returns:
      Four arrays. The first is p of the classes, 0 for the true class, shape (n, K). The second is p of the true
        class, shape (n,). The third is ξ minus that of the true class, shape (n, K, KD). The last is an upper
        bound on ‖ξ‖, shape (n,).
    """
    logits = rows @ coef.T
    xi = np.stack([rows @ w[:, k].T for k in range(w.shape[1])], axis=1)
    largest = np.sqrt(np.einsum("nkd,nkd->nk", xi, xi)).max(1)
    if len(coef) == 1:  # the classes 0 and 1 have the logits 0 and z
        sign = 1.0 - 2 * label[:, None]
        tail = np.exp(-np.abs(logits))
        p_wrong = np.where(sign * logits < 0, tail, 1) / (1 + tail)
        p_true = np.where(sign * logits < 0, 1, tail) / (1 + tail)
        return p_wrong, p_true[:, 0], sign[:, :, None] * xi, largest
    index = np.arange(len(rows))
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    p_true = p[index, label].copy()
    p[index, label] = 0
    xi -= xi[index, label][:, None, :]
    return p, p_true, xi, 2 * largest


CLASS_LOSS = RowLoss(_class_terms, _class_losses)
"""The cross-entropies of a sigmoid and of a softmax."""
