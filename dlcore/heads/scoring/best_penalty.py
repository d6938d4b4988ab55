"""The best strength by the scores of the folds, strengths close to it, and a warning at the edge of the grid."""

import warnings

import numpy as np

FEWEST = 3
"""The least number of strengths for which the warning is given."""


class GridEdgeWarning(UserWarning):
    """The best strength is the weakest or the strongest: a better one may lie outside of the grid.

    >>> import warnings
    >>> warnings.simplefilter("ignore", GridEdgeWarning)
    """


def best_of(scores: np.ndarray, l2: np.ndarray) -> int | np.ndarray:
    """Return the index of the best mean score. Of equal scores the strongest penalty is chosen.

    Args:
      scores: shape (…, folds, L). A fold without a finite score is left out of the mean.
      l2: penalties, shape (L,).
    """
    order = np.argsort(-l2, kind="stable")
    best = order[_mean(scores, _ranking(scores))[..., order].argmax(-1)]
    return int(best) if np.ndim(best) == 0 else best


def within_one_error(scores: np.ndarray, best: int | np.ndarray) -> np.ndarray | None:
    """Return where a mean score is at least the mean score of `best` minus the standard error of that mean.

    The result has shape (…, L). It is None for a single fold. Folds without a finite score do not count; with
    fewer than two folds that count, only strengths with the score of `best` are returned.
    """
    if scores.shape[-2] < 2:
        return None
    counted = _ranking(scores)
    mean, at = _mean(scores, counted), np.expand_dims(best, (-2, -1))
    chosen = np.take_along_axis(scores, np.broadcast_to(at, (*scores.shape[:-1], 1)), -1)[..., 0]
    top, folds = np.take_along_axis(mean, at[..., 0], -1), counted.sum(-1)
    known = counted & np.isfinite(top)
    off = np.where(known, chosen, 0.0) - np.where(known, top, 0.0)
    error = np.sqrt((off**2).sum(-1) / np.maximum(folds - 1, 1) / folds)
    return mean >= top - error[..., None]


def _ranking(scores: np.ndarray) -> np.ndarray:
    """Return the folds that count in the mean, (…, folds): those with a finite score, or all if none has one."""
    finite = np.isfinite(scores).any(-1)
    return np.logical_or(finite, ~finite.any(-1, keepdims=True))


def _mean(scores: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """Return the mean score of each strength over the folds that count, (…, L)."""
    return np.where(counted[..., None], scores, 0.0).sum(-2) / counted.sum(-1)[..., None]


def warn_at_the_edge(best: int | np.ndarray, l2: np.ndarray, stacklevel: int) -> None:
    """Warn with a `GridEdgeWarning` if the best strength of a target is the first or last of at least three.

    No strength is weaker than λ = 0.
    """
    if len(np.unique(l2)) < FEWEST:
        return
    chosen = l2[np.atleast_1d(best)]
    for edge, name, way in ((l2.min(), "weakest", "smaller"), (l2.max(), "strongest", "larger")):
        count = int((chosen == edge).sum())
        if count and edge > 0:
            of = "" if np.ndim(best) == 0 else f" for {count} of {len(chosen)} targets"
            warnings.warn(
                f"l2: the best strength, {edge:g}, is the {name} of the grid{of}; extend it to {way} ones",
                GridEdgeWarning,
                stacklevel=stacklevel + 1,
            )
