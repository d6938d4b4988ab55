"""Losses of linear heads as a solver sees them: values and derivatives of a block of rows, from its logits."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from dlcore._core.types import Array


class RowTerms(NamedTuple):
    """Loss of each row and its derivatives, for B heads with K logits each.

    Attributes:
      value: shape (B, rows).
      residual: derivative with respect to each logit, shape (B, K, rows).
      misclassified: whether another class is at least as probable as the row's own, shape (B, rows).
    """

    value: Array
    residual: Array
    misclassified: Array


def logistic_terms(logits: Array, labels: Array) -> RowTerms:
    """Return the terms of the logistic loss.

    Args:
      logits: shape (B, 1, rows).
      labels: 0 or 1, shape (B, rows) or (1, rows).
    """
    sign = jnp.where(labels == 1, 1.0, -1.0).astype(logits.dtype)
    margin = sign * logits[:, 0]
    small = jnp.exp(-jnp.abs(margin))
    # The probability of the other class: 1 − p would have no digits where p is near 1.
    other = jnp.where(margin > 0, small, 1) / (1 + small)
    value = jnp.maximum(-margin, 0) + jnp.log1p(small)
    return RowTerms(value, (-sign * other)[:, None], margin <= 0)


def softmax_terms(logits: Array, labels: Array) -> RowTerms:
    """Return the terms of the softmax cross-entropy.

    Args:
      logits: shape (B, K, rows).
      labels: numbers of classes, shape (B, rows) or (1, rows).
    """
    classes = jnp.arange(logits.shape[1], dtype=labels.dtype)
    is_own = labels[:, None] == classes[None, :, None]
    top = logits.max(1)
    power = jnp.exp(logits - top[:, None])
    own = jnp.where(is_own, power, 0).sum(1)
    others = jnp.where(is_own, 0, power).sum(1)
    total = own + others
    value = jnp.log(total) + top - jnp.where(is_own, logits, 0).sum(1)
    # What the row's class lacks is the sum of the others: 1 − p would have no digits where p is near 1.
    residual = jnp.where(is_own, -others[:, None], power) / total[:, None]
    return RowTerms(value, residual, others >= own)


def logistic_curvature(logits: Array) -> Array:
    """Return p(1 − p), shape (1, 1, rows), of logits of shape (1, rows)."""
    small = jnp.exp(-jnp.abs(logits))
    return (small / (1 + small) ** 2)[None]


def softmax_curvature(logits: Array) -> Array:
    r"""Return $\mathrm{diag}(p) - pp^\top$, shape (K, K, rows), of logits of shape (K, rows)."""
    p = jax.nn.softmax(logits, axis=0)
    own = jnp.eye(len(logits), dtype=bool)[:, :, None]
    # 1 − p would have no digits where p is near 1: it is the sum of the others.
    others = jnp.where(own, 0.0, p[None]).sum(1)
    return jnp.where(own, (p * others)[:, None], -p[:, None] * p[None])


class RowLoss(NamedTuple):
    """Loss of a row as solvers see it.

    Attributes:
      terms: values and derivatives of many heads, from logits and labels.
      curvature: second derivatives of one head, shape (K, K, rows), from its logits, shape (K, rows).
    """

    terms: Callable[[Array, Array], RowTerms]
    curvature: Callable[[Array], Array]


ROW_LOSSES = {
    "logistic": RowLoss(logistic_terms, logistic_curvature),
    "softmax": RowLoss(softmax_terms, softmax_curvature),
}
"""Losses that L-BFGS and Newton's method minimise, by name."""
