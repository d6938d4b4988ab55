"""The suite `fit`: one model, from arrays to certified coefficients, against scikit-learn at the same gap."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from dlcore import descent, losses, models
from dlcore._core.types import Device
from dlcore.benchmark.accuracy import certified
from dlcore.benchmark.case import Family, Inputs, Work
from dlcore.benchmark.suites import problems
from dlcore.benchmark.tune_solver import Solver
from dlcore.certificate import LinearHeads, certify
from dlcore.fitting import fit
from dlcore.heads import fit_heads
from dlcore.objective import Objective

LARGE = tuple(1_000_000 // 4**k for k in (5, 4, 3, 2, 1, 0))
"""976 to a million rows, for one logistic head of 128 features."""
ROWS = tuple(4**k for k in range(4, 9))
"""256 to 65,536."""
FEATURES, CLASSES = 64, 10
STEPS = 20_000
"""Most steps of a peer: none is stopped early by their number."""


def families() -> Iterator[Family]:
    """All of the suite."""
    yield Family("fit, nesterov", "fit", ROWS, _fit, "rows")
    yield Family("fit_heads, logistic", "fit", LARGE, _logistic, "rows")
    yield Family("fit_heads, softmax", "fit", ROWS, _softmax, "rows")
    yield Family("fit_heads, squared", "fit", ROWS, _squared, "rows")
    yield Family("certify, logistic", "fit", ROWS, _certify, "rows")


def on_device(verb: Callable[..., Any]) -> Callable[[Inputs, Device], Callable[[], Any]]:
    """A verb that takes NumPy arrays and gives NumPy arrays, with one device as JAX's own choice."""

    def ready(inputs: Inputs, device: Device) -> Callable[[], Any]:
        def call() -> Any:
            with jax.default_device(device):
                return verb(*inputs)

        return call

    return ready


def gradient(x: np.ndarray, models: int = 1) -> tuple[float, float]:
    """Operations and bytes of the value and the gradient, which no fit can do without."""
    return 4.0 * x.size * models, float(x.nbytes)


def along_strengths(solver: str, l2: np.ndarray, loss: str) -> Solver:
    """scikit-learn from the strongest penalty down, each fit from the one before."""

    def solve(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> LinearHeads:
        rows = x.astype(dtype, copy=False)
        model = importlib.import_module("sklearn.linear_model").LogisticRegression(
            solver=solver, tol=tol, max_iter=STEPS, warm_start=True
        )
        found = []
        for strength in l2:
            model.set_params(C=1 / (strength * len(x))).fit(rows, y)
            two = loss == "logistic"
            found.append(
                (model.coef_[0].copy(), model.intercept_[0])
                if two
                else (model.coef_.copy(), model.intercept_.copy())
            )
        coef, intercept = zip(*found, strict=True)
        return LinearHeads(np.array(coef), np.array(intercept), l2, loss)

    return solve


def gap_of(heads: Any, x: np.ndarray, y: np.ndarray) -> float:
    """Certify heads of labels, whoever found them."""
    return problems.relative(certify(heads, x, y))


def heads_work(x: np.ndarray, y: np.ndarray, l2: np.ndarray, loss: str, solvers: tuple[str, ...]) -> Work:
    """`fit_heads` of labels at some strengths, and scikit-learn's solvers."""
    spelt = f"{len(x):,} × {x.shape[1]}" + (f", {len(l2)} l2" if len(l2) > 1 else "")
    peers: Mapping[str, Any] = {"sklearn": {name: along_strengths(name, l2, loss) for name in solvers}}
    width = len(l2) * (int(y.max()) + 1 if loss == "softmax" else 1)
    return Work(
        spelt,
        None,
        (x, y),
        certified(gap_of),
        peers,
        *gradient(x, width),
        ready=on_device(lambda x, y: fit_heads(x, y, loss=loss, l2=l2)),
    )


def _logistic(rows: int) -> Work:
    x = problems.correlated(0, rows, 128, 1e3)
    y = problems.two_classes(1, x)
    return heads_work(x, y, np.array([1 / rows]), "logistic", ("newton-cholesky", "lbfgs"))


def _softmax(rows: int) -> Work:
    x = problems.correlated(0, rows, FEATURES, 30)
    y = problems.many_classes(1, x, CLASSES)
    return heads_work(x, y, np.array([1 / rows]), "softmax", ("newton-cholesky", "lbfgs"))


def _squared(rows: int) -> Work:
    x = problems.correlated(0, rows, FEATURES, 30)
    y = problems.targets(1, x, 1)[:, 0]
    l2 = np.array([1 / rows])

    def solve(solver: str) -> Solver:
        def ridge(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> LinearHeads:
            kind = importlib.import_module("sklearn.linear_model").Ridge
            model = kind(alpha=l2[0] * len(x) / 2, solver=solver, tol=tol).fit(x.astype(dtype), y.astype(dtype))
            return LinearHeads(model.coef_[None], np.array([model.intercept_]), l2, "squared")

        return ridge

    def gap(heads: Any, x: np.ndarray, y: np.ndarray) -> float:
        return problems.relative(certify(heads, x, y))

    return Work(
        f"{rows:,} × {FEATURES}",
        None,
        (x, y),
        certified(gap),
        {"sklearn": {name: solve(name) for name in ("cholesky", "svd")}},
        *gradient(x),
        ready=on_device(lambda x, y: fit_heads(x, y, loss="squared", l2=l2)),
    )


def _fit(rows: int) -> Work:
    """Return a well conditioned problem, for which descent is meant."""
    x = problems.correlated(0, rows, FEATURES, 3)
    y = problems.two_classes(1, x)
    l2 = np.array([0.01])
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy, float(l2[0]))

    def ours(x: np.ndarray, y: np.ndarray) -> LinearHeads:
        data = objective.prepare((x, y.astype(np.float32)))
        rule = descent.nesterov(descent.lipschitz_step(objective, data))
        found: Any = fit(objective, data, rule, tol=1e-7).params
        weight, bias = np.asarray(found.weight, np.float64), np.asarray(found.bias, np.float64)
        return LinearHeads(weight[None], bias[None], l2)

    return Work(
        f"{rows:,} × {FEATURES}",
        None,
        (x, y),
        certified(gap_of),
        {"sklearn": {name: along_strengths(name, l2, "logistic") for name in ("newton-cholesky", "lbfgs")}},
        *gradient(x),
        ready=on_device(ours),
    )


def _certify(rows: int) -> Work:
    """Certify in float64 NumPy on the host, wherever the heads were fitted: no peer has it."""
    x = problems.correlated(0, rows, FEATURES, 3)
    y = problems.two_classes(1, x)
    heads = LinearHeads(np.zeros((1, FEATURES)), np.zeros(1), np.array([0.01]))
    return Work(
        f"{rows:,} × {FEATURES}",
        None,
        (x, y),
        # J of heads that are 0 is ln 2, and they are not the minimum.
        certified(
            lambda found, x, y: abs(float(found.value[0]) - np.log(2)) if found.gap[0] > 0 else np.inf, 1e-14
        ),
        {},
        *gradient(x),
        ready=on_device(lambda x, y: certify(heads, x, y)),
    )
