"""What `fit_heads` claims of every head of a problem, folds included, beside what the oracle says of it."""

from typing import Any, NamedTuple

import mpmath
import numpy as np
from oracles.fold_heads import fitted, least_value_seen
from oracles.head_oracle import Objective, least_value, logits_of, value_of
from oracles.head_problems import HeadsProblem, asked_of

from dlcore import Status

TOL = 1e-6


class Verdict(NamedTuple):
    """One head.

    Attributes:
      fit: 0 for all rows, else the fold.
      l2: λ.
      status: what `fit_heads` says.
      gap: the certified one.
      true: J(head) − J(oracle), which the true gap is no smaller than; of a fold's head the least J that its
        predictions allow stands for J(head); nan for a cross-entropy without penalty.
      error: what the true gap may be larger by.
      allowed: tol·min(max(J, 1e-3·J₀), J₀ − J*), the last a few shares of √tol over.
      value_error: how far the certified J is off.
      covered: whether the certified gap is at least `true`, compared in 40 digits.
      meets: whether the true gap is surely within what is allowed.
      honest: whether a cross-entropy without penalty is converged by curvature alone, claims no gap where it is
        separable or not proven, and separates the rows where it says so.
    """

    fit: int
    l2: float
    status: Status
    gap: float
    true: float
    error: float
    allowed: float
    value_error: float
    covered: bool
    meets: bool
    honest: bool


def verdicts_of(problem: HeadsProblem, seed: int) -> list[Verdict]:
    """Of the fit on all rows and of each fold, every strength."""
    heads, predictions = fitted(problem, TOL)
    found = []
    for asked in asked_of(problem):
        fit, k, objective = asked.fit, asked.strength, asked.objective
        status, gap = heads.status[k], float(heads.certificate.gap[k])
        seen = np.empty(0)
        if fit:
            status, gap = heads.fold_status[fit - 1, k], float(heads.fold_gap[fit - 1, k])
            seen = predictions[fit - 1, k][asked.rows]
        value, off = mpmath.mpf(0), 0.0
        if fit == 0:
            value = value_of(objective, heads.coef[k], heads.intercept[k])
            off = float(abs(value - float(heads.value[k])))
        elif asked.bounded:
            value = least_value_seen(objective, seen)
        null = _value_of_the_best_constant(objective)
        allowed = TOL * max(float(value), 1e-3 * float(null))
        if not asked.bounded:  # there may be no optimum
            unknown = status in (Status.SEPARABLE, Status.QUASI_SEPARABLE, Status.UNPROVEN)
            honest = (gap == np.inf) == unknown
            if status == Status.SEPARABLE and fit:
                honest &= _tells_apart(objective, seen)
            elif status == Status.SEPARABLE:
                honest &= _separates(objective, heads.coef[k], heads.intercept[k])
            meets = gap <= allowed  # there is no oracle without a penalty; test_unpenalised has some
            found.append(Verdict(fit, objective.l2, status, gap, np.nan, 0, allowed, off, True, meets, honest))
            continue
        least = least_value(objective, asked.name(seed))
        with mpmath.workdps(40):
            true = value - least.value
            # E is at most J₀ − J*, or the penalty of a head within √tol of the optimum's.
            allowed = min(allowed, TOL * (1 + 4 * TOL**0.5) * float(null - least.value + least.error))
            covered, meets = bool(true <= gap), bool(true + least.error <= allowed)
        found.append(
            Verdict(
                fit, objective.l2, status, gap, float(true), float(least.error), allowed, off, covered, meets, True
            )
        )
    return found


def _value_of_the_best_constant(objective: Objective) -> Any:
    """J₀ in 40 digits: of the best intercept, or of 0 without one."""
    with mpmath.workdps(40):
        s = [mpmath.mpf(float(weight)) for weight in objective.s]
        total = mpmath.fsum(s)
        if objective.loss == "squared":
            y = [mpmath.mpf(float(target)) for target in objective.y]
            mean = mpmath.fdot(s, y) / total * objective.intercept
            return mpmath.fdot(s, [(target - mean) ** 2 for target in y]) / total
        classes = max(2, objective.outputs)
        if not objective.intercept:
            return mpmath.log(classes)
        rows = list(zip(s, objective.y, strict=True))
        mass = [mpmath.fsum(weight for weight, label in rows if label == k) for k in range(classes)]
        return -mpmath.fsum(part / total * mpmath.log(part / total) for part in mass if part)


def _tells_apart(objective: Objective, prediction: np.ndarray) -> bool:
    """Whether the right class alone is the likeliest, in every row."""
    if objective.loss == "logistic":
        return bool((np.where(objective.y == 1, prediction, 1 - prediction) > 0.5).all())
    own = np.eye(objective.outputs, dtype=bool)[objective.y]
    return bool((prediction[own] > np.where(own, 0, prediction).max(1)).all())


def _separates(objective: Objective, coef: np.ndarray, intercept: np.ndarray) -> bool:
    """Whether the right class alone has the largest logit, in every row."""
    theta = np.column_stack([np.reshape(coef, (-1, objective.x.shape[1])), np.ravel(intercept)])
    z = logits_of(objective, theta, np.zeros(objective.x.shape[1])).units
    if objective.loss == "logistic":
        return all(
            (number > 0) if label == 1 else (number < 0)
            for number, label in zip(z[:, 0], objective.y, strict=True)
        )
    own = np.eye(objective.outputs, dtype=bool)[objective.y]
    return bool((z[own][:, None] > z)[~own].all())
