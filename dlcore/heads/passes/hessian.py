"""Passes with the Hessians of heads: on a device by a compiled program, on a CPU by NumPy."""

from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray, Array
from dlcore.heads.data.centering import Centering, center_rows
from dlcore.heads.losses import row_loss
from dlcore.heads.passes.evaluate import ABSENT, HeadBatch, Sums, accumulate, row_scale
from dlcore.heads.passes.host_rows import BLOCK_BYTES, HostPass, HostRows
from dlcore.heads.passes.products import product
from dlcore.heads.quick_jit import QUICK
from dlcore.objective import BlockedData, sum_over_blocks
from dlcore.objective.threads import threaded_program


def hessian_of_rows(
    theta: AnyArray, scale: AnyArray, spread: AnyArray, rows: AnyArray, loss: str, xp: ModuleType
) -> AnyArray:
    r"""Return $\sum_i s_i C_i \otimes x_i x_i^\top$ of one head, shape (K·(m + 1), K·(m + 1)), class after class.

    C is the Hessian of a row's loss with respect to its logits. One product gives the blocks (k, l) of all pairs
    of classes. The diagonal blocks are computed separately, because p − p² would cancel.

    Args:
      theta: coefficients and, last, intercepts about the centre, shape (K, m + 1).
      scale: weights of the rows, shape (rows,).
      spread: 0 for a class without rows, shape (K,).
      rows: centered rows, with the intercept's column last, shape (rows, m + 1).
      loss: name of the loss.
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    outputs, width = theta.shape
    logits = product(theta, rows.T, xp)
    if outputs > 1:
        logits = logits + xp.where(spread > 0, 0.0, ABSENT)[:, None]
    diagonal, probability = row_loss(loss).curvature(logits, xp)
    diagonal = diagonal * scale[None]
    if probability is None:
        return product(diagonal * rows.T, rows, xp)
    mixed = (xp.sqrt(scale)[None] * probability).T[:, :, None] * rows[:, None]
    mixed = mixed.reshape(len(rows), -1)
    pairs = -product(mixed.T, mixed, xp).reshape(outputs, width, outputs, width)
    blocks = product(diagonal[:, None] * rows.T[None], rows, xp)
    is_diagonal = xp.eye(outputs, dtype=bool)[:, None, :, None]
    return xp.where(is_diagonal, blocks[:, :, None], pairs).reshape(outputs * width, -1)


@threaded_program("loss", cpu_options=QUICK)
def accumulate_with_hessian(
    theta: Array, batch: HeadBatch, data: BlockedData, centering: Centering, *, loss: str
) -> tuple[Sums, Array]:
    r"""Return the sums of one pass, and those of the Hessian of the data, $\sum_i s_i C_i \otimes x_i x_i^\top$.

    C is the Hessian of a row's loss with respect to its logits. All is float64.

    Args:
      theta: coefficients and, last, intercepts about the centre, shape (B, K, m + 1).
      batch: the heads.
      data: as `accumulate` takes it.
      centering: the centering of the rows.
      loss: name of the loss.

    Returns:
      The sums, and the Hessian of shape (B, K·(m + 1), K·(m + 1)), class after class.
    """
    heads = len(theta)
    sums = accumulate(theta, batch, data, centering, loss=loss, dtype="float64")

    def block(x: Array, y: tuple[Array, Array], weights: Array | None) -> Array:
        assert weights is not None
        rows = center_rows(x, centering, jnp.float64)
        rows = jnp.concatenate([rows, jnp.full((len(rows), 1), centering.has_intercept, rows.dtype)], axis=1)
        _, scale = row_scale(y, weights, batch)

        def of_head(head: tuple[Array, Array, Array]) -> Array:
            return jnp.asarray(hessian_of_rows(*head, rows, loss, jnp))

        scale = jnp.broadcast_to(scale, (heads, len(rows)))
        return jax.lax.map(of_head, (theta, scale, batch.spread))

    return sums, sum_over_blocks(block, data)


class HostHessianPass:
    """Hessian passes by NumPy for one batch of heads. NumPy's float64 products are the fastest on a CPU."""

    def __init__(self, rows: HostRows, batch: HeadBatch, loss: str) -> None:
        self._rows, self._spread, self._loss = rows, np.asarray(batch.spread), loss
        self._sums = HostPass(rows, batch, loss, "float64")
        self._scale = np.broadcast_to(rows.scales(batch)[1], (len(batch.l2), len(rows)))

    def __call__(self, theta: np.ndarray) -> tuple[Sums, np.ndarray]:
        """Return what `accumulate_with_hessian` returns."""
        size, has_intercept = theta[0].size, self._rows.centering.has_intercept
        hessian = np.zeros((len(theta), size, size))
        for part in self._rows.parts(2 * size, max(BLOCK_BYTES, 16 * size**2)):
            x = self._rows.block(part, "float64")
            rows = np.column_stack([x, np.full(len(x), has_intercept)])
            for head, theta_of_head in enumerate(theta):
                hessian[head] += hessian_of_rows(
                    theta_of_head, self._scale[head, part], self._spread[head], rows, self._loss, np
                )
        return self._sums(theta), hessian
