"""Derivatives of linear algebra at every scale of its operands, against their formulas in 60 digits."""

import itertools

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
from helpers import DTYPE, EPS
from mpmath import mp

from dlcore import linalg

TINY, MOST = float(np.finfo(DTYPE).tiny), float(np.finfo(DTYPE).max)
FAR = 110 if np.float32 == DTYPE else 1000
"""Entries of 2^±FAR times a number near 1 are normal numbers."""

RNG = np.random.default_rng(5)
LEFT, RIGHT = RNG.integers(-4, 5, (5, 2)), RNG.integers(-4, 5, (2, 3))
"""Factors of a matrix of rank 2, exact in every dtype."""

MATRICES = {
    "square": RNG.integers(-8, 9, (4, 4)) / 8 + 2 * np.eye(4),
    "tall": RNG.normal(size=(5, 3)),
    "wide": RNG.normal(size=(3, 5)),
    "deficient": LEFT @ RIGHT,
    "deficient wide": (LEFT @ RIGHT).T,
}


def pseudo_inverse(kind, a):
    """Return the pseudo-inverse by normal equations, of the factors if the rank is deficient."""

    def of_tall(a):
        return (a.T * a) ** -1 * a.T

    def of_wide(a):
        return of_tall(a.T).T

    if kind.startswith("deficient"):
        plain = mpmath.matrix(MATRICES["deficient"].tolist())
        p = of_wide(mpmath.matrix(RIGHT.tolist())) * of_tall(mpmath.matrix(LEFT.tolist()))
        at = next(index for index in itertools.product(range(5), range(3)) if plain[index])
        return p / (a[at] / plain[at]) if kind == "deficient" else p.T / (a[at[::-1]] / plain[at])
    return a**-1 if kind == "square" else of_tall(a) if kind == "tall" else of_wide(a)


def exact_of_solution(kind, a, b, da, db, c):
    """Return the derivative of x = P b along (da, db), its transpose at c, and x."""
    p = pseudo_inverse(kind, a)
    x = p * b
    residual, free = b - a * x, mp.eye(a.cols) - p * a
    forward = p * (db - da * x) + p * (p.T * (da.T * residual)) + free * (da.T * (p.T * x))
    of_a = -(p.T * c) * x.T + residual * (p * (p.T * c)).T + (p.T * x) * (free.T * c).T
    return forward, of_a, p.T * c, x


def exact_of_inverse(kind, a, b, da, db, c):
    """Return the derivative of P along da, its transpose at c, and P."""
    p = pseudo_inverse(kind, a)
    left, right = mp.eye(a.rows) - a * p, mp.eye(a.cols) - p * a
    forward = -p * da * p + p * p.T * da.T * left + right * da.T * p.T * p
    of_a = -p.T * c * p.T + left * c.T * p * p.T + p.T * p * c.T * right
    return forward, of_a, 0 * b, p


def solved(a, b):
    return linalg.solve(a, b)


def refined(a, b):
    return linalg.solve(a, b, refine=jnp.float32)


def least_squares(a, b):
    return linalg.lstsq(a, b, 1e-4).solution


def refined_least_squares(a, b):
    return linalg.lstsq(a, b, refine=jnp.float32).solution


def inverse(a, b):
    return linalg.inv(a)


def pinv(a, b):
    return linalg.pinv(a, 1e-4)


CASES = [
    (solved, "square"),
    (refined, "square"),
    (inverse, "square"),
    *((least_squares, kind) for kind in MATRICES),
    (refined_least_squares, "tall"),
    (refined_least_squares, "wide"),
    (pinv, "tall"),
    (pinv, "wide"),
    (pinv, "deficient"),
]


def assert_right(got, exact) -> bool:
    """Assert an error of at most 64 roundings. Return whether the result is in the range of the dtype."""
    exact = [exact[i, j] for i in range(exact.rows) for j in range(exact.cols)]
    largest = max(map(abs, exact))
    if not TINY < largest < MOST / 8:
        return False
    got = np.asarray(got, np.float64).ravel()
    assert np.isfinite(got).all()
    error = max(abs(mpmath.mpf(number) - wanted) for number, wanted in zip(got.tolist(), exact, strict=True))
    assert error <= 64 * EPS * largest + 64 * TINY
    return True


@pytest.mark.parametrize(("function", "kind"), CASES, ids=lambda part: getattr(part, "__name__", part))
def test_derivatives_at_every_scale(function, kind):
    """Operands, directions and cotangents have different scales, from one end of the range to the other."""
    a = MATRICES[kind]
    n, m = a.shape
    exact_of = exact_of_inverse if function in (inverse, pinv) else exact_of_solution
    rng = np.random.default_rng(0)
    b, db = rng.normal(size=(2, n, 2))
    da = rng.normal(size=(n, m))
    c = rng.normal(size=(m, n if exact_of is exact_of_inverse else 2))
    forward = jax.jit(lambda a, b, da, db: jax.jvp(function, (a, b), (da, db))[1])
    reverse = jax.jit(lambda a, b, c: jax.vjp(function, a, b)[1](c))
    scales = np.array([-1, -0.8, -0.5, -0.25, 0, 0.25, 0.5, 0.8, 1]) * FAR
    together = [(s, s, s, s, 0) for s in scales]
    apart = [tuple(rng.choice(scales, 5)) for _ in range(150)]
    compared = np.zeros(3, int)
    with mpmath.workdps(60):
        for exponents in together + apart:
            units = zip((a, b, da, db, c), exponents, strict=True)
            parts = [np.asarray(z * 2.0 ** int(e), DTYPE) for z, e in units]
            *exact, value = exact_of(kind, *(mpmath.matrix(part.astype(float).tolist()) for part in parts))
            if not 64 * TINY < max(map(abs, value)) < MOST / 64:
                continue
            got = (forward(*parts[:4]), *reverse(parts[0], parts[1], parts[4]))
            compared += [assert_right(*pair) for pair in zip(got, exact, strict=True)]
    assert (compared[:2] > 50).all()


SCALES = [1e-20, 1e19, 1e20] if np.float32 == DTYPE else [1e-160, 1e-20, 1e20, 1e150]


@pytest.mark.parametrize("scale", SCALES)
def test_the_derivative_of_lstsq_in_both_modes(scale):
    """The rows of [[3, 1], [1, 2], [0, 1]] reversed give dx = (0.759…, −1.633…), whatever the units."""
    u, b = np.array([[3.0, 1.0], [1.0, 2.0], [0.0, 1.0]]), np.array([3.0, 1.0, 1.0])
    p = np.linalg.pinv(u)
    x, du = p @ b, u[::-1]
    expected = p @ (-du @ x) + p @ p.T @ du.T @ (b - u @ x)
    np.testing.assert_allclose(expected, [0.759, -1.633], atol=1e-3)
    a, b, da = (jnp.asarray(part * scale, DTYPE) for part in (u, b, du))
    forward = jax.jvp(lambda a: linalg.lstsq(a, b).solution, (a,), (da,))[1]
    np.testing.assert_allclose(forward, expected, rtol=64 * EPS)
    rows = [jax.grad(lambda a, i=i: linalg.lstsq(a, b).solution[i])(a) for i in range(2)]
    reverse = [(np.asarray(row, np.float64) * np.asarray(da, np.float64)).sum() for row in rows]
    np.testing.assert_allclose(reverse, expected, rtol=256 * EPS)


@pytest.mark.parametrize("order", [None, -2, 1, "fro", "nuc"])
@pytest.mark.parametrize("exponent", [-FAR, -FAR // 2, FAR // 2, FAR])
def test_the_derivative_of_the_condition_number(order, exponent):
    """κ does not depend on the units: its derivative along A is 0, and its gradient scales with 1/A."""
    a, scale = jnp.asarray(MATRICES["square"], DTYPE), 2.0**exponent
    near, far = (jax.grad(lambda a: linalg.cond(a, order))(a * DTYPE.type(s)) for s in (1.0, scale))
    bound = 64 * EPS * np.abs(near).max()
    np.testing.assert_allclose(np.asarray(far, np.float64) * scale, near, rtol=0, atol=bound)
    np.testing.assert_allclose((near * a).sum(), 0, atol=bound * 16)
