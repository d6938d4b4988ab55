"""The suite `scale`: how time grows with features, models, classes and strengths; with rows the others tell."""

import functools
from collections.abc import Iterator

import numpy as np

from dlcore.benchmark.case import Family, Work
from dlcore.benchmark.suites import gradient, problems
from dlcore.benchmark.suites.fit import heads_work

ROWS, HEADS_ROWS = 4**8, 20_000


def families() -> Iterator[Family]:
    """All of the suite."""
    yield Family("value_and_grad by features", "scale", _from(32), _features, "features")
    yield Family("values_and_grads by models", "scale", _from(4), _models, "models")
    yield Family("value_and_grad by classes", "scale", _from(4), _classes, "classes")
    yield Family(
        "fit_heads by l2", "scale", _from(4), _strengths, "strengths", functools.partial(_strengths, rows=400)
    )
    yield Family(
        "fit_heads by features",
        "scale",
        _from(16),
        _heads_features,
        "features",
        functools.partial(_heads_features, rows=400),
    )


def _from(least: int) -> tuple[int, ...]:
    return tuple(least * 4**k for k in range(4))


def _features(features: int) -> Work:
    return gradient.logistic(ROWS // 4, features)


def _models(models: int) -> Work:
    return gradient.many(ROWS, models)


def _classes(classes: int) -> Work:
    return gradient.softmax(ROWS, classes)


def _strengths(count: int, rows: int = HEADS_ROWS) -> Work:
    x = problems.correlated(1, rows, 64, 30)
    y = problems.two_classes(2, x)
    return heads_work(x, y, np.geomspace(10, 1e-7, count), "logistic", ("newton-cholesky",))


def _heads_features(features: int, rows: int = HEADS_ROWS) -> Work:
    x = problems.correlated(1, rows, features, 30)
    y = problems.two_classes(2, x)
    return heads_work(x, y, np.array([1 / rows]), "logistic", ("newton-cholesky", "lbfgs"))
