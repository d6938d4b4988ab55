"""Estimates of the gap from a gradient. Solvers stop by an estimate; the certificate decides."""

import numpy as np

from dlcore._core.types import AnyArray


def estimate_gap(
    l2: AnyArray,
    squared_grad_norm: AnyArray,
    grad_intercept: AnyArray,
    slope: AnyArray,
    spread: AnyArray,
    radius: AnyArray | float,
) -> np.ndarray:
    r"""Return an estimate of the duality bound, shape (B,).

    The certificate repairs the intercepts. The estimate uses a bound on the cost of the repair: moving the mass of
    class k by the excess $g_k$ of its probabilities costs a divergence of about $g_k^2/\pi_k$. Without a penalty
    there is no bound, and half the Newton decrement is the estimate.

    Args:
      l2: λ, shape (B,).
      squared_grad_norm: ‖g‖² of the coefficients, each square divided by the factor of its column, shape (B,).
      grad_intercept: g of the intercepts, shape (B, K).
      slope: the gradient times the next step, shape (B,).
      spread: curvature at the constant prediction, shape (B, K): see `NullModel.spread`.
      radius: the usual length of a row.
    """
    coef = np.sqrt(squared_grad_norm) + radius * np.sqrt((grad_intercept**2).sum(1))
    duality = coef**2 / (2 * np.where(l2 > 0, l2, 1))
    duality = duality + intercept_gap(grad_intercept, spread, l2[:, None], radius).sum(1)
    return np.where(l2 > 0, duality, -slope / 2)


def intercept_gap(gradient: AnyArray, spread: AnyArray, l2: AnyArray, radius: AnyArray | float) -> AnyArray:
    r"""Return $g^2/v$, or more under a strong penalty. All arrays have one shape.

    Under a strong penalty $x\cdot w$ is small, and an intercept error that J tolerates can exceed it. The factor
    $\lambda/R^2$ makes the intercept as accurate relative to $R\|w\|$ as w is relative to $\|w\|$.

    Args:
      gradient: g of the intercept. A few roundings of a sum of probabilities count as 0.
      spread: v, no less than half the curvature: see `NullModel.spread`.
      l2: λ.
      radius: R, the usual length of a row.
    """
    certain = np.maximum(np.abs(gradient) - 32 * float(np.finfo(np.float64).eps), 0)
    stricter = np.maximum(l2 / np.where(radius > 0, radius**2, np.inf), 1)
    return gradient**2 / spread + (stricter - 1) * certain**2 / spread
