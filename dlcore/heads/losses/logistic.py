"""The logistic loss of two classes."""

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.heads.losses.base import Constant, HeadLoss, RowLoss, RowTerms
from dlcore.heads.losses.probabilities import probability


def logistic_terms(logits: Array, labels: Array) -> RowTerms:
    """Return the terms of the logistic loss.

    Args:
      logits: shape (B, 1, rows).
      labels: 0 or 1, shape (B, rows) or (1, rows).
    """
    sign = jnp.where(labels == 1, 1.0, -1.0).astype(logits.dtype)
    margin = sign * logits[:, 0]
    small = jnp.exp(-jnp.abs(margin))
    # The probability of the other class: 1 − p would have no digits where p is near 1.
    other = jnp.where(margin > 0, small, 1) / (1 + small)
    value = jnp.maximum(-margin, 0) + jnp.log1p(small)
    return RowTerms(value, (-sign * other)[:, None], margin <= 0)


def logistic_curvature(logits: Array) -> Array:
    """Return p(1 − p), shape (1, 1, rows), of logits of shape (1, rows)."""
    small = jnp.exp(-jnp.abs(logits))
    return (small / (1 + small) ** 2)[None]


def logistic_constant(
    y: np.ndarray, weights: np.ndarray, balance: np.ndarray | None, *, fit_intercept: bool
) -> Constant:
    """Return the best constant prediction of each fit and target."""
    mass = np.stack([weights @ (1 - y), weights @ y], axis=-1)  # a difference would lose a class of small weights
    mass = (mass if balance is None else mass * balance).reshape(-1, 2)
    total = mass.sum(1)
    fractions = mass / total[:, None]
    if not fit_intercept:
        intercept, value = np.zeros(len(total)), np.full(len(total), np.log(2))
    else:
        logarithms = np.log(fractions)
        intercept, value = logarithms[:, 1] - logarithms[:, 0], -(fractions * logarithms).sum(1)
    return Constant(total, intercept[:, None], fractions.prod(1)[:, None], value)


def _log_loss(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    losses = np.log1p(np.exp(-abs(logits))) + np.maximum(logits, 0) - np.where(y == 1, logits, 0)
    return -losses @ weight


def _accuracy(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return ((logits > 0) == (y == 1)) @ weight


LOGISTIC = HeadLoss(
    "logistic",
    {"log_loss": _log_loss, "accuracy": _accuracy},
    probability,
    rankings=("roc_auc",),
    is_classifier=True,
    row_loss=RowLoss(logistic_terms, logistic_curvature, logistic_constant),
)
"""The cross-entropy of a sigmoid."""
