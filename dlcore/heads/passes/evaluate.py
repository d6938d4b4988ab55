"""Evaluation of many heads by one pass over the rows: value and gradient of their objectives."""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.types import AnyArray, Array
from dlcore.heads.data.centering import Centering, center_rows
from dlcore.heads.losses import row_loss
from dlcore.heads.quick_jit import QUICK
from dlcore.linalg import matmul
from dlcore.objective import BlockedData, sum_over_blocks
from dlcore.objective.threads import threaded_program

ABSENT = -1e30
"""The intercept of a class without training rows: its probability is 0, and no number is infinite."""


class HeadBatch(NamedTuple):
    """Problem of B heads with K logits each. All of it is data: other heads run the same program.

    Attributes:
      l2: the penalty λ, shape (B,).
      ratio: factor of λ for each column, shape (B, m).
      fit: number of the fit, shape (B,), int32.
      total: sum of the weights of the rows, shape (B,).
      spread: curvature of the mean loss at the constant prediction, shape (B, K): see `NullModel.spread`.
      gap_tol: largest estimate of the gap of a converged head, relative to `value_scale`, shape (B,).
      null_value: J of the best constant prediction, shape (B,).
      target: column of targets, shape (B,), int32; None where there is one.
      balance: factor of the weights of the rows of class 0 and 1, shape (B, 2); None for 1.
    """

    l2: AnyArray
    ratio: AnyArray
    fit: AnyArray
    total: AnyArray
    spread: AnyArray
    gap_tol: AnyArray
    null_value: AnyArray
    target: AnyArray | None = None
    balance: AnyArray | None = None


class Sums(NamedTuple):
    """Sums over rows for B heads, float64.

    Attributes:
      value: sum of the losses, shape (B,).
      grad_coef: sum of the residuals times the rows, shape (B·K, m).
      grad_intercept: sum of the residuals, shape (B, K).
      misclassified: number of misclassified rows, shape (B,), int32; all rows if there are no classes.
    """

    value: AnyArray
    grad_coef: AnyArray
    grad_intercept: AnyArray
    misclassified: AnyArray


class Evaluation(NamedTuple):
    """Objective of B heads.

    Attributes:
      value: J, shape (B,).
      penalty: the part of J that the penalty adds, shape (B,).
      gradient: ∇J, the intercepts' part last, shape (B, K, m + 1).
      misclassified: number of misclassified rows, shape (B,), int32.
    """

    value: AnyArray
    penalty: AnyArray
    gradient: AnyArray
    misclassified: AnyArray


@threaded_program("loss", "dtype", cpu_options=QUICK)
def accumulate(
    theta: Array, batch: HeadBatch, data: BlockedData, centering: Centering, *, loss: str, dtype: str
) -> Sums:
    """Return the sums of one pass over the rows.

    Args:
      theta: coefficients and, last, intercepts about the centre, shape (B, K, m + 1).
      batch: the heads.
      data: x in any dtype; y is a pair: whether each row is in the training set of each fit, shape (n, fits),
        booleans, and the targets, shape (n, targets); weights of the rows.
      centering: the centering of the rows.
      loss: name of the loss.
      dtype: dtype of the products within a block. Blocks are summed in float64.
    """
    heads, outputs, width = theta.shape
    coef = theta[..., :-1].reshape(-1, width - 1).astype(dtype)
    intercept = centering.has_intercept * theta[..., -1]
    if outputs > 1:
        intercept = jnp.where(batch.spread > 0, intercept, ABSENT)
    intercept = intercept.astype(dtype)

    def block(x: Array, y: tuple[Array, Array], weights: Array | None) -> Sums:
        assert weights is not None
        rows = center_rows(x, centering, jnp.dtype(dtype))
        targets, scale = row_scale(y, weights, batch)
        logits = matmul(coef, rows.T).reshape(heads, outputs, -1) + intercept[:, :, None]
        terms = row_loss(loss).terms(logits, targets)
        residual = (terms.residual * scale.astype(dtype)[:, None]).reshape(heads * outputs, -1)
        ones = jnp.ones(len(rows), dtype)  # a product sums along a row faster than a sum does
        return Sums(
            (scale * terms.value.astype(jnp.float64)).sum(1),
            matmul(residual, rows).astype(jnp.float64),
            matmul(residual, ones).reshape(heads, outputs).astype(jnp.float64),
            ((scale > 0) & terms.misclassified).sum(1, dtype=jnp.int32),
        )

    return sum_over_blocks(block, data)


def row_scale(
    y: tuple[AnyArray, AnyArray], weights: AnyArray, batch: HeadBatch, xp: ModuleType = jnp
) -> tuple[AnyArray, AnyArray]:
    """Return the targets of a block, and the weight of each row in each head, shape (B, rows).

    Args:
      y: whether each row is in the training set of each fit, shape (rows, fits), and the targets, shape
        (rows, targets).
      weights: weights of the rows, shape (rows,).
      batch: the heads.
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    train, targets = y
    targets = targets.T if batch.target is None else targets[:, batch.target].T
    scale = xp.where(train[:, batch.fit].T, weights[None], 0.0)
    if batch.balance is not None:
        scale = scale * xp.where(targets == 1, batch.balance[:, 1:], batch.balance[:, :1])
    return targets, scale


def finalize(
    theta: AnyArray, batch: HeadBatch, shards: Sequence[Sums], centering: Centering, xp: ModuleType = jnp
) -> Evaluation:
    """Return the objectives at `theta` from the sums of all shards of the rows, added in their order.

    `xp` is the module of the arrays, `jax.numpy` or `numpy`.
    """
    sums = functools.reduce(lambda a, b: jax.tree.map(xp.add, a, b), shards)
    heads, outputs, _ = theta.shape
    coef = theta[..., :-1]
    penalised = batch.l2[:, None, None] * batch.ratio[:, None] * coef
    penalty = (penalised * coef).sum((1, 2)) / 2
    grad_coef = sums.grad_coef.reshape(heads, outputs, -1) / batch.total[:, None, None] + penalised
    grad_intercept = centering.has_intercept * sums.grad_intercept / batch.total[:, None]
    gradient = xp.concatenate([grad_coef, grad_intercept[..., None]], axis=-1)
    return Evaluation(sums.value / batch.total + penalty, penalty, gradient, sums.misclassified)
