"""Two classes: the sigmoid and the cross-entropy, with derivatives that are right at the edges."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from dlcore._core.array_checks import as_floating, check_equal_shapes, with_constants
from dlcore._core.host_checks import check_binary_labels
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses._log1p import log1p_of_fraction
from dlcore.losses.metadata import with_facts


@with_constants
def sigmoid(logit: Numeric) -> Array:
    r"""Logistic function, the probability that belongs to a logit.

    $\sigma(z) = 1/(1 + e^{-z})$, $\sigma'(z) = \sigma(z)\,\sigma(-z)$

    Args:
      logit: any shape, floating point; element by element.

    Returns:
      The shape and dtype of `logit`, in [0, 1]; 0 and 1 at -inf and inf, nan at nan. Neither the value nor the
      first derivative cancels or overflows: at z = 17 in float32 the derivative is 4.1e-8, not 0.

    Raises:
      TypeError: if `logit` is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 3.10.

    >>> print(sigmoid(jnp.array([-jnp.inf, 0.0, jnp.inf])))
    [0.  0.5 1. ]
    """
    return in_working_dtype(_sigmoid, as_floating("logit", logit))


def _entropy(y: np.ndarray, share: np.ndarray) -> float:
    """The entropy of the mean target."""
    p = min(float(share @ y), 1.0)
    return float(-sum(q * np.log(q) for q in (p, 1 - p) if q > 0))


@with_constants
@with_facts(curvature=0.25, check_targets=check_binary_labels, null_value=_entropy)
def sigmoid_cross_entropy(logit: Numeric, target: Numeric) -> Array:
    r"""Cross-entropy of one example between a target and the probability $\sigma(z)$, from the logit $z$.

    $\ell = -y \ln\sigma(z) - (1-y)\ln\sigma(-z)$, $\partial\ell/\partial z = \sigma(z) - y$

    Args:
      logit: shape (), floating point.
      target: shape (), floating point: the label, 0 or 1, or a probability between.

    Returns:
      A scalar in the common dtype, ≥ 0 for targets in [0, 1]: |z| on the wrong side far out, 0 at certainty on
      the right side (also at ±inf), infinity at infinite certainty on the wrong side, nan where either input is
      nan. The derivative is formed as $(1-y)\sigma(z) - y\sigma(-z)$, without cancellation where the example
      is right.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if an argument is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2.2.

    >>> print(sigmoid_cross_entropy(jnp.array(jnp.inf), jnp.array(1.0)))
    0.0
    """
    logit, target = as_floating("logit", logit), as_floating("target", target)
    check_equal_shapes(logit=logit, target=target)
    return in_working_dtype(_sigmoid_cross_entropy, logit, target)


@with_constants
@with_facts(check_targets=check_binary_labels, null_value=_entropy)
def binary_cross_entropy(probability: Numeric, target: Numeric) -> Array:
    r"""Cross-entropy of one example between a target and a predicted probability.

    $\ell = -y \ln p - (1-y)\ln(1-p)$, $\partial\ell/\partial p = (p - y)/(p(1-p))$

    A probability near 1 has already lost what a logit still knows: 1 − p is a multiple of eps. Where there is a
    logit, use `sigmoid_cross_entropy`.

    Args:
      probability: shape (), floating point, in [0, 1].
      target: shape (), floating point: the label, 0 or 1, or a probability between.

    Returns:
      A scalar in the common dtype, ≥ 0: 0 at certainty on the right side, infinity at certainty on the wrong
      side, nan where an input is nan or the probability is outside [0, 1]. At the edges the derivative is the
      limit of the formula: 1/(1-p) for y = 0 and -1/p for y = 1, hence ±1 where the example is right and
      ±infinity where it is wrong; the second derivative, 1/(1-p)² or 1/p², is 1 or infinity there.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if an argument is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 6.2.2.2.

    >>> print(binary_cross_entropy(jnp.array([1.0, 1.0, 0.5]), jnp.array([1.0, 0.0, 0.0])).round(4))
    [0.        inf 0.6931]
    """
    probability, target = as_floating("probability", probability), as_floating("target", target)
    check_equal_shapes(probability=probability, target=target)
    return in_working_dtype(_binary_cross_entropy, probability, target)


@jax.custom_jvp
def _sigmoid(z: Array) -> Array:
    # exp(-|z|) never overflows, and both branches divide by the same 1 + exp(-|z|).
    tail = jnp.exp(-jnp.abs(z))
    return jnp.where(z >= 0, 1, tail) / (1 + tail)


@_sigmoid.defjvp
def _sigmoid_jvp(primals: tuple[Array], tangents: tuple[Array]) -> tuple[Array, Array]:
    (z,), (dz,) = primals, tangents
    value = _sigmoid(z)
    return value, value * _sigmoid(-z) * dz  # σ(-z), not 1 - σ(z): that is 0 from z = 17 in float32


@jax.custom_jvp
def _sigmoid_cross_entropy(z: Array, y: Array) -> Array:
    # -ln σ(z) = max(-z, 0) + ln(1 + exp(-|z|)), and the same of -z. A side of weight 0 must count 0 also
    # where it is infinite.
    wrong = jnp.where(z >= 0, 1 - y, y)
    return jnp.where(wrong == 0, 0, wrong * jnp.abs(z)) + log1p_of_fraction(jnp.exp(-jnp.abs(z)))


def _sigmoid_cross_entropy_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (z, y), (dz, dy) = primals, tangents
    value = _sigmoid_cross_entropy(z, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dz, SymbolicZero):
        tangent += _sigmoid_slope(z, y) * dz
    if not isinstance(dy, SymbolicZero):
        # ∂ℓ/∂y = -z, cut at the largest number so that an infinite logit leaves the derivative in z alone.
        largest = jnp.finfo(z.dtype).max
        tangent -= jnp.clip(z, -largest, largest) * dy
    return value, tangent


@jax.custom_jvp
def _sigmoid_slope(z: Array, y: Array) -> Array:
    # (1 - y)σ(z) - yσ(-z) over one denominator, the exponential shared with the value. XLA repeats no division for
    # what is made of its result, and so stores it: it stands last.
    tail = jnp.exp(-jnp.abs(z))
    return jnp.where(z >= 0, (1 - y) - y * tail, (1 - y) * tail - y) / (1 + tail)


def _sigmoid_slope_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (z, y), (dz, dy) = primals, tangents
    value = _sigmoid_slope(z, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dz, SymbolicZero):
        tangent += _sigmoid(z) * _sigmoid(-z) * dz
    if not isinstance(dy, SymbolicZero):
        tangent -= dy
    return value, tangent


_sigmoid_cross_entropy.defjvp(_sigmoid_cross_entropy_jvp, symbolic_zeros=True)
_sigmoid_slope.defjvp(_sigmoid_slope_jvp, symbolic_zeros=True)


@jax.custom_jvp
def _binary_cross_entropy(p: Array, y: Array) -> Array:
    # A side of weight 0 must count 0 also where it is infinite. The logarithm of a number above 1 would be a
    # negative loss: it is no probability, and so nan.
    inside = jnp.where((p >= 0) & (p <= 1), p, jnp.nan)
    positive = jnp.where(y == 0, 0 * inside, -y * jnp.log(inside))
    return positive + jnp.where(y == 1, 0 * inside, -(1 - y) * _log_of_rest(inside))


def _log_of_rest(p: Array) -> Array:
    """ln(1 - p)."""
    # XLA's log1p of a float64 is off by up to 128 units in the last place between -0.414 and -0.33 (jaxlib 0.10).
    # From there on the logarithm of 1 - p, and to first order of what the subtraction lost: nothing from ½ on.
    rest = 1 - p
    lost = (1 - rest) - p
    return jnp.where(p < 0.3, jnp.log1p(-p), jnp.log(rest) + lost / jnp.maximum(rest, 0.5))


def _binary_cross_entropy_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    # An infinite derivative times a tangent that is 0 because nothing was asked in its direction would be nan.
    (p, y), (dp, dy) = primals, tangents
    value = _binary_cross_entropy(p, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dp, SymbolicZero):
        tangent += _binary_slope(p, y) * dp
    if not isinstance(dy, SymbolicZero):
        tangent += (_log_of_rest(p) - jnp.log(p)) * dy
    return value, tangent


@jax.custom_jvp
def _binary_slope(p: Array, y: Array) -> Array:
    # p - y is exact where it cancels; at y = 0 and 1 the factor that it shares with p(1 - p) is cancelled by hand.
    soft = (p - y) / (p * (1 - p))
    slope = jnp.where(y == 0, 1 / (1 - p), jnp.where(y == 1, -1 / p, soft))
    return jnp.where((p >= 0) & (p <= 1), slope, jnp.nan)


def _binary_slope_jvp(primals: tuple[Array, Array], tangents: tuple[Any, Any]) -> tuple[Array, Array]:
    (p, y), (dp, dy) = primals, tangents
    value = _binary_slope(p, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dp, SymbolicZero):
        # Not y/p/p, of which XLA makes y/(p·p): p·p may be no normal number where 1/p² is.
        inverse = 1 / p
        curvature = jnp.where(y == 0, 0, y * inverse * inverse) + jnp.where(y == 1, 0, (1 - y) / (1 - p) / (1 - p))
        tangent += jnp.where((p >= 0) & (p <= 1), curvature, jnp.nan) * dp
    if not isinstance(dy, SymbolicZero):
        tangent -= dy / (p * (1 - p))
    return value, tangent


_binary_cross_entropy.defjvp(_binary_cross_entropy_jvp, symbolic_zeros=True)
_binary_slope.defjvp(_binary_slope_jvp, symbolic_zeros=True)
