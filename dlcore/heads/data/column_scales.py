r"""Standardised columns: a penalty in units of the weighted standard deviation over the training rows of a fit.

No column is changed. Dividing column j by its deviation $\sigma_{fj}$ in fit f and fitting coefficients v is the
same as fitting $w_j = v_j/\sigma_{fj}$ on the original columns with the penalty
$\frac\lambda2\sum_j(\sigma_{fj}w_j)^2$. The means go into the intercept.

Solvers use $\theta_j = \sigma_{0j}w_j$ for all fits. The penalty of column j in fit f is then
$\lambda(\sigma_{fj}/\sigma_{0j})^2$, which is near λ. All fits share one copy of the rows and one preconditioner.
"""

import jax
import jax.numpy as jnp

from dlcore._core.types import Array
from dlcore.heads.quick_jit import quick_jit
from dlcore.linalg import matmul
from dlcore.objective import BlockedData, sum_over_blocks

CONSTANT = 2.0**-40
"""A deviation below this part of the mean is rounding: the column is constant, and divided by 1."""


@quick_jit()
def column_scales(data: BlockedData, total: Array) -> Array:
    """Return the standard deviation of each column in each fit, shape (fits, m), float64. It takes two passes.

    Args:
      data: x (n, m); y (n, fits), booleans, whether a row is in the training set of fit f; the weights of the
        rows.
      total: shape (fits,), the sum of the weights that train each fit.
    """

    def sums(x: Array, train: Array, weights: Array | None) -> tuple[Array, Array]:
        assert weights is not None
        rows = x.astype(jnp.float64)
        chosen = jnp.where(train.T, weights[None], 0.0)
        return matmul(chosen, rows), matmul(weights, jnp.abs(rows))

    middle, size = sum_over_blocks(sums, data)
    middle = middle / total[:, None]
    unit = jnp.where(size > 0, size / total[0], 1.0)  # in it no square leaves the range

    def squares(x: Array, train: Array, weights: Array | None) -> Array:
        assert weights is not None
        rows, scale = x.astype(jnp.float64), weights

        def of_fit(fit: Array) -> Array:  # Fits are mapped one at a time: each subtracts a different mean.
            chosen = jnp.where(train[:, fit], scale, 0.0)
            return matmul(chosen, ((rows - middle[fit][None]) / unit[None]) ** 2)

        return jax.lax.map(of_fit, jnp.arange(len(total), dtype=jnp.int32))

    variance = sum_over_blocks(squares, data) / total[:, None]
    return deviation(variance, middle / unit[None], unit[None])


def deviation(variance: Array, middle: Array, unit: Array | float = 1.0) -> Array:
    """Return `unit` times the square root of the variance, or 1 for a constant column.

    `variance` and `middle`, the mean, are in that unit.
    """
    varies = variance > (CONSTANT * middle) ** 2
    return jnp.where(varies, unit * jnp.sqrt(jnp.where(varies, variance, 1.0)), 1.0)
