"""The loss of counts: half the deviance of a Poisson distribution, from the logarithm of its rate."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from dlcore._core.array_checks import allow_constant_transfers, as_floating, check_equal_shapes
from dlcore._core.host_checks import check_real_targets
from dlcore._core.types import Array, Numeric, in_working_dtype
from dlcore.losses.metadata import with_loss_info

Pair = tuple[Array, Array]
Tangents = tuple[Array | SymbolicZero, Array | SymbolicZero]

NEAR = (-1.0, 2.0)
"""The range of d in which $e^d - 1 - d$ would cancel and is a polynomial."""
SINGLE = (
    0.49999999970746268843, 0.1666666668419846288, 0.041666674285934567559, 0.0083333314705194740289,
    0.0013888580659936699461, 0.00019842442513500615504, 0.000024841783537459603087, 2.7324406688455256374e-6,
    2.6069919939829989662e-7, 3.8409333890839794661e-8,
)  # fmt: skip
"""The coefficients of $(e^d - 1 - d)/d^2$ for float32, of 1, d, d², … within 2⁻³⁰ of it."""
DOUBLE = (
    0.49999999999999999987, 0.16666666666666666547, 0.041666666666666675833, 0.0083333333333333623054,
    0.0013888888888887733361, 0.00019841269841251946597, 0.000024801587302170862783, 2.7557319227836000258e-6,
    2.7557319077720295791e-7, 2.505210826411470772e-8, 2.0876775841446432125e-9, 1.6058982519207325932e-10,
    1.1469636558298071746e-11, 7.6549386020261496487e-13, 4.7914649376175862692e-14, 2.542821918514784401e-15,
    2.4608144870582553771e-16,
)  # fmt: skip
"""The coefficients for float64, within 2⁻⁶¹. Both are minimax polynomials by the exchange algorithm of Remez."""


def check_counts(y: np.ndarray, weights: np.ndarray | None = None) -> None:
    """Raise unless `y` has one number of at least 0 per row. Any weights will do."""
    check_real_targets(y, weights)
    if not (y >= 0).all():
        raise ValueError(f"y: expected counts or rates of at least 0, got {np.nanmin(y.astype(np.float64)):g}")


def _deviance_of_mean(y: np.ndarray, weights: np.ndarray) -> float:
    """Return the mean loss at the mean target: the mean of y·ln(y/ȳ) − y + ȳ, whose terms are at least 0."""
    y = y.astype(np.float64)
    mean = float(weights @ y)
    if mean <= 0:
        return 0.0
    ratio = np.where(y > 0, y, mean) / mean
    return float(weights @ np.maximum(np.where(y > 0, y * np.log(ratio), 0) - y + mean, 0))


@allow_constant_transfers
@with_loss_info(check_targets=check_counts, null_value=_deviance_of_mean)
def half_poisson_deviance(log_rate: Numeric, target: Numeric) -> Array:
    r"""Return half the Poisson deviance of one example, from the logarithm $z$ of the predicted rate.

    $\ell = e^z - yz - y + y\ln y$, $\partial\ell/\partial z = e^z - y$

    It is the negative log-likelihood of a count y less its least value, that at $z = \ln y$. The curvature $e^z$
    is unbounded: no step size is safe for plain gradient descent.

    Args:
      log_rate: shape (), floating point.
      target: shape (), floating point: a count, or any number of at least 0.

    Returns:
      A scalar in the common dtype, ≥ 0. With $d = z - \ln y$ it is computed as $y\,(e^d - 1 - d)$ near d = 0, so
      that its error is that of d and a few ULPs. A target of 0 gives $e^z$. The loss is infinity at z = inf, and
      at z = -inf unless the target is 0. It is nan where an input is nan or the target is below 0. The derivative
      in the target, $\ln y - z$, is clipped to finite numbers.

    Raises:
      ValueError: if the shapes differ.
      TypeError: if an argument is not of a floating-point dtype.

    Source: McCullagh and Nelder, Generalized Linear Models, section 2.3.

    >>> print(half_poisson_deviance(jnp.array([0.0, jnp.log(2.0), 0.0]), jnp.array([0.0, 2.0, 2.0])).round(4))
    [1.     0.     0.3863]
    """
    log_rate, target = as_floating("log_rate", log_rate), as_floating("target", target)
    check_equal_shapes(log_rate=log_rate, target=target)
    return in_working_dtype(_half_poisson_deviance, log_rate, target)


@jax.custom_jvp
def _half_poisson_deviance(z: Array, y: Array) -> Array:
    rate = jnp.exp(z)
    d = z - jnp.log(jnp.where(y == 0, 1, y))  # nan below 0
    is_near = (y != 0) & (d >= NEAR[0]) & (d <= NEAR[1])
    # Only the rate is large where d is: it may be infinite, and so may y(1 + d).
    far = jnp.where((d > NEAR[1]) & jnp.isinf(rate), rate, rate - jnp.where(y == 0, 0, y * (1 + d)))
    d = jnp.where(is_near, d, 0)
    coefficients = DOUBLE if d.dtype == np.float64 else SINGLE
    series = jnp.full_like(d, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        series = series * d + coefficient
    return jnp.where(is_near, y * d * (d * series), far)


def _half_poisson_deviance_jvp(primals: Pair, tangents: Tangents) -> Pair:
    (z, y), (dz, dy) = primals, tangents
    value = _half_poisson_deviance(z, y)
    tangent = jnp.zeros_like(value)
    if not isinstance(dz, SymbolicZero):
        tangent += (jnp.exp(z) - jnp.where(y < 0, jnp.nan, y)) * dz
    if not isinstance(dy, SymbolicZero):
        # ∂ℓ/∂y = ln y - z, clipped: 0 times an infinite number would make the derivative in z nan.
        largest = jnp.finfo(z.dtype).max
        slope = jnp.clip(jnp.log(jnp.where(y == 0, 1, y)) - z, -largest, largest)
        tangent += jnp.where((y == 0) & ~jnp.isnan(z), -largest, slope) * dy
    return value, tangent


_half_poisson_deviance.defjvp(_half_poisson_deviance_jvp, symbolic_zeros=True)
