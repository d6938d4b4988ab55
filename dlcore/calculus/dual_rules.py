"""The rules of differentiation, as arithmetic on pairs (function, derivative). No autodiff."""

import dataclasses
from collections.abc import Callable
from typing import overload

import jax.numpy as jnp

from dlcore._core.array_checks import as_inexact
from dlcore._core.types import Array, Numeric

Function = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True, eq=False)
class Differentiable:
    r"""A function of one number, together with its derivative.

    Arithmetic on pairs applies the rules of the textbook:
    $(f + g)' = f' + g'$, $(fg)' = f'g + fg'$, $(1/f)' = -f'/f^2$, $(f/g)' = (f'g - fg')/g^2$,
    $(f^k)' = k f^{k-1} f'$, $(f \circ g)' = (f' \circ g)\,g'$. A number stands for the constant function.

    Args:
      f: the function, of an array element by element.
      df: its derivative, likewise.

    Returns:
      A function: `pair(x)` is f(x) for a number or an array, and `pair(g)` is the composition f∘g with a pair g.
      The derivative is `pair.df`.

    Raises:
      TypeError: if `f` or `df` is not a function, or an operand is neither a pair nor a real number.

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

    @overload
    def __call__(self, x: "Differentiable") -> "Differentiable": ...

    @overload
    def __call__(self, x: Array) -> Array: ...

    def __call__(self, x: "Differentiable | Array") -> "Differentiable | Array":
        """Return f(x), or the composition with a pair by the chain rule."""
        if not isinstance(x, Differentiable):
            return self.f(x)
        f, g = self, x
        return Differentiable(lambda x: f.f(g.f(x)), lambda x: f.df(g.f(x)) * g.df(x))

    def __add__(self, other: "Differentiable | float") -> "Differentiable":
        """Return f + g, by the sum rule."""
        f, g = self, _lift(other)
        return Differentiable(lambda x: f.f(x) + g.f(x), lambda x: f.df(x) + g.df(x))

    def __mul__(self, other: "Differentiable | float") -> "Differentiable":
        """Return f·g, by the product rule."""
        f, g = self, _lift(other)
        return Differentiable(lambda x: f.f(x) * g.f(x), lambda x: f.df(x) * g.f(x) + f.f(x) * g.df(x))

    def __truediv__(self, other: "Differentiable | float") -> "Differentiable":
        """Return f/g, by the quotient rule."""
        f, g = self, _lift(other)
        return Differentiable(
            lambda x: f.f(x) / g.f(x), lambda x: (f.df(x) * g.f(x) - f.f(x) * g.df(x)) / (g.f(x) * g.f(x))
        )

    def __pow__(self, exponent: float) -> "Differentiable":
        """Return f^k for a constant exponent k, by the power rule. The power 0 is the constant 1."""
        if isinstance(exponent, bool) or not isinstance(exponent, int | float):
            raise TypeError(f"Differentiable: expected a number as the exponent, got {type(exponent).__name__}")
        if exponent == 0:
            return _constant(1)
        f, k = self, exponent
        return Differentiable(lambda x: f.f(x) ** k, lambda x: k * f.f(x) ** (k - 1) * f.df(x))

    def __neg__(self) -> "Differentiable":
        """Return −f."""
        return Differentiable(lambda x: -self.f(x), lambda x: -self.df(x))

    def __sub__(self, other: "Differentiable | float") -> "Differentiable":
        """Return f − g, by the sum rule of f and −g."""
        return self + -_lift(other)

    def __radd__(self, other: "Differentiable | float") -> "Differentiable":
        """Return c + f for a number c."""
        return _lift(other) + self

    def __rsub__(self, other: "Differentiable | float") -> "Differentiable":
        """Return c − f for a number c."""
        return _lift(other) - self

    def __rmul__(self, other: "Differentiable | float") -> "Differentiable":
        """Return c·f for a number c."""
        return _lift(other) * self

    def __rtruediv__(self, other: "Differentiable | float") -> "Differentiable":
        """Return c/f for a number c, by the quotient rule."""
        return _lift(other) / self


def _constant(value: float) -> Differentiable:
    """Return the constant function, whose derivative is 0."""

    def constant(x: Numeric) -> Array:
        x = as_inexact("x", x)
        return jnp.full(x.shape, value, x.dtype)

    return Differentiable(constant, lambda x: jnp.zeros_like(x))


def _lift(value: object) -> Differentiable:
    """Return a pair unchanged, and a number as the constant function."""
    if isinstance(value, Differentiable):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Differentiable: expected another pair or a number, got {type(value).__name__}")
    return _constant(value)


X = Differentiable(lambda x: x, lambda x: jnp.ones_like(x))
"""The identity x, with the derivative 1."""

SQRT = Differentiable(jnp.sqrt, lambda x: 0.5 / jnp.sqrt(x))
"""The square root √x, with the derivative ½x^(−½)."""

LN = Differentiable(jnp.log, lambda x: 1 / x)
"""The natural logarithm ln x, with the derivative 1/x."""

EXP = Differentiable(jnp.exp, jnp.exp)
"""The exponential eˣ, with the derivative eˣ."""
