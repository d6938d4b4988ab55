"""The rules of differentiation as arithmetic on pairs (function, derivative). No automatic differentiation."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from dlcore._core.array_checks import as_inexact
from dlcore._core.types import Array

Function = Callable[[Any], Any]


@dataclasses.dataclass(frozen=True, eq=False)
class Differentiable:
    r"""A function of one number, together with its derivative.

    Arithmetic on pairs applies the rules of the textbook, written out below:
    $(f + g)' = f' + g'$, $(fg)' = f'g + fg'$, $(1/f)' = -f'/f^2$, $(f/g)' = (f'g - fg')/g^2$,
    $(f^k)' = k f^{k-1} f'$, $(f \circ g)' = (f' \circ g)\,g'$. A number stands for the constant function.

    Args:
      f: the function, of an array element by element.
      df: its derivative, likewise.

    Returns:
      As a function: `pair(x)` is f(x) of a number or an array, and `pair(other)` the composition f∘g. The
      derivative is `pair.df`.

    Raises:
      TypeError: if `f` or `df` is not a function, or an operand neither a pair nor a real number.

    Source: Burden and Faires, Numerical Analysis, section 1.1; any calculus textbook.

    >>> pair = LN / X**2
    >>> print(pair(jnp.array(1.0)), pair.df(jnp.array(1.0)))
    0.0 1.0
    >>> print(EXP(X**2).df(jnp.array(0.0)))
    0.0
    """

    f: Function
    df: Function

    def __post_init__(self) -> None:
        for name, value in (("f", self.f), ("df", self.df)):
            if not callable(value):
                raise TypeError(f"Differentiable: expected {name} as a function, got {type(value).__name__}")

    def __call__(self, x: Any) -> Any:
        """f(x); of another pair, the composition, by the chain rule."""
        if not isinstance(x, Differentiable):
            return self.f(x)
        f, g = self, x
        return Differentiable(lambda x: f.f(g.f(x)), lambda x: f.df(g.f(x)) * g.df(x))

    def __add__(self, other: Any) -> "Differentiable":
        """The rule of the sum."""
        f, g = self, _lift(other)
        return Differentiable(lambda x: f.f(x) + g.f(x), lambda x: f.df(x) + g.df(x))

    def __mul__(self, other: Any) -> "Differentiable":
        """The rule of the product."""
        f, g = self, _lift(other)
        return Differentiable(lambda x: f.f(x) * g.f(x), lambda x: f.df(x) * g.f(x) + f.f(x) * g.df(x))

    def __truediv__(self, other: Any) -> "Differentiable":
        """The rule of the quotient."""
        f, g = self, _lift(other)
        return Differentiable(
            lambda x: f.f(x) / g.f(x), lambda x: (f.df(x) * g.f(x) - f.f(x) * g.df(x)) / (g.f(x) * g.f(x))
        )

    def __pow__(self, exponent: float) -> "Differentiable":
        """The rule of the power, for a constant exponent; the power 0 is the constant 1."""
        if isinstance(exponent, bool) or not isinstance(exponent, int | float):
            raise TypeError(f"Differentiable: expected a number as the exponent, got {type(exponent).__name__}")
        if exponent == 0:
            return _constant(1)
        f, k = self, exponent
        return Differentiable(lambda x: f.f(x) ** k, lambda x: k * f.f(x) ** (k - 1) * f.df(x))

    def __neg__(self) -> "Differentiable":
        """The rule of the constant factor, −1."""
        return Differentiable(lambda x: -self.f(x), lambda x: -self.df(x))

    def __sub__(self, other: Any) -> "Differentiable":
        """The rule of the sum, of f and −g."""
        return self + -_lift(other)

    def __radd__(self, other: Any) -> "Differentiable":
        """A number plus f."""
        return _lift(other) + self

    def __rsub__(self, other: Any) -> "Differentiable":
        """A number minus f."""
        return _lift(other) - self

    def __rmul__(self, other: Any) -> "Differentiable":
        """The rule of the constant factor."""
        return _lift(other) * self

    def __rtruediv__(self, other: Any) -> "Differentiable":
        """A number divided by f; of 1, the rule of the reciprocal."""
        return _lift(other) / self


def _constant(value: float) -> Differentiable:
    """The constant function, whose derivative is 0."""

    def of(x: Any) -> Array:
        x = as_inexact("x", x)
        return jnp.full(x.shape, value, x.dtype)

    return Differentiable(of, lambda x: jnp.zeros_like(x))


def _lift(value: Any) -> Differentiable:
    """A pair as it is, a number as the constant function."""
    if isinstance(value, Differentiable):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Differentiable: expected another pair or a number, got {type(value).__name__}")
    return _constant(value)


X = Differentiable(lambda x: x, lambda x: jnp.ones_like(x))
"""The identity: x, and 1."""

SQRT = Differentiable(jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x))
"""√x, and ½x^(−½)."""

LN = Differentiable(jnp.log, lambda x: 1 / x)
"""ln x, and 1/x."""

EXP = Differentiable(jnp.exp, jnp.exp)
"""eˣ, and eˣ."""
