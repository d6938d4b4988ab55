"""Whole fits: the paths of descent, sweeps, heads with their folds, certificates, and the graph of a function."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import certificate, descent, fitting, graph, heads, sweeping
from dlcore._core.types import Array
from dlcore.devices import to_device
from dlcore.models import LinearParams
from dlcore.reference import descent as twin_rules
from dlcore.reference import fitting as twin_fits
from dlcore.reference import graph as twin_graphs
from dlcore.reference import losses as twin_losses
from dlcore.reference import objective as twin_objectives
from dlcore.verification.check import Check, Exact
from dlcore.verification.checks.objective import FEATURES, data_of, objective_of

STEPS = 10
RATES, STRENGTHS = np.array([0.125, 0.25]), np.array([0.25, 0.0625])
"""Of the sweep, and the strengths of the heads: two, of which none is called the edge of the grid."""

TOL = 1e-6
"""Of the heads: how far J may be above its least value, relative to it."""


def checks(dtype: np.dtype) -> list[Check]:
    """In every dtype the paths and the graph; heads and certificates, which are float64 always, in float64."""
    paths = [_fit(dtype), _batches(dtype), _sweep(dtype), _graph(dtype)]
    if dtype != np.float64:
        return paths
    return [*paths, _ridge(), _heads(), _certificate()]


def _path(data: tuple[np.ndarray, ...], rate: float, l2: float) -> twin_fits.Path:
    """Ten steps from 0 by the twin."""

    def value_and_grad(theta: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient, intercept = twin_objectives.value_and_grad(
            "logistic", theta[:-1], theta[-1], *_wide(data), l2
        )
        return value, np.append(gradient, intercept)

    rule = twin_rules.gradient_descent(rate)
    return twin_fits.fit(value_and_grad, np.zeros(FEATURES + 1), rule, l2=l2, tol=0, max_steps=STEPS)


def _wide(data: tuple[np.ndarray, ...]) -> tuple[Any, Any, Any]:
    x, y, s = (part.astype(np.float64) for part in data)
    return x, y, s


def _end(path: twin_fits.Path) -> Exact:
    return _steps(path.parameters[-1])


def _steps(value: np.ndarray) -> Exact:
    """Ten steps, each off by a few roundings."""
    return Exact(value, 1.0, np.full(np.shape(value), float(STEPS)), unit="steps·ulp")


def _fit(dtype: np.dtype) -> Check:
    data, l2 = data_of("logistic", dtype), 0.25

    def of(*data: np.ndarray) -> dict[str, Any]:
        start = LinearParams(np.zeros(FEATURES, dtype), np.zeros((), dtype))
        rule = descent.gradient_descent(0.25)
        fitted = fitting.fit(objective_of("logistic", l2), data, rule, params=start, tol=0, max_steps=STEPS)
        end = np.append(fitted.params.weight, fitted.params.bias)
        return {"parameters": end, "values": fitted.history.value, "norms": fitted.history.gradient_norm}

    def twin(*data: np.ndarray) -> dict[str, Exact]:
        path = _path(data, 0.25, l2)
        return {"parameters": _end(path), "values": _steps(path.value), "norms": _steps(path.gradient_norm)}

    return Check("fit", of, twin, data, traced=False)


def _batches(dtype: np.dtype) -> Check:
    """One epoch of batches of 16 rows, the last of 8: in some order of them the twin ends at the same place."""
    data, l2, size, rate = data_of("logistic", dtype), 0.25, 16, 0.25
    count = -(-len(data[0]) // size)

    def of(*data: np.ndarray) -> dict[str, Any]:
        start = LinearParams(np.zeros(FEATURES, dtype), np.zeros((), dtype))
        key = jax.random.key(to_device(np.uint32(0)))
        rule, options = descent.gradient_descent(rate), {"batch_size": size, "key": key}
        fitted = fitting.fit(
            objective_of("logistic", l2), data, rule, params=start, tol=0, max_steps=count, **options
        )
        end = np.append(fitted.params.weight, fitted.params.bias).astype(np.float64)
        offs = [end - _epoch(order) for order in itertools.permutations(range(count))]
        return {"parameters": min(offs, key=lambda off: np.abs(off).max())}

    def _epoch(order: tuple[int, ...]) -> np.ndarray:
        x, y, s = _wide(data)
        theta = np.zeros(FEATURES + 1)
        for index in order:
            rows = slice(index * size, (index + 1) * size)
            share = count * s[rows].sum() / s.sum()
            _, *slopes = twin_objectives.value_and_grad(
                "logistic", theta[:-1], theta[-1], x[rows], y[rows], s[rows]
            )
            theta = theta - rate * (share * np.append(*slopes) + l2 * np.append(theta[:-1], 0))
        return theta

    def twin(*_: np.ndarray) -> dict[str, Exact]:
        return {"parameters": _steps(np.zeros(FEATURES + 1))}

    return Check("fit on batches", of, twin, data, traced=False)


def _sweep(dtype: np.dtype) -> Check:
    def of(*data: np.ndarray) -> dict[str, Any]:
        start = LinearParams(np.zeros(FEATURES, dtype), np.zeros((), dtype))
        settings = {"rate": RATES.astype(dtype), "l2": STRENGTHS.astype(dtype)}
        objective = objective_of("logistic", 0.0)

        def rule(setting: Any) -> Any:
            return descent.gradient_descent(setting["rate"])

        swept = sweeping.sweep(objective, data, rule, settings, params=start, tol=0, max_steps=STEPS)
        return {"parameters": np.column_stack([swept.params.weight, swept.params.bias])}

    def twin(*data: np.ndarray) -> dict[str, Exact]:
        ends = [_path(data, *setting).parameters[-1] for setting in zip(RATES, STRENGTHS, strict=True)]
        return {"parameters": _steps(np.array(ends))}

    return Check("sweep", of, twin, data_of("logistic", dtype), traced=False)


def _graph(dtype: np.dtype) -> Check:
    """x(ln 3y + z²): every argument and the result, with the derivatives."""

    def of(point: np.ndarray) -> dict[str, Any]:

        def f(x: Array, y: Array, z: Array) -> Array:
            return x * (jnp.log(3 * y) + z * z)

        traced = graph.trace(f, *point)
        nodes = [traced[name] for name in ("x", "y", "z", traced.output)]
        derivatives = [node.derivative for node in nodes if node.derivative is not None]
        return {"values": np.array([node.value for node in nodes]), "derivatives": np.array(derivatives)}

    def twin(point: np.ndarray) -> dict[str, Exact]:
        nodes = twin_graphs.product_with_logarithm(*point)
        found = [nodes[name] for name in ("x", "y", "z", "f")]
        return {
            name: Exact(np.array([float(node[k]) for node in found]), 4.0)
            for k, name in enumerate(("values", "derivatives"))
        }

    covers = ("graph.Graph", "graph.Node")
    return Check("graph.trace", of, twin, (np.array([1.5, 2.0, 3.0], dtype),), traced=False, covers=covers)


def _ridge() -> Check:
    """Ridge heads, their folds and scores, against the normal equations of every fold."""
    x, y, s = _wide(data_of("squared", np.dtype(np.float64)))
    s = s + 0.5

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Any]:
        found = heads.fit_heads(x, y, loss="squared", l2=STRENGTHS, folds=3, sample_weight=s)
        return {"coef": found.coef, "intercept": found.intercept, "scores of the folds": found.scores}

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        ends = np.array([_normal_equations(x, y, s, l2) for l2 in STRENGTHS])
        scores = np.zeros((3, len(STRENGTHS)))
        # Neighbouring rows; where they do not divide, the first folds have one more.
        bounds = np.cumsum([0, *(len(x) // 3 + (k < len(x) % 3) for k in range(3))])
        for k in range(3):
            test = np.arange(bounds[k], bounds[k + 1])
            train = np.setdiff1d(np.arange(len(x)), test)
            for j, l2 in enumerate(STRENGTHS):
                theta = _normal_equations(x[train], y[train], s[train], l2)
                left = y[test] - x[test] @ theta[:-1] - theta[-1]
                spread = y[test] - (s[test] * y[test]).sum() / s[test].sum()
                scores[k, j] = 1 - (s[test] * left**2).sum() / (s[test] * spread**2).sum()
        bound = 20.0  # of roundings of 1: the equations are well conditioned
        return {
            "coef": Exact(ends[:, :-1], bound, np.ones(ends[:, :-1].shape)),
            "intercept": Exact(ends[:, -1], bound, np.ones(len(STRENGTHS))),
            "scores of the folds": Exact(scores, bound, np.ones(scores.shape)),
        }

    covers = ("Heads",)
    return Check("fit_heads squared", of, twin, (x, y, s), traced=False, covers=covers)


def _normal_equations(x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float) -> np.ndarray:
    """The least (1/S)Σ s(ŷ − y)² + (λ/2)‖w‖², weights and intercept."""
    rows = np.column_stack([x, np.ones(len(x))])
    penalty = l2 / 2 * np.diag([1.0] * x.shape[1] + [0.0])
    return np.linalg.solve(rows.T @ (s[:, None] / s.sum() * rows) + penalty, rows.T @ (s / s.sum() * y))


def _newton(x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float, *, intercept: bool) -> np.ndarray:
    """The optimum of logistic regression, the intercept last, 0 without one: 30 steps of Newton's method."""
    rows = np.column_stack([x, np.ones(len(x))]) if intercept else x
    penalty = l2 * np.append(np.ones(x.shape[1]), np.zeros(rows.shape[1] - x.shape[1]))
    theta = np.zeros(rows.shape[1])
    for _ in range(30):
        p = twin_losses.sigmoid(rows @ theta)
        gradient = rows.T @ (s * (p - y)) / s.sum() + penalty * theta
        hessian = rows.T @ ((s * p * (1 - p))[:, None] * rows) / s.sum() + np.diag(penalty)
        theta = theta - np.linalg.solve(hessian, gradient)
    return theta if intercept else np.append(theta, 0.0)


def _value(theta: np.ndarray, x: np.ndarray, y: np.ndarray, s: np.ndarray, l2: float) -> float:
    return twin_objectives.value_and_grad("logistic", theta[:-1], theta[-1], x, y, s, l2)[0]


def _heads() -> Check:
    """Logistic heads: J where it should be, the certificate above the true gap, the score of a fold."""
    data = _wide(data_of("logistic", np.dtype(np.float64)))
    train = np.array([np.arange(len(data[0])) % 2 == 0, np.arange(len(data[0])) % 2 == 1])

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Any]:
        found = heads.fit_heads(x, y, l2=STRENGTHS, folds=train, sample_weight=s, tol=TOL)
        ends = np.column_stack([found.coef, found.intercept])
        least = [_value(_newton(x, y, s, l2, intercept=True), x, y, s, l2) for l2 in STRENGTHS]
        values = [_value(end, x, y, s, l2) for end, l2 in zip(ends, STRENGTHS, strict=True)]
        above = np.array(values) - np.array(least) <= found.certificate.gap
        return {"J": np.array(values), "gap covers J − J*": above, "scores of the folds": found.scores}

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> dict[str, Exact]:
        least = np.array([_value(_newton(x, y, s, l2, intercept=True), x, y, s, l2) for l2 in STRENGTHS])
        scores = np.zeros((2, len(STRENGTHS)))
        for k, rows in enumerate(train):
            for j, l2 in enumerate(STRENGTHS):
                theta = _newton(x[rows], y[rows], s[rows], l2, intercept=True)
                z = x[~rows] @ theta[:-1] + theta[-1]
                loss = twin_losses.sigmoid_cross_entropy(z, y[~rows])
                scores[k, j] = -(s[~rows] * loss).sum() / s[~rows].sum()
        eps = float(np.finfo(np.float64).eps)
        return {
            "J": Exact(least, 2.0, least * TOL / eps, unit="tol·J"),
            "gap covers J − J*": Exact(np.ones(len(STRENGTHS)), 0.0),
            # J within tol leaves θ, and so a score, within about √tol.
            "scores of the folds": Exact(scores, 2.0, np.sqrt(TOL) / eps * np.abs(scores), unit="√tol"),
        }

    return Check("fit_heads logistic", of, twin, data, traced=False, covers=("Heads",))


def _certificate() -> Check:
    """Without an intercept the duality gap of a logistic head is ‖∇J‖²/(2λ); near the optimum float32 has none."""
    x, y, s = _wide(data_of("logistic", np.dtype(np.float64)))
    l2 = 0.25
    near = _newton(x, y, s, l2, intercept=False)[:-1] + 1e-6 * np.array([1.0, -1.0, 0.5])

    def of(x: np.ndarray, y: np.ndarray, s: np.ndarray, near: np.ndarray) -> dict[str, Any]:
        found = certificate.certify(certificate.LinearHeads(near, None, l2), x, y, s)
        return {"value": found.value, "gradient norm": found.gradient_norm, "gap": found.gap - found.rounding}

    def twin(x: np.ndarray, y: np.ndarray, s: np.ndarray, near: np.ndarray) -> dict[str, Exact]:
        value, gradient, _ = twin_objectives.value_and_grad("logistic", near, 0.0, x, y, s, l2)
        norm = np.sqrt((gradient**2).sum())
        return {
            "value": Exact(np.array(value), 10.0),
            "gradient norm": Exact(norm, 10.0, np.ones(())),
            "gap": Exact(norm**2 / (2 * l2), 10.0, norm / l2, unit="‖∇J‖/λ·ulp"),
        }

    return Check("certify", of, twin, (x, y, s, near), traced=False, covers=("Certificate", "LinearHeads"))
