"""Places at and around the optimum of hard problems, and what the oracle knows of them."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import mpmath
import numpy as np
from head_oracle import DIGITS, Objective, optimum_of, value_of

from dlcore import LinearHeads, certify

SHIFTS = (0, 1e-6, 1e-3, 0.1, 3)


class PlacedHeads(NamedTuple):
    """One head near the optimum; what it is above it, in 40 digits, lies in [true, true + error]."""

    objective: Objective
    heads: LinearHeads
    shift: float
    true: Any
    error: Any

    def certificate(self, *, tight: bool) -> Any:
        """Of this head."""
        return certify(self.heads, self.objective.x, self.objective.y, self.objective.s, tight=tight)


def places(objective: Objective, rng: np.random.Generator) -> Iterator[PlacedHeads]:
    """Nearer and nearer to the optimum, where rows are about their means; l2 > 0."""
    theta, centre, least = optimum_of(objective)
    reach = 1 + np.abs(objective.x - centre).max()
    for shift in SHIFTS:
        place = theta + shift * rng.normal(size=theta.shape) * [*[1 / reach] * len(centre), objective.intercept]
        weight = place[:, :-1].astype(float)
        intercept = (place[:, -1] - weight.astype(np.longdouble) @ centre.astype(np.longdouble)).astype(float)
        true = value_of(objective, weight, intercept)
        with mpmath.workdps(DIGITS):
            true = true - least.value
        logistic = objective.loss == "logistic"
        coef, bias = (weight[0], intercept[0]) if logistic else (weight, intercept)
        heads = LinearHeads(coef, bias if objective.intercept else None, objective.l2, objective.loss)
        yield PlacedHeads(objective, heads, shift, true, least.error)
