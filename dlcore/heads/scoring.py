"""Scores of the rows that a fold holds out, larger is better: by name, or by a function of the caller's.

Log loss, accuracy and r2 are sums over rows, which the solvers make on the device. What ranks rows, or is the
caller's own, is of all rows together: their logits come from a compiled program, once for all that is asked.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from dlcore.heads.inputs import Inputs
from dlcore.heads.logits import probabilities, probability
from dlcore.heads.packing import padded

Scoring = str | Callable[[np.ndarray, np.ndarray, np.ndarray], Any]
Linear = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of heads (K, m + 1) and row numbers: logits or predicted numbers, (K, rows)."""

SCORINGS = {
    "logistic": ("log_loss", "accuracy", "roc_auc"),
    "softmax": ("log_loss", "accuracy", "roc_auc_ovr"),
    "squared": ("r2",),
}
SUMS = ("log_loss", "accuracy", "r2")
"""What the solvers sum themselves."""
LOGIT_BYTES = 2**28
"""Size of the logits of held-out rows that are on the host at a time, unless one head's take more."""


def read_scoring(scoring: Any, loss: str) -> Scoring:
    """A name that goes with the loss, or a function."""
    if scoring is None:
        return SCORINGS[loss][0]
    if not callable(scoring) and not (isinstance(scoring, str) and scoring in SCORINGS[loss]):
        expected = ", ".join(map(repr, SCORINGS[loss]))
        raise ValueError(f"scoring: expected {expected} or a function for loss {loss!r}, got {scoring!r}")
    return scoring


def weight_scale(sample_weight: Any) -> float:
    """What `read_inputs` divides weights by: a power of two, so that weights come back in every bit."""
    if sample_weight is None:
        return 1.0
    return float(np.ldexp(1.0, int(np.frexp(np.asarray(sample_weight, np.float64).max())[1])))


def name_of(scoring: Scoring) -> str:
    """A function's own name."""
    return scoring if isinstance(scoring, str) else getattr(scoring, "__name__", type(scoring).__name__)


def check_held_out(scoring: Scoring, inputs: Inputs) -> None:
    """Every class is in the rows that a fold is scored on, where the score ranks one class above the others."""
    if scoring not in ("roc_auc", "roc_auc_ovr"):
        return
    for fold, test in enumerate(inputs.test[1:]):
        for column in inputs.y.reshape(len(inputs.y), -1).T:
            missing = np.setdiff1d(column, column[test & (inputs.weight > 0)])
            if len(missing):
                raise ValueError(
                    f"folds: expected every class in the rows that each fold is scored on, because scoring is "
                    f"{scoring!r}, got none of {missing[0]:g} in {fold}"
                )


def scores_of(
    scoring: Scoring, loss: str, inputs: Inputs, fit: int, theta: np.ndarray, scale: float, linear: Linear
) -> np.ndarray:
    """Of all heads of a fold, each by the rows of positive weight that the fold holds out.

    Args:
      scoring: "roc_auc", "roc_auc_ovr" or a function.
      loss: of the heads.
      inputs: the rows.
      fit: the number of the fold's fit.
      theta: shape (targets, L, m + 1) or (targets, L, classes, m + 1), the intercept last.
      scale: what the weights of `inputs` were divided by.
      linear: what the heads say of rows.

    Returns:
      Shape (targets, L).

    Raises:
      ValueError: if a function answers nan or infinity.
      TypeError: if it answers no real number.
    """
    index = np.flatnonzero(inputs.test[fit] & (inputs.weight > 0))
    weight = inputs.weight[index] * scale
    aims = inputs.y.reshape(len(inputs.y), -1)[index].astype(np.float64)
    strengths, inner = theta.shape[1], theta.shape[2:-1]
    heads = theta.reshape(-1, *theta.shape[2:])
    width = int(np.prod(inner))
    size = max(1, min(len(heads), LOGIT_BYTES // (8 * len(index) * width)))
    found = np.empty(len(heads))
    for start in range(0, len(heads), size):
        some = padded(heads[start : start + size], size).reshape(-1, theta.shape[-1])
        logits = linear(some, index).reshape(size, *inner, -1)
        for head, logit in zip(range(start, min(start + size, len(heads))), logits, strict=False):
            y = aims[:, head // strengths]
            if scoring == "roc_auc":
                found[head] = roc_auc(y == 1, logit, weight)
            elif scoring == "roc_auc_ovr":
                p = probabilities(logit, 0)
                found[head] = np.mean([roc_auc(y == k, p[k], weight) for k in range(len(p))])
            else:
                where = f"fold {fit - 1}, l2 = {inputs.l2[head % strengths]:g}"
                found[head] = asked(scoring, y, _prediction(loss, logit), weight, where)
    return found.reshape(theta.shape[:2])


def _prediction(loss: str, logit: np.ndarray) -> np.ndarray:
    """What a function is given: numbers, P(y = 1), or (n, classes) probabilities."""
    if loss == "squared":
        return logit
    return probability(logit) if loss == "logistic" else np.ascontiguousarray(probabilities(logit, 0).T)


def asked(scoring: Any, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray, where: str) -> float:
    """What a function answers: a finite number."""
    answer, name = scoring(y, prediction, weight), name_of(scoring)
    found = np.asarray(answer)
    if found.ndim or found.dtype.kind not in "iuf":
        raise TypeError(f"scoring: expected a real number from {name}, got {answer!r} ({where})")
    if not np.isfinite(found):
        raise ValueError(f"scoring: expected a finite number from {name}, got {answer!r} ({where})")
    return float(found)


def roc_auc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    r"""The weighted share of pairs of a positive and a negative row that the score ranks right; of equals half.

    $\sum_{i+,j-} s_is_j([z_i > z_j] + \frac12[z_i = z_j]) / \sum_{i+}s_i\sum_{j-}s_j$, by one sort. Shapes (n,).

    Source: Hanley and McNeil (1982), The meaning and use of the area under a ROC curve.
    """
    order = np.argsort(score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of rows of the same score
    ones, zeros = (
        np.diff(np.cumsum(np.where(chosen, weight, 0)[order])[last], prepend=0.0)
        for chosen in (positive, ~positive)
    )
    below = np.cumsum(zeros) - zeros
    return float(ones @ (below + zeros / 2) / (ones.sum() * zeros.sum()))
