"""Scores of rows that are held out, larger is better: by name, or by a function of the caller's.

Log loss, accuracy and r2 are sums over rows, and stand in the record of their loss, in `heads/losses`. What ranks
rows, or is the caller's own, is of all rows together. Their logits come from a compiled program, once for all that
is asked.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.losses import HeadLoss
from dlcore.heads.losses.probabilities import probabilities
from dlcore.heads.solvers.batching import pad_to

Scoring = str | Callable[[np.ndarray, np.ndarray, np.ndarray], object]
Linear = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Of heads (K, m + 1) and row numbers: logits or predicted numbers, (K, rows)."""

LOGIT_BYTES = 2**28
"""Size of the logits of held-out rows that are on the host at a time, unless one head's take more."""


def read_scoring(scoring: object, loss: HeadLoss) -> Scoring:
    """Return a name that goes with the loss, or a function."""
    if scoring is None:
        return loss.scorings[0]
    if not callable(scoring) and not (isinstance(scoring, str) and scoring in loss.scorings):
        expected = ", ".join(map(repr, loss.scorings))
        raise ValueError(f"scoring: expected {expected} or a function for loss {loss.name!r}, got {scoring!r}")
    return scoring


def name_of(scoring: Scoring) -> str:
    """Return the name of a score, of a function its own."""
    return scoring if isinstance(scoring, str) else getattr(scoring, "__name__", type(scoring).__name__)


def check_held_out(scoring: Scoring, inputs: TrainingData) -> None:
    """Every class is in the rows that heads are scored on, where the score ranks one class above the others."""
    if scoring not in ("roc_auc", "roc_auc_ovr"):
        return
    name, each = ("folds", "each fold is") if inputs.validation is None else ("validation", "heads are")
    for held in all_held_out(inputs):
        for known, column in zip(inputs.y.reshape(len(inputs.y), -1).T, held.y.T, strict=True):
            missing = np.setdiff1d(known, column)
            if len(missing):
                raise ValueError(
                    f"{name}: expected every class in the rows that {each} scored on, because scoring is "
                    f"{scoring!r}, got none of {missing[0]:g} in {held.name}"
                )


class HeldOut(NamedTuple):
    """Rows of positive weight that heads are scored on.

    Attributes:
      rows: shape (v,), their numbers, ascending.
      y: shape (v, targets), float64.
      weight: shape (v,), as the caller gave it.
      name: what they are called in messages.
    """

    rows: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    name: str


def all_held_out(inputs: TrainingData) -> Iterator[HeldOut]:
    """Yield the held-out rows of each fold, or of the validation set."""
    if inputs.validation is None:
        for fit in range(1, len(inputs.test)):
            yield held_out(inputs, fit)
    else:
        yield held_out(inputs, 0)


def held_out(inputs: TrainingData, fit: int) -> HeldOut:
    """Return the rows that score a fit. Fit 0, on all rows, has the validation set."""
    rows, name, scored = inputs, f"fold {fit - 1}", inputs.scored
    chosen = inputs.test[fit]
    if fit == 0 and inputs.validation is not None:
        rows, name, scored = inputs.validation, "the validation set", inputs.validation.weight
        chosen = np.ones(len(scored), bool)
    index = np.flatnonzero(chosen & (scored > 0))
    y = rows.y.reshape(len(rows.y), -1)[index].astype(np.float64)
    return HeldOut(index, y, scored[index] * rows.unit, name)


def scores_of(
    scoring: Scoring, loss: HeadLoss, held: HeldOut, l2: np.ndarray, theta: np.ndarray, linear: Linear
) -> np.ndarray:
    """Return the scores of all heads of a fit, each by the rows that are held out for it.

    Args:
      scoring: "roc_auc", "roc_auc_ovr" or a function.
      loss: of the heads.
      held: the rows.
      l2: shape (L,), the strengths of the heads.
      theta: shape (targets, L, m + 1) or (targets, L, classes, m + 1), the intercept last.
      linear: what the heads say of rows.

    Returns:
      Shape (targets, L).

    Raises:
      ValueError: if a function answers nan or infinity.
      TypeError: if it answers no real number.
    """
    index, aims, weight, name = held
    strengths, inner = theta.shape[1], theta.shape[2:-1]
    heads = theta.reshape(-1, *theta.shape[2:])
    width = int(np.prod(inner))
    size = max(1, min(len(heads), LOGIT_BYTES // (8 * len(index) * width)))
    found = np.empty(len(heads))
    for start in range(0, len(heads), size):
        some = pad_to(heads[start : start + size], size).reshape(-1, theta.shape[-1])
        if scoring == "roc_auc":  # the same added to all scores changes no rank, but takes digits from them
            some = np.concatenate([some[:, :-1], np.zeros((len(some), 1))], axis=1)
        logits = linear(some, index).reshape(size, *inner, -1)
        for head, logit in zip(range(start, min(start + size, len(heads))), logits, strict=False):
            y = aims[:, head // strengths]
            if scoring == "roc_auc":
                found[head] = roc_auc(y == 1, logit, weight)
            elif scoring == "roc_auc_ovr":
                p = probabilities(logit, 0)
                found[head] = np.mean([roc_auc(y == k, p[k], weight) for k in range(len(p))])
            else:
                where = f"{name}, l2 = {l2[head % strengths]:g}"
                found[head] = answer_of(scoring, y, loss.predict(logit), weight, where)
    return found.reshape(theta.shape[:2])


def answer_of(scoring: Scoring, y: np.ndarray, prediction: np.ndarray, weight: np.ndarray, where: str) -> float:
    """Return the score of a function, a finite number."""
    assert callable(scoring)
    answer, name = scoring(y, prediction, weight), name_of(scoring)
    found = np.asarray(answer)
    if found.ndim or found.dtype.kind not in "iuf":
        raise TypeError(f"scoring: expected a real number from {name}, got {answer!r} ({where})")
    if not np.isfinite(found):
        raise ValueError(f"scoring: expected a finite number from {name}, got {answer!r} ({where})")
    return float(found)


def roc_auc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    r"""Return the weighted share of pairs of a positive and a negative row that the score ranks right.

    Pairs of equal scores count half.

    $\sum_{i+,j-} s_is_j([z_i > z_j] + \frac12[z_i = z_j]) / \sum_{i+}s_i\sum_{j-}s_j$, by one sort. Shapes (n,).

    Source: Hanley and McNeil (1982), The meaning and use of the area under a ROC curve.
    """
    weight = np.ldexp(weight, -np.frexp(weight.max())[1])  # no product of two leaves the range
    order = np.argsort(score, kind="stable")
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))  # of rows of the same score
    ones, zeros = (
        np.diff(np.cumsum(np.where(chosen, weight, 0)[order])[last], prepend=0.0)
        for chosen in (positive, ~positive)
    )
    below = np.cumsum(zeros) - zeros
    return float(ones @ (below + zeros / 2) / (ones.sum() * zeros.sum()))
