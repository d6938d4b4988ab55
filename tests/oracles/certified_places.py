"""Places at and around the optimum of hard problems, and what the oracle knows of them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import mpmath
import numpy as np
from oracles.head_oracle import DIGITS, Objective, optimum_of, value_about, value_of

from dlcore import Certificate, LinearHeads, certify

SHIFTS = (0, 1e-6, 1e-3, 0.1, 3)
SHARES = (1e-2, 1e-6, 1e-11)


class PlacedHeads(NamedTuple):
    """One head near the optimum; what it is above it, in 40 digits, lies in [true, true + error]."""

    objective: Objective
    heads: LinearHeads
    shift: float
    true: Any
    error: Any

    def certificate(self, *, tight: bool) -> Certificate:
        """Of this head."""
        return certify(self.heads, self.objective.x, self.objective.y, self.objective.s, tight=tight)


def places(objective: Objective, rng: np.random.Generator, name: str = "") -> Iterator[PlacedHeads]:
    """At the optimum, stored under the name or computed, and by fixed lengths away from it; of a cross-entropy."""
    theta, centre, least = optimum_of(objective, name)
    for shift in SHIFTS:
        yield _placed(objective, theta + shift * _way(objective, centre, theta, rng), centre, least, shift)


def places_above(objective: Objective, rng: np.random.Generator, name: str = "") -> Iterator[PlacedHeads]:
    """Where J is about so many parts of itself above the optimum, whatever l2 is."""
    theta, centre, least = optimum_of(objective, name)
    for share in SHARES:
        way = _way(objective, centre, theta, rng)
        length = 1e-3
        for _ in range(4):  # J is about quadratic in the length
            above = value_about(objective, theta + length * way, centre) - value_about(objective, theta, centre)
            length *= float(np.sqrt(share * float(least.value) / max(float(above), 1e-300)))
        yield _placed(objective, theta + length * way, centre, least, share)


def _way(objective: Objective, centre: np.ndarray, theta: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    reach = 1 + np.abs(objective.x - centre).max()
    return rng.normal(size=theta.shape) * [*[1 / reach] * len(centre), objective.intercept]


def _placed(objective: Objective, theta: Any, centre: np.ndarray, least: Any, shift: float) -> PlacedHeads:
    """The head of θ for rows about the centre, as float64 has it for rows as they are."""
    weight = theta[:, :-1].astype(float)
    intercept = (theta[:, -1] - weight.astype(np.longdouble) @ centre.astype(np.longdouble)).astype(float)
    value = value_of(objective, weight, intercept)
    with mpmath.workdps(DIGITS):
        true = value - least.value
    coef, bias = (weight[0], intercept[0]) if objective.loss == "logistic" else (weight, intercept)
    heads = LinearHeads(coef, bias if objective.intercept else None, objective.l2, objective.loss)
    return PlacedHeads(objective, heads, shift, true, least.error)
