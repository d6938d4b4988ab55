"""Heads of wide rows like frozen embeddings: the families that the suites fit and sweep take from here."""

import functools
from collections.abc import Iterator

import numpy as np

from dlcore.benchmark.case import Case, CaseFamily
from dlcore.benchmark.head_peers import solvers_for
from dlcore.benchmark.suites import problems
from dlcore.benchmark.suites.folds import folds_case
from dlcore.benchmark.suites.heads import path_case

TEN_L2, FIVE_L2, THREE_L2 = np.geomspace(1e-1, 1e-6, 10), np.geomspace(1e-1, 1e-5, 5), np.geomspace(1e-1, 1e-5, 3)
"""Penalties, which peers fit from the largest."""
FOLDS_L2 = np.geomspace(1, 1e-5, 20)
"""Penalties of a cross-validation with many strengths, in the same order."""
QUICK_FEATURES = 24


def one_head() -> Iterator[CaseFamily]:
    """Return the families of one l2, 1/rows."""
    yield _family("fit_heads, logistic of 1,024, signal 0.35", "fit", 20_000, 1024, 2)
    yield _family("fit_heads, logistic of 1,024, signal 0.05", "fit", 20_000, 1024, 2, signal=0.05)
    yield _family("fit_heads, logistic of 1,536", "fit", 1_000, 1536, 2)
    yield _family("fit_heads, softmax of 384, 10 classes", "fit", 20_000, 384, 10)
    yield _family("fit_heads, softmax of 1,024, 10 classes", "fit", 20_000, 1024, 10)


def paths() -> Iterator[CaseFamily]:
    """Return the families of several l2."""
    yield _family("fit_heads, l2 of 1,024, signal 0.35", "sweep", 20_000, 1024, 2, TEN_L2)
    yield _family("fit_heads, l2 of 1,024, signal 0.05", "sweep", 20_000, 1024, 2, TEN_L2, signal=0.05)
    yield _family_of_folds("fit_heads, folds of 1,024, signal 0.35", 20_000, 1024, TEN_L2)
    yield _family_of_folds("fit_heads, folds of 1,024, signal 0.05", 20_000, 1024, TEN_L2, signal=0.05)
    yield _family_of_folds("fit_heads, folds of 1,536", 1_000, 1536, FOLDS_L2)
    yield _family("fit_heads, l2 of 256, 50 classes", "sweep", 20_000, 256, 50, THREE_L2)
    yield _family("fit_heads, l2 of 768, 100 classes", "sweep", 10_000, 768, 100, FIVE_L2)


def embeddings_case(
    rows: int, features: int, classes: int, l2: np.ndarray | None = None, signal: float = 0.35
) -> Case:
    """Return the case of a path of heads of rows like embeddings, logistic if there are two classes."""
    data = problems.embeddings(7, rows, features, classes, signal)
    loss = "logistic" if classes == 2 else "softmax"
    return path_case(data, np.array([1 / rows]) if l2 is None else l2, loss)


def embeddings_folds_case(rows: int, features: int, l2: np.ndarray, signal: float = 0.35) -> Case:
    """Return the case of a path of logistic heads in each fold of rows like embeddings."""
    data = problems.embeddings(7, rows, features, 2, signal)
    return folds_case(data, l2, solvers_for("logistic", features, 2))


def _family(
    name: str,
    suite: str,
    rows: int,
    features: int,
    classes: int,
    l2: np.ndarray | None = None,
    *,
    signal: float = 0.35,
) -> CaseFamily:
    """Return a family of two sizes, a quarter of the rows and all of them."""
    make = functools.partial(embeddings_case, features=features, classes=classes, l2=l2, signal=signal)
    quick = functools.partial(make, features=QUICK_FEATURES, classes=min(classes, 5))
    return CaseFamily(name, suite, (rows // 4, rows), make, "rows", quick)


def _family_of_folds(name: str, rows: int, features: int, l2: np.ndarray, *, signal: float = 0.35) -> CaseFamily:
    """Return a family of two sizes with folds, a quarter of the rows and all of them."""
    make = functools.partial(embeddings_folds_case, features=features, l2=l2, signal=signal)
    quick = functools.partial(make, features=QUICK_FEATURES)
    return CaseFamily(name, "sweep", (rows // 4, rows), make, "rows", quick)
