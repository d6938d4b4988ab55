"""Start heads where those of a sample of the rows end. A pass over the sample costs a small part of a whole one.

The pairs of L-BFGS are those of the sample as well: its curvature is nearly that of all rows. Few rows may fit a
head to their noise, which then is far from the optimum. Further rows tell: what they gain must be more than what
the sample gains by having been fitted.
"""

import numpy as np

from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.host_rows import HostPass, HostRows
from dlcore.heads.solvers.lbfgs import History, minimize
from dlcore.heads.solvers.lbfgs_vectors import Options, Problem

STEP = 16
"""One row of so many is in the sample, and another one among those that judge it."""
GAP = 1e-2
"""The gap to which heads are fitted to the sample."""
MOST_PASSES = 48
"""The most passes over the sample."""
MOST_OPTIMISM = 0.1
"""The part of the gain on further rows that the loss may be lower on the sample's own.

With 0.3 heads with much noise are taken, which then need more passes than from the constant prediction.
"""


def start_from_sample(
    rows: HostRows, problem: Problem, theta: np.ndarray, max_steps: int, pairs: int, options: Options
) -> tuple[np.ndarray, History]:
    """Return where B heads start on all rows, and the pairs that they start with.

    Args:
      rows: all rows.
      problem: the problem on all rows.
      theta: where the heads start on the sample, shape (B, K, m + 1).
      max_steps: the most passes.
      pairs: the number of pairs that a head remembers.
      options: loss and dtype.

    Returns:
      Coefficients of the sample's heads where further rows approve of them, else `theta`, without pairs.
    """
    heads, outputs, columns = theta.shape
    sample = rows.every(STEP, 0)
    total = _total(sample, problem.batch)
    batch = problem.batch._replace(total=np.where(total > 0, total, 1), gap_tol=np.full(heads, GAP))
    on_sample = problem._replace(batch=batch, shards=(), host_rows=sample)
    history = History.empty(heads, pairs, outputs * columns)
    budget = np.where(total > 0, min(max_steps, MOST_PASSES), 0)
    found = minimize(on_sample, theta, budget, history, options)
    own = _mean_loss(sample, problem.batch, found.theta, options)
    further = _mean_loss(rows.every(STEP, STEP // 2), problem.batch, found.theta, options)
    with np.errstate(invalid="ignore"):
        is_good = further - own < MOST_OPTIMISM * (problem.batch.null_value - further)
    return np.where(is_good[:, None, None], found.theta, theta), found.history.keep(is_good)


def _total(rows: HostRows, batch: HeadBatch) -> np.ndarray:
    """Return the sum of the weights of the rows in each head, shape (B,)."""
    return np.broadcast_to(rows.scales(batch)[1].sum(1), batch.l2.shape)


def _mean_loss(rows: HostRows, batch: HeadBatch, theta: np.ndarray, options: Options) -> np.ndarray:
    """Return the mean loss of the rows, shape (B,); NaN where none has a weight."""
    with np.errstate(all="ignore"):
        return np.asarray(HostPass(rows, batch, options.loss, options.dtype)(theta).value) / _total(rows, batch)
