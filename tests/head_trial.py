"""What `fit_heads` claims of every head of a problem, folds included, beside what the oracle says of it."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple
from unittest import mock

import mpmath
import numpy as np
from head_oracle import Objective, least_value, logits_of, value_of
from head_problems import HeadsProblem

from dlcore import Heads, Status, fit_heads
from dlcore.heads import entropic
from dlcore.heads.judging import Judge

TOL = 1e-6


class Verdict(NamedTuple):
    """One head.

    Attributes:
      fit: 0 for all rows, else the fold.
      l2: λ.
      status: what `fit_heads` says.
      gap: the certified one.
      true: J(head) − J(oracle), which the true gap is no smaller than; nan for a cross-entropy without penalty.
      error: what the true gap may be larger by.
      allowed: tol·max(J, 1e-3·J₀).
      value_error: how far the certified J is off.
      covered: whether the certified gap is at least `true`, compared in 40 digits.
      meets: whether the true gap is surely within what is allowed.
      honest: whether a cross-entropy without penalty claims no gap, and separates the rows where it says so.
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


def verdicts_of(problem: HeadsProblem) -> list[Verdict]:
    """Of the fit on all rows and of each fold, every strength."""
    with heads_of_every_fit() as kept:
        heads = fit_heads(problem.x, problem.y, tol=TOL, **problem.arguments)
    train = [np.ones(len(problem.x)), *([] if problem.train is None else problem.train)]
    assert sorted(kept) == list(range(len(train)))
    kept[0] = heads.coef, heads.intercept
    found = []
    for fit, rows in enumerate(train):
        chosen = (rows > 0) & (problem.s > 0)
        x, y, s = problem.x[chosen], problem.y[chosen], problem.s[chosen]
        for k, l2 in enumerate(problem.l2):
            objective = Objective(problem.loss, x, y, s, float(l2), problem.intercept)
            coef, intercept = kept[fit]
            found.append(_verdict(objective, heads, fit, k, coef[k], intercept[k]))
    return found


def _verdict(objective: Objective, heads: Heads, fit: int, k: int, coef: Any, intercept: Any) -> Verdict:
    status, gap = heads.status[k], float(heads.certificate.gap[k])
    if fit:
        status, gap = heads.fold_status[fit - 1, k], float(heads.fold_gap[fit - 1, k])
    value = value_of(objective, coef, intercept)
    allowed = TOL * max(float(value), 1e-3 * _value_of_the_best_intercept(objective))
    off = 0.0 if fit else float(abs(value - float(heads.value[k])))
    if objective.loss != "squared" and objective.l2 == 0:  # no gap is claimed, and there may be no optimum
        honest = gap == np.inf and (status != Status.SEPARABLE or _separates(objective, coef, intercept))
        honest &= status in (Status.SEPARABLE, Status.UNPROVEN)
        return Verdict(fit, objective.l2, status, gap, np.nan, 0, allowed, off, True, False, honest)
    least = least_value(objective)
    with mpmath.workdps(40):
        true = value - least.value
        covered, meets = bool(true <= gap), bool(true + least.error <= allowed)
    return Verdict(
        fit, objective.l2, status, gap, float(true), float(least.error), allowed, off, covered, meets, honest=True
    )


@contextlib.contextmanager
def heads_of_every_fit() -> Iterator[dict[int, tuple[np.ndarray, np.ndarray]]]:
    """The coefficients of each fit that were certified last: those of folds are not handed back."""
    kept: dict[int, tuple[np.ndarray, np.ndarray]] = {}
    certified, judged = entropic.certificate_of, Judge.judged

    def certify(inputs: Any, theta: np.ndarray, fit: int, *rest: Any) -> Any:
        kept[fit] = theta[..., :-1], theta[..., -1]
        return certified(inputs, theta, fit, *rest)

    def judge(self: Judge, fit: int, coef: np.ndarray, intercept: np.ndarray, scale: Any) -> Any:
        kept[fit] = coef[:, 0], intercept[:, 0]
        return judged(self, fit, coef, intercept, scale)

    with mock.patch.object(entropic, "certificate_of", certify), mock.patch.object(Judge, "judged", judge):
        yield kept


def _value_of_the_best_intercept(objective: Objective) -> float:
    y, s = objective.y, objective.s / objective.s.sum()
    if objective.loss == "squared":
        return float(s @ (y - s @ y) ** 2)
    share = np.bincount(y, s)
    return float(-(share * np.log(share)).sum())


def _separates(objective: Objective, coef: np.ndarray, intercept: np.ndarray) -> bool:
    """Whether the right class alone has the largest logit, in every row."""
    theta = np.column_stack([np.reshape(coef, (-1, objective.x.shape[1])), np.ravel(intercept)])
    logits = logits_of(objective, theta, np.zeros(objective.x.shape[1]))
    if objective.loss == "logistic":
        return all(
            (row[0] > 0) == (label == 1) and row[0] != 0 for row, label in zip(logits, objective.y, strict=True)
        )
    return all(
        row[int(label)] > max(other for k, other in enumerate(row) if k != label)
        for row, label in zip(logits, objective.y.tolist(), strict=True)
    )
