"""Points at and around the optimum of hard problems, with the true gap of each by the oracle."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import mpmath
import numpy as np
from oracles.head_oracle import DIGITS, Objective, optimum_of, value_about, value_of

from dlcore import Certificate, LinearHeads, certify

SHIFTS = (0, 1e-6, 1e-3, 0.1, 3)
SHARES = (1e-2, 1e-6, 1e-11)


class HeadPoint(NamedTuple):
    """A head near the optimum. Its true gap, in 40 digits, lies in [true, true + error]."""

    objective: Objective
    heads: LinearHeads
    shift: float
    true: Any
    error: Any

    def certificate(self, *, tight: bool) -> Certificate:
        """Return the certificate of this head."""
        return certify(self.heads, self.objective.x, self.objective.y, self.objective.s, tight=tight)


def points(objective: Objective, rng: np.random.Generator, name: str = "") -> Iterator[HeadPoint]:
    """Yield heads at the optimum of a cross-entropy, stored or computed, and at fixed distances from it."""
    theta, center, least = optimum_of(objective, name)
    for shift in SHIFTS:
        yield _head_point(
            objective, theta + shift * _direction(objective, center, theta, rng), center, least, shift
        )


def points_above(objective: Objective, rng: np.random.Generator, name: str = "") -> Iterator[HeadPoint]:
    """Yield heads whose J is above the optimum by fixed fractions of J, whatever l2 is."""
    theta, center, least = optimum_of(objective, name)
    for share in SHARES:
        direction = _direction(objective, center, theta, rng)
        length = 1e-3
        for _ in range(4):  # J is about quadratic in the length
            above = value_about(objective, theta + length * direction, center) - value_about(
                objective, theta, center
            )
            length *= float(np.sqrt(share * float(least.value) / max(float(above), 1e-300)))
        yield _head_point(objective, theta + length * direction, center, least, share)


def _direction(
    objective: Objective, center: np.ndarray, theta: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    reach = 1 + np.abs(objective.x - center).max()
    return rng.normal(size=theta.shape) * [*[1 / reach] * len(center), objective.intercept]


def _head_point(objective: Objective, theta: Any, center: np.ndarray, least: Any, shift: float) -> HeadPoint:
    """Return the head of θ, which is for centered rows, in float64 for the rows as given."""
    weight = theta[:, :-1].astype(float)
    intercept = (theta[:, -1] - weight.astype(np.longdouble) @ center.astype(np.longdouble)).astype(float)
    value = value_of(objective, weight, intercept)
    with mpmath.workdps(DIGITS):
        true = value - least.value
    coef, bias = (weight[0], intercept[0]) if objective.loss == "logistic" else (weight, intercept)
    heads = LinearHeads(coef, bias if objective.intercept else None, objective.l2, objective.loss)
    return HeadPoint(objective, heads, shift, true, least.error)
