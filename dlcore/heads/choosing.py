"""Which strength the folds choose, which do as well within their noise, and whether the grid was wide enough."""

import warnings
from typing import Any

import numpy as np

FEWEST = 3
"""Strengths of a grid that is meant to hold its best one inside."""


class GridEdgeWarning(UserWarning):
    """The best of the strengths was the weakest or the strongest: a better one may lie outside of the grid.

    >>> import warnings
    >>> warnings.simplefilter("ignore", GridEdgeWarning)
    """


def best_of(scores: np.ndarray, l2: np.ndarray) -> Any:
    """The index of the best mean score; the strongest penalty where several are equal."""
    order = np.argsort(-l2, kind="stable")
    best = order[scores.mean(-2)[..., order].argmax(-1)]
    return int(best) if np.ndim(best) == 0 else best


def within_one_error(scores: np.ndarray, best: Any) -> np.ndarray | None:
    """Shape (…, L): a mean score of at least that of `best` less its standard error; None for a single fold."""
    folds = scores.shape[-2]
    if folds < 2:
        return None
    mean, error = scores.mean(-2), scores.std(-2, ddof=1) / np.sqrt(folds)
    at = np.expand_dims(best, -1)
    return mean >= np.take_along_axis(mean, at, -1) - np.take_along_axis(error, at, -1)


def warn_at_the_edge(best: Any, l2: np.ndarray, stacklevel: int) -> None:
    """A `GridEdgeWarning` if the best strength, of any target, is the first or last of at least three.

    None is weaker than λ = 0.
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
