"""J of the heads of folds, which `fit_heads` does not return, from the arguments of a scoring function.

The pairs of each fold name all rows as test rows. So the function sees the predictions of the fold's heads for the
rows that trained them. A prediction is rounded, and the penalty is known only where the rows determine the
coefficients. The result is a lower bound on J of the head, a few roundings of the logits below it.
"""

from typing import Any, NamedTuple

import mpmath
import numpy as np
from oracles.head_oracle import DIGITS, Objective, exact, mean_loss
from oracles.head_problems import HeadsProblem

from dlcore import Heads, fit_heads

EPS = float(np.finfo(np.float64).eps)


class Fitted(NamedTuple):
    """The heads of a problem, and the predictions for all rows of each fold and penalty."""

    heads: Heads
    predictions: np.ndarray


def fitted(problem: HeadsProblem, tol: float) -> Fitted:
    """Fit all heads. A score is the number of the call that computed it, and so identifies a prediction."""
    if problem.train is None:
        return Fitted(fit_heads(problem.x, problem.y, tol=tol, **problem.arguments), np.empty(0))
    seen: list[np.ndarray] = []

    def number(y: np.ndarray, prediction: np.ndarray, weights: np.ndarray) -> int:
        seen.append(prediction)
        return len(seen) - 1

    every = np.arange(len(problem.x))
    pairs = [(np.flatnonzero(rows), every) for rows in problem.train]
    arguments = problem.arguments | {"folds": pairs, "scoring": number}
    heads = fit_heads(problem.x, problem.y, tol=tol, **arguments)
    assert heads.scores is not None
    return Fitted(heads, np.stack(seen)[heads.scores.astype(int)])


def least_value_seen(objective: Objective, prediction: np.ndarray) -> Any:
    """Bound J from below for a head with these predictions on the rows of the objective."""
    z = _logits(objective.loss, prediction)
    # What a rounded prediction leaves open of a logit: much where a probability is nearly 1.
    noise = np.full(len(z), 4 * EPS)
    if objective.loss == "logistic":
        noise *= 1 + np.exp(z[:, 0].astype(float))
    fine = noise < 1e-9
    parts, size, coef = _coefficients(objective.x[fine], z[fine].astype(float), objective.intercept)
    # What the sums of products that made the logits may have rounded, and the decomposition of the rows.
    reach = (np.abs(objective.x) @ np.abs(coef).T).max(1)
    noise = noise + (objective.x.shape[1] + 4) / 2 * EPS * (reach + np.abs(z).max() + reach.max())
    apart = np.maximum(np.abs(parts) - np.linalg.norm(noise[fine]), 0) / size[:, None]
    with mpmath.workdps(DIGITS):
        penalty = mpmath.mpf(objective.l2) / 2 * mpmath.mpf(float((apart**2).sum() * (1 - 1e-14)))
        off = objective.s @ (_slopes(objective, z.astype(float)) * noise) / objective.s.sum()
        return mean_loss(objective, exact(z)) + penalty - mpmath.mpf(float(off))


def _logits(loss: str, prediction: np.ndarray) -> np.ndarray:
    """Return the logits of predictions, (n, outputs) in extended precision; those of the softmax sum to 0."""
    p = prediction.astype(np.longdouble)
    if loss == "squared":
        return p[:, None]
    if loss == "logistic":
        p = np.minimum(p, 1 - EPS / 2)
        return (np.log(p) - np.log1p(-p))[:, None]
    z = np.log(p)
    return z - z.mean(1, keepdims=True)


def _coefficients(x: np.ndarray, z: np.ndarray, intercept: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decompose the shortest coefficients that give the logits: along singular vectors, times the values.

    Returns:
      Shape (rank, outputs), the singular values (rank,), and the coefficients (outputs, m).
    """
    about = x - x.mean(0) * intercept
    left, size, right = np.linalg.svd(about, full_matrices=False)
    known = size > EPS * len(x) * np.linalg.norm(x)
    left, size, right = left[:, known], size[known], right[known]
    parts = left.T @ (z - z.mean(0) * intercept)
    return parts, size, (parts / size[:, None]).T @ right


def _slopes(objective: Objective, z: np.ndarray) -> np.ndarray:
    """Bound how fast the loss of each row changes with its logits, increased by a tenth."""
    if objective.loss == "squared":
        return 2.2 * np.abs(z[:, 0] - objective.y)
    if objective.loss == "logistic":
        return 1.1 / (1 + np.exp(np.where(objective.y == 1, 1, -1) * z[:, 0]))
    away = np.exp(z - np.take_along_axis(z, objective.y[:, None], 1))
    return 2.2 * (1 - 1 / away.sum(1))
