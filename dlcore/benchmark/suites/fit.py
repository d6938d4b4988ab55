"""Suite `fit`: one model, from arrays to certified coefficients, against scikit-learn at the same gap."""

import functools
import importlib
from collections.abc import Iterator

import numpy as np

from dlcore import descent, losses, models
from dlcore.benchmark.accuracy import small_certified_gap
from dlcore.benchmark.case import Case, CaseFamily
from dlcore.benchmark.head_peers import SOLVERS
from dlcore.benchmark.suites import problems, wide
from dlcore.benchmark.suites.heads import heads_case, path_case, peer_path
from dlcore.benchmark.tune_solver import Solver
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.fitting import fit
from dlcore.heads import fit_heads
from dlcore.models import LinearParams
from dlcore.objective import Objective

LOGISTIC_ROWS = tuple(1_000_000 // 4**k for k in (5, 4, 3, 2, 1, 0))
"""976 to a million rows, for one logistic head of 128 features."""
ROWS = tuple(4**k for k in range(4, 9))
"""256 to 65,536."""
FEATURES, CLASSES = 64, 10


def families() -> Iterator[CaseFamily]:
    """Return the suite."""
    yield CaseFamily("fit, nesterov", "fit", ROWS, _fit, "rows")
    yield CaseFamily("fit_heads, logistic", "fit", LOGISTIC_ROWS, _logistic, "rows")
    yield CaseFamily("fit_heads, softmax", "fit", ROWS, _softmax, "rows")
    yield CaseFamily("fit_heads, squared", "fit", ROWS, squared, "rows")
    quick = functools.partial(squared, features=wide.QUICK_FEATURES)
    by_1024 = functools.partial(squared, features=1024)
    yield CaseFamily("fit_heads, squared of 1,024", "fit", (5_000, 20_000), by_1024, "rows", quick)
    yield from wide.one_head()
    yield CaseFamily("certify, logistic", "fit", ROWS, _certify, "rows")


def _logistic(rows: int) -> Case:
    return path_case(problems.binary(0, rows, 128, 1e3), np.array([1 / rows]), "logistic")


def _softmax(rows: int) -> Case:
    return path_case(problems.multiclass(0, rows, FEATURES, 30, CLASSES), np.array([1 / rows]), "softmax")


def squared(rows: int, features: int = FEATURES) -> Case:
    """Return the case of one ridge head."""
    x, y = problems.regression(0, rows, features, 30, 1)
    l2 = np.array([1 / rows])

    def ridge(solver: str) -> Solver:
        def solve(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> LinearHeads:
            kind = importlib.import_module("sklearn.linear_model").Ridge
            model = kind(alpha=l2[0] * len(x) / 2, solver=solver, tol=tol).fit(x.astype(dtype), y.astype(dtype))
            return LinearHeads(model.coef_[None], np.array([model.intercept_]), l2, "squared")

        return solve

    solvers = {f"sklearn, {name}": ridge(name) for name in ("cholesky", "svd")}
    return heads_case(x, y[:, 0], lambda x, y: fit_heads(x, y, loss="squared", l2=l2, progress=False), solvers)


def _fit(rows: int) -> Case:
    """Return a well-conditioned problem, which suits first-order methods."""
    x, y = problems.binary(0, rows, FEATURES, 3)
    l2 = np.array([0.01])
    objective = Objective(models.logistic, losses.sigmoid_cross_entropy, float(l2[0]))

    def run(x: np.ndarray, y: np.ndarray) -> LinearHeads:
        data = objective.prepare((x, y.astype(np.float32)))
        optimizer = descent.nesterov(descent.lipschitz_step(objective, data))
        params: LinearParams = fit(objective, data, optimizer, tol=1e-7).params
        weight, bias = np.asarray(params.weight, np.float64), np.asarray(params.bias, np.float64)
        return LinearHeads(weight[None], bias[None], l2)

    return heads_case(x, y, run, {title: peer_path(title, l2, "logistic") for title in SOLVERS})


def _certify(rows: int) -> Case:
    """Return the case of a certificate, which is float64 NumPy on the host and has no peer."""
    x, y = problems.binary(0, rows, FEATURES, 3)
    heads = LinearHeads(np.zeros((1, FEATURES)), np.zeros(1), np.array([0.01]))

    def error(certificate: Certificate, *_: np.ndarray) -> float:
        """Return the error of J, which is ln 2 at coefficients of 0; their gap is above 0."""
        return float(abs(certificate.value[0] - np.log(2))) if certificate.gap[0] > 0 else np.inf

    case = heads_case(x, y, lambda x, y: certify(heads, x, y), {})
    return case._replace(make_checker=small_certified_gap(error, 1e-14))
