"""Rules of descent against the twins, update by update, and the safe step."""

from typing import Any

import numpy as np

from dlcore import descent
from dlcore.reference import descent as twins
from dlcore.verification.check import Check, Exact
from dlcore.verification.checks.objective import FEATURES, L2, data_of, objective_of

STEPS, SIZE, RATE = 6, 4, 0.125

RULES: dict[str, dict[str, float]] = {
    "gradient_descent": {},
    "momentum": {"decay": 0.875},
    "nesterov": {"decay": 0.875},
    "accelerated": {},
    "adam": {"b1": 0.875, "b2": 0.9375},
}
"""Settings that every dtype holds exactly: 1 − 0.999 would show the rounding of 0.999 a thousandfold."""


def checks(dtype: np.dtype) -> list[Check]:
    """The path of every rule along given gradients, and 1/L."""
    random = np.random.default_rng(0)
    inputs = (
        random.normal(size=(3, SIZE)).astype(dtype),
        random.normal(size=(3, STEPS, SIZE)).astype(dtype),
    )
    return [*(_rule(name, inputs) for name in RULES), _step(dtype)]


def _rule(name: str, inputs: tuple[np.ndarray, ...]) -> Check:
    def of(start: Any, gradients: Any) -> dict[str, Any]:
        rule = getattr(descent, name)(RATE, **RULES[name])
        params, state = start, rule.init(start)
        for gradient in gradients:
            change, state = rule.update(gradient, state, params)
            params = params + change
        return {"": params}

    def twin(starts: np.ndarray, gradients: np.ndarray) -> dict[str, Exact]:
        rule, ends, sizes = getattr(twins, name)(RATE, **RULES[name]), [], []
        for start, path in zip(starts, gradients, strict=True):
            params, memory, size = start, rule.init(start), np.abs(start)
            for gradient in path:
                change, memory = rule.update(gradient, memory)
                params, size = params + change, size + np.abs(change)
            ends.append(params)
            sizes.append(size)
        return {"": Exact(np.array(ends), 1.0, STEPS * np.array(sizes), unit="steps·ulp")}

    return Check(f"descent.{name}", of, twin, inputs, covers=("descent.rule",))


def _step(dtype: np.dtype) -> Check:
    """At most 1/L, and less only by what rounding asks for."""

    def twin(x: np.ndarray, _: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        rows = np.column_stack([x, np.ones(len(x))])
        gram = rows.T @ (s[:, None] * rows) / s.sum()
        largest = np.linalg.eigvalsh(gram)[-1]
        rate = 1 / (largest / 4 + L2)
        allowed = (len(x) + FEATURES + 12) * np.trace(gram) / largest
        return {
            "": Exact(np.array(rate), 2.0, allowed * rate, unit="n·ulp"),
            "at most 1/L": Exact(np.array(1.0), 0.0),
        }

    def of(*data: np.ndarray) -> dict[str, Any]:
        rate = np.asarray(descent.lipschitz_step(objective_of("logistic"), data))
        exact = twin(*(part.astype(np.float64) for part in data))[""].value
        return {"": rate, "at most 1/L": float(rate) <= exact}

    return Check("descent.lipschitz_step", of, twin, data_of("logistic", dtype), traced=False)
