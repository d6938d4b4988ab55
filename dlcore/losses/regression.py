"""Losses of a predicted number: squared error, absolute error and Huber loss."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import (
    allow_constant_transfers,
    as_array,
    as_floating,
    check_equal_shapes,
    check_number,
)
from dlcore._core.host_checks import check_rank, check_real_targets
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses.metadata import with_loss_info


def _variance(y: np.ndarray, weights: np.ndarray) -> float:
    return float(weights @ (y - weights @ y) ** 2)


def _median_deviation(y: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean distance from a weighted median."""
    order = np.argsort(y, kind="stable")
    median = y[order[min(np.searchsorted(np.cumsum(weights[order]), 0.5), len(y) - 1)]]
    return float(weights @ np.abs(y - median))


def _least_huber(y: np.ndarray, weights: np.ndarray, delta: float = 1.0) -> float:
    """Return the mean loss of the best constant, found by bisection of the derivative."""
    low, high = y.min(), y.max()
    for _ in range(60):
        middle = low + (high - low) / 2
        increasing = weights @ np.clip(middle - y, -delta, delta) > 0
        low, high = (low, middle) if increasing else (middle, high)
    distance = np.abs(low - y)
    return float(weights @ np.where(distance <= delta, distance**2 / 2, delta * (distance - delta / 2)))


@allow_constant_transfers
@with_loss_info(curvature=2.0, check_targets=check_real_targets, null_value=_variance)
def squared_error(prediction: Numeric, target: Numeric) -> Array:
    r"""Return the squared error of one example, without a factor ½.

    $\ell = (\hat y - y)^2$, $\partial\ell/\partial\hat y = 2(\hat y - y)$

    Args:
      prediction: shape (), floating point.
      target: shape (), floating point.

    Returns:
      A scalar in the common dtype; infinity at an infinite residual, nan where either input is nan.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if an argument is not of a floating-point dtype.

    Source: Goodfellow, Bengio and Courville, Deep Learning, section 5.1.4.

    >>> print(squared_error(jnp.array(3.0), jnp.array(1.0)))
    4.0
    """
    prediction, target = _checked(prediction, target)
    return in_working_dtype(lambda prediction, target: jnp.square(prediction - target), prediction, target)


@allow_constant_transfers
@with_loss_info(check_targets=check_real_targets, null_value=_median_deviation)
def absolute_error(prediction: Numeric, target: Numeric) -> Array:
    r"""Return the absolute error of one example.

    $\ell = |\hat y - y|$, $\partial\ell/\partial\hat y = \mathrm{sign}(\hat y - y)$, 0 at 0

    The curvature is unbounded at 0: no step size is safe for plain gradient descent.

    Args:
      prediction: shape (), floating point.
      target: shape (), floating point.

    Returns:
      A scalar in the common dtype; infinity at an infinite residual, nan where either input is nan. The
      derivative at 0 is 0, an element of the subdifferential [-1, 1]; the second derivative is 0 everywhere.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if an argument is not of a floating-point dtype.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 10.6.

    >>> print(absolute_error(jnp.array(1.0), jnp.array(3.0)))
    2.0
    """
    prediction, target = _checked(prediction, target)
    return in_working_dtype(_absolute_error, prediction, target)


@allow_constant_transfers
@with_loss_info(curvature=1.0, check_targets=check_real_targets, null_value=_least_huber)
def huber(prediction: Numeric, target: Numeric, delta: Numeric = 1.0) -> Array:
    r"""Return the Huber loss of one example: quadratic near 0 and linear beyond, with a slope of at most δ.

    $\ell = r^2/2$ where $|r| \le \delta$, else $\delta(|r| - \delta/2)$, with $r = \hat y - y$;
    $\partial\ell/\partial\hat y = \min(\max(r, -\delta), \delta)$

    Args:
      prediction: shape (), floating point.
      target: shape (), floating point.
      delta: the residual where the loss becomes linear, a number above 0. To fit with another value than 1, pass
        `functools.partial(huber, delta=...)` as the loss.

    Returns:
      A scalar in the common dtype of prediction and target; infinity at an infinite residual, nan where an input
      is nan. The loss is differentiable in `delta` too.

    Raises:
      ValueError: if the shapes differ, or `delta` is not traced and not a finite number above 0.
      TypeError: if prediction or target is not of a floating-point dtype.

    Source: Huber (1964), Robust estimation of a location parameter, equation 2.

    >>> print(huber(jnp.array(3.0), jnp.array(0.0)), huber(jnp.array(0.5), jnp.array(0.0)))
    2.5 0.125
    """
    prediction, target = _checked(prediction, target)
    check_number("delta", delta, above=0)
    delta = as_array("delta", delta)
    check_rank("delta", delta, 0, "()")
    delta = delta.astype(jnp.result_type(prediction, target))
    return in_working_dtype(lambda p, y, delta: _huber(p - y, delta), prediction, target, delta)


def _checked(prediction: Numeric, target: Numeric) -> tuple[Array, Array]:
    """Return both as arrays of one shape and of floating-point dtypes."""
    prediction, target = as_floating("prediction", prediction), as_floating("target", target)
    check_equal_shapes(prediction=prediction, target=target)
    return prediction, target


def _absolute_error(prediction: Array, target: Array) -> Array:
    # |r| = r·sign(r) with a constant sign: the derivative at 0 is 0. That of `jnp.abs` may be 1.
    residual = prediction - target
    return residual * jax.lax.stop_gradient(jnp.sign(residual))


@jax.custom_jvp
def _huber(residual: Array, delta: Array) -> Array:
    # c²/2 + δ|r - c| everywhere, where c is the residual clipped to [-δ, δ].
    clipped = jnp.clip(residual, -delta, delta)
    return clipped * clipped / 2 + delta * jnp.abs(residual - clipped)


@_huber.defjvp
def _huber_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # ∂ℓ/∂r = c. The derivative of the sum would be (c - δ·sign(r)) + δ·sign(r), and cancels for a small r.
    # ∂ℓ/∂δ = |r - c|, clipped to finite numbers: 0 times an infinite residual would make ∂ℓ/∂r nan.
    (residual, delta), (dr, ddelta) = primals, tangents
    clipped = jnp.clip(residual, -delta, delta)
    excess = jnp.minimum(jnp.abs(residual - clipped), jnp.finfo(clipped.dtype).max)
    return _huber(residual, delta), clipped * dr + excess * ddelta
