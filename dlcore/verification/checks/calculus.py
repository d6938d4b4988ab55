"""Checks of difference quotients against their twins, and of derivatives against formulas."""

import jax
import jax.numpy as jnp
import numpy as np

from dlcore import calculus
from dlcore._core.types import Array
from dlcore.reference import calculus as reference
from dlcore.verification.check import Check, Exact, Results, check_result

H = 2.0**-6
POINTS = np.array([-2.0, -0.5, 0.0, 0.25, 1.0, 3.0])
YES = Exact(np.array(1.0), 0.0)


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks with a cube, a function of three numbers, the rules of calculus and the gradient check."""
    x = POINTS.astype(dtype)
    vectors = np.random.default_rng(0).uniform(0.5, 2, size=(4, 3)).astype(dtype)
    directions = np.random.default_rng(1).normal(size=(4, 3)).astype(dtype)
    pairs = vectors[:, 0], vectors[:, 1]
    return [
        _check_quotient("difference_quotient", x),
        _check_quotient("central_difference", x),
        check_result(
            "calculus.derivative", lambda x: calculus.derivative(_cube)(x), lambda x: Exact(3 * x**2, 4.0), (x,)
        ),
        check_result(
            "calculus.partial",
            lambda x, y: calculus.partial(lambda x, y: x * _cube(y), 1)(x, y),
            lambda x, y: Exact(3 * x * y**2, 4.0),
            pairs,
        ),
        check_result(
            "calculus.gradient",
            lambda x: calculus.gradient(lambda x: x[0] * x[1] * x[2])(x),
            lambda x: Exact(x.prod(-1, keepdims=True) / x, 2.0),
            (vectors,),
        ),
        check_result(
            "calculus.jacobian", lambda x: calculus.jacobian(_f)(x), lambda x: Exact(_jacobian(x), 4.0), (vectors,)
        ),
        check_result(
            "calculus.directional_derivative",
            lambda x, v: calculus.directional_derivative(_f, x, v),
            _directional_derivative,
            (vectors, directions),
        ),
        _check_rules(x[x > 0]),
        _check_gradient_check(x),
    ]


def _cube(x: Array) -> Array:
    return x * x * x


def _check_quotient(name: str, x: np.ndarray) -> Check:
    """Return the check of a quotient of a cube: the rounding error of the largest cube over the step."""
    return check_result(
        f"calculus.{name}",
        lambda x: getattr(calculus, name)(_cube, x, H),
        lambda x: Exact(getattr(reference, name)(_cube, x, H), 2.0, (np.abs(x) + H) ** 3 / H, unit="ulp/h"),
        (x,),
    )


def _f(x: Array) -> Array:
    return jnp.stack([x[0] * x[1], jnp.log(x[1]) * x[2], jnp.exp(x[0])])


def _jacobian(x: np.ndarray) -> np.ndarray:
    a, b, c = x.T
    zero = np.zeros_like(a)
    rows = [[b, a, zero], [zero, c / b, np.log(b)], [np.exp(a), zero, zero]]
    return np.moveaxis(np.array(rows), -1, 0)


def _directional_derivative(x: np.ndarray, v: np.ndarray) -> Exact:
    jacobian = _jacobian(x)
    return Exact((jacobian * v[:, None]).sum(-1), 4.0, (np.abs(jacobian) * np.abs(v)[:, None]).sum(-1))


def _check_rules(x: np.ndarray) -> Check:
    """Return the check of ln(x)/x² + √x·eˣ − exp(−x), which needs every rule of differentiation."""

    def compute(x: Array) -> Results:
        c = calculus
        f = c.LN / c.X**2 + c.SQRT * c.EXP - 1 / c.EXP(c.X)
        return {"value": f(x), "derivative": f.df(x)}

    def expected(x: np.ndarray) -> dict[str, Exact]:
        values = np.log(x) / x**2, np.sqrt(x) * np.exp(x), -np.exp(-x)
        slopes = 1 / x**3, -2 * np.log(x) / x**3, (0.5 / np.sqrt(x) + np.sqrt(x)) * np.exp(x), np.exp(-x)
        return {
            name: Exact(sum(terms, np.zeros_like(x)), 6.0, sum(map(np.abs, terms), np.zeros_like(x)))
            for name, terms in (("value", values), ("derivative", slopes))
        }

    covers = tuple(f"calculus.{name}" for name in ("X", "SQRT", "LN", "EXP"))
    return Check("calculus.Differentiable", compute, expected, (x,), covers=covers)


def _check_gradient_check(x: np.ndarray) -> Check:
    """Return the check of a correct derivative, and of a derivative that is a thousandth too large."""

    @jax.custom_jvp
    def wrong(x: Array) -> Array:
        return jnp.sin(x)

    wrong.defjvps(lambda dx, _, x: 1.001 * jnp.cos(x) * dx)

    def compute(x: np.ndarray) -> Results:
        passes, fails = calculus.check_gradient(jnp.sin, x).passed, not calculus.check_gradient(wrong, x).passed
        return {"passes what is right": passes, "refuses what is wrong": fails}

    expected = {"passes what is right": YES, "refuses what is wrong": YES}
    covers = ("calculus.GradientCheck",)
    return Check("calculus.check_gradient", compute, lambda _: expected, (x,), traced=False, covers=covers)
