"""Checks of fits, sweeps and computation graphs."""

import itertools
from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import descent, fitting, graph, sweeping
from dlcore._core.types import Array
from dlcore.descent.base import Optimizer
from dlcore.devices import to_device
from dlcore.models import LinearParams
from dlcore.reference import descent as reference_rules
from dlcore.reference import fitting as reference_fits
from dlcore.reference import graph as reference_graphs
from dlcore.reference import objective as reference
from dlcore.verification.check import Check, Exact, Results
from dlcore.verification.checks.objective import FEATURES, make_data, make_objective

STEPS, RATE, L2 = 10, 0.25, 0.25
RATES, PENALTIES = np.array([0.125, 0.25]), np.array([0.25, 0.0625])
"""The settings of the sweep."""


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks of the paths of descent and of a computation graph."""
    return [_check_fit(dtype), _check_minibatches(dtype), _check_sweep(dtype), _check_graph(dtype)]


def _to_float64(data: tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    x, y, s = (array.astype(np.float64) for array in data)
    return x, y, s


def _value_and_gradient(
    theta: np.ndarray, data: tuple[np.ndarray, np.ndarray, np.ndarray], l2: float
) -> tuple[float, np.ndarray]:
    """Return the logistic objective and its gradient in the weights and the intercept, which is last."""
    value, gradient, intercept = reference.value_and_grad("logistic", theta[:-1], theta[-1], *data, l2=l2)
    return value, np.append(gradient, intercept)


def _path(data: tuple[np.ndarray, ...], rate: float, l2: float) -> reference_fits.Path:
    """Return ten steps of gradient descent from 0."""
    wide, rule = _to_float64(data), reference_rules.gradient_descent(rate)

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        return _value_and_gradient(theta, wide, l2)

    return reference_fits.fit(value_and_grad, np.zeros(FEATURES + 1), rule, l2=l2, tol=0, max_steps=STEPS)


def _exact(value: np.ndarray) -> Exact:
    """Return a result of ten steps with a few rounding errors each."""
    return Exact(value, 1.0, np.full(np.shape(value), float(STEPS)), unit="steps·ulp")


def _zeros(dtype: np.dtype) -> LinearParams:
    return LinearParams(np.zeros(FEATURES, dtype), np.zeros((), dtype))


def _check_fit(dtype: np.dtype) -> Check:
    def compute(*data: np.ndarray) -> Results:
        rule = descent.gradient_descent(RATE)
        objective = make_objective("logistic", L2)
        fit = fitting.fit(objective, data, rule, params=_zeros(dtype), tol=0, max_steps=STEPS)
        theta = np.append(fit.params.weight, fit.params.bias)
        return {"parameters": theta, "values": fit.history.value, "norms": fit.history.gradient_norm}

    def expected(*data: np.ndarray) -> dict[str, Exact]:
        path = _path(data, RATE, L2)
        results = {"parameters": path.parameters[-1], "values": path.value, "norms": path.gradient_norm}
        return {name: _exact(value) for name, value in results.items()}

    return Check("fit", compute, expected, make_data("logistic", dtype), traced=False)


def _check_minibatches(dtype: np.dtype) -> Check:
    """Return the check of one epoch with batches of 16 rows, the last of 8, in the best of all orders."""
    data, size = make_data("logistic", dtype), 16
    n_batches = -(-len(data[0]) // size)

    def compute(*data: np.ndarray) -> Results:
        key = jax.random.key(to_device(np.uint32(0)))
        fit = fitting.fit(
            make_objective("logistic", L2),
            data,
            descent.gradient_descent(RATE),
            params=_zeros(dtype),
            tol=0,
            max_steps=n_batches,
            batch_size=size,
            key=key,
        )
        theta = np.append(fit.params.weight, fit.params.bias).astype(np.float64)
        errors = [theta - run_epoch(order) for order in itertools.permutations(range(n_batches))]
        return {"parameters": min(errors, key=lambda error: np.abs(error).max())}

    def run_epoch(order: tuple[int, ...]) -> np.ndarray:
        x, y, s = _to_float64(data)
        theta = np.zeros(FEATURES + 1)
        for index in order:
            rows = slice(index * size, (index + 1) * size)
            share = n_batches * s[rows].sum() / s.sum()
            _, gradient = _value_and_gradient(theta, (x[rows], y[rows], s[rows]), 0.0)
            theta = theta - RATE * (share * gradient + L2 * np.append(theta[:-1], 0))
        return theta

    def expected(*_: np.ndarray) -> dict[str, Exact]:
        return {"parameters": _exact(np.zeros(FEATURES + 1))}

    return Check("fit on batches", compute, expected, data, traced=False)


def _check_sweep(dtype: np.dtype) -> Check:
    def compute(*data: np.ndarray) -> Results:
        def make_rule(setting: Mapping[str, Array]) -> Optimizer:
            return descent.gradient_descent(setting["rate"])

        settings = {"rate": RATES.astype(dtype), "l2": PENALTIES.astype(dtype)}
        objective = make_objective("logistic", 0.0)
        fits = sweeping.sweep(objective, data, make_rule, settings, params=_zeros(dtype), tol=0, max_steps=STEPS)
        return {"parameters": np.column_stack([fits.params.weight, fits.params.bias])}

    def expected(*data: np.ndarray) -> dict[str, Exact]:
        ends = [_path(data, *setting).parameters[-1] for setting in zip(RATES, PENALTIES, strict=True)]
        return {"parameters": _exact(np.array(ends))}

    return Check("sweep", compute, expected, make_data("logistic", dtype), traced=False)


def _check_graph(dtype: np.dtype) -> Check:
    """Return the check of x(ln 3y + z²): the arguments and the output, with the derivatives of the arguments."""

    def compute(point: np.ndarray) -> Results:
        def f(x: Array, y: Array, z: Array) -> Array:
            return x * (jnp.log(3 * y) + z * z)

        traced = graph.trace(f, *point)
        nodes = [traced[name] for name in ("x", "y", "z", traced.output)]
        derivatives = [node.derivative for node in nodes if node.derivative is not None]
        return {"values": np.array([node.value for node in nodes]), "derivatives": np.array(derivatives)}

    def expected(point: np.ndarray) -> dict[str, Exact]:
        nodes = reference_graphs.product_with_logarithm(*point)
        values, derivatives = np.array([nodes[name] for name in ("x", "y", "z", "f")], np.float64).T
        return {"values": Exact(values, 4.0), "derivatives": Exact(derivatives, 4.0)}

    covers = ("graph.Graph", "graph.Node")
    point = np.array([1.5, 2.0, 3.0], dtype)
    return Check("graph.trace", compute, expected, (point,), traced=False, covers=covers)
