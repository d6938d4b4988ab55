"""Newton's method for proofs: a path to points of lower J.

Each point is checked by itself, so that any path is valid.
"""

from collections.abc import Iterator

import numpy as np

from dlcore.certificate.bounds.curvature import HeadParams, newton_step
from dlcore.certificate.rounding import UNIT, err_logit, err_value
from dlcore.certificate.rows import TrainingData, index_slices, row_norms

STEPS = 40
MIN_STEP_SIZE = 1e-6


def newton_path(params: HeadParams, data: TrainingData) -> Iterator[tuple[HeadParams, bool]]:
    """Yield points of ever lower J, the start first, and whether the bound by curvature seems to hold at each."""
    transform = None
    value = value_and_error(params, data)[0]
    for _ in range(STEPS):
        with np.errstate(all="ignore"):
            step, transform, is_near = newton_step(params, data, transform)
        yield params, is_near
        if step is None:
            return
        step_size = 1.0
        while True:
            trial = params._replace(coef=params.coef + step_size * step)
            trial_value = value_and_error(trial, data)[0]
            if trial_value < value:
                break
            step_size /= 2
            if step_size < MIN_STEP_SIZE:
                return
        params, value = trial, trial_value


def value_and_error(params: HeadParams, data: TrainingData) -> tuple[float, float]:
    """Return J and a bound on its error."""
    coef, features = params.coef, data.x.shape[1]
    loss = total = err_logits = 0.0
    norm = row_norms(coef[:, :features]).max()
    intercept = coef[:, features] if params.has_intercept else np.zeros(len(coef))
    blocks = index_slices(len(data.x), features + len(coef))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            weight = data.weights.block(block).max(0)
            rows = data.x[block].astype(np.float64)
            excess = -margins(rows @ coef[:, :features].T + intercept, data.y[block].astype(np.intp))
            top = np.maximum(excess.max(1), 0)
            loss += weight @ (top + np.log(np.exp(excess - top[:, None]).sum(1) + np.exp(-top)))
            magnitude = row_norms(rows) * norm + np.abs(intercept).max()
            err_logits += weight @ (2 * err_logit(features, magnitude) + 8 * UNIT)
            total += weight.sum()
        penalty = float((params.penalty * np.square(coef)).sum()) / 2
    value = loss / total + penalty
    roundings = blocks[0].stop - blocks[0].start + len(blocks) + len(coef) + coef.size + 20
    return float(value), float(err_value(value, err_logits / total, roundings))


def margins(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Return the logit of the right class less that of each other class, infinite for the right class itself.

    Args:
      logits: shape (n, K); K is 1 for the sigmoid.
      label: classes, shape (n,).
    """
    if logits.shape[1] == 1:
        return (2.0 * label[:, None] - 1) * logits
    index = np.arange(len(label))
    margin = logits[index, label][:, None] - logits
    margin[index, label] = np.inf
    return margin
