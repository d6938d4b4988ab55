"""Gradient descent, momentum and Nesterov momentum."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from dlcore._core.array_checks import allow_constant_transfers, check_fraction, check_number
from dlcore._core.types import Numeric, Params
from dlcore.descent.base import like, rule


class Velocity(NamedTuple):
    """State of `momentum` and `nesterov`: the decaying sum of past gradients, a tree like the parameters."""

    velocity: Params


def gradient_descent(rate: Numeric) -> optax.GradientTransformation:
    r"""Return gradient descent.

    $\theta \leftarrow \theta - \alpha\,\nabla J(\theta)$

    Args:
      rate: $\alpha > 0$. At a rate of at most $1/L$ (see `lipschitz_step`) every step lowers a convex objective.
        Above $2/L$ a quadratic objective diverges.

    Returns:
      An (init, update) pair without state.

    Raises:
      ValueError: if `rate` is not finite and positive.

    Source: Nesterov, Lectures on Convex Optimization, section 1.2.3.

    >>> import jax.numpy as jnp
    >>> descent = gradient_descent(0.5)
    >>> print(descent.update(jnp.array([2.0]), descent.init(jnp.array([1.0])))[0])
    [-1.]
    """
    check_number("rate", rate, above=0)
    return rule(_no_state, _gradient_descent, rate)


def momentum(rate: Numeric, decay: Numeric = 0.9) -> optax.GradientTransformation:
    r"""Return gradient descent with momentum, the heavy-ball method.

    $v \leftarrow \nabla J(\theta) + \beta v$, $\theta \leftarrow \theta - \alpha v$

    Args:
      rate: $\alpha > 0$.
      decay: $\beta$ in [0, 1). With 0 the rule is gradient descent.

    Returns:
      An (init, update) pair. Its state is v, which starts at 0.

    Raises:
      ValueError: if `rate` is not finite and positive or `decay` is not in [0, 1).

    Source: Polyak (1964), Some methods of speeding up the convergence of iteration methods.

    >>> import jax.numpy as jnp
    >>> descent = momentum(0.5)
    >>> _, state = descent.update(jnp.array([2.0]), descent.init(jnp.array([1.0])))
    >>> print(descent.update(jnp.array([2.0]), state)[0])
    [-1.9]
    """
    check_number("rate", rate, above=0)
    check_fraction("decay", decay)
    return rule(_at_rest, _momentum, rate, decay)


def nesterov(rate: Numeric, decay: Numeric = 0.9) -> optax.GradientTransformation:
    r"""Return Nesterov's accelerated gradient with a constant decay, in the form with a single point.

    $v \leftarrow \nabla J(\theta) + \beta v$, $\theta \leftarrow \theta - \alpha(\nabla J(\theta) + \beta v)$

    Args:
      rate: $\alpha > 0$.
      decay: $\beta$ in [0, 1). With 0 the rule is gradient descent.

    Returns:
      An (init, update) pair. Its state is v, which starts at 0.

    Raises:
      ValueError: if `rate` is not finite and positive or `decay` is not in [0, 1).

    Source: Nesterov, Lectures on Convex Optimization, section 2.2; this form, Sutskever et al. (2013), On the
    importance of initialization and momentum in deep learning, appendix A.1.

    >>> import jax.numpy as jnp
    >>> descent = nesterov(0.5)
    >>> print(descent.update(jnp.array([2.0]), descent.init(jnp.array([1.0])))[0])
    [-1.9]
    """
    check_number("rate", rate, above=0)
    check_fraction("decay", decay)
    return rule(_at_rest, _nesterov, rate, decay)


@allow_constant_transfers
def _no_state(params: Params) -> tuple[()]:
    del params
    return ()


@allow_constant_transfers
def _at_rest(params: Params) -> Velocity:
    return Velocity(jax.tree.map(jnp.zeros_like, params))


def _decayed_sum(decay: Numeric, gradient: Params, velocity: Params) -> Params:
    return jax.tree.map(lambda g, v: g + like(decay, g) * v, gradient, velocity)


def _descend(rate: Numeric, direction: Params) -> Params:
    return jax.tree.map(lambda d: -like(rate, d) * d, direction)


@allow_constant_transfers
def _gradient_descent(
    rate: Numeric, gradient: Params, state: tuple[()], params: Params = None
) -> tuple[Params, tuple[()]]:
    del params
    return _descend(rate, gradient), state


@allow_constant_transfers
def _momentum(
    rate: Numeric, decay: Numeric, gradient: Params, state: Velocity, params: Params = None
) -> tuple[Params, Velocity]:
    del params
    velocity = _decayed_sum(decay, gradient, state.velocity)
    return _descend(rate, velocity), Velocity(velocity)


@allow_constant_transfers
def _nesterov(
    rate: Numeric, decay: Numeric, gradient: Params, state: Velocity, params: Params = None
) -> tuple[Params, Velocity]:
    del params
    velocity = _decayed_sum(decay, gradient, state.velocity)
    return _descend(rate, _decayed_sum(decay, gradient, velocity)), Velocity(velocity)
