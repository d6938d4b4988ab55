"""Ridge heads of the estimators, of all rows and of folds."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from dlcore.heads import GridEdgeWarning, Heads, fit_heads
from dlcore.heads.fit_heads import MAX_STEPS
from dlcore.heads.result import FoldHeads
from dlcore.heads.solve_heads import fit_with_folds
from dlcore.sklearn.fits.settings import FitSettings, masks_of, on_device, warn_of_gaps
from dlcore.sklearn.types import Features


def fit_squared(
    X: Features,
    Y: np.ndarray,
    alphas: np.ndarray,
    weight: np.ndarray,
    settings: FitSettings,
    left_out: Callable[[np.ndarray, np.ndarray, np.ndarray], float] | None = None,
) -> Heads:
    """Return ridge heads of every alpha for every column of Y, (n, targets): λ = 2·alpha/S.

    Args:
      X: shape (n, m), NumPy or sparse.
      Y: shape (n, targets).
      alphas: shape (L,).
      weight: shape (n,).
      settings: those of the estimator.
      left_out: a function that is given every row's prediction by the other rows, strength by strength.
    """
    with on_device(settings.device), warnings.catch_warnings():
        warnings.simplefilter("ignore", GridEdgeWarning)
        heads = fit_heads(
            X,
            Y,
            loss="squared",
            l2=2 * np.asarray(alphas, np.float64) / weight.sum(),
            sample_weight=weight,
            fit_intercept=settings.fit_intercept,
            progress=settings.verbose,
            folds=None if left_out is None else "leave-one-out",
            scoring=left_out,
        )
    warn_of_gaps(heads.certificate, heads.status, heads.steps, settings, squared_rounding(Y, weight))
    return heads


def fit_squared_folds(
    X: Features,
    Y: np.ndarray,
    alphas: np.ndarray,
    weight: np.ndarray,
    trains: Sequence[np.ndarray],
    settings: FitSettings,
) -> tuple[Heads, list[Heads | FoldHeads]]:
    """Return ridge heads of all rows and of each fold, in one call where no row trains a fold twice.

    The heads of folds are checked, and those of all rows are not.

    Args:
      X: shape (n, m), NumPy or sparse.
      Y: shape (n, targets).
      alphas: shape (L,).
      weight: shape (n,).
      trains: how often each row trains each fold, shape (n,).
      settings: those of the estimator.
    """
    together = np.array([(train <= 1).all() and (weight * train > 0).any() for train in trains], bool)
    masks = masks_of(trains, together)
    with np.errstate(over="ignore"):
        l2 = 2 * alphas / np.concatenate([[weight.sum()], masks @ weight])[:, None]
    with on_device(settings.device):
        heads, found = fit_with_folds(
            X,
            Y,
            loss="squared",
            l2=l2,
            train=masks,
            sample_weight=weight,
            fit_intercept=settings.fit_intercept,
            max_steps=MAX_STEPS,
            progress=settings.verbose,
        )
    shared, folds = iter(found), []
    for train, is_shared in zip(trains, together, strict=True):
        if not is_shared:
            folds.append(fit_squared(X, Y, alphas, weight * train, settings))
            continue
        fold = next(shared)
        floor = squared_rounding(Y, weight * train)
        warn_of_gaps(fold.certificate, fold.status, fold.steps, settings, floor)
        folds.append(fold)
    return heads, folds


def squared_rounding(Y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a gap of each target that is nothing but rounding, shape (targets, 1)."""
    return (np.finfo(np.float64).eps * (weight @ Y.astype(np.float64) ** 2 / weight.sum()))[:, None]
