"""Losses of several classes: the softmax and the cross-entropy from logits, with accurate derivatives."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import allow_constant_transfers, as_array, as_floating, is_traced
from dlcore._core.host_checks import check_class_labels, check_rank
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses.metadata import with_loss_info

LARGE_GAP, SHIFT = -40.0, 32.0
"""If all smaller logits are more than 40 below the largest one, 32 is added to their differences to it. The sum
of the exponentials is then scaled by e⁻³²: it may be a normal number where no term is. The addition of 32 to a
difference below -40 is exact."""


@allow_constant_transfers
def softmax(logits: Numeric) -> Array:
    r"""Return the probabilities of the classes from logits.

    $p_j = e^{z_j}/\sum_k e^{z_k}$, $\partial p_j/\partial z_i = p_j([i = j] - p_i)$

    Args:
      logits: shape (classes,), floating point, one example.

    Returns:
      An array of the shape and dtype of `logits`, in [0, 1], summing to 1. A single inf has probability 1, -inf
      has 0. All are nan if a logit is nan, if two are inf or if all of several are -inf. Neither the values nor
      the derivatives cancel or overflow. A derivative is computed from products of probabilities and of
      $1 - p_j = \sum_{k \ne j} p_k$, which is not subtracted from 1 where it is small. The rounding of the
      differences of logits changes $p_j$ by up to $\max_k z_k - z_j$ ULPs. All other rounding changes it by up
      to 4 ULPs for ten classes, 7 for 300.

    Raises:
      ValueError: if `logits` is not 1-D or has no class.
      TypeError: if `logits` is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2.3.

    >>> print(softmax(jnp.array([0.0, jnp.log(3.0), -jnp.inf])).round(4))
    [0.25 0.75 0.  ]
    """
    return in_working_dtype(_softmax, _checked_logits(logits))


def _entropy(y: np.ndarray, weights: np.ndarray) -> float:
    """Return the entropy of the class frequencies, or of the mean target, whose entries may sum to any number."""
    mean = np.bincount(y.astype(np.int64), weights) if y.ndim == 1 else weights @ y
    mean = mean[mean > 0]
    return float(-(mean @ np.log(mean / mean.sum())))


@allow_constant_transfers
@with_loss_info(curvature=0.5, check_targets=check_class_labels, classes=True, null_value=_entropy)
def softmax_cross_entropy(logits: Numeric, label: Numeric) -> Array:
    r"""Return the cross-entropy of one example between its class and the softmax $p$, from logits.

    $\ell = -\ln p_y = \ln(1 + \sum_{j \ne y} e^{z_j - z_y})$, $\partial\ell/\partial z_j = p_j - [j = y]$;
    for probabilities t in place of a class, $\ell = -\sum_j t_j \ln p_j$ and
    $\partial\ell/\partial z_j = p_j\sum_k t_k - t_j$

    Args:
      logits: shape (classes,), floating point, one example.
      label: an integer, the number y of the class from 0 to classes − 1; or the target probabilities t of the
        classes, the shape of `logits` and floating point.

    Returns:
      A scalar in the common floating-point dtype, ≥ 0. It is 0 only for a certain and right prediction (2.06e-9
      for logits 20 and 0), and infinity for an infinitely certain and wrong one. It is nan where `softmax` is,
      and, under jit, where the label is not the number of a class. The derivative at the label is
      $-\sum_{j \ne y} p_j$, without cancellation.

    Raises:
      ValueError: if the shapes do not fit, or the label is not traced and not the number of a class.
      TypeError: if `logits` is not of a floating-point dtype, or `label` neither floating point nor an integer.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2.3; Blanchard, Higham and Higham (2021),
    Accurately computing the log-sum-exp and softmax functions (log1p of the sum without its largest term).

    >>> print(softmax_cross_entropy(jnp.array([1.0, 1.0, -jnp.inf]), 0).round(4))
    0.6931
    """
    logits = _checked_logits(logits)
    _check_class(label, len(logits))
    label = as_array("label", label)
    is_integer = jnp.issubdtype(label.dtype, jnp.integer)
    if not (is_integer or jnp.issubdtype(label.dtype, jnp.floating)):
        raise TypeError(f"label: expected an integer or floating-point probabilities, got dtype {label.dtype}")
    if label.shape != (() if is_integer else logits.shape):
        raise ValueError(
            f"label: expected one integer, or floating-point probabilities in the shape of logits {logits.shape}, "
            f"got {label.dtype} of shape {label.shape}; vmap over the axis of the examples"
        )
    target = _one_hot(label, logits) if is_integer else label
    return in_working_dtype(_cross_entropy, logits, target)


def _checked_logits(logits: Numeric) -> Array:
    """Return the logits of one example, checked, of a floating-point dtype."""
    logits = as_floating("logits", logits)
    check_rank("logits", logits, 1, "(classes,), one example")
    if not logits.size:
        raise ValueError("logits: expected at least one class, got shape (0,)")
    return logits


def _check_class(label: object, classes: int) -> None:
    """Raise a ValueError if `label` is not traced and not the number of a class."""
    # This comes before JAX may wrap the number to 32 bits.
    if is_traced(label) or not isinstance(label, int | np.generic | np.ndarray | jax.Array):
        return
    number = np.asarray(label)
    if number.ndim == 0 and number.dtype.kind in "iuO" and not 0 <= int(number) < classes:
        raise ValueError(f"label: expected a class from 0 to {classes - 1}, got {int(number)}")


def _one_hot(label: Array, logits: Array) -> Array:
    """Return 1 at the label and 0 elsewhere; nan everywhere for a label that is not the number of a class."""
    classes = len(logits)
    # The dtype holds both the label and the number of classes: neither wraps.
    dtype = label.dtype if label.dtype.itemsize >= 4 else np.dtype(np.int32)
    label = label.astype(dtype)
    one_hot = (jnp.arange(classes, dtype=dtype) == label).astype(logits.dtype)
    return jnp.where((label >= 0) & (label < classes), one_hot, jnp.nan)


def _exponentials(z: Array) -> tuple[Array, Array, Array]:
    """Return z − max z, its exponentials, and the sum of the exponentials without the largest, which is 1."""
    argmax = jnp.argmax(z)
    largest = jnp.max(z)
    smaller = jnp.arange(len(z), dtype=argmax.dtype) != argmax
    # The difference of the largest logit is 0 also where it is inf; nan stays nan.
    difference = jnp.where(smaller, z - largest, jnp.where(jnp.isnan(largest), jnp.nan, 0))
    is_large_gap = jnp.max(difference, where=smaller, initial=-jnp.inf) < LARGE_GAP
    scale = jnp.where(is_large_gap, np.exp(-SHIFT).astype(z.dtype), 1)
    shifted = jnp.where(smaller, jnp.exp(difference + jnp.where(is_large_gap, SHIFT, 0)), 0)
    return difference, jnp.where(smaller, shifted * scale, 1 + difference), shifted.sum() * scale


@jax.custom_jvp
def _softmax(z: Array) -> Array:
    # The value does not need 1 − p: two reductions suffice.
    largest = jnp.max(z)
    exponentials = jnp.exp(jnp.where(z == largest, 0, z - largest))  # also where the largest is inf
    total = exponentials.sum()
    return exponentials / jnp.where(jnp.isinf(largest) & (total > 1), jnp.nan, total)


@_softmax.defjvp
def _softmax_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    return _softmax(*primals), jax.jvp(lambda z: _probabilities(z)[0], primals, tangents)[1]


@jax.custom_jvp
def _probabilities(z: Array) -> tuple[Array, Array]:
    """Return the probabilities p, and 1 − p."""
    _, exponentials, rest = _exponentials(z)
    p = exponentials / (1 + rest)
    # Only the largest probability can be above ½: 1 - p loses no accuracy for the smaller ones.
    return p, jnp.where(jnp.arange(len(z)) == jnp.argmax(z), rest / (1 + rest), 1 - p)


@_probabilities.defjvp
def _probabilities_jvp(
    primals: tuple[Array], tangents: tuple[Array]
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    (z,), (dz,) = primals, tangents
    p, complement = _probabilities(z)
    # dp_j = p_j((1 - p_j)dz_j - Σ_{k≠j} p_k dz_k). For a unit vector dz, and in the transpose, the sum without its
    # j-th term is exact: every entry of the Jacobian is a product.
    weighted = p * dz
    dp = p * (complement * dz - (weighted.sum() - weighted))
    return (p, complement), (dp, -dp)


@jax.custom_jvp
def _cross_entropy(z: Array, t: Array) -> Array:
    # -ln p_j = (max z - z_j) + ln(1 + Σ_k exp(z_k - max z)), the sum without the largest term. Both terms are ≥ 0.
    # A class of probability 0 must count 0 also where its logit is -inf.
    difference, _, rest = _exponentials(z)
    return jnp.where(t == 0, 0, -t * difference).sum() + t.sum() * jnp.log1p(rest)


@_cross_entropy.defjvp
def _cross_entropy_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (z, t), (dz, dt) = primals, tangents
    p, complement = _probabilities(z)
    grad_z = p * (t.sum() - t) - t * complement
    difference, _, rest = _exponentials(z)
    # ∂ℓ/∂t = -ln p, clipped to finite numbers: 0 times an infinite logit would make the derivative in z nan.
    grad_t = jnp.minimum(jnp.log1p(rest) - difference, jnp.finfo(z.dtype).max)
    return _cross_entropy(z, t), (grad_z * dz).sum() + (grad_t * dt).sum()
