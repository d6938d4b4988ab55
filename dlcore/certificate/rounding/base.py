r"""Bounds on the rounding errors of a certificate.

A certificate is computed in float64. It is an upper bound all the same, because it adds a bound on what rounds.

Let u be the unit roundoff. A product of n factors 1 + δ, |δ| ≤ u, differs from 1 by at most γₙ = nu/(1 − nu). The
code writes n·u, where n is a few larger than the number of roundings, which covers the difference. Underflow is
not counted. `err_x` is a bound on |x̂ − x|, where x̂ is the computed number and x the exact one. Exponentials and
logarithms of NumPy are taken to be right to a few u, and products of matrices to be sums of float64 products.

**Centering** (`dlcore.certificate.centering`) adds two roundings: x − c and b + c·w are each off by u of
themselves. That is u more for each term of a logit, and of a gradient x − c alone counts. `err_logit` and the
bounds of the gradients include it.

Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, chapters 2 to 4.
"""

from typing import NamedTuple, TypeVar

import numpy as np

UNIT = float(np.finfo(np.float64).eps) / 2
"""The unit roundoff u of float64: the result of an operation is off by at most u of itself."""

PAIRWISE = 64
"""A sum of n < 2⁴⁰ terms by `numpy.sum`, pairwise over runs of 128, is off by at most this many u·Σ|terms|."""

INTERCEPT_REFINEMENTS = 3
"""How often the bound on |b* − b| is computed anew from the gap that it has just lowered."""


Number = TypeVar("Number", float, np.ndarray)


class SumRounding(NamedTuple):
    """Errors of a sum over all rows, relative to the sum of magnitudes.

    Attributes:
      sums: of sums by `numpy.sum` along contiguous memory within a block, then block by block.
      products: of matrix products within a block, whose terms are added in any order, then block by block.
    """

    sums: float
    products: float


def sum_rounding(slices: list[slice]) -> SumRounding:
    """Return the errors of sums over these blocks, the longest first."""
    longest = slices[0].stop - slices[0].start
    return SumRounding((PAIRWISE + len(slices)) * UNIT, (longest + len(slices)) * UNIT)


def err_logit(features: int, magnitude: Number, extra: int = 8) -> Number:
    """Bound the error of a logit x·w + b.

    Args:
      features: the number m of terms.
      magnitude: no less than Σ|xⱼwⱼ| + |b|, such as ‖x‖‖w‖ + |b|.
      extra: the roundings beyond the products: the intercept, centering, and operations on the logit itself.
    """
    return (features + extra) * UNIT * magnitude


def err_margin(features: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error of the difference of two logits of magnitude at most `magnitude`."""
    return 2 * err_logit(features, magnitude, extra=6)


def err_eigenvalue(size: int, largest: float) -> float:
    """Bound the error of the eigenvalues of a symmetric matrix: a few u of its norm, size·10u with room."""
    return 10 * size * UNIT * largest


def err_value(value: float, err_logits: float, terms: int) -> float:
    """Bound the error of J, a mean of losses and a penalty: the error of a logit counts twice at most.

    Args:
      value: J.
      err_logits: the mean error of the logits.
      terms: the number of roundings of a sum over rows and of a loss.
    """
    return 2 * err_logits + 2 * terms * UNIT * value


def improvement_bound(
    value: np.ndarray, null_value: np.ndarray, penalty: np.ndarray, err_sums: float, err_loss: np.ndarray
) -> np.ndarray:
    """Return E = max(J₀ − J, (λ/2)‖σw‖²), where the difference is less what it may be off by.

    Args:
      value: J.
      null_value: J₀.
      penalty: (λ/2)‖σw‖².
      err_sums: the relative error of sums over rows.
      err_loss: what errors of the logits move J by.
    """
    return np.maximum(null_value - value - err_sums * (1 + value + null_value) - err_loss, penalty)


def err_duality(
    terms: np.ndarray, grad_norm: np.ndarray, err_grad: np.ndarray, l2: np.ndarray, err_sums: float
) -> np.ndarray:
    """Bound the error of KL + ‖g‖²/2λ: sums are off by `err_sums`, and an error ε of g adds ε(2‖g‖ + ε)/2λ."""
    return err_sums * terms + err_grad * (2 * grad_norm + err_grad) / (2 * l2)
