"""Claims of `fit_heads` on every head of a problem, folds included, checked by the oracle."""

from typing import Any, NamedTuple

import mpmath
import numpy as np
from oracles.fold_heads import fitted, least_value_seen
from oracles.head_oracle import Objective, least_value, logits_of, value_of
from oracles.head_problems import HeadsProblem, head_cases

from dlcore import Status

TOL = 1e-6


class Verdict(NamedTuple):
    """The claims of `fit_heads` on a head, checked.

    Attributes:
      fit: 0 for all rows, else the fold.
      l2: λ.
      status: the status by `fit_heads`.
      gap: the certified gap.
      true: J(head) − J(oracle), a lower bound on the true gap; nan for a cross-entropy without a penalty. For the
        head of a fold, the smallest J that its predictions allow stands for J(head).
      error: a bound on the excess of the true gap over `true`.
      allowed: tol·min(max(J, 1e-3·J₀), J₀ − J*), where the last is increased by a few times √tol.
      value_error: the error of the certified J.
      covered: whether the certified gap is at least `true`, compared in 40 digits.
      meets: whether the true gap is certainly at most `allowed`.
      honest: whether the status of a cross-entropy without a penalty is right. It converges by curvature alone. It
        has no gap where it is separable or not proven. It separates the rows where it says so.
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
    """Return the verdicts on the fit on all rows and on each fold, for every penalty."""
    heads, predictions = fitted(problem, TOL)
    verdicts = []
    for case in head_cases(problem):
        fit, k, objective = case.fit, case.strength, case.objective
        status, gap = heads.status[k], float(heads.certificate.gap[k])
        predicted = np.empty(0)
        if fit:
            status, gap = heads.fold_status[fit - 1, k], float(heads.fold_gap[fit - 1, k])
            predicted = predictions[fit - 1, k][case.rows]
        value, off = mpmath.mpf(0), 0.0
        if fit == 0:
            value = value_of(objective, heads.coef[k], heads.intercept[k])
            off = float(abs(value - float(heads.value[k])))
        elif case.has_optimum:
            value = least_value_seen(objective, predicted)
        null = _value_of_the_best_constant(objective)
        allowed = TOL * max(float(value), 1e-3 * float(null))
        if not case.has_optimum:  # there may be no optimum
            unknown = status in (Status.SEPARABLE, Status.QUASI_SEPARABLE, Status.UNPROVEN)
            honest = (gap == np.inf) == unknown
            if status == Status.SEPARABLE and fit:
                honest &= _is_right_likeliest(objective, predicted)
            elif status == Status.SEPARABLE:
                honest &= _is_separable_by(objective, heads.coef[k], heads.intercept[k])
            meets = gap <= allowed  # there is no oracle without a penalty; test_unpenalised has some
            verdicts.append(Verdict(fit, objective.l2, status, gap, np.nan, 0, allowed, off, True, meets, honest))
            continue
        least = least_value(objective, case.name(seed))
        with mpmath.workdps(40):
            true = value - least.value
            # E is at most J₀ − J*, or the penalty of a head within √tol of the optimum's.
            allowed = min(allowed, TOL * (1 + 4 * TOL**0.5) * float(null - least.value + least.error))
            covered, meets = bool(true <= gap), bool(true + least.error <= allowed)
        verdicts.append(
            Verdict(
                fit, objective.l2, status, gap, float(true), float(least.error), allowed, off, covered, meets, True
            )
        )
    return verdicts


def _value_of_the_best_constant(objective: Objective) -> Any:
    """Return J₀ in 40 digits: of the best intercept, or of 0 without an intercept."""
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


def _is_right_likeliest(objective: Objective, prediction: np.ndarray) -> bool:
    """Return whether the right class alone is the likeliest, in every row."""
    if objective.loss == "logistic":
        return bool((np.where(objective.y == 1, prediction, 1 - prediction) > 0.5).all())
    own = np.eye(objective.outputs, dtype=bool)[objective.y]
    return bool((prediction[own] > np.where(own, 0, prediction).max(1)).all())


def _is_separable_by(objective: Objective, coef: np.ndarray, intercept: np.ndarray) -> bool:
    """Return whether the right class alone has the largest logit, in every row."""
    theta = np.column_stack([np.reshape(coef, (-1, objective.x.shape[1])), np.ravel(intercept)])
    z = logits_of(objective, theta, np.zeros(objective.x.shape[1])).units
    if objective.loss == "logistic":
        return all(
            (number > 0) if label == 1 else (number < 0)
            for number, label in zip(z[:, 0], objective.y, strict=True)
        )
    own = np.eye(objective.outputs, dtype=bool)[objective.y]
    return bool((z[own][:, None] > z)[~own].all())
