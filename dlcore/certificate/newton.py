"""Newton's method: a path of points of decreasing J.

The callers prove a bound at a point by other means, so errors of the path do no harm.
"""

from collections.abc import Iterator

import numpy as np

from dlcore.certificate.bounds.curvature import HeadParams, newton_step
from dlcore.certificate.rounding.base import err_logit, err_value
from dlcore.certificate.rows import TrainingData, index_slices, read_rows, row_norms

STEPS = 40
MIN_STEP_SIZE = 1e-6


def newton_path(params: HeadParams, data: TrainingData) -> Iterator[tuple[HeadParams, bool]]:
    """Yield points of decreasing J, the start first, and whether the bound by curvature seems to hold at each."""
    transform = None
    value = value_and_error(params, data)[0]
    for _ in range(STEPS):
        with np.errstate(all="ignore"):
            step, transform, seems_bounded = newton_step(params, data, transform)
        yield params, seems_bounded
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
    loss = total = err_losses = 0.0
    norm = row_norms(coef[:, :features]).max()
    intercept = coef[:, features] if params.has_intercept else np.zeros(len(coef))
    blocks = index_slices(len(data.x), features + len(coef))
    buffer = np.empty((blocks[0].stop, features))
    with np.errstate(over="ignore", invalid="ignore"):
        for block in blocks:
            weight = data.weights.block(block).max(0)
            rows = read_rows(data.x, block, buffer)
            magnitude = row_norms(rows) * norm + np.abs(intercept).max()
            logits = rows @ coef[:, :features].T + intercept
            losses, err = params.row_loss.losses(logits, data.y[block], err_logit(features, magnitude))
            loss += weight @ np.where(weight > 0, losses, 0)  # the rate of a row of weight 0 may be infinite
            err_losses += weight @ np.where(weight > 0, err, 0)
            total += weight.sum()
        penalty = float((params.penalty * np.square(coef)).sum()) / 2
    value = loss / total + penalty
    roundings = blocks[0].stop - blocks[0].start + len(blocks) + len(coef) + coef.size + 20
    return float(value), float(err_value(value, err_losses / total, roundings))
