"""The logistic loss of two classes."""

from types import ModuleType

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray
from dlcore.heads.losses.base import Curvature, HeadLoss, NullModel, RowLoss, RowTerms, l2_of_c
from dlcore.heads.losses.classifier_metrics import label_metrics, ranking_metric
from dlcore.heads.losses.probabilities import probability
from dlcore.metrics.calibration import batched_calibration_error
from dlcore.metrics.probabilities import batched_brier, batched_sigmoid_log_loss
from dlcore.metrics.ranking import binary_average_precision, binary_roc_auc, binary_voc2007_precision


def logistic_terms(logits: AnyArray, labels: AnyArray, xp: ModuleType = jnp) -> RowTerms:
    """Return the terms of the logistic loss.

    Args:
      logits: shape (B, 1, rows).
      labels: 0 or 1, shape (B, rows) or (1, rows).
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    sign = xp.where(labels == 1, 1.0, -1.0).astype(logits.dtype)
    margin = sign * logits[:, 0]
    small = xp.exp(-xp.abs(margin))
    # 1 − p is computed as the probability of the other class: the difference would cancel near p = 1.
    other = xp.where(margin > 0, small, 1) / (1 + small)
    value = xp.maximum(-margin, 0) + xp.log1p(small)
    return RowTerms(value, (-sign * other)[:, None], margin <= 0)


def logistic_curvature(logits: AnyArray, xp: ModuleType = jnp) -> Curvature:
    """Return p(1 − p) of logits of shape (1, rows)."""
    small = xp.exp(-xp.abs(logits))
    return Curvature(small / (1 + small) ** 2)


def logistic_constant(
    y: np.ndarray, weights: np.ndarray, balance: np.ndarray | None, *, fit_intercept: bool
) -> NullModel:
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
    return NullModel(total, intercept[:, None], fractions.prod(1)[:, None], value)


def _log_loss(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -batched_sigmoid_log_loss(y, logits, weight)


def _brier(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -batched_brier(y, np.stack([probability(-logits), probability(logits)], axis=1), weight)


def _calibration(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -batched_calibration_error(y == 1, probability(logits), weight)


def _predict(logits: np.ndarray) -> np.ndarray:
    return (logits > 0).astype(np.intp)


def _score(logits: np.ndarray) -> np.ndarray:
    return logits


RANKINGS = {
    "roc_auc": ranking_metric(binary_roc_auc, _score),
    "average_precision": ranking_metric(binary_average_precision, _score),
    "average_precision_voc2007": ranking_metric(binary_voc2007_precision, _score),
}
"""Scores of the ranking of the rows by their logits."""

LOGISTIC = HeadLoss(
    "logistic",
    {
        "log_loss": _log_loss,
        **label_metrics(_predict, lambda logits: 2),
        "brier": _brier,
        "expected_calibration_error": _calibration,
        **RANKINGS,
    },
    probability,
    rankings=tuple(RANKINGS),
    is_classifier=True,
    penalties={"C": l2_of_c},
    row_loss=RowLoss(logistic_terms, logistic_curvature, logistic_constant),
)
"""The cross-entropy of a sigmoid."""
