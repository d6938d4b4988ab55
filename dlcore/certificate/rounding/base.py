r"""Bounds on the rounding errors of a certificate.

A certificate is computed in float64. It is an upper bound nevertheless, because it includes a bound on its
rounding errors.

Let u be the unit roundoff. A product of n factors 1 + δ, |δ| ≤ u, differs from 1 by at most γₙ = nu/(1 − nu). The
code writes n·u, where n is a few larger than the number of roundings, which covers the difference. Underflow is
ignored. `err_x` is a bound on |x̂ − x|, where x̂ is the computed number and x the exact one. Two assumptions are
made: exponentials and logarithms of NumPy have a relative error of a few u, and products of matrices are sums of
float64 products.

**Centering** (`dlcore.certificate.centering`) adds two roundings: x − c and b + c·w, with the center c, have a
relative error of at most u each. This adds u for each term of a logit. In a gradient, only x − c adds an error.
`err_logit` and the bounds of the gradients include centering.

Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, chapters 2 to 4.
"""

from typing import NamedTuple, TypeVar

import numpy as np

UNIT = float(np.finfo(np.float64).eps) / 2
"""The unit roundoff u of float64: an operation has a relative error of at most u."""

PAIRWISE = 64
"""For n < 2⁴⁰ terms, the error of `numpy.sum`, pairwise over runs of 128, is at most this many u·Σ|terms|."""

INTERCEPT_REFINEMENTS = 3
"""Number of times that the bound on |b* − b| is recomputed from the gap. Each time may lower the rounding."""


Number = TypeVar("Number", float, np.ndarray)


class SumRounding(NamedTuple):
    """Errors of a sum over all rows, relative to the sum of magnitudes. Both sums add block by block.

    Attributes:
      sums: the error if a block is added by `numpy.sum` along contiguous memory.
      products: the error if a block is added by a matrix product, in any order.
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
      magnitude: an upper bound on Σ|xⱼwⱼ| + |b|, such as ‖x‖‖w‖ + |b|.
      extra: the number of roundings besides the products: the intercept, centering, and operations on the logit.
    """
    return (features + extra) * UNIT * magnitude


def err_margin(features: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error of the difference of two logits with Σ|xⱼwⱼ| + |b| of at most `magnitude`."""
    return 2 * err_logit(features, magnitude, extra=6)


def err_eigenvalue(size: int, largest: float) -> float:
    """Bound the error of the eigenvalues of a symmetric matrix. LAPACK's error is a few u of the norm."""
    return 10 * size * UNIT * largest


def err_value(value: float, err_losses: float, terms: int) -> float:
    """Bound the error of J, a mean of losses and a penalty.

    Args:
      value: J.
      err_losses: a bound on the mean error of the losses.
      terms: the number of roundings of a sum over rows and of a loss.
    """
    return err_losses + 2 * terms * UNIT * value


def improvement_bound(
    value: np.ndarray, null_value: np.ndarray, penalty: np.ndarray, err_sums: float, err_loss: np.ndarray
) -> np.ndarray:
    """Return E = max(J₀ − J, (λ/2)‖σw‖²). A bound on the error of J₀ − J is subtracted from the difference.

    Args:
      value: J.
      null_value: J₀.
      penalty: (λ/2)‖σw‖².
      err_sums: the relative error of sums over rows.
      err_loss: a bound on the change of J by errors of the logits.
    """
    return np.maximum(null_value - value - err_sums * (1 + value + null_value) - err_loss, penalty)


def err_duality(
    terms: np.ndarray, grad_norm: np.ndarray, err_grad: np.ndarray, l2: np.ndarray, err_sums: float
) -> np.ndarray:
    """Bound the error of KL + ‖g‖²/2λ. An error ε of g adds ε(2‖g‖ + ε)/2λ.

    Args:
      terms: an upper bound on the sum of the magnitudes of the terms of KL + ‖g‖²/2λ.
      grad_norm: ‖g‖.
      err_grad: ε.
      l2: λ.
      err_sums: the relative error of sums over rows.
    """
    return err_sums * terms + err_grad * (2 * grad_norm + err_grad) / (2 * l2)
