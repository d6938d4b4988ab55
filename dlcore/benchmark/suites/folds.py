"""Cases of a path of logistic heads in every fold of a cross-validation."""

import importlib
from collections.abc import Sequence

import numpy as np

from dlcore.benchmark.case import Case
from dlcore.benchmark.head_peers import MAX_ITER, fit_path
from dlcore.benchmark.suites.heads import heads_case, worst_gap
from dlcore.benchmark.tune_solver import Solver
from dlcore.certificate import LinearHeads
from dlcore.heads import Heads, fit_heads

FOLDS = 5
"""The number of folds, stratified by class."""


def folds_case(data: tuple[np.ndarray, np.ndarray], l2: np.ndarray, solvers: Sequence[str]) -> Case:
    """Return the case of `fit_heads` with folds. The gap is the largest of any fold.

    scikit-learn has `LogisticRegressionCV`, and the other libraries a loop over the folds. dlcore also fits every
    head to all rows, and the loops do not.

    Args:
      data: features and labels of two classes.
      l2: the penalties, in the order in which peers fit them.
      solvers: titles of `head_peers.SOLVERS`.
    """
    return heads_case(
        *data,
        lambda x, y: fit_heads(x, y, l2=l2, folds=FOLDS, progress=False),
        {title: _peer(title, l2) for title in solvers},
        gap_of=lambda answer, x, y: _largest_gap(answer, l2, x, y),
        note=f", {len(l2)} l2, {FOLDS} folds",
        models=len(l2) * FOLDS,
    )


def _peer(title: str, l2: np.ndarray) -> Solver:
    """Return a solver that returns the coefficients of each fold and l2, intercepts last."""
    library, _, name = title.partition(", ")

    # Each solver has the same C in all folds, as `LogisticRegressionCV` has.
    def cross_validate(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        model = importlib.import_module("sklearn.linear_model").LogisticRegressionCV(
            Cs=1 / (l2 * len(x)),
            l1_ratios=(0,),
            use_legacy_attributes=True,
            cv=FOLDS,
            solver=name,
            tol=tol,
            max_iter=MAX_ITER,
            scoring="neg_log_loss",
        )
        return model.fit(x.astype(dtype, copy=False), y).coefs_paths_[1]

    def loop_over_folds(dtype: str, tol: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        paths = [
            fit_path(title, l2 * len(x) / len(train), "logistic", x[train], y[train], dtype=dtype, tol=tol)
            for train in _training_rows(x, y)
        ]
        return np.stack([np.column_stack(path) for path in paths])

    return cross_validate if library == "sklearn" else loop_over_folds


def _training_rows(x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Return the rows that each fold trains on."""
    split = importlib.import_module("sklearn.model_selection").StratifiedKFold(FOLDS).split
    return [train for train, _ in split(x, y)]


def _largest_gap(answer: Heads | np.ndarray, l2: np.ndarray, x: np.ndarray, y: np.ndarray) -> float:
    """Return the largest gap of dlcore's heads, or of a peer's paths of coefficients in each fold."""
    if isinstance(answer, Heads):
        return max(worst_gap(answer, x, y), float((answer.fold_gap / answer.certificate.gap_tol(1.0)).max()))
    return max(
        worst_gap(LinearHeads(path[:, :-1], path[:, -1], l2 * len(x) / len(train)), x[train], y[train])
        for path, train in zip(answer.reshape(FOLDS, len(l2), -1), _training_rows(x, y), strict=True)
    )
