"""Scores of held-out rows, by name or by a function of the caller's. Larger is better.

The names and their metrics stand in the record of a loss, in `heads/losses`. The logits come from a compiled
program, for many heads at once.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore._core.types import Device
from dlcore.heads.data.batching import pad_to
from dlcore.heads.data.device_rows import on_device
from dlcore.heads.data.labels import label_of
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.losses import HeadLoss
from dlcore.heads.scoring.logits import logits_of
from dlcore.metrics.weighted_sums import scale_weights

Scoring = str | Callable[[np.ndarray, np.ndarray, np.ndarray], object]
Linear = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""A function of heads, shape (H, m + 1), and row indices that returns logits, shape (H, rows)."""

LOGIT_BYTES = 2**28
"""The most bytes of logits of held-out rows that are on the host at a time, unless one head takes more."""


def read_scoring(scoring: object, loss: HeadLoss) -> Scoring:
    """Return the checked score: a name that the loss has, or a function. None gives the default of the loss."""
    if scoring is None:
        return next(iter(loss.metrics))
    if not callable(scoring) and not (isinstance(scoring, str) and scoring in loss.metrics):
        expected = ", ".join(map(repr, loss.metrics))
        hint = "; pass a function to compare labels" if loss.is_soft else ""
        raise ValueError(
            f"scoring: expected {expected} or a function for loss {loss.name!r}, got {scoring!r}{hint}"
        )
    return scoring


def name_of(scoring: Scoring) -> str:
    """Return the name of a score, or the name of the function."""
    return scoring if isinstance(scoring, str) else getattr(scoring, "__name__", type(scoring).__name__)


def check_held_out(scoring: Scoring, inputs: TrainingData) -> None:
    """Raise if a ranking score lacks a class in the scored rows, or a top-k score has at most k classes."""
    if not isinstance(scoring, str):
        return
    k = inputs.loss.top_k.get(scoring, 0)
    if k and inputs.y.max() < k:
        raise ValueError(f"scoring: expected more than {k} classes for {scoring!r}, got {inputs.y.max() + 1:g}")
    if scoring not in inputs.loss.rankings:
        return
    name, each = ("folds", "each fold is") if inputs.validation is None else ("validation", "heads are")
    for fit in range(1, len(inputs.test)) if inputs.validation is None else [0]:
        held = held_out(inputs, fit)
        for known, column in zip(inputs.y.reshape(len(inputs.y), -1).T, held.y.T, strict=True):
            missing = np.setdiff1d(known, column)
            if len(missing):
                raise ValueError(
                    f"{name}: expected every class in the rows that {each} scored on, because scoring is "
                    f"{scoring!r}, got none of {label_of(missing[0], inputs.classes)} in {held.name}"
                )


class HeldOut(NamedTuple):
    """Rows of positive weight that heads are scored on.

    Attributes:
      rows: row indices, ascending, shape (v,).
      y: shape (v, targets), or (v, classes) for soft labels of a softmax, float64.
      weight: shape (v,), as the caller gave it.
      name: the name of the rows in messages.
    """

    rows: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    name: str


def held_out(inputs: TrainingData, fit: int) -> HeldOut:
    """Return the rows that score a fit. The rows of fit 0, on all rows, are the validation set."""
    rows, name, weight = inputs, f"fold {fit - 1}", inputs.score_weight
    chosen = inputs.test[fit]
    if fit == 0 and inputs.validation is not None:
        rows, name, weight = inputs.validation, "the validation set", inputs.validation.weight
        chosen = np.ones(len(weight), bool)
    index = np.flatnonzero(chosen & (weight > 0))
    y = rows.y.reshape(len(rows.y), -1)[index].astype(np.float64)
    return HeldOut(index, y, weight[index] * rows.unit, name)


def validation_scores(heads: np.ndarray, inputs: TrainingData, scoring: Scoring, device: Device) -> np.ndarray:
    """Return the scores of the fit on all rows on the validation set, shape (targets, L).

    Args:
      heads: coefficients and, last, intercepts, shape (targets, L, m + 1), or (1, L, classes, m + 1) of a softmax.
      inputs: the checked arguments, with the validation set.
      scoring: a name or a function.
      device: the device of the pass.
    """
    assert inputs.validation is not None
    x = inputs.validation.x
    linear = functools.partial(logits_of, x if device.platform == "cpu" else on_device(x, device))
    return scores_of(scoring, inputs.loss, held_out(inputs, 0), inputs.l2[0], heads, linear)


def scores_of(
    scoring: Scoring, loss: HeadLoss, held: HeldOut, l2: np.ndarray, theta: np.ndarray, linear: Linear
) -> np.ndarray:
    """Return the scores of all heads of a fit on its held-out rows.

    Args:
      scoring: a name or a function.
      loss: the loss of the heads.
      held: the held-out rows.
      l2: the strengths of the heads, shape (L,).
      theta: shape (targets, L, m + 1) or (targets, L, classes, m + 1), the intercept last.
      linear: the function that gives the logits of heads on rows.

    Returns:
      Scores, shape (targets, L).

    Raises:
      ValueError: if a function returns nan or infinity.
      TypeError: if a function does not return a real number.
    """
    index, aims, weight, name = held
    strengths, inner = theta.shape[1], theta.shape[2:-1]
    heads = theta.reshape(-1, *theta.shape[2:])
    width = int(np.prod(inner))
    size = max(1, min(len(heads), LOGIT_BYTES // (8 * len(index) * width)))
    found = np.empty(len(heads))
    for start in range(0, len(heads), size):
        batch = pad_to(heads[start : start + size], size).reshape(-1, theta.shape[-1])
        if scoring in loss.rankings and not inner:
            # An intercept changes no rank, but it takes digits from the scores.
            batch = np.concatenate([batch[:, :-1], np.zeros((len(batch), 1))], axis=1)
        numbers = np.arange(start, min(start + size, len(heads)))
        logits = linear(batch, index).reshape(size, *inner, -1)[: len(numbers)]
        if isinstance(scoring, str):
            targets = aims.T[None] if loss.has_distributions else aims.T[numbers // strengths]
            found[numbers] = scores_by_name(scoring, loss, logits, targets, weight)
            continue
        for head, logit in zip(numbers, logits, strict=True):
            where = f"{name}, l2 = {l2[head % strengths]:g}"
            aim = aims if loss.has_distributions else aims[:, head // strengths]
            found[head] = answer_of(scoring, aim, loss.predict(logit), weight, where)
    return found.reshape(theta.shape[:2])


def scores_by_name(
    scoring: str, loss: HeadLoss, logits: np.ndarray, y: np.ndarray, weight: np.ndarray
) -> np.ndarray:
    """Return H scores from logits (H, rows) or (H, K, rows), targets (H, rows) and weights (rows,)."""
    targets = y.astype(np.intp) if loss.is_classifier else y
    return loss.metrics[scoring](logits, targets, scale_weights(weight))


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
