r"""Standardised columns: they are divided by their weighted standard deviation over the rows that train a fit.

No column is changed. With the deviation $\sigma_{fj}$ of column j in fit f, weights w of the columns as they are
and $\frac\lambda2\sum_j(\sigma_{fj}w_j)^2$ in place of $\frac\lambda2\|w\|^2$, J is what it would be of
standardised columns with the weights $\sigma_{fj}w_j$; their means go into the intercept. All fits are solved in
the units of the one on all rows, $\theta_j = \sigma_{0j}w_j$, in which the penalty of column j is
$\lambda(\sigma_{fj}/\sigma_{0j})^2$: near λ, so that folds go on sharing curvature, and one copy of the rows.
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

        def of_fit(fit: Array) -> Array:  # one after another: each about its own mean
            chosen = jnp.where(train[:, fit], scale, 0.0)
            return matmul(chosen, ((rows - middle[fit][None]) / unit[None]) ** 2)

        return jax.lax.map(of_fit, jnp.arange(len(total), dtype=jnp.int32))

    variance = sum_over_blocks(squares, data) / total[:, None]
    return deviation(variance, middle / unit[None], unit[None])


def deviation(variance: Array, middle: Array, unit: Array | float = 1.0) -> Array:
    """Return the root of the variance, and 1 where a column is constant; the numbers are in a unit."""
    varies = variance > (CONSTANT * middle) ** 2
    return jnp.where(varies, unit * jnp.sqrt(jnp.where(varies, variance, 1.0)), 1.0)
