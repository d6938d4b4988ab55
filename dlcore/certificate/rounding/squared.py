r"""Rounding of the exact gap of heads with the squared loss.

The gap is $\bar\rho^2 + \frac12 h^\top(A + \lambda I)^+h$. It equals the weighted mean of $(ŷ - ŷ^*)^2$, between
the predictions of the head and of the optimum, plus $\frac\lambda2\|\sigma(w - w^*)\|^2$.
`dlcore.certificate.bounds.squared` defines ρ, h, A, G and c. An error δ of the residuals ρ changes √gap by at most
√(Σsδ²/S). An error ε of h changes √gap by at most ε/√(2μ), where μ is the smallest eigenvalue of A + λI.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.rounding.base import UNIT, SumRounding, err_eigenvalue

SCALED_GRAM = 4 * UNIT
"""Relative error of a Gram matrix divided by scales: two divisions, and 2u more for the `error_scale`."""


class SquaredErrors(NamedTuple):
    """Errors of heads with squared loss, divided by Σ s.

    Attributes:
      err_grad: the error of a component of 2Σ s·ρ·x is at most this times √(2·`error_scale`), shape (H,).
      err_residual: an upper bound on the change of √gap by errors of ρ and of its mean, shape (H,).
      err_value: the error of Σ s·ρ², shape (H,).
    """

    err_grad: np.ndarray
    err_residual: np.ndarray
    err_value: np.ndarray


def err_moments(rounding: SumRounding) -> float:
    """Return the relative error of sums of squares and products.

    Half of the result bounds the errors of the sums and of the rounded factors of each term. The other half
    exceeds the rounding of merging and centering.
    """
    return 2 * (rounding.products + 3 * rounding.sums)


def errors_from_moments(
    features: int, relative_error: float, magnitude: np.ndarray, reach: np.ndarray, mean_residual: np.ndarray
) -> SquaredErrors:
    """Bound the errors of heads that are evaluated from sums of products.

    An entry of the Gram matrix G and of the cross moments c has an error of at most
    `relative_error`·√(`error_scale`ⱼ·`error_scale`ₖ). Their products with w round as sums of m terms.

    Args:
      features: m.
      relative_error: the relative error of the moments.
      magnitude: |w|·|mean of x| + |mean of y| + |b|, shape (H,).
      reach: |w|·√`error_scale` of x + √`error_scale` of y, shape (H,).
      mean_residual: shape (H,).
    """
    relative_product = relative_error + (features + 6) * UNIT
    err_mean = (features + 6) * UNIT * magnitude + relative_error * reach
    err_squares = relative_product * reach**2 + err_mean * (2 * np.abs(mean_residual) + err_mean)
    return SquaredErrors(np.sqrt(2) * relative_product * reach, err_mean, err_squares)


def without_centering(errors: SquaredErrors, mean_residual: np.ndarray, relative_error: float) -> SquaredErrors:
    """Return the errors without centering. The gradient then includes the mean residual times the mean of x.

    Args:
      errors: the errors with centering.
      mean_residual: ρ̄, shape (H,).
      relative_error: the relative error of the moments, which the mean of x has too.
    """
    err_grad = errors.err_grad + np.sqrt(2) * (
        errors.err_residual + (relative_error + UNIT) * np.abs(mean_residual)
    )
    return SquaredErrors(err_grad, np.zeros(len(mean_residual)), errors.err_value)


def errors_from_rows(
    mean_square: np.ndarray, abs_residual: np.ndarray | None, value: np.ndarray, rounding: SumRounding
) -> SquaredErrors:
    """Bound the errors of heads that are evaluated from the residuals of every row.

    Σ s|ρ||x| ≤ √Σsρ² √Σsx². A factor 2 comes from h = 2Σsρx, and another from ρ̄ times the mean of x.

    Args:
      mean_square: Σ s·`err_logit`² of the residuals, shape (H,).
      abs_residual: Σ s·|ρ| if the mean of ρ is subtracted, shape (H,), else None.
      value: Σ s·ρ², shape (H,).
      rounding: the errors of sums over the rows.
    """
    err_residual = np.sqrt(mean_square)
    if abs_residual is not None:
        err_residual += rounding.sums * abs_residual
    err_grad = 4 * (rounding.products + 3 * rounding.sums) * np.sqrt(value)
    err_squares = rounding.products * value + err_residual * (2 * np.sqrt(value) + err_residual)
    return SquaredErrors(err_grad, err_residual, err_squares)


def err_gram(relative_error: float, trace: float, values: np.ndarray) -> float:
    """Bound the norm of the error of a Gram matrix and of its eigendecomposition.

    The matrix of the sums of magnitudes |x_j||x_k| has a norm of at most its trace. `eigh` has an error of a few
    u‖A‖, and its eigenvectors are orthogonal to a few u (LAPACK).
    """
    return relative_error * trace + err_eigenvalue(len(values), float(np.abs(values).max()))


def err_penalized_grad(
    err_grad: np.ndarray, trace_root: float, l2: np.ndarray, coef_norm: np.ndarray, grad_norm: np.ndarray
) -> np.ndarray:
    """Bound the error of h = 2Σ s·ρ·x + λw: the errors of its terms, the additions and the scaling."""
    return err_grad * trace_root + 6 * UNIT * (l2 * coef_norm + grad_norm)


def err_rotated(err_h: np.ndarray, features: int, h_norm: np.ndarray) -> np.ndarray:
    """Bound the error of h in the basis of the eigenvectors, with the rounding of the product."""
    return err_h + 10 * features * UNIT * h_norm


def certain_eigenvalues(values: np.ndarray, penalty: float, err: float) -> tuple[np.ndarray, np.ndarray]:
    r"""Return which eigenvalues are certain, and their lower bounds for A + λI, infinite for the uncertain ones.

    Let η be the error of A. If λ > 4η, every eigenvalue of A + λI is at least Λ + λ − η. Otherwise the
    eigenvectors are split into C, with Λ > 4(η + η²/λ), and U. In U the curvature is at least λ. In C it is at
    least Λ + λ − η − η²/λ, by the Schur complement of U.

    Args:
      values: computed eigenvalues Λ of A.
      penalty: λ.
      err: η.
    """
    schur = err * (err / penalty) if 0 < penalty <= 4 * err else 0.0
    certain = values > 4 * (err + schur) if penalty <= 4 * err else np.full(len(values), True)
    return certain, np.where(certain, values + penalty - err - schur, np.inf)


def err_root_gap(
    err_values: np.ndarray,
    norms: tuple[np.ndarray, np.ndarray],
    err_h: np.ndarray,
    penalty: float,
    smallest: float,
    *,
    full_rank: bool,
) -> np.ndarray:
    r"""Bound the change of √gap by errors of A and h, shape (H,).

    $\|u + v\| \le \|u\| + \|v\|$ in the norm of $(A + λI)^{-1}$. At λ = 0, U is treated as the null space of A.

    Args:
      err_values: the change of √gap by errors of the eigenvalues in C, shape (H,).
      norms: the norms of h in U and in C, shape (H,) each.
      err_h: the error of h, shape (H,).
      penalty: λ.
      smallest: the lower bound on the eigenvalues in C, infinite if C is empty.
      full_rank: whether U is empty.
    """
    if penalty == 0:
        return err_values + (err_h / np.sqrt(2 * smallest) if np.isfinite(smallest) else 0)
    in_u, _ = norms
    smallest = max(penalty, smallest) if full_rank else penalty
    return err_values + err_h / np.sqrt(2 * smallest) + in_u / np.sqrt(2 * penalty)


def is_rank_refuted(
    norms: tuple[np.ndarray, np.ndarray], err_h: np.ndarray, err: float, smallest: float
) -> np.ndarray:
    r"""Return whether h refutes at λ = 0 that U is the null space, shape (H,).

    If A has the rank |C|, then its range is a graph over C, and $h^\top A^+h = h_C^\top A_{CC}^{-1}h_C$ for the
    true h, which is in that range. Float64 cannot exclude a higher rank. But if the rank is |C|, h in U is
    at most its rounding.

    Args:
      norms: the norms of h in U and in C, shape (H,) each.
      err_h: the error of h, shape (H,).
      err: η, the error of A.
      smallest: the lower bound on the eigenvalues in C, infinite if C is empty.
    """
    in_u, in_c = norms
    return in_u > 2 * err_h + err / smallest * in_c


def squared_rounding(
    errors: SquaredErrors, err_root: np.ndarray, gap_root: np.ndarray, rounding: SumRounding
) -> np.ndarray:
    """Bound the rounding of the gap: (√gap + ε)² − gap, where ε is the sum of the errors of √gap.

    Args:
      errors: the errors of the heads.
      err_root: the change of √gap by errors of h and A, shape (H,).
      gap_root: √gap, shape (H,).
      rounding: the errors of sums over the rows.
    """
    error = errors.err_residual + err_root + rounding.sums * gap_root
    with np.errstate(over="ignore", invalid="ignore"):
        return error * (2 * gap_root + error)
