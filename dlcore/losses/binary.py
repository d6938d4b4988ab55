"""Losses of two classes: the sigmoid and the cross-entropy, with derivatives that are right at the edges."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from dlcore._core.array_checks import allow_constant_transfers, as_floating, check_equal_shapes
from dlcore._core.host_checks import check_binary_labels
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses._log1p import log1p_of_fraction
from dlcore.losses.metadata import with_loss_info

Pair = tuple[Array, Array]
Tangents = tuple[Array | SymbolicZero, Array | SymbolicZero]


@allow_constant_transfers
def sigmoid(logit: Numeric) -> Array:
    r"""Return the logistic function of a logit, a probability.

    $\sigma(z) = 1/(1 + e^{-z})$, $\sigma'(z) = \sigma(z)\,\sigma(-z)$

    Args:
      logit: any shape, floating point.

    Returns:
      An array of the shape and dtype of `logit`, in [0, 1]; 0 and 1 at -inf and inf, nan at nan. Neither the value
      nor the first derivative cancels or overflows: at z = 17 in float32 the derivative is 4.1e-8, not 0.

    Raises:
      TypeError: if `logit` is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 3.10.

    >>> print(sigmoid(jnp.array([-jnp.inf, 0.0, jnp.inf])))
    [0.  0.5 1. ]
    """
    return in_working_dtype(_sigmoid, as_floating("logit", logit))


def _entropy(y: np.ndarray, weights: np.ndarray) -> float:
    """Return the entropy of the mean target."""
    p = min(float(weights @ y), 1.0)
    return float(-sum(q * np.log(q) for q in (p, 1 - p) if q > 0))


@allow_constant_transfers
@with_loss_info(curvature=0.25, check_targets=check_binary_labels, null_value=_entropy)
def sigmoid_cross_entropy(logit: Numeric, target: Numeric) -> Array:
    r"""Return the cross-entropy of one example between a target and $\sigma(z)$, from the logit $z$.

    $\ell = -y \ln\sigma(z) - (1-y)\ln\sigma(-z)$, $\partial\ell/\partial z = \sigma(z) - y$

    Args:
      logit: shape (), floating point.
      target: shape (), floating point: the label, 0 or 1, or a probability between.

    Returns:
      A scalar in the common dtype, ≥ 0 for targets in [0, 1]. It tends to |z| for a large logit of the wrong sign
      and to 0 for one of the right sign. It is infinity or 0 at ±inf, and nan where either input is nan. The
      derivative is computed as $(1-y)\sigma(z) - y\sigma(-z)$, without cancellation where the prediction is right.

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


@allow_constant_transfers
@with_loss_info(check_targets=check_binary_labels, null_value=_entropy)
def binary_cross_entropy(probability: Numeric, target: Numeric) -> Array:
    r"""Return the cross-entropy of one example between a target and a predicted probability.

    $\ell = -y \ln p - (1-y)\ln(1-p)$, $\partial\ell/\partial p = (p - y)/(p(1-p))$

    A probability near 1 has lost the accuracy of its logit: 1 − p is a multiple of eps. Where the logit is
    available, use `sigmoid_cross_entropy`.

    Args:
      probability: shape (), floating point, in [0, 1].
      target: shape (), floating point: the label, 0 or 1, or a probability between.

    Returns:
      A scalar in the common dtype, ≥ 0: 0 for a certain and right prediction, infinity for a certain and wrong
      one. It is nan where an input is nan or the probability is outside [0, 1]. At the edges the derivative is the
      limit of the formula: 1/(1-p) for y = 0 and -1/p for y = 1. It is ±1 where the prediction is right and
      ±infinity where it is wrong. The second derivative there, 1/(1-p)² or 1/p², is 1 or infinity.

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
    return value, value * _sigmoid(-z) * dz  # 1 - σ(z) would be 0 from z = 17 in float32


@jax.custom_jvp
def _sigmoid_cross_entropy(z: Array, y: Array) -> Array:
    # -ln σ(z) = max(-z, 0) + ln(1 + exp(-|z|)), and the same for -z. A class of probability 0 must count 0 also
    # where its term is infinite.
    error = jnp.where(z >= 0, 1 - y, y)
    return jnp.where(error == 0, 0, error * jnp.abs(z)) + log1p_of_fraction(jnp.exp(-jnp.abs(z)))


def _sigmoid_cross_entropy_jvp(primals: tuple[Array, Array], tangents: Tangents) -> Pair:
    (z, y), (dz, dy) = primals, tangents
    value = _sigmoid_cross_entropy(z, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dz, SymbolicZero):
        tangent += _sigmoid_slope(z, y) * dz
    if not isinstance(dy, SymbolicZero):
        # ∂ℓ/∂y = -z, clipped to finite numbers: 0 times an infinite logit would make the derivative in z nan.
        largest = jnp.finfo(z.dtype).max
        tangent -= jnp.clip(z, -largest, largest) * dy
    return value, tangent


@jax.custom_jvp
def _sigmoid_slope(z: Array, y: Array) -> Array:
    # (1 - y)σ(z) - yσ(-z) over one denominator; the value uses the same exponential. XLA does not fuse a division
    # into the operations that follow, and stores its result: the division comes last.
    tail = jnp.exp(-jnp.abs(z))
    return jnp.where(z >= 0, (1 - y) - y * tail, (1 - y) * tail - y) / (1 + tail)


def _sigmoid_slope_jvp(primals: Pair, tangents: Tangents) -> Pair:
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
    # A class of probability 0 must count 0 also where its term is infinite. A number above 1 is no probability:
    # the formula would give a negative loss.
    p = jnp.where((p >= 0) & (p <= 1), p, jnp.nan)
    positive = jnp.where(y == 0, 0 * p, -y * jnp.log(p))
    return positive + jnp.where(y == 1, 0 * p, -(1 - y) * _log_one_minus(p))


def _log_one_minus(p: Array) -> Array:
    """Return ln(1 - p)."""
    # XLA's log1p of a float64 is off by up to 128 ULPs between -0.414 and -0.33 (jaxlib 0.10). There and beyond,
    # take the logarithm of 1 - p, and add the rounding error of the subtraction to first order (0 from ½ on).
    complement = 1 - p
    rounding = (1 - complement) - p
    return jnp.where(p < 0.3, jnp.log1p(-p), jnp.log(complement) + rounding / jnp.maximum(complement, 0.5))


def _binary_cross_entropy_jvp(primals: tuple[Array, Array], tangents: Tangents) -> tuple[Array, Array]:
    # Symbolic zeros are skipped: an infinite derivative times a tangent of 0 would be nan.
    (p, y), (dp, dy) = primals, tangents
    value = _binary_cross_entropy(p, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dp, SymbolicZero):
        tangent += _binary_slope(p, y) * dp
    if not isinstance(dy, SymbolicZero):
        tangent += (_log_one_minus(p) - jnp.log(p)) * dy
    return value, tangent


@jax.custom_jvp
def _binary_slope(p: Array, y: Array) -> Array:
    # p - y is exact where it cancels. At y = 0 and 1 its common factor with p(1 - p) is cancelled by hand.
    interior = (p - y) / (p * (1 - p))
    slope = jnp.where(y == 0, 1 / (1 - p), jnp.where(y == 1, -1 / p, interior))
    return jnp.where((p >= 0) & (p <= 1), slope, jnp.nan)


def _binary_slope_jvp(primals: Pair, tangents: Tangents) -> Pair:
    (p, y), (dp, dy) = primals, tangents
    value = _binary_slope(p, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dp, SymbolicZero):
        # XLA rewrites y/p/p as y/(p·p), and p·p may underflow where 1/p² is finite.
        inverse = 1 / p
        curvature = jnp.where(y == 0, 0, y * inverse * inverse) + jnp.where(y == 1, 0, (1 - y) / (1 - p) / (1 - p))
        tangent += jnp.where((p >= 0) & (p <= 1), curvature, jnp.nan) * dp
    if not isinstance(dy, SymbolicZero):
        tangent -= dy / (p * (1 - p))
    return value, tangent


_binary_cross_entropy.defjvp(_binary_cross_entropy_jvp, symbolic_zeros=True)
_binary_slope.defjvp(_binary_slope_jvp, symbolic_zeros=True)
