"""Cases of fitted linear heads, compared at the same certified gap: shared by the suites fit, sweep and scale."""

import importlib
from collections.abc import Callable, Mapping, Sequence

import jax
import numpy as np

from dlcore._core.types import Device
from dlcore.benchmark.accuracy import small_certified_gap
from dlcore.benchmark.case import Bind, Case, Inputs
from dlcore.benchmark.tune_solver import Solver
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.heads import Heads, fit_heads

SKLEARN_MAX_ITER = 20_000
"""The limit on the steps of scikit-learn's solvers, too large to stop any of them."""
SOLVERS = ("newton-cholesky", "lbfgs")
"""scikit-learn's fastest solvers of logistic regression."""


def heads_case(
    x: np.ndarray,
    y: np.ndarray,
    run: Callable[..., object],
    solvers: Mapping[str, Solver],
    *,
    gap_of: Callable[..., float] | None = None,
    note: str = "",
    models: int = 1,
) -> Case:
    """Return the case of a function of (x, y) that fits heads, against solvers of scikit-learn.

    Args:
      x: the features.
      y: the labels or targets.
      run: dlcore's function.
      solvers: by name.
      gap_of: see `small_certified_gap`; by default `worst_gap`.
      note: added to the size as text.
      models: the number of models; each needs at least one value and gradient.
    """
    return Case(
        f"{len(x):,} × {x.shape[1]}{note}",
        (x, y),
        small_certified_gap(gap_of or worst_gap),
        operations=4.0 * x.size * models,
        traffic=float(x.nbytes),
        bind=on_device(run),
        solvers={f"sklearn, {name}": solver for name, solver in solvers.items()},
    )


def path_case(
    data: tuple[np.ndarray, np.ndarray], l2: np.ndarray, loss: str, solvers: Sequence[str] = SOLVERS
) -> Case:
    """Return the case of `fit_heads` of (x, labels) for each l2, against scikit-learn's solvers."""
    x, y = data
    return heads_case(
        x,
        y,
        lambda x, y: fit_heads(x, y, loss=loss, l2=l2),
        {name: sklearn_path(name, l2, loss) for name in solvers},
        note=f", {len(l2)} l2" if len(l2) > 1 else "",
        models=len(l2) * (int(y.max()) + 1 if loss == "softmax" else 1),
    )


def on_device(function: Callable[..., object]) -> Bind:
    """Bind a function of NumPy arrays to a device, as JAX's default device."""

    def bind(inputs: Inputs, device: Device) -> Callable[[], object]:
        def call() -> object:
            with jax.default_device(device):
                return function(*inputs)

        return call

    return bind


def sklearn_path(solver: str, l2: np.ndarray, loss: str) -> Solver:
    """Return scikit-learn's solver of all l2, from the largest, each started at the solution before."""

    def solve(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> LinearHeads:
        rows = x.astype(dtype, copy=False)
        model = importlib.import_module("sklearn.linear_model").LogisticRegression(
            solver=solver, tol=tol, max_iter=SKLEARN_MAX_ITER, warm_start=True
        )
        coefs, intercepts = [], []
        for penalty in l2:
            model.set_params(C=1 / (penalty * len(x))).fit(rows, y)
            coefs.append(model.coef_.copy())
            intercepts.append(model.intercept_.copy())
        head = 0 if loss == "logistic" else slice(None)
        return LinearHeads(np.array(coefs)[:, head], np.array(intercepts)[:, head], l2, loss)

    return solve


def worst_gap(heads: Heads | LinearHeads, x: np.ndarray, y: np.ndarray) -> float:
    """Certify heads of any implementation, and return the largest relative gap."""
    return relative_gap(certify(heads, x, y))


def relative_gap(certificate: Certificate) -> float:
    """Return the largest gap, relative to `Certificate.gap_tol(1.0)`."""
    return float(np.max(certificate.gap / certificate.gap_tol(1.0)))
