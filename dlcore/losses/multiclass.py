"""Several classes: the softmax and the cross-entropy from logits, with derivatives that never cancel."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import as_array, as_floating, is_traced, with_constants
from dlcore._core.host_checks import check_class_labels, check_rank
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses.metadata import with_facts

FAR, SHIFT = -40.0, 32.0
"""Where all logits but the largest are more than 40 below it, their exponentials are formed e³² times too large
and scaled back once summed: the sum may be a normal number where no term is. To a difference below -40 the 32 is
added without rounding."""


@with_constants
def softmax(logits: Numeric) -> Array:
    r"""Probabilities of classes that belong to logits.

    $p_j = e^{z_j}/\sum_k e^{z_k}$, $\partial p_j/\partial z_i = p_j([i = j] - p_i)$

    Args:
      logits: shape (classes,), floating point, one example.

    Returns:
      The shape and dtype of `logits`, in [0, 1], summing to 1. A single inf has probability 1; -inf has 0; nan
      everywhere where a logit is nan, where two are inf or all of several are -inf. A derivative is formed from
      products of probabilities and of $1 - p_j = \sum_{k \ne j} p_k$, which is not subtracted from 1 where it is
      small: neither it nor the value cancels or overflows. The rounding of the differences of logits moves $p_j$
      by up to $\max_k z_k - z_j$ units in the last place; all else by up to 4 for ten classes, 7 for 300.

    Raises:
      ValueError: if `logits` is not 1-D or has no class.
      TypeError: if `logits` is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2.3.

    >>> print(softmax(jnp.array([0.0, jnp.log(3.0), -jnp.inf])).round(4))
    [0.25 0.75 0.  ]
    """
    return in_working_dtype(_softmax, _checked_logits(logits))


def _entropy(y: np.ndarray, share: np.ndarray) -> float:
    """The entropy of the classes' shares, or of the mean of target probabilities, which may sum to any number."""
    mean = np.bincount(y.astype(np.int64), share) if y.ndim == 1 else share @ y
    mean = mean[mean > 0]
    return float(-(mean @ np.log(mean / mean.sum())))


@with_constants
@with_facts(curvature=0.5, check_targets=check_class_labels, classes=True, null_value=_entropy)
def softmax_cross_entropy(logits: Numeric, label: Numeric) -> Array:
    r"""Cross-entropy of one example between its class and the probabilities $p$ of a softmax, from logits.

    $\ell = -\ln p_y = \ln(1 + \sum_{j \ne y} e^{z_j - z_y})$, $\partial\ell/\partial z_j = p_j - [j = y]$;
    for probabilities t in place of a class, $\ell = -\sum_j t_j \ln p_j$ and
    $\partial\ell/\partial z_j = p_j\sum_k t_k - t_j$

    Args:
      logits: shape (classes,), floating point, one example.
      label: an integer, the number y of the class from 0 to classes − 1; or the target probabilities t of the
        classes, the shape of `logits` and floating point.

    Returns:
      A scalar in the common floating-point dtype, ≥ 0: 0 at certainty on the right side alone (2.06e-9, not 0, for
      logits 20 and 0), infinity at infinite certainty on the wrong side, nan where `softmax` is, and, under jit,
      where the label is the number of no class. The derivative at the label is $-\sum_{j \ne y} p_j$, without
      cancellation.

    Raises:
      ValueError: if the shapes do not fit, or the label is known and the number of no class.
      TypeError: if `logits` is not of a floating-point dtype, or `label` neither of that nor an integer.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2.3; Blanchard, Higham and Higham (2021),
    Accurately computing the log-sum-exp and softmax functions (the largest term apart, log1p of the others).

    >>> print(softmax_cross_entropy(jnp.array([1.0, 1.0, -jnp.inf]), 0).round(4))
    0.6931
    """
    logits = _checked_logits(logits)
    _check_class(label, len(logits))
    label = as_array("label", label)
    integer, floating = (jnp.issubdtype(label.dtype, kind) for kind in (jnp.integer, jnp.floating))
    if not (integer or floating):
        raise TypeError(f"label: expected an integer or floating-point probabilities, got dtype {label.dtype}")
    if label.shape != (() if integer else logits.shape):
        raise ValueError(
            f"label: expected one integer, or floating-point probabilities in the shape of logits {logits.shape}, "
            f"got {label.dtype} of shape {label.shape}; vmap over the axis of the examples"
        )
    target = _one_hot(label, logits) if integer else label
    return in_working_dtype(_cross_entropy, logits, target)


def _checked_logits(logits: Numeric) -> Array:
    """The logits of one example, of a floating-point dtype."""
    logits = as_floating("logits", logits)
    check_rank("logits", logits, 1, "(classes,), one example")
    if not logits.size:
        raise ValueError("logits: expected at least one class, got shape (0,)")
    return logits


def _check_class(label: Any, classes: int) -> None:
    """A ValueError if `label` is known, and the number of no class. Asked before JAX may wrap it to 32 bits."""
    if is_traced(label) or not isinstance(label, int | np.generic | np.ndarray | jax.Array):
        return
    number = np.asarray(label)
    if number.ndim == 0 and number.dtype.kind in "iuO" and not 0 <= int(number) < classes:
        raise ValueError(f"label: expected a class from 0 to {classes - 1}, got {int(number)}")


def _one_hot(label: Array, logits: Array) -> Array:
    """1 at the label and 0 elsewhere; nan everywhere for a label that is the number of no class."""
    classes = len(logits)
    # Compared in a dtype that holds both the label and the number of classes: nothing wraps.
    dtype = label.dtype if label.dtype.itemsize >= 4 else np.dtype(np.int32)
    label = label.astype(dtype)
    chosen = (jnp.arange(classes, dtype=dtype) == label).astype(logits.dtype)
    return jnp.where((label >= 0) & (label < classes), chosen, jnp.nan)


def _exponentials(z: Array) -> tuple[Array, Array, Array]:
    """z − max z, its exponentials, and the sum of all of these but the largest, which is 1."""
    largest = jnp.argmax(z)
    top = jnp.max(z)
    others = jnp.arange(len(z), dtype=largest.dtype) != largest
    # The largest is 0 below itself also where it is inf; nan stays nan.
    below = jnp.where(others, z - top, jnp.where(jnp.isnan(top), jnp.nan, 0))
    far = jnp.max(below, where=others, initial=-jnp.inf) < FAR
    scale = jnp.where(far, np.exp(-SHIFT).astype(z.dtype), 1)
    raised = jnp.where(others, jnp.exp(below + jnp.where(far, SHIFT, 0)), 0)
    return below, jnp.where(others, raised * scale, 1 + below), raised.sum() * scale


@jax.custom_jvp
def _softmax(z: Array) -> Array:
    # The value needs no digits of 1 − p: two reductions will do.
    top = jnp.max(z)
    raised = jnp.exp(jnp.where(z == top, 0, z - top))  # also where the largest is inf
    total = raised.sum()
    return raised / jnp.where(jnp.isinf(top) & (total > 1), jnp.nan, total)


@_softmax.defjvp
def _softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _softmax(*primals), jax.jvp(lambda z: _shares(z)[0], primals, tangents)[1]


@jax.custom_jvp
def _shares(z: Array) -> tuple[Array, Array]:
    """The probabilities p, and 1 − p."""
    _, exponentials, rest = _exponentials(z)
    p = exponentials / (1 + rest)
    # Only the largest probability can be above ½: what the others leave of 1 loses nothing in the subtraction.
    return p, jnp.where(jnp.arange(len(z)) == jnp.argmax(z), rest / (1 + rest), 1 - p)


@_shares.defjvp
def _shares_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (z,), (dz,) = primals, tangents
    p, others = _shares(z)
    # dp_j = p_j((1 - p_j)dz_j - Σ_{k≠j} p_k dz_k). Along one logit, and in the transpose, the sum without its own
    # term is exact, so every entry of the Jacobian is a product.
    weighted = p * dz
    dp = p * (others * dz - (weighted.sum() - weighted))
    return (p, others), (dp, -dp)


@jax.custom_jvp
def _cross_entropy(z: Array, t: Array) -> Array:
    # -ln p_j = (max z - z_j) + ln(1 + Σ_{k not the largest} exp(z_k - max z)): two terms ≥ 0. A class of weight 0
    # must count 0 also where its logit is -inf.
    below, _, rest = _exponentials(z)
    return jnp.where(t == 0, 0, -t * below).sum() + t.sum() * jnp.log1p(rest)


@_cross_entropy.defjvp
def _cross_entropy_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (z, t), (dz, dt) = primals, tangents
    p, others = _shares(z)
    slope = p * (t.sum() - t) - t * others
    below, _, rest = _exponentials(z)
    # ∂ℓ/∂t = -ln p, cut at the largest number so that an infinite logit leaves the derivative in z alone.
    surprise = jnp.minimum(jnp.log1p(rest) - below, jnp.finfo(z.dtype).max)
    return _cross_entropy(z, t), (slope * dz).sum() + (surprise * dt).sum()
