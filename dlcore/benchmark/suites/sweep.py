"""Suite `sweep`: many models over one copy of the features, against loops at the same gap."""

import functools
import importlib
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import descent, losses, models
from dlcore._core.types import Array, ArrayTree
from dlcore.benchmark.accuracy import close_to_reference
from dlcore.benchmark.case import Case, CaseFamily
from dlcore.benchmark.head_peers import solvers_for
from dlcore.benchmark.suites import problems, wide
from dlcore.benchmark.suites.folds import FOLDS, folds_case
from dlcore.benchmark.suites.heads import heads_case, on_device, path_case, relative_gap, worst_gap
from dlcore.certificate import LinearHeads
from dlcore.descent.base import Optimizer
from dlcore.fitting import fit
from dlcore.heads import Heads, fit_heads
from dlcore.models import LinearParams
from dlcore.objective import Objective
from dlcore.sweeping import sweep

DESCENT_L2, DESCENT_STEPS = 0.01, 500


def families() -> Iterator[CaseFamily]:
    """Return the suite; the largest sizes are those of docs/benchmarks.md."""
    yield CaseFamily("fit_heads, 100 l2", "sweep", _sizes(20_000), _path, "rows")
    yield CaseFamily("fit_heads, folds", "sweep", _sizes(20_000), _folds, "rows")
    quick = functools.partial(_softmax, features=20)
    yield CaseFamily("fit_heads, softmax l2", "sweep", _sizes(60_000), _softmax, "rows", quick)
    quick = functools.partial(_ridge, features=20, targets=3)
    yield CaseFamily("fit_heads, ridge grid", "sweep", _sizes(50_000), _ridge, "rows", quick)
    yield from wide.paths()
    yield CaseFamily("sweep, gradient_descent", "sweep", _sizes(2_000), _step_sizes, "settings")


def _sizes(largest: int) -> tuple[int, ...]:
    return tuple(largest // 4**k for k in (3, 2, 1, 0))


def _path(rows: int) -> Case:
    """Return a path of 100 values of l2 over 8 decades."""
    return path_case(problems.binary(1, rows, 64, 30), np.geomspace(10, 1e-7, 100), "logistic")


def _softmax(rows: int, features: int = 784) -> Case:
    """Return 10 values of l2 for 10 classes; the features are as many and as correlated as in small images."""
    data = problems.multiclass(1, rows, features, 1e3, 10)
    return path_case(data, np.geomspace(1, 1e-4, 10), "softmax")


def _folds(rows: int) -> Case:
    """Return 20 values of l2 in 5 folds."""
    return folds_case(problems.binary(2, rows, 64, 30), wide.FOLDS_L2, solvers_for("logistic", 64, 2))


def _ridge(rows: int, features: int = 512, targets: int = 100) -> Case:
    """Return 30 values of l2, 5 folds and 100 targets, against a loop of Ridge and against RidgeCV."""
    x, y = problems.regression(3, rows, features, 3, targets)
    l2 = np.geomspace(1e-4, 1e2, 30)

    # Both solvers are exact and have no tolerance. They return heads, and the rows that these were fitted to.
    def loop(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> tuple[LinearHeads, np.ndarray]:
        del tol
        ridge = importlib.import_module("sklearn.linear_model").Ridge
        splits = list(importlib.import_module("sklearn.model_selection").KFold(FOLDS).split(x))
        x, y = x.astype(dtype, copy=False), y.astype(dtype, copy=False)
        folds = []
        for train, test in splits:
            x_train, y_train = x[train], y[train]
            fits = [ridge(alpha=s * len(train) / 2, solver="cholesky").fit(x_train, y_train) for s in l2]
            folds.append((fits, [model.score(x[test], y[test]) for model in fits]))
        fits = folds[0][0]
        coef, intercept = np.stack([m.coef_ for m in fits]), np.stack([m.intercept_ for m in fits])
        return LinearHeads(coef, intercept, l2, "squared"), splits[0][0]

    def ridge_cv(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> tuple[LinearHeads, np.ndarray]:
        del tol
        model = importlib.import_module("sklearn.linear_model").RidgeCV
        alphas = l2 * len(x) * (FOLDS - 1) / FOLDS / 2
        best = model(alphas, cv=FOLDS).fit(x.astype(dtype, copy=False), y.astype(dtype, copy=False))
        best_l2 = np.array([best.alpha_ * 2 / len(x)])
        return LinearHeads(best.coef_[None], best.intercept_[None], best_l2, "squared"), np.arange(len(x))

    def gap_of(answer: Heads | tuple[LinearHeads, np.ndarray], x: np.ndarray, y: np.ndarray) -> float:
        """Return the largest gap of our heads with all folds, or of a solver's heads."""
        if isinstance(answer, Heads):
            value_scale = answer.certificate.gap_tol(1.0)
            fold_gap = float((answer.fold_gap / value_scale[:, None]).max())
            return max(relative_gap(answer.certificate), fold_gap)
        heads, rows = answer
        return worst_gap(heads, x[rows], y[rows])

    return heads_case(
        x,
        y,
        lambda x, y: fit_heads(x, y, loss="squared", l2=l2, folds=FOLDS, progress=False),
        {"sklearn, loop of Ridge": loop, "sklearn, RidgeCV": ridge_cv},
        gap_of=gap_of,
        note=f", {len(l2)} l2, {FOLDS} folds, {targets} targets",
        models=targets,
    )


def _step_sizes(count: int) -> Case:
    """Return 500 steps of gradient descent with many step sizes, against loops over them."""
    x, labels = problems.binary(5, 569, 30, 30)
    rates = np.geomspace(0.01, 0.3, count).astype(np.float32)
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy, DESCENT_L2)
    compiled = jax.jit(_jax_descent)

    def optimizer(setting: dict[str, Array]) -> Optimizer:
        return descent.gradient_descent(setting["rate"])

    def run(x: np.ndarray, y: np.ndarray, rates: np.ndarray) -> np.ndarray:
        settings = {"rate": rates}
        fits = sweep(objective, (x, y), optimizer, settings, tol=0, max_steps=DESCENT_STEPS)
        return _weight(fits.params)

    def loop_of_fit(dtype: str, tol: float, x: np.ndarray, y: np.ndarray, rates: np.ndarray) -> np.ndarray:
        del dtype, tol
        data = objective.prepare((x, y))
        rules = map(descent.gradient_descent, rates)
        fits = [fit(objective, data, rule, tol=0, max_steps=DESCENT_STEPS).params for rule in rules]
        return np.stack([_weight(params) for params in fits])

    def loop_of_jax(dtype: str, tol: float, x: np.ndarray, y: np.ndarray, rates: np.ndarray) -> np.ndarray:
        del dtype, tol
        data = jax.device_put((x, y))
        return np.stack([np.asarray(compiled(*data, rate)) for rate in rates])

    return Case(
        f"569 × 30, {count:,} rates",
        (x, labels.astype(np.float32), rates),
        close_to_reference(_np_descent, 1e-3),
        operations=4.0 * x.size * count * DESCENT_STEPS,
        traffic=float(x.nbytes),
        bind=on_device(run),
        solvers={"jax, loop of fori_loop": loop_of_jax, "jax, loop of fit": loop_of_fit},
    )


def _weight(params: LinearParams) -> np.ndarray:
    return np.asarray(params.weight)


def _jax_descent(x: Array, y: Array, rate: Array) -> Array:
    """Return what a JAX user writes: no stopping rule and no history."""

    def value(theta: tuple[Array, Array]) -> Array:
        z = x @ theta[0] + theta[1]
        return jnp.mean(jnp.logaddexp(0.0, z) - y * z) + DESCENT_L2 / 2 * jnp.sum(theta[0] ** 2)

    def update(_: int, theta: ArrayTree) -> ArrayTree:
        return jax.tree.map(lambda param, gradient: param - rate * gradient, theta, jax.grad(value)(theta))

    start = (jnp.zeros(x.shape[1], x.dtype), jnp.zeros((), x.dtype))
    return jax.lax.fori_loop(0, DESCENT_STEPS, update, start)[0]


def _np_descent(x: np.ndarray, y: np.ndarray, rates: np.ndarray) -> np.ndarray:
    weight, bias = np.zeros((x.shape[1], len(rates))), np.zeros(len(rates))
    for _ in range(DESCENT_STEPS):
        residual = 1 / (1 + np.exp(-(x @ weight + bias))) - y[:, None]
        weight = weight - rates * (x.T @ residual / len(x) + DESCENT_L2 * weight)
        bias = bias - rates * residual.mean(0)
    return weight.T
