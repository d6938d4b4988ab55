"""Suite `first`: the first call of `fit_heads` in a fresh process, and whole processes with their imports."""

import functools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from dlcore.benchmark.case import Case, CaseFamily, FreshFit
from dlcore.benchmark.first_call import measure_first_call, measure_process
from dlcore.benchmark.head_peers import solvers_for
from dlcore.benchmark.suites import problems
from dlcore.benchmark.suites.heads import heads_case, peer_path
from dlcore.benchmark.suites.wide import TEN_L2, THREE_L2
from dlcore.heads import Heads, fit_heads

LOOP = (20_000, 256, 50)
"""Rows, features and classes of the softmax objective whose loop is the unit of compilation."""
QUICK_LOOP, QUICK_ROWS, QUICK_FEATURES, QUICK_CLASSES, QUICK_L2 = (200, 8, 3), 200, 8, 3, 2
README_L2, RIDGE_L2 = np.geomspace(1, 1e-6, 30), np.geomspace(1e2, 1e-4, 50)
FOLDS, TARGETS = 5, 8


def families() -> Iterator[CaseFamily]:
    """Return the suite."""
    yield _family("first call, README's sweep", 4_000, 64, 2, README_L2, folds=FOLDS)
    yield _family("first call, softmax", 20_000, 256, 50, THREE_L2)
    yield _family("first call, logistic of many rows", 400_000, 128, 2, np.array([1 / 400_000]))
    yield _family("first call, logistic of wide rows", 20_000, 1024, 2, np.array([1 / 20_000]))
    yield _family("first call, digits", 1_797, 64, 10, TEN_L2, folds=FOLDS)
    yield CaseFamily(
        "first call, ridge grid", "first", (20_000,), _ridge, "rows", _quick_ridge, measure_first_call
    )
    yield _family("whole process, softmax", 20_000, 256, 50, THREE_L2)._replace(measure=measure_process)


def _family(
    name: str, rows: int, features: int, classes: int, l2: np.ndarray, folds: int | None = None
) -> CaseFamily:
    """Return a family of one size, and a small one for quick runs."""
    make = functools.partial(_classes, features=features, classes=classes, l2=l2, folds=folds)

    def quick(size: int) -> Case:
        """Return a smaller case, whatever the size."""
        del size
        count = min(classes, QUICK_CLASSES)
        return _classes(QUICK_ROWS, QUICK_FEATURES, count, l2[:QUICK_L2], folds, QUICK_LOOP)

    return CaseFamily(name, "first", (rows,), make, "rows", quick, measure_first_call)


def _classes(
    rows: int,
    features: int,
    classes: int,
    l2: np.ndarray,
    folds: int | None,
    loop: tuple[int, int, int] = LOOP,
) -> Case:
    """Return the case of logistic heads if there are two classes, else of softmax heads."""
    loss = "logistic" if classes == 2 else "softmax"
    data = problems.embeddings(11, rows, features, classes)
    titles = solvers_for(loss, features, classes)
    solvers = {title: peer_path(title, l2, loss) for title in titles} if folds is None else {}
    note = f", {classes} classes" if loss == "softmax" else ""
    models = len(l2) * (classes if loss == "softmax" else 1)
    return _case(data, {"loss": loss, "l2": l2.tolist(), "folds": folds}, solvers, note, models, loop)


def _ridge(
    rows: int,
    features: int = 64,
    targets: int = TARGETS,
    l2: np.ndarray = RIDGE_L2,
    loop: tuple[int, int, int] = LOOP,
) -> Case:
    """Return the case of a grid of ridge heads."""
    data = problems.regression(11, rows, features, 3, targets)
    fit = {"loss": "squared", "l2": l2.tolist(), "folds": FOLDS}
    return _case(data, fit, {}, f", {targets} targets", targets, loop)


def _quick_ridge(size: int) -> Case:
    del size
    return _ridge(QUICK_ROWS, QUICK_FEATURES, 2, RIDGE_L2[:QUICK_L2], QUICK_LOOP)


def _case(
    data: tuple[np.ndarray, np.ndarray],
    fit: Mapping[str, Any],
    solvers: Mapping[str, Any],
    note: str,
    models: int,
    loop: tuple[int, int, int],
) -> Case:
    """Return the case of a call of `fit_heads`; "folds" of None is a call without folds."""
    folds = fit["folds"]
    count = len(fit["l2"])
    note += f", {count} l2" * (count > 1) + (f", {folds} folds" if folds else "")

    def fit_all(x: np.ndarray, y: np.ndarray) -> Heads:
        return fit_heads(x, y, **fit, progress=False)

    case = heads_case(*data, fit_all, solvers, note=note, models=models)
    return case._replace(fresh=FreshFit(fit, loop))
