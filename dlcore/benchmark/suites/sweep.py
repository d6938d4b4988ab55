"""The suite `sweep`: many models over one copy of the features, against loops at the same gap."""

import functools
import importlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import descent, losses, models
from dlcore.benchmark.accuracy import certified, near
from dlcore.benchmark.case import Family, Work
from dlcore.benchmark.suites import problems
from dlcore.benchmark.suites.fit import STEPS, gap_of, gradient, heads_work, on_device
from dlcore.benchmark.tune_solver import Solver
from dlcore.certificate import LinearHeads, certify
from dlcore.fitting import fit
from dlcore.heads import fit_heads
from dlcore.objective import Objective
from dlcore.sweeping import sweep

L2, STEPS_OF_RATES, FOLDS = 0.01, 500, 5


def families() -> Iterator[Family]:
    """All of the suite; the largest sizes are those of the engine's table."""
    yield Family("fit_heads, 100 l2", "sweep", _up_to(20_000), _strengths, "rows")
    yield Family("fit_heads, folds", "sweep", _up_to(20_000), _folds, "rows")
    yield Family(
        "fit_heads, softmax l2", "sweep", _up_to(60_000), softmax, "rows", functools.partial(softmax, features=20)
    )
    yield Family(
        "fit_heads, ridge grid",
        "sweep",
        _up_to(50_000),
        ridge,
        "rows",
        functools.partial(ridge, features=20, count=3),
    )
    yield Family("sweep, gradient_descent", "sweep", _up_to(2_000), _rates, "settings")


def _up_to(most: int) -> tuple[int, ...]:
    return tuple(most // 4**k for k in (3, 2, 1, 0))


def _strengths(rows: int) -> Work:
    """100 strengths over 8 decades."""
    x = problems.correlated(1, rows, 64, 30)
    y = problems.two_classes(2, x)
    return heads_work(x, y, np.geomspace(10, 1e-7, 100), "logistic", ("newton-cholesky", "lbfgs"))


def softmax(rows: int, features: int = 784) -> Work:
    """10 classes, 10 strengths; features as wide as small images, and as correlated."""
    x = problems.correlated(1, rows, features, 1e3)
    y = problems.many_classes(2, x, 10)
    return heads_work(x, y, np.geomspace(1, 1e-4, 10), "softmax", ("lbfgs",))


def _folds(rows: int) -> Work:
    """20 strengths × 5 folds; the worst gap of any fold."""
    x = problems.correlated(2, rows, 64, 30)
    y = problems.two_classes(3, x)
    l2 = np.geomspace(1, 1e-5, 20)

    def solver(name: str) -> Solver:
        def solve(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> Any:
            choices: dict[str, Any] = {"Cs": 1 / (l2 * len(x)), "l1_ratios": (0,), "use_legacy_attributes": True}
            model = importlib.import_module("sklearn.linear_model").LogisticRegressionCV(
                cv=FOLDS, solver=name, tol=tol, max_iter=STEPS, scoring="neg_log_loss", **choices
            )
            return model.fit(x.astype(dtype, copy=False), y)

        return solve

    def gap(found: Any, x: np.ndarray, y: np.ndarray) -> float:
        if hasattr(found, "fold_gap"):
            return max(gap_of(found, x, y), float((found.fold_gap / found.value).max()))
        splits = importlib.import_module("sklearn.model_selection").StratifiedKFold(FOLDS).split(x, y)
        paths = np.asarray(found.coefs_paths_[1]).reshape(FOLDS, len(l2), -1)
        return max(
            # It keeps C, so that l2 differs.
            gap_of(LinearHeads(path[:, :-1], path[:, -1], l2 * len(x) / len(train)), x[train], y[train])
            for path, (train, _) in zip(paths, splits, strict=True)
        )

    return Work(
        f"{rows:,} × {x.shape[1]}, {len(l2)} l2, {FOLDS} folds",
        None,
        (x, y),
        certified(gap),
        {"sklearn": {name: solver(name) for name in ("newton-cholesky", "lbfgs")}},
        *gradient(x, len(l2) * FOLDS),
        ready=on_device(lambda x, y: fit_heads(x, y, l2=l2, folds=FOLDS)),
    )


def ridge(rows: int, features: int = 512, count: int = 100) -> Work:
    """30 strengths × 5 folds × 100 targets, 512 features; a loop of Ridge, and RidgeCV."""
    x = problems.correlated(3, rows, features, 3)
    y = problems.targets(4, x, count)
    l2 = np.geomspace(1e-4, 1e2, 30)

    def loop(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> Any:
        del tol  # the solver is exact
        kind = importlib.import_module("sklearn.linear_model").Ridge
        inputs, outputs = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        found, splits = [], list(importlib.import_module("sklearn.model_selection").KFold(FOLDS).split(x))
        for train, test in splits:
            own, theirs = inputs[train], outputs[train]
            fitted = [kind(alpha=s * len(train) / 2, solver="cholesky").fit(own, theirs) for s in l2]
            found.append((fitted, [model.score(inputs[test], outputs[test]) for model in fitted]))
        every = found[0][0]
        coef, intercept = np.stack([one.coef_ for one in every]), np.stack([one.intercept_ for one in every])
        return LinearHeads(coef, intercept, l2, "squared"), splits[0][0]

    def search(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> Any:
        del tol
        kind = importlib.import_module("sklearn.linear_model").RidgeCV
        inputs, outputs = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        best = kind(l2 * len(x) * (FOLDS - 1) / FOLDS / 2, cv=FOLDS).fit(inputs, outputs)
        strength = np.array([best.alpha_ * 2 / len(x)])
        return LinearHeads(best.coef_[None], best.intercept_[None], strength, "squared"), np.arange(len(x))

    def gap(found: Any, x: np.ndarray, y: np.ndarray) -> float:
        """Return the worst gap of our heads; of a peer that of the first fold, or of all rows."""
        if isinstance(found, tuple):
            heads, part = found
            return problems.relative(certify(heads, x[part], y[part]))
        scale = found.certificate.gap_tol(1.0)
        return float(max((found.certificate.gap / scale).max(), (found.fold_gap / scale[:, None]).max()))

    return Work(
        f"{rows:,} × {x.shape[1]}, {len(l2)} l2, {FOLDS} folds, {y.shape[1]} targets",
        None,
        (x, y),
        certified(gap),
        {"sklearn": {"loop of Ridge": loop, "RidgeCV": search}},
        *gradient(x, y.shape[1]),
        ready=on_device(lambda x, y: fit_heads(x, y, loss="squared", l2=l2, folds=FOLDS)),
    )


def _rates(count: int) -> Work:
    """500 steps of gradient descent at many rates; loops make one fit after another."""
    x = problems.correlated(5, 569, 30, 30)
    y = problems.two_classes(6, x).astype(np.float32)
    rate = np.geomspace(0.01, 0.3, count).astype(np.float32)
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy, L2)
    choices: dict[str, Any] = {"tol": 0, "max_steps": STEPS_OF_RATES}

    def ours(x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> Any:
        found: Any = sweep(
            objective, (x, y), lambda s: descent.gradient_descent(s["rate"]), {"rate": rate}, **choices
        )
        return np.asarray(found.params.weight)

    def loop_of_fit(dtype: str, tol: float, x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> Any:
        del dtype, tol
        data = objective.prepare((x, y))
        found: list[Any] = [fit(objective, data, descent.gradient_descent(one), **choices).params for one in rate]
        return np.stack([np.asarray(params.weight) for params in found])

    plain = jax.jit(_plain)

    def loop_of_plain(dtype: str, tol: float, x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> Any:
        del dtype, tol
        placed = jax.device_put((x, y))
        return np.stack([np.asarray(plain(*placed, one)) for one in rate])

    return Work(
        f"569 × 30, {count:,} rates",
        None,
        (x, y, rate),
        near(_np_rates, 1e-3),
        {"jax": {"loop of fori_loop": loop_of_plain, "loop of fit": loop_of_fit}},
        4.0 * x.size * count * STEPS_OF_RATES,
        float(x.nbytes),
        ready=on_device(ours),
    )


def _plain(x: Any, y: Any, rate: Any) -> Any:
    """Descend as anyone writes it: no rule for stopping, no record."""

    def value(theta: Any) -> Any:
        z = x @ theta[0] + theta[1]
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z) + L2 / 2 * jnp.sum(theta[0] ** 2)

    def update(_: Any, theta: Any) -> Any:
        return jax.tree.map(lambda now, slope: now - rate * slope, theta, jax.grad(value)(theta))

    return jax.lax.fori_loop(0, STEPS_OF_RATES, update, (jnp.zeros(x.shape[1], x.dtype), jnp.zeros((), x.dtype)))[
        0
    ]


def _np_rates(x: np.ndarray, y: np.ndarray, rate: np.ndarray) -> np.ndarray:
    weight, bias = np.zeros((x.shape[1], len(rate))), np.zeros(len(rate))
    for _ in range(STEPS_OF_RATES):
        residual = 1 / (1 + np.exp(-(x @ weight + bias))) - y[:, None]
        weight = weight - rate * (x.T @ residual / len(x) + L2 * weight)
        bias = bias - rate * residual.mean(0)
    return weight.T
