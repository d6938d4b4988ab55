"""Judges of answers: near a float64 twin, or certified to be near the minimum."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

TOL = 1e-6
"""Of certified gaps, relative to what `Certificate.gap_tol` takes a share of."""


class Verdict(NamedTuple):
    """Verdict on one answer.

    Attributes:
      error: the largest, relative to the largest number of the answer; of what was fitted, the certified gap.
      wrong: why the answer will not do; empty where it will.
    """

    error: float
    wrong: str = ""


Judge = Callable[[Any], Verdict]


def near(twin: Callable[..., Any], bound: float) -> Callable[[tuple[np.ndarray, ...]], Judge]:
    """Answers of the dtype of the inputs, near that of the twin.

    Args:
      twin: of the inputs in float64, integers as they are, the right answer.
      bound: the largest error allowed in an array of the answer, relative to its largest number.
    """

    def judge(inputs: tuple[np.ndarray, ...]) -> Judge:
        exact = twin(*(array.astype(np.float64) if array.dtype.kind == "f" else array for array in inputs))
        wanted = np.result_type(*(array.dtype for array in inputs if array.dtype.kind == "f"))

        def verdict(answer: Any) -> Verdict:
            error = error_of(answer, exact)
            others = [array.dtype for array in _arrays(answer) if array.dtype != wanted]
            if others:
                return Verdict(error, f"computes in {others[0]}, not {wanted}")
            return Verdict(error, "" if error <= bound else f"is off by {error:.1e}, more than {bound:.0e}")

        return verdict

    return judge


def certified(gap: Callable[..., float], tol: float = TOL) -> Callable[[tuple[np.ndarray, ...]], Judge]:
    """Answers whose certified gap is small, whoever found them.

    Args:
      gap: (answer, inputs…) to the worst of its certified gaps, relative to what `Certificate.gap_tol` takes a
        share of.
      tol: what it may be.
    """

    def judge(inputs: tuple[np.ndarray, ...]) -> Judge:
        def verdict(answer: Any) -> Verdict:
            found = float(gap(answer, *inputs))
            return Verdict(
                found, "" if found <= tol else f"has a certified gap of {found:.0e}, more than {tol:.0e}"
            )

        return verdict

    return judge


def error_of(answer: Any, exact: Any) -> float:
    """The largest of any array, relative to its largest number; infinite where shapes differ or one is nan."""
    worst = 0.0
    for one, right in zip(_arrays(answer), _arrays(exact), strict=True):
        if one.shape != right.shape or not np.isfinite(one).all():
            return math.inf
        scale = float(np.abs(right).max(initial=0)) or 1.0
        worst = max(worst, float(np.abs(one.astype(np.float64) - right).max(initial=0)) / scale)
    return worst


def _arrays(answer: Any) -> list[np.ndarray]:
    return [np.asarray(leaf) for leaf in jax.tree.leaves(answer)]
