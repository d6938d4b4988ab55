"""Interface of a descent rule: Optax's (init, update) pair with its hyper-parameters as data."""

import inspect
from collections.abc import Callable
from typing import Protocol, cast

import jax
import jax.numpy as jnp
import optax

from dlcore._core.array_checks import as_python_float
from dlcore._core.types import Numeric, Params


class Optimizer(Protocol):
    """A descent rule as `fit` and `sweep` take it: Optax's pair, or an object with these two methods."""

    @property
    def init(self) -> Callable[..., object]:
        """A function of the parameters that returns the initial state."""
        ...

    @property
    def update(self) -> Callable[..., object]:
        """A function of (gradient, state, params) that returns (updates of the parameters, state)."""
        ...


def rule(
    init: Callable[[Params], object], update: Callable[..., tuple[Params, object]], *hyper_parameters: Numeric
) -> optax.GradientTransformation:
    """Return a descent rule made of two pure functions at module level. A new rule is a file that calls this.

    The pair is a pytree whose leaves are the hyper-parameters. Another value of a hyper-parameter is therefore an
    argument of the same compiled program. Optax's own closures compile another program for it.

    Args:
      init: function of the parameters that returns the initial state.
      update: function of (*hyper_parameters, gradient, state, params=None) that returns (updates, state).
      hyper_parameters: real numbers or scalar arrays. Integers become floats.

    Returns:
      A pair that `optax.chain`, `optax.apply_updates` and `dlcore.fit` take.

    >>> import jax
    >>> def update(rate, gradient, state, params=None):
    ...     return jax.tree.map(lambda g: -rate * jax.numpy.sign(g), gradient), state
    >>> sign_descent = rule(lambda params: (), update, 0.1)
    >>> print(sign_descent.update(jax.numpy.array([3.0, -2.0]), sign_descent.init(None))[0])
    [-0.1  0.1]
    """
    return optax.GradientTransformation(
        jax.tree_util.Partial(init), jax.tree_util.Partial(update, *map(as_python_float, hyper_parameters))
    )


def as_transformation(name: str, optimizer: object) -> optax.GradientTransformation:
    """Return a descent rule as Optax's pair.

    Args:
      name: the name of the argument, for error messages.
      optimizer: a GradientTransformation, an object with the methods `init` and `update` such as
        `optax.MultiSteps`, or an object with the method `gradient_transformation`. Two calls with the same object
        return equal pairs.

    Raises:
      TypeError: if `optimizer` is of another type.
    """
    if isinstance(optimizer, optax.GradientTransformation):
        return optimizer
    if not isinstance(optimizer, type):
        init = getattr(optimizer, "init", None)
        update = getattr(optimizer, "update", None)
        if callable(init) and callable(update):
            kinds = {parameter.kind for parameter in inspect.signature(update).parameters.values()}
            takes_extra = inspect.Parameter.VAR_KEYWORD in kinds
            pair = optax.GradientTransformationExtraArgs if takes_extra else optax.GradientTransformation
            return pair(cast(optax.TransformInitFn, init), cast(optax.TransformUpdateFn, update))
        convert = getattr(optimizer, "gradient_transformation", None)
        converted = convert() if callable(convert) else None
        if isinstance(converted, optax.GradientTransformation):
            return converted
    hint = f"; call it, {getattr(optimizer, '__name__', '')}(…)" if callable(optimizer) else ""
    raise TypeError(f"{name}: expected an Optax GradientTransformation, got {type(optimizer).__name__}{hint}")


def like(hyper_parameter: Numeric, leaf: jax.Array) -> jax.Array:
    """Return a hyper-parameter in the dtype of a leaf, so that a float64 rate keeps float32 parameters float32."""
    return jnp.asarray(hyper_parameter, leaf.dtype)
