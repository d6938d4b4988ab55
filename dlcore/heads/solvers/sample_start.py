"""Start heads at the heads of a sample of the rows. A pass over the sample costs a small part of a whole pass.

L-BFGS also starts with the pairs of the sample, whose curvature is nearly that of all rows. A head of few rows may
fit their noise, and is then far from the optimum. Such heads are found by further rows: the loss on them must not
be much higher than on the sample, relative to the gain over the constant prediction.
"""

import numpy as np

from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.host_rows import HostPass, HostRows
from dlcore.heads.solvers.lbfgs import History, minimize
from dlcore.heads.solvers.lbfgs_vectors import Options, Problem

STEP = 16
"""One of this many rows is in the sample, and one in the further rows that judge the sample's heads."""
SAMPLE_NUMBERS = 2**24
"""The most entries of the rows of a sample."""
GAP = 1e-2
"""The gap to which heads are fitted to the sample."""
FIRST_PASSES, MOST_PASSES = 12, 48
"""Passes over the sample before the first judgement, and the most passes. Heads of noise end at the first one."""
MOST_OPTIMISM = 0.1
"""The largest excess of the loss on further rows over that on the sample, relative to the gain on further rows.

With 0.3, heads with much noise are accepted, and need more passes than from the constant prediction.
"""


def start_from_sample(
    rows: HostRows, problem: Problem, theta: np.ndarray, max_steps: int, pairs: int, options: Options
) -> tuple[np.ndarray, History]:
    """Return the starting point of B heads on all rows, and the pairs to start with.

    Args:
      rows: all rows.
      problem: the problem on all rows.
      theta: the starting point on the sample, shape (B, K, m + 1).
      max_steps: the most passes.
      pairs: the number of pairs that a head keeps.
      options: loss and dtype.

    Returns:
      Coefficients of the sample's heads if the further rows confirm them, else `theta`, without pairs.
    """
    heads, outputs, columns = theta.shape
    sample, further_rows = (rows.take(index) for index in choose_rows(*rows.shape))
    total = _total(sample, problem.batch)
    batch = problem.batch._replace(total=np.where(total > 0, total, 1), gap_tol=np.full(heads, GAP))
    on_sample = problem._replace(batch=batch, shards=(), host_rows=sample)
    history = History.empty(heads, pairs, outputs * columns)
    most, place, is_good, is_active = min(max_steps, MOST_PASSES), theta, total > 0, total > 0
    for passes in (min(most, FIRST_PASSES), most - min(most, FIRST_PASSES)):
        found = minimize(on_sample, place, np.where(is_good & is_active, passes, 0), history, options)
        place, history, is_active = found.theta, found.history, ~found.converged
        own, further = (_mean_loss(part, problem.batch, place, options) for part in (sample, further_rows))
        with np.errstate(invalid="ignore"):
            is_good &= further - own < MOST_OPTIMISM * (problem.batch.null_value - further)
    history.clear(~is_good)
    return np.where(is_good[:, None, None], place, theta), history


def choose_rows(n: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the numbers of the rows of the sample, and of the further rows, ascending.

    Each has one random row of every 16, or of more in a large table. Rows at equal distances could all be of one
    class, for example where the rows alternate between two classes.
    """
    step = max(STEP, -(-n * columns // SAMPLE_NUMBERS))
    random, starts = np.random.default_rng(0), np.arange(0, n - step + 1, step)
    first = random.integers(0, step, len(starts))
    second = (first + random.integers(1, step, len(starts))) % step
    return starts + first, starts + second


def _total(rows: HostRows, batch: HeadBatch) -> np.ndarray:
    """Return the sum of the weights of the rows in each head, shape (B,)."""
    return np.broadcast_to(rows.scales(batch)[1].sum(1), batch.l2.shape)


def _mean_loss(rows: HostRows, batch: HeadBatch, theta: np.ndarray, options: Options) -> np.ndarray:
    """Return the mean loss of the rows, shape (B,); NaN where none has a weight."""
    with np.errstate(all="ignore"):
        return np.asarray(HostPass(rows, batch, options.loss, options.dtype)(theta).value) / _total(rows, batch)
