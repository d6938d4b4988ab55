"""Heads of every strength and target of one fit: few heads by `few_heads`, and many by the spectrum."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore._core.types import Array
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.solvers.ridge import few_heads
from dlcore.heads.solvers.ridge.gram import GramAccumulator
from dlcore.heads.solvers.ridge.spectrum import Parts, Spectrum, heads_of, intercept_of, shortest_of, spectrum_of

PIECE_HEADS, LEAST_STRENGTHS = 128, 8
"""Strengths are solved in pieces of this many heads, and of at least `LEAST_STRENGTHS` strengths.

All pieces run the same programs.
"""


class RidgeFit(NamedTuple):
    """Heads of one fit.

    Attributes:
      coef: shape (L, targets, m).
      intercept: shape (L, targets).
      scores: shape (L, targets); None if the fit is not scored.
      scale: deviations of the columns, shape (m,); None unless they are standardised.
    """

    coef: np.ndarray
    intercept: np.ndarray
    scores: np.ndarray | None
    scale: np.ndarray | None


def fit_ridge(
    inputs: TrainingData,
    accumulator: GramAccumulator,
    fit: int,
    score: Callable[[Spectrum, np.ndarray, Parts], np.ndarray] | None,
) -> RidgeFit:
    """Fit all strengths on the rows of one fit and score them.

    Args:
      inputs: the checked arguments.
      accumulator: rows on the device.
      fit: the number of the fit, 0 for the fit on all rows.
      score: a function of a spectrum, strengths (L,) and their heads that returns scores (L, targets); None if the
        fit is not scored.
    """
    l2 = inputs.l2[fit]
    shape = len(l2), accumulator.y.shape[1]
    coef, intercept = np.empty((*shape, inputs.x.shape[1])), np.empty(shape)
    if not score and accumulator.device.platform == "cpu" and few_heads.is_few(inputs):
        found = few_heads.fit_few(inputs, fit_intercept=accumulator.fit_intercept)
        if found:
            return RidgeFit(*found, None, None)
    scores, scale = np.empty(shape) if score else None, None
    free = (l2 == 0) & (not inputs.standardize)
    for chosen, equilibrate in ((~free, False), (free, True)):
        if not chosen.any():
            continue
        spectrum = spectrum_of(inputs, accumulator, fit, equilibrate=equilibrate)
        parts = [heads_of(spectrum, part) for part in strengths(l2[chosen], accumulator)]
        if equilibrate and spectrum.rows is None:
            weights = [shortest_of(spectrum, weight) for weight, _ in parts]
            parts = [(weight, intercept_of(spectrum, weight)) for weight in weights]
        coef[chosen], intercept[chosen] = (
            np.concatenate([np.asarray(part) for part in pieces])[: chosen.sum()]
            for pieces in zip(*parts, strict=True)
        )
        if score and scores is not None:
            scores[chosen] = score(spectrum, l2[chosen], parts)
        scale = np.asarray(spectrum.scale) if inputs.standardize else None
    return RidgeFit(coef, intercept, scores, scale)


def strengths(l2: np.ndarray, accumulator: GramAccumulator, most: int = PIECE_HEADS) -> list[Array]:
    """Return the strengths in pieces of equal length, at most `most`.

    The number of targets determines the length. The last piece is padded with its first entry.
    """
    size = min(max(LEAST_STRENGTHS, PIECE_HEADS // accumulator.y.shape[1]), most)
    pieces = [l2[start : start + size] for start in range(0, len(l2), size)]
    return [accumulator.put(np.concatenate([p, np.repeat(p[:1], size - len(p))])) for p in pieces]
