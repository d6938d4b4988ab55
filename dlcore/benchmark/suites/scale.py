"""Suite `scale`: time against the number of features, models, classes and penalties."""

import functools
from collections.abc import Iterator

import numpy as np

from dlcore.benchmark.case import Case, CaseFamily
from dlcore.benchmark.suites import gradient, problems
from dlcore.benchmark.suites.heads import path_case

ROWS, HEADS_ROWS, QUICK_ROWS = 4**8, 20_000, 400


def families() -> Iterator[CaseFamily]:
    """Return the suite."""
    by_features = functools.partial(gradient.logistic, ROWS // 4)
    yield CaseFamily("value_and_grad by features", "scale", _sizes(32), by_features, "features")
    by_models = functools.partial(gradient.logistic_batch, ROWS)
    yield CaseFamily("values_and_grads by models", "scale", _sizes(4), by_models, "models")
    by_classes = functools.partial(gradient.softmax, ROWS)
    yield CaseFamily("value_and_grad by classes", "scale", _sizes(4), by_classes, "classes")
    for name, smallest, make, unit in (
        ("l2", 4, _penalties, "strengths"),
        ("features", 16, _features, "features"),
    ):
        quick = functools.partial(make, rows=QUICK_ROWS)
        yield CaseFamily(f"fit_heads by {name}", "scale", _sizes(smallest), make, unit, quick)


def _sizes(smallest: int) -> tuple[int, ...]:
    return tuple(smallest * 4**k for k in range(4))


def _penalties(count: int, rows: int = HEADS_ROWS) -> Case:
    l2 = np.geomspace(10, 1e-7, count)
    solvers = ("sklearn, newton-cholesky", "sklearnex, lbfgs", "torch, L-BFGS of 10")
    return path_case(problems.binary(1, rows, 64, 30), l2, "logistic", solvers)


def _features(features: int, rows: int = HEADS_ROWS) -> Case:
    return path_case(problems.binary(1, rows, features, 30), np.array([1 / rows]), "logistic")
