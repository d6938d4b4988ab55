"""What the tolerance of an objective is relative to."""

from typing import Any

import jax.numpy as jnp


def value_scale(value: Any, penalty: Any, null_value: Any, eps: float, xp: Any = jnp) -> Any:
    r"""Return $\min(\max(J, 10^{-3}J_0), E)$ with the improvement $E = \max(J_0 - J, P)$, of any shape.

    Near a strong penalty's optimum $J_0 - J$ is far smaller than J, and a share of J would say nothing. Where the
    difference is lost in rounding the penalty P stands for it: at the optimum of a convex loss it is no more.

    Args:
      value: J, of any shape, of a loss whose least value is 0. Where it is negative all the same, the scale is E.
      penalty: P, the part of J that the penalty adds.
      null_value: J₀, that of the best constant prediction.
      eps: the rounding of J, relative; 16 of it are taken off the difference.
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    improvement = xp.maximum(null_value - value - 16 * eps * xp.abs(value), penalty)
    scale = xp.minimum(xp.maximum(value, 1e-3 * null_value), improvement)
    return xp.where((value < 0) | (null_value < 0), improvement, scale)
