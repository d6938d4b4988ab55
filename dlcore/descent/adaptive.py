"""Adaptive rules, which scale each coordinate by the size of its past gradients."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore._core.array_checks import allow_constant_transfers, check_fraction, check_number
from dlcore._core.types import Array, Numeric, Params, working_dtype
from dlcore.descent.base import like, rule


class Moments(NamedTuple):
    """State of Adam: the number of updates and the decaying means of gradients and of their squares."""

    updates: Array
    first: Params
    second: Params


def adam(
    rate: Numeric, b1: Numeric = 0.9, b2: Numeric = 0.999, eps: Numeric = 1e-8
) -> optax.GradientTransformation:
    r"""Return Adam.

    $m \leftarrow \beta_1 m + (1-\beta_1) g$, $v \leftarrow \beta_2 v + (1-\beta_2) g^2$,
    $\hat m = m/(1-\beta_1^t)$, $\hat v = v/(1-\beta_2^t)$,
    $\theta \leftarrow \theta - \alpha\,\hat m / (\sqrt{\hat v} + \varepsilon)$

    Args:
      rate: $\alpha > 0$.
      b1: $\beta_1$ in [0, 1), the decay of the mean gradient.
      b2: $\beta_2$ in [0, 1), the decay of the mean squared gradient.
      eps: $\varepsilon > 0$, in the units of the gradient.

    Returns:
      An (init, update) pair. Its state holds t, m and v, which start at 0. Halves have a float32 state.

    Raises:
      ValueError: if `rate` or `eps` is not finite and positive, or `b1` or `b2` is not in [0, 1).

    Source: Kingma and Ba (2015), Adam: a method for stochastic optimization, algorithm 1.

    >>> descent = adam(0.5)
    >>> print(descent.update(jnp.array([2.0]), descent.init(jnp.array([1.0])))[0])
    [-0.5]
    """
    check_number("rate", rate, above=0)
    check_fraction("b1", b1)
    check_fraction("b2", b2)
    check_number("eps", eps, above=0)
    return rule(_no_moments, _adam, rate, b1, b2, eps)


@allow_constant_transfers
def _no_moments(params: Params) -> Moments:
    zeros = jax.tree.map(lambda p: jnp.zeros(p.shape, working_dtype(p.dtype)), params)
    return Moments(jnp.zeros((), jnp.int32), zeros, zeros)


@allow_constant_transfers
def _adam(
    rate: Numeric,
    b1: Numeric,
    b2: Numeric,
    eps: Numeric,
    gradient: Params,
    state: Moments,
    *_: Params,
    params: Params = None,
) -> tuple[Params, Moments]:
    del params  # Optax passes the parameters by position or by name
    # The count stops at its largest value, so that it cannot overflow. Both corrections are 1 long before.
    updates = jnp.minimum(state.updates, jnp.iinfo(jnp.int32).max - 1) + 1

    def decayed(decay: Numeric, mean: Array, new: Array) -> Array:
        return like(decay, mean) * mean + (1 - like(decay, mean)) * new

    def corrected(decay: Numeric, mean: Array) -> Array:
        return mean / (1 - like(decay, mean) ** updates.astype(mean.dtype))

    def step(g: Array, m: Array, v: Array) -> Array:
        change = -like(rate, m) * corrected(b1, m) / (jnp.sqrt(corrected(b2, v)) + like(eps, v))
        return change.astype(g.dtype)

    # In half precision 0.999 rounds to 1 and eps to 0, so the moments are float32.
    wide = jax.tree.map(lambda g: g.astype(working_dtype(g.dtype)), gradient)
    first = jax.tree.map(lambda m, g: decayed(b1, m, g), state.first, wide)
    second = jax.tree.map(lambda v, g: decayed(b2, v, jnp.square(g)), state.second, wide)
    return jax.tree.map(step, gradient, first, second), Moments(updates, first, second)
