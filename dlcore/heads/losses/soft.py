"""The cross-entropies of soft labels: the probabilities of the classes in place of a label."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray
from dlcore.heads.losses.base import NullModel, RowLoss, RowTerms
from dlcore.heads.losses.logistic import LOGISTIC, logistic_constant, logistic_curvature
from dlcore.heads.losses.probabilities import probabilities, probability
from dlcore.heads.losses.softmax import SOFTMAX, softmax_curvature
from dlcore.metrics.weighted_sums import weighted_mean


def soft_logistic_terms(logits: AnyArray, y: AnyArray, xp: ModuleType = jnp) -> RowTerms:
    """Return the terms of the logistic loss of probabilities of class 1.

    Args:
      logits: shape (B, 1, rows).
      y: probabilities, shape (B, rows) or (1, rows).
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    z, y = logits[:, 0], y.astype(logits.dtype)
    small = xp.exp(-xp.abs(z))
    p = xp.where(z > 0, 1, small) / (1 + small)
    other = xp.where(z > 0, small, 1) / (1 + small)  # 1 − p as a difference would cancel near p = 1
    value = y * xp.maximum(-z, 0) + (1 - y) * xp.maximum(z, 0) + xp.log1p(small)
    return RowTerms(value, ((1 - y) * p - y * other)[:, None], xp.ones(value.shape, bool))


def soft_softmax_terms(logits: AnyArray, y: AnyArray, xp: ModuleType = jnp) -> RowTerms:
    """Return the terms of the softmax cross-entropy of probabilities of all classes.

    Args:
      logits: shape (B, K, rows).
      y: probabilities, shape (K, rows).
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    y = y.astype(logits.dtype)[None]
    top = logits.argmax(1)
    is_top = top[:, None] == xp.arange(logits.shape[1], dtype=top.dtype)[None, :, None]
    shifted = logits - logits.max(1, keepdims=True)
    power = xp.exp(shifted)
    of_top = xp.where(is_top, 0, power).sum(1, keepdims=True)
    total = 1 + of_top
    # 1 − p is computed as the sum of the other probabilities: the difference would cancel near p = 1.
    others = xp.where(is_top, of_top, total - power)
    value = (y * (xp.log1p(of_top) - shifted)).sum(1)
    return RowTerms(value, ((1 - y) * power - y * others) / total, xp.ones(value.shape, bool))


def soft_softmax_constant(y: np.ndarray, weights: np.ndarray, balance: None, *, fit_intercept: bool) -> NullModel:
    """Return the best constant prediction of each fit, the mean probabilities."""
    del balance
    mass = weights @ y
    total = mass.sum(1)
    fractions = mass / total[:, None]
    logarithms = np.log(fractions)
    value = -(fractions * logarithms).sum(1) if fit_intercept else np.full(len(total), np.log(y.shape[1]))
    return NullModel(total, fit_intercept * logarithms, fractions, value)


def _logistic_log_loss(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    wrong = y * np.maximum(-logits, 0) + (1 - y) * np.maximum(logits, 0)
    return -weighted_mean(np.log1p(np.exp(-abs(logits))) + wrong, weight)


def _logistic_brier(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -weighted_mean((probability(logits) - y) ** 2, weight)


def _softmax_log_loss(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(1)) - (y * shifted).sum(1)
    return -weighted_mean(losses, weight)


def _softmax_brier(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    squares = ((probabilities(logits, 1) - y) ** 2).sum(1)
    return -weighted_mean(squares, weight) / (2 if y.shape[1] == 2 else 1)


SOFT_LOGISTIC = LOGISTIC._replace(
    name="logistic with soft labels",
    metrics={"log_loss": _logistic_log_loss, "brier": _logistic_brier},
    rankings=(),
    is_classifier=False,
    hard_name="logistic",
    row_loss=RowLoss(soft_logistic_terms, logistic_curvature, logistic_constant),
)
"""The cross-entropy of a sigmoid and a probability of class 1."""

SOFT_SOFTMAX = SOFTMAX._replace(
    name="softmax with soft labels",
    metrics={"log_loss": _softmax_log_loss, "brier": _softmax_brier},
    rankings=(),
    top_k={},
    is_classifier=False,
    hard_name="softmax",
    row_loss=RowLoss(soft_softmax_terms, softmax_curvature, soft_softmax_constant),
)
"""The cross-entropy of a softmax and the probabilities of all classes."""
