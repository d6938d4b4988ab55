"""Scores of heads on a fixed validation set."""

import functools

import numpy as np

from dlcore._core.types import Array, Device
from dlcore.heads.data.device_rows import on_device
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.losses import HeadLoss
from dlcore.heads.scoring.held_out import Scoring, held_out, scores_of
from dlcore.heads.scoring.logits import logits_of
from dlcore.objective.borrowed import BorrowedRows

LOGIT_BYTES = 2**28
"""Size of the logits of the heads that are scored together."""


def validation_scores(
    heads: np.ndarray, inputs: TrainingData, loss: HeadLoss, scoring: Scoring, device: Device
) -> np.ndarray:
    """Return the scores of the fits on all rows, (targets, L). The pass over the rows is compiled.

    Args:
      heads: shape (targets, L, m + 1), of the softmax (1, L, classes, m + 1); weights and, last, intercepts.
      inputs: with the validation set.
      loss: of the heads.
      scoring: a name or a function.
      device: where the pass runs.
    """
    assert inputs.validation is not None
    validation = inputs.validation
    x = on_device(validation.x, device)
    if not isinstance(scoring, str) or scoring not in loss.metrics:
        linear = functools.partial(logits_of, x)
        return scores_of(scoring, loss, held_out(inputs, 0), inputs.l2[0], heads, linear)
    index = np.flatnonzero(validation.weight)
    labels = validation.y.reshape(len(validation.y), -1)[index].T
    weight = validation.weight[index]
    return summed_scores(loss, scoring, heads, x, index=index, labels=labels, weight=weight)


def summed_scores(
    loss: HeadLoss,
    scoring: str,
    heads: np.ndarray,
    x: Array | BorrowedRows,
    *,
    index: np.ndarray,
    labels: np.ndarray,
    weight: np.ndarray,
) -> np.ndarray:
    """Return the weighted mean score of the rows of these numbers, shape (targets, L).

    Args:
      loss: the loss of the heads.
      scoring: the name of one of its metrics.
      heads: shape (targets, L, m + 1), of the softmax (1, L, classes, m + 1); intercepts last.
      x: rows on a device.
      index: numbers of the rows.
      labels: of these rows, shape (targets, rows).
      weight: of these rows, shape (rows,).
    """
    weight = weight / weight.sum()
    targets, strengths = heads.shape[:2]
    flat = heads.reshape(targets * strengths, -1, heads.shape[-1])  # one row for each head and class
    together = max(1, LOGIT_BYTES // (8 * len(index) * flat.shape[1]))
    scores = []
    for start in range(0, len(flat), together):
        some = flat[start : start + together]
        logits = logits_of(x, some.reshape(-1, heads.shape[-1]), index).reshape(*some.shape[:2], -1)
        aims = labels[np.arange(start, start + len(some)) // strengths]
        scores.append(loss.metrics[scoring](logits if loss.has_classes else logits[:, 0], aims, weight))
    return np.concatenate(scores).reshape(targets, strengths)
