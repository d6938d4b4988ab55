"""Calculus: difference quotients against their twins, derivatives against those found by hand."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import calculus
from dlcore._core.types import Array
from dlcore.reference import calculus as twins
from dlcore.verification.check import Check, Exact

H = 2.0**-6
POINTS = np.array([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])


def checks(dtype: np.dtype) -> list[Check]:
    """Of a cube, of a function of three numbers, of the textbook's rules, and of the check of gradients."""
    x = POINTS.astype(dtype)
    vectors = np.random.default_rng(0).uniform(0.5, 2, size=(4, 3)).astype(dtype)
    directions = np.random.default_rng(1).normal(size=(4, 3)).astype(dtype)
    return [
        _quotient("difference_quotient", x),
        _quotient("central_difference", x),
        Check(
            "calculus.derivative",
            lambda x: {"": calculus.derivative(_cube)(x)},
            lambda x: {"": Exact(3 * x**2, 4.0)},
            (x,),
        ),
        Check(
            "calculus.partial",
            lambda x, y: {"": calculus.partial(lambda x, y: x * _cube(y), 1)(x, y)},
            lambda x, y: {"": Exact(3 * x * y**2, 4.0)},
            (vectors[:, 0], vectors[:, 1]),
        ),
        Check(
            "calculus.gradient",
            lambda x: {"": calculus.gradient(lambda x: x[0] * x[1] * x[2])(x)},
            lambda x: {"": Exact(x.prod(-1, keepdims=True) / x, 2.0)},
            (vectors,),
        ),
        Check(
            "calculus.jacobian",
            lambda x: {"": calculus.jacobian(_three)(x)},
            lambda x: {"": Exact(_jacobian(x), 4.0)},
            (vectors,),
        ),
        Check(
            "calculus.directional_derivative",
            lambda x, v: {"": calculus.directional_derivative(_three, x, v)},
            _along,
            (vectors, directions),
        ),
        _rules(x[x > 0]),
        Check("calculus.check_gradient", _checked, _yes, (x,), traced=False, covers=("calculus.GradientCheck",)),
    ]


def _cube(x: Any) -> Any:
    return x * x * x


def _quotient(name: str, x: np.ndarray) -> Check:
    """Of a cube; rounding is that of its largest value, over the step."""

    def twin(x: np.ndarray) -> dict[str, Exact]:
        return {"": Exact(getattr(twins, name)(_cube, x, H), 2.0, (np.abs(x) + H) ** 3 / H, unit="ulp/h")}

    return Check(f"calculus.{name}", lambda x: {"": getattr(calculus, name)(_cube, x, H)}, twin, (x,))


def _three(x: Array) -> Array:
    return jnp.stack([x[0] * x[1], jnp.log(x[1]) * x[2], jnp.exp(x[0])])


def _jacobian(x: np.ndarray) -> np.ndarray:
    a, b, c = x.T
    zero = np.zeros_like(a)
    rows = [[b, a, zero], [zero, c / b, np.log(b)], [np.exp(a), zero, zero]]
    return np.moveaxis(np.array(rows), -1, 0)


def _along(x: np.ndarray, v: np.ndarray) -> dict[str, Exact]:
    jacobian = _jacobian(x)
    scale = (np.abs(jacobian) * np.abs(v)[:, None]).sum(-1)
    return {"": Exact((jacobian * v[:, None]).sum(-1), 4.0, scale)}


def _rules(x: np.ndarray) -> Check:
    """ln(x)/x² + √x·eˣ − exp(−x), by sum, product, quotient, power, reciprocal and chain."""

    def of(x: Array) -> dict[str, Array]:
        c = calculus
        pair = c.LN / c.X**2 + c.SQRT * c.EXP - 1 / c.EXP(c.X)
        return {"value": pair(x), "derivative": pair.df(x)}

    def twin(x: np.ndarray) -> dict[str, Exact]:
        values = np.log(x) / x**2, np.sqrt(x) * np.exp(x), -np.exp(-x)
        slopes = 1 / x**3, -2 * np.log(x) / x**3, (0.5 / np.sqrt(x) + np.sqrt(x)) * np.exp(x), np.exp(-x)
        return {
            name: Exact(sum(terms, np.zeros_like(x)), 6.0, sum(map(np.abs, terms), np.zeros_like(x)))
            for name, terms in (("value", values), ("derivative", slopes))
        }

    names = tuple(f"calculus.{name}" for name in ("X", "SQRT", "LN", "EXP"))
    return Check("calculus.Differentiable", of, twin, (x,), covers=names)


@jax.custom_jvp
def _wrong(x: Array) -> Array:
    return jnp.sin(x)


_wrong.defjvps(lambda dx, _, x: 1.001 * jnp.cos(x) * dx)


def _checked(x: np.ndarray) -> dict[str, Any]:
    """A derivative that is right, and one that is a thousandth too large."""
    right, wrong = (calculus.check_gradient(f, x).passed for f in (jnp.sin, _wrong))
    return {"passes what is right": right, "refuses what is wrong": not wrong}


def _yes(_: np.ndarray) -> dict[str, Exact]:
    return {name: Exact(np.array(1.0), 0.0) for name in ("passes what is right", "refuses what is wrong")}
