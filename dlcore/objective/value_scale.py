"""The scale of an objective, to which its tolerance is relative."""

from types import ModuleType
from typing import TypeAlias

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import AnyArray, Array

Number: TypeAlias = Array | np.ndarray | float
"""Numbers on the device or on the host."""


def value_scale(value: Number, penalty: Number, null_value: Number, eps: float, xp: ModuleType = jnp) -> AnyArray:
    r"""Return $\min(\max(J, 10^{-3}J_0), E)$ with the improvement $E = \max(J_0 - J, P)$, of any shape.

    Near the optimum of a strong penalty $J_0 - J$ is far smaller than J, and a fraction of J would say nothing.
    Where rounding hides the difference, the penalty P replaces it. At the optimum of a convex loss P is no larger.

    Args:
      value: J, of any shape, of a loss whose least value is 0. If it is negative nevertheless, the scale is E.
      penalty: P, the part of J that the penalty adds.
      null_value: J₀, the objective of the best constant prediction.
      eps: the relative rounding error of J; 16 of it are subtracted from the difference.
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    improvement = xp.maximum(null_value - value - 16 * eps * xp.abs(value), penalty)
    scale = xp.minimum(xp.maximum(value, 1e-3 * null_value), improvement)
    return xp.where((value < 0) | (null_value < 0), improvement, scale)
