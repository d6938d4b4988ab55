"""Checks of the rules of descent, update by update, and of the step size 1/L."""

import numpy as np

from dlcore import descent
from dlcore._core.types import Array
from dlcore.reference import descent as reference
from dlcore.verification.check import Check, Exact, Results, check_result
from dlcore.verification.checks.objective import FEATURES, L2, make_data, make_objective

STEPS, SIZE, RATE = 6, 4, 0.125

RULES: dict[str, dict[str, float]] = {
    "gradient_descent": {},
    "momentum": {"decay": 0.875},
    "nesterov": {"decay": 0.875},
    "accelerated": {},
    "adam": {"b1": 0.875, "b2": 0.9375},
}
"""Settings that are exact in every dtype: 1 − 0.999 would amplify the rounding error of 0.999 a thousandfold."""


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks of the path of every rule along fixed gradients, and of the step size."""
    random = np.random.default_rng(0)
    inputs = (
        random.normal(size=(3, SIZE)).astype(dtype),
        random.normal(size=(3, STEPS, SIZE)).astype(dtype),
    )
    return [*(_check_rule(name, inputs) for name in RULES), _check_step_size(dtype)]


def _check_rule(name: str, inputs: tuple[np.ndarray, ...]) -> Check:
    def compute(start: Array, gradients: Array) -> Array:
        rule = getattr(descent, name)(RATE, **RULES[name])
        params, state = start, rule.init(start)
        for gradient in gradients:
            change, state = rule.update(gradient, state, params)
            params = params + change
        return params

    def expected(starts: np.ndarray, gradients: np.ndarray) -> Exact:
        rule, ends, magnitudes = getattr(reference, name)(RATE, **RULES[name]), [], []
        for start, path in zip(starts, gradients, strict=True):
            params, state, magnitude = start, rule.init(start), np.abs(start)
            for gradient in path:
                change, state = rule.update(gradient, state)
                params, magnitude = params + change, magnitude + np.abs(change)
            ends.append(params)
            magnitudes.append(magnitude)
        return Exact(np.array(ends), 1.0, STEPS * np.array(magnitudes), unit="steps·ulp")

    return check_result(f"descent.{name}", compute, expected, inputs)._replace(covers=("descent.rule",))


def _check_step_size(dtype: np.dtype) -> Check:
    """Return the check that the step size is at most 1/L, and smaller only by a rounding term."""

    def expected(x: np.ndarray, _: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        rows = np.column_stack([x, np.ones(len(x))])
        gram = rows.T @ (s[:, None] * rows) / s.sum()
        largest = np.linalg.eigvalsh(gram)[-1]
        step_size = 1 / (largest / 4 + L2)
        n_roundings = (len(x) + FEATURES + 12) * np.trace(gram) / largest
        return {
            "": Exact(np.array(step_size), 2.0, n_roundings * step_size, unit="n·ulp"),
            "at most 1/L": Exact(np.array(1.0), 0.0),
        }

    def compute(*data: np.ndarray) -> Results:
        step_size = np.asarray(descent.lipschitz_step(make_objective("logistic"), data))
        exact = expected(*(array.astype(np.float64) for array in data))[""].value
        return {"": step_size, "at most 1/L": bool(step_size <= np.asarray(exact))}

    return Check("descent.lipschitz_step", compute, expected, make_data("logistic", dtype), traced=False)
