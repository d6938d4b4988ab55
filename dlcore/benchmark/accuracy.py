"""Accuracy checks of answers, against a float64 reference or by a certified gap."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np

TOL = 1e-6
"""The largest certified gap allowed, relative to `Certificate.gap_tol(1.0)`."""


class AccuracyCheck(NamedTuple):
    """Outcome of the check of one answer.

    Attributes:
      error: the largest error relative to the largest number of the answer; for fitted heads the certified gap.
      wrong: the reason why the answer fails the check; empty if it passes.
    """

    error: float
    wrong: str = ""


Checker = Callable[[object], AccuracyCheck]
"""A function that checks one answer, a pytree of arrays or fitted heads."""

MakeChecker = Callable[[tuple[np.ndarray, ...]], Checker]
"""A function of the inputs that returns the checker of their answers."""


def close_to_reference(reference: Callable[..., object], bound: float) -> MakeChecker:
    """Require an answer in the dtype of the inputs that is close to a float64 reference.

    Args:
      reference: returns the correct answer. Its floating-point inputs are float64, its integers unchanged.
      bound: the largest error allowed in an array of the answer, relative to its largest number.
    """

    def make_checker(inputs: tuple[np.ndarray, ...]) -> Checker:
        expected = reference(*(array.astype(np.float64) if array.dtype.kind == "f" else array for array in inputs))
        dtype = np.result_type(*(array.dtype for array in inputs if array.dtype.kind == "f"))

        def check(answer: object) -> AccuracyCheck:
            error = relative_error(answer, expected)
            other_dtypes = [array.dtype for array in _arrays(answer) if array.dtype != dtype]
            if other_dtypes:
                return AccuracyCheck(error, f"computes in {other_dtypes[0]}, not {dtype}")
            return AccuracyCheck(error, "" if error <= bound else f"is off by {error:.1e}, more than {bound:.0e}")

        return check

    return make_checker


def small_certified_gap(gap_of: Callable[..., float], tol: float = TOL) -> MakeChecker:
    """Require a small certified gap, from every implementation alike.

    Args:
      gap_of: maps (answer, *inputs) to the largest certified gap, relative to `Certificate.gap_tol(1.0)`.
      tol: the largest gap allowed.
    """

    def make_checker(inputs: tuple[np.ndarray, ...]) -> Checker:
        def check(answer: object) -> AccuracyCheck:
            gap = float(gap_of(answer, *inputs))
            return AccuracyCheck(
                gap, "" if gap <= tol else f"has a certified gap of {gap:.0e}, more than {tol:.0e}"
            )

        return check

    return make_checker


def relative_error(answer: object, expected: object) -> float:
    """Return the largest error of any array, relative to its largest number.

    The error is infinite if shapes differ or a number is not finite.
    """
    worst = 0.0
    for actual, reference in zip(_arrays(answer), _arrays(expected), strict=True):
        if actual.shape != reference.shape or not np.isfinite(actual).all():
            return math.inf
        scale = float(np.abs(reference).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(actual.astype(np.float64) - reference).max(initial=0)) / scale)
    return worst


def _arrays(answer: object) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(answer)]
