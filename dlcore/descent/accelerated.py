"""Accelerated gradient descent with adaptive restart."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore._core.array_checks import allow_constant_transfers, check_number
from dlcore._core.types import Array, Numeric, Params, working_dtype
from dlcore.descent.base import like, rule
from dlcore.linalg import vecdot


class Momentum(NamedTuple):
    """State of `accelerated`.

    Attributes:
      scale: t, a scalar. It is 1 at the start and after a restart.
      ahead: θ − x, the parameters minus the result of the last gradient step, a tree like the parameters.
    """

    scale: Array
    ahead: Params


def accelerated(rate: Numeric) -> optax.GradientTransformation:
    r"""Return Nesterov's accelerated gradient with growing momentum and adaptive restart.

    $x_k = \theta_k - \alpha\,\nabla J(\theta_k)$, $t_{k+1} = \frac12\left(1 + \sqrt{1 + 4t_k^2}\right)$,
    $\theta_{k+1} = x_k + \frac{t_k - 1}{t_{k+1}}(x_k - x_{k-1})$, where $t_k$ is set to 1 first if
    $\langle\nabla J(\theta_k),\, x_k - x_{k-1}\rangle > 0$

    `nesterov` has a constant momentum that the user chooses. This rule needs only the rate.
    On a convex objective of condition number κ it takes O(√κ) steps, and gradient descent takes O(κ).

    Args:
      rate: $\alpha > 0$. A rate of at most $1/L$ (see `lipschitz_step`) converges on every convex objective.

    Returns:
      An (init, update) pair. Its state holds t and θ − x, which start at 1 and 0. Halves have a float32 state.

    Raises:
      ValueError: if `rate` is not finite and positive.

    Source: O'Donoghue and Candès (2015), Adaptive restart for accelerated gradient schemes, section 3.2, the
    gradient scheme; Beck and Teboulle (2009), A fast iterative shrinkage-thresholding algorithm (t).

    >>> descent = accelerated(0.5)
    >>> state = descent.init(jnp.array([1.0]))
    >>> for _ in range(3):
    ...     updates, state = descent.update(jnp.array([2.0]), state)
    >>> print(f"{float(updates[0]):.3f} {float(state.scale):.3f}")
    -1.556 2.750
    """
    check_number("rate", rate, above=0)
    return rule(_at_rest, _accelerated, rate)


@allow_constant_transfers
def _at_rest(params: Params) -> Momentum:
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, working_dtype(p.dtype)), params)
    # `optax.masked` may pass a tree without leaves.
    dtype = jnp.result_type(*(jax.tree.leaves(zeros) or [float]))
    return Momentum(jnp.ones((), dtype), zeros)


@allow_constant_transfers
def _accelerated(
    rate: Numeric, gradient: Params, state: Momentum, params: Params = None
) -> tuple[Params, Momentum]:
    del params
    wide = jax.tree.map(lambda g: g.astype(working_dtype(g.dtype)), gradient)
    # x_k − x_{k−1} = d − αg with the previous d = θ − x. This form subtracts no large numbers.
    moved = jax.tree.map(lambda d, g: d - like(rate, g) * g, state.ahead, wide)
    products = jax.tree.map(lambda g, m: vecdot(g.ravel(), m.ravel()).astype(state.scale.dtype), wide, moved)
    uphill = sum(jax.tree.leaves(products), jnp.zeros_like(state.scale)) > 0
    scale = jnp.where(uphill, jnp.ones_like(state.scale), state.scale)
    grown = (1 + jnp.sqrt(1 + 4 * jnp.square(scale))) / 2
    factor = (scale - 1) / grown
    ahead = jax.tree.map(lambda m: factor.astype(m.dtype) * m, moved)
    updates = jax.tree.map(lambda g, w, d: (d - like(rate, w) * w).astype(g.dtype), gradient, wide, ahead)
    return updates, Momentum(grown, ahead)
