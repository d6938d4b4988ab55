"""What `fit_heads` hands back: heads in float64, each with its proof."""

import dataclasses
from typing import Any

import numpy as np

from dlcore import _checks
from dlcore._status import Status
from dlcore.certificate import Certificate


@dataclasses.dataclass(frozen=True)
class Heads:
    """One head for every strength, fitted on all rows, and what the folds say of them.

    Where y was [n, targets] every array has the targets' axis in front. All arrays are NumPy, numbers float64.

    Attributes:
      coef: shape (l2, m), of softmax heads (l2, classes, m), where they sum to 0 over the classes.
      intercept: shape (l2,) or (l2, classes), 0 without an intercept.
      l2: shape (l2,).
      loss: "logistic", "softmax" or "squared".
      value: shape (l2,), J.
      status: shape (l2,), a `Status` each: converged where gap ≤ tol·max(J, 1e-3·J₀).
      certificate: of the heads, arrays of shape (l2,).
      steps: shape (l2,), passes over the rows.
      fold_status: shape (folds, l2).
      fold_gap: shape (folds, l2), the certified gap of each fold's fit.
      scores: shape (folds, l2), larger is better; None without folds.
      scoring: what the scores are: "log_loss" (negative), "accuracy" or "r2".
      best: the index of the strength with the best mean score, the strongest of equals; None without folds.
      device: where the passes over the rows ran.
      scale: shape (m,), the deviations σ where the penalty is of standardised columns, else None.
    """

    coef: np.ndarray
    intercept: np.ndarray
    l2: np.ndarray
    loss: str
    value: np.ndarray
    status: np.ndarray
    certificate: Certificate
    steps: np.ndarray
    fold_status: np.ndarray
    fold_gap: np.ndarray
    scores: np.ndarray | None
    scoring: str
    best: Any
    device: str
    scale: np.ndarray | None = None

    def predict(self, x: Any) -> np.ndarray:
        """Labels, or with the squared loss numbers, of every head: shape (l2, n), NumPy on the host."""
        logits = self._linear(x)
        if self.loss == "softmax":
            return logits.argmax(-1)
        return logits if self.loss == "squared" else (logits > 0).astype(np.int64)

    def predict_proba(self, x: Any) -> np.ndarray:
        """The probabilities of all classes by every logistic or softmax head: shape (l2, n, classes)."""
        if self.loss == "squared":
            raise ValueError("predict_proba: expected heads with loss 'logistic' or 'softmax', got 'squared'")
        logits = self._linear(x)
        if self.loss == "softmax":
            powers = np.exp(logits - logits.max(-1, keepdims=True))
            return powers / powers.sum(-1, keepdims=True)
        tail = np.exp(-abs(logits))
        less, more = tail / (1 + tail), 1 / (1 + tail)
        positive = logits > 0
        return np.stack([np.where(positive, less, more), np.where(positive, more, less)], axis=-1)

    def _linear(self, x: Any) -> np.ndarray:
        rows = _checks.as_host_numbers("x", x)
        _checks.check_matrix("x", rows)
        if rows.shape[1] != self.coef.shape[-1]:
            raise ValueError(f"x: expected {self.coef.shape[-1]} columns, got {rows.shape[1]}")
        _checks.check_finite("x", rows)
        logits = self.coef @ rows.T.astype(np.float64) + self.intercept[..., None]
        return np.swapaxes(logits, -1, -2) if self.loss == "softmax" else logits


def statuses(
    gap: np.ndarray, allowed: np.ndarray, l2: np.ndarray, separates: np.ndarray, exhausted: np.ndarray
) -> np.ndarray:
    """How each head ended, from its certificate first; arrays of one shape."""
    ended = np.full(gap.shape, Status.PRECISION_FLOOR, object)
    ended[exhausted] = Status.OUT_OF_STEPS
    ended[l2 == 0] = Status.UNPROVEN
    ended[(l2 == 0) & separates] = Status.SEPARABLE
    ended[gap <= allowed] = Status.CONVERGED
    return ended
