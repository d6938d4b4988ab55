"""The softmax cross-entropy of several classes."""

import functools
from types import ModuleType

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray
from dlcore.heads.losses.base import Curvature, HeadLoss, NullModel, RowLoss, RowTerms, l2_of_c
from dlcore.heads.losses.classifier_metrics import label_metrics, ranking_metric
from dlcore.heads.losses.probabilities import probabilities
from dlcore.metrics.calibration import batched_calibration_error
from dlcore.metrics.classification import batched_top_k_accuracy
from dlcore.metrics.probabilities import batched_brier, batched_softmax_log_loss
from dlcore.metrics.ranking import binary_average_precision, binary_roc_auc, binary_voc2007_precision


def softmax_terms(logits: AnyArray, labels: AnyArray, xp: ModuleType = jnp) -> RowTerms:
    """Return the terms of the softmax cross-entropy.

    Args:
      logits: shape (B, K, rows).
      labels: numbers of classes, shape (B, rows) or (1, rows).
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    classes = xp.arange(logits.shape[1], dtype=labels.dtype)
    is_own = labels[:, None] == classes[None, :, None]
    top = logits.max(1)
    power = xp.exp(logits - top[:, None])
    own = xp.where(is_own, power, 0).sum(1)
    others = xp.where(is_own, 0, power).sum(1)
    total = own + others
    value = xp.log(total) + top - xp.where(is_own, logits, 0).sum(1)
    # 1 − p of the row's class is computed as the sum of the other probabilities: the difference would cancel near
    # 1.
    residual = xp.where(is_own, -others[:, None], power) / total[:, None]
    return RowTerms(value, residual, others >= own)


def softmax_curvature(logits: AnyArray, xp: ModuleType = jnp) -> Curvature:
    r"""Return $\mathrm{diag}(p) - pp^\top$ of logits of shape (K, rows)."""
    power = xp.exp(logits - logits.max(0)[None])
    p = power / power.sum(0)[None]
    is_own = xp.eye(len(logits), dtype=bool)[:, :, None]
    # 1 − p is computed as the sum of the other probabilities: the difference would cancel near p = 1.
    others = xp.where(is_own, 0.0, p[None]).sum(1)
    return Curvature(p * others, p)


def softmax_constant(y: np.ndarray, weights: np.ndarray, balance: None, *, fit_intercept: bool) -> NullModel:
    """Return the best constant prediction of each fit, over the classes that have rows in the fit."""
    del balance  # a single target has its class weights in the weights
    labels, classes = y[:, 0].astype(np.intp), int(y.max()) + 1
    mass = np.stack([np.bincount(labels, row, classes) for row in weights])
    total = mass.sum(1)
    fractions = mass / total[:, None]
    logarithms = np.log(np.where(fractions > 0, fractions, 1))
    value = -(fractions * logarithms).sum(1) if fit_intercept else np.log((fractions > 0).sum(1))
    return NullModel(total, fit_intercept * logarithms, fractions, value)


def _log_loss(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -batched_softmax_log_loss(y, logits, weight)


def _brier(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return -batched_brier(y, probabilities(logits, 1), weight)


def _calibration(logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    p = probabilities(logits, 1)
    return -batched_calibration_error(p.argmax(1) == y, p.max(1), weight)


def _top_k(k: int, logits: np.ndarray, y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    return batched_top_k_accuracy(y, logits, weight, k)


_by_class = functools.partial(probabilities, axis=1)
RANKINGS = {
    "roc_auc_ovr": ranking_metric(binary_roc_auc, _by_class),
    "roc_auc_micro": ranking_metric(binary_roc_auc, _by_class, "micro"),
    "average_precision": ranking_metric(binary_average_precision, _by_class),
    "average_precision_micro": ranking_metric(binary_average_precision, _by_class, "micro"),
    "average_precision_voc2007": ranking_metric(binary_voc2007_precision, _by_class),
}
"""Scores of the rankings of the rows by the probability of each class."""

TOP_K = {f"top_{k}_accuracy": k for k in (2, 3, 5, 10)}


def _predict(logits: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(probabilities(logits, 0).T)


SOFTMAX = HeadLoss(
    "softmax",
    {
        "log_loss": _log_loss,
        **label_metrics(lambda logits: logits.argmax(1), lambda logits: logits.shape[1]),
        "brier": _brier,
        "expected_calibration_error": _calibration,
        **RANKINGS,
        **{name: functools.partial(_top_k, k) for name, k in TOP_K.items()},
    },
    _predict,
    rankings=tuple(RANKINGS),
    top_k=TOP_K,
    is_classifier=True,
    penalties={"C": l2_of_c},
    has_classes=True,
    row_loss=RowLoss(softmax_terms, softmax_curvature, softmax_constant),
)
"""The cross-entropy of a softmax."""
