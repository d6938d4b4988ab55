"""Losses of a predicted number."""

import jax.numpy as jnp

from dlcore._checks import check_real_targets
from dlcore._guards import as_floating, check_equal_shapes
from dlcore._types import Array, Numeric
from dlcore.losses.facts import with_facts


@with_facts(curvature=2.0, check_targets=check_real_targets)
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
    prediction, target = as_floating("prediction", prediction), as_floating("target", target)
    check_equal_shapes(prediction=prediction, target=target)
    return jnp.square(prediction - target)
