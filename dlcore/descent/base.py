"""What a rule of descent is: Optax's pair, with its hyper-parameters as data."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import optax

from dlcore._core.array_checks import as_float
from dlcore._core.types import Numeric, Params


class Optimizer(Protocol):
    """A rule of descent as `fit` and `sweep` take it: Optax's pair, or an object with these two methods."""

    @property
    def init(self) -> Callable[..., Any]:
        """Parameters to state."""
        ...

    @property
    def update(self) -> Callable[..., Any]:
        """(gradient, state, params) to (what is added to the parameters, state)."""
        ...


def rule(
    init: Callable[[Params], Any], update: Callable[..., tuple[Params, Any]], *hyper_parameters: Numeric
) -> optax.GradientTransformation:
    """A rule of descent from two pure functions at module level. A new rule is one file that calls this.

    The pair is a pytree whose leaves are the hyper-parameters: another value of one is another argument of
    the same compiled program, where Optax's own closures would be another program.

    Args:
      init: parameters to state.
      update: (*hyper_parameters, gradient, state, params=None) to (what is added to the parameters, state).
      hyper_parameters: real numbers or scalar arrays; 1 is 1.0.

    Returns:
      What `optax.chain`, `optax.apply_updates` and `dlcore.fit` take.

    >>> import jax
    >>> def update(rate, gradient, state, params=None):
    ...     return jax.tree.map(lambda g: -rate * jax.numpy.sign(g), gradient), state
    >>> sign_descent = rule(lambda params: (), update, 0.1)
    >>> print(sign_descent.update(jax.numpy.array([3.0, -2.0]), sign_descent.init(None))[0])
    [-0.1  0.1]
    """
    return optax.GradientTransformation(
        jax.tree_util.Partial(init), jax.tree_util.Partial(update, *map(as_float, hyper_parameters))
    )


def as_transformation(name: str, optimizer: Any) -> optax.GradientTransformation:
    """Return a rule of descent as Optax's pair.

    Args:
      name: of the argument.
      optimizer: a GradientTransformation, an object with the methods `init` and `update`, such as
        `optax.MultiSteps`, or one with `gradient_transformation`. Of one object, the pairs are equal.

    Raises:
      TypeError: if it is none of them.
    """
    if isinstance(optimizer, optax.GradientTransformation):
        return optimizer
    if not isinstance(optimizer, type):
        init: Any = getattr(optimizer, "init", None)
        update: Any = getattr(optimizer, "update", None)
        if callable(init) and callable(update):
            kinds = {parameter.kind for parameter in inspect.signature(update).parameters.values()}
            extra = inspect.Parameter.VAR_KEYWORD in kinds
            pair: Any = optax.GradientTransformationExtraArgs if extra else optax.GradientTransformation
            return pair(init, update)
        convert = getattr(optimizer, "gradient_transformation", None)
        converted = convert() if callable(convert) else None
        if isinstance(converted, optax.GradientTransformation):
            return converted
    hint = f"; call it, {getattr(optimizer, '__name__', '')}(…)" if callable(optimizer) else ""
    raise TypeError(f"{name}: expected an Optax GradientTransformation, got {type(optimizer).__name__}{hint}")


def like(hyper_parameter: Numeric, leaf: jax.Array) -> jax.Array:
    """A hyper-parameter in the dtype of a leaf, so that a float64 rate leaves float32 parameters float32."""
    return jnp.asarray(hyper_parameter, leaf.dtype)
