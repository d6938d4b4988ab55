"""Losses of a predicted number."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.array_checks import as_array, as_floating, check_equal_shapes, check_number, with_constants
from dlcore._core.host_checks import check_rank, check_real_targets
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses.metadata import with_facts


def _variance(y: np.ndarray, share: np.ndarray) -> float:
    return float(share @ (y - share @ y) ** 2)


def _deviation(y: np.ndarray, share: np.ndarray) -> float:
    """The mean distance from a weighted median."""
    order = np.argsort(y, kind="stable")
    median = y[order[min(np.searchsorted(np.cumsum(share[order]), 0.5), len(y) - 1)]]
    return float(share @ np.abs(y - median))


def _huber_deviation(y: np.ndarray, share: np.ndarray, delta: float = 1.0) -> float:
    """The least mean of the loss, by bisection of its derivative."""
    low, high = y.min(), y.max()
    for _ in range(60):
        middle = low + (high - low) / 2
        rising = share @ np.clip(middle - y, -delta, delta) > 0
        low, high = (low, middle) if rising else (middle, high)
    far = np.abs(low - y)
    return float(share @ np.where(far <= delta, far**2 / 2, delta * (far - delta / 2)))


@with_constants
@with_facts(curvature=2.0, check_targets=check_real_targets, null_value=_variance)
def squared_error(prediction: Numeric, target: Numeric) -> Array:
    r"""Squared error of one example, without a factor ½.

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


@with_constants
@with_facts(check_targets=check_real_targets, null_value=_deviation)
def absolute_error(prediction: Numeric, target: Numeric) -> Array:
    r"""Absolute error of one example.

    $\ell = |\hat y - y|$, $\partial\ell/\partial\hat y = \mathrm{sign}(\hat y - y)$, 0 at 0

    Its curvature is not bounded: no step size is safe for plain gradient descent.

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


@with_constants
@with_facts(curvature=1.0, check_targets=check_real_targets, null_value=_huber_deviation)
def huber(prediction: Numeric, target: Numeric, delta: Numeric = 1.0) -> Array:
    r"""Huber loss of one example: a parabola near 0, straight lines beyond: no outlier pulls harder than δ.

    $\ell = r^2/2$ where $|r| \le \delta$, else $\delta(|r| - \delta/2)$, with $r = \hat y - y$;
    $\partial\ell/\partial\hat y = \min(\max(r, -\delta), \delta)$

    Args:
      prediction: shape (), floating point.
      target: shape (), floating point.
      delta: where the parabola ends, a number above 0, in the units of the target. To fit with another than 1
        pass `functools.partial(huber, delta=...)` as the loss.

    Returns:
      A scalar in the common dtype of prediction and target; infinity at an infinite residual, nan where an input
      is nan. Differentiable in `delta` too.

    Raises:
      ValueError: if the shapes differ, or `delta` is known and not a finite number above 0.
      TypeError: if prediction or target is not of a floating-point dtype.

    Source: Huber (1964), Robust estimation of a location parameter, equation 2.

    >>> print(huber(jnp.array(3.0), jnp.array(0.0)), huber(jnp.array(0.5), jnp.array(0.0)))
    2.5 0.125
    """
    prediction, target = _checked(prediction, target)
    check_number("delta", delta, above=0)
    end = as_array("delta", delta)
    check_rank("delta", end, 0, "()")
    end = end.astype(jnp.result_type(prediction, target))
    return in_working_dtype(lambda p, y, end: _huber(p - y, end), prediction, target, end)


def _checked(prediction: Numeric, target: Numeric) -> tuple[Array, Array]:
    """Both as arrays of one shape and of floating-point dtypes."""
    prediction, target = as_floating("prediction", prediction), as_floating("target", target)
    check_equal_shapes(prediction=prediction, target=target)
    return prediction, target


def _absolute_error(prediction: Array, target: Array) -> Array:
    # |r| = r·sign(r) with the sign held constant: the derivative at 0 is 0, where that of `jnp.abs` may be 1.
    residual = prediction - target
    return residual * jax.lax.stop_gradient(jnp.sign(residual))


@jax.custom_jvp
def _huber(residual: Array, delta: Array) -> Array:
    # With c the residual cut to [-δ, δ]: c²/2 + δ|r - c| on every side.
    cut = jnp.clip(residual, -delta, delta)
    return cut * cut / 2 + delta * jnp.abs(residual - cut)


@_huber.defjvp
def _huber_jvp(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    # ∂ℓ/∂r = c. Differentiating the sum would form it as (c - δ·sign(r)) + δ·sign(r), which leaves nothing of a
    # small residual. ∂ℓ/∂δ = |r - c|, cut at the largest number so that an infinite residual leaves ∂ℓ/∂r alone.
    (residual, delta), (dr, ddelta) = primals, tangents
    cut = jnp.clip(residual, -delta, delta)
    beyond = jnp.minimum(jnp.abs(residual - cut), jnp.finfo(cut.dtype).max)
    return _huber(residual, delta), cut * dr + beyond * ddelta
