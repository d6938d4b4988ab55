import itertools
import random
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy
from helpers import DTYPE, EPS, assert_close, random_like
from hypothesis import given, settings
from hypothesis import strategies as st

from dlcore import calculus, linalg, reference
from dlcore.calculus import EXP, LN, SQRT, Differentiable, X

# -- limits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("h", [1e-1, -1e-1, 1e-2])
def test_quotients_equal_their_definition(h):
    """Each of a few operations adds a rounding error of eps·|f|/h."""
    x = jnp.linspace(-2, 2, 9, dtype=DTYPE)
    step = jnp.asarray(h, DTYPE)
    for name in ("difference_quotient", "central_difference"):
        got = getattr(calculus, name)(lambda x: x**3 - x, x, step)
        expected = getattr(reference.calculus, name)(lambda x: x**3 - x, x, step)
        assert_close(got, expected, units=8 / abs(h), scale=8)


def test_the_errors_of_the_quotients_have_their_orders():
    """Halving h halves the forward error and quarters the central one, until rounding."""
    with jax.enable_x64(True):
        x = jnp.asarray(0.7, jnp.float64)
        for quotient, order in ((calculus.difference_quotient, 1), (calculus.central_difference, 2)):
            errors = [abs(float(quotient(jnp.sin, x, 2.0**-k)) - np.cos(0.7)) for k in range(4, 10)]
            for coarse, fine in itertools.pairwise(errors):
                assert coarse / fine == pytest.approx(2**order, rel=0.05)


# -- derivatives ---------------------------------------------------------------------------------------------


def field(v: Any) -> Any:
    """Return a map from R³ to R² of JAX or NumPy arrays."""
    xp: Any = jnp if isinstance(v, jax.Array) else np
    return xp.stack([v[0] * v[1] + xp.sin(v[2]), xp.exp(v[0]) - v[2] ** 2])


def test_partial_derivatives():
    def f(x, y):
        return x**2 * y + y**3

    for argnum, expected in ((0, 2 * 1.5 * 0.5), (1, 1.5**2 + 3 * 0.5**2)):
        assert_close(calculus.partial(f, argnum)(1.5, 0.5), expected, units=4)
        assert reference.calculus.partial(f, argnum, 1.5, 0.5) == pytest.approx(expected, abs=1e-10)


@pytest.mark.parametrize("shape", [(5,), (3, 4), (2, 3, 2), (0,), ()])
def test_the_gradient_has_the_shape_of_its_argument(shape):
    x = random_like(0, *shape)
    got = calculus.gradient(lambda x: jnp.sum(jnp.sin(x)))(x)
    assert_close(got, np.cos(np.asarray(x, np.float64)), units=4, scale=1)
    assert got.dtype == x.dtype


def test_the_gradient_points_where_the_function_rises_fastest():
    x = random_like(3, 6)

    def f(x):
        return jnp.sum(jnp.tanh(x) * x) + x[0] * x[1]

    steepest = calculus.gradient(f)(x)
    length = float(linalg.vector_norm(steepest))
    directions = np.random.default_rng(0).normal(size=(500, 6))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    slopes = jax.vmap(lambda v: calculus.directional_derivative(f, x, v))(jnp.asarray(directions, DTYPE))
    assert_close(slopes, directions @ np.asarray(steepest, np.float64), units=64, scale=length)
    assert float(slopes.max()) <= length * (1 + 64 * EPS)
    assert_close(calculus.directional_derivative(f, x, steepest / length), length, units=64)


@pytest.mark.parametrize("wide", [True, False])
def test_the_jacobian_in_both_modes(wide):
    if wide:
        x = jnp.asarray([0.3, -1.2, 0.7], DTYPE)
        got, expected = calculus.jacobian(field)(x), reference.calculus.jacobian(field, x)
        by_hand = np.array([[-1.2, 0.3, np.cos(0.7)], [np.exp(0.3), 0, -1.4]])
    else:
        x = jnp.asarray(0.4, DTYPE)
        got = calculus.jacobian(lambda t: jnp.stack([t**2, jnp.sin(t), 3 * t]))(x)
        expected = reference.calculus.jacobian(lambda t: np.stack([t**2, np.sin(t), 3 * t]), x)
        by_hand = np.array([0.8, np.cos(0.4), 3])
    assert_close(got, by_hand, units=16)
    np.testing.assert_allclose(expected, by_hand, atol=1e-6 if np.float32 == DTYPE else 1e-10)


def test_the_jacobian_of_a_scalar_takes_one_sweep():
    """No matrix of the squared size of the argument is formed."""
    program = jax.make_jaxpr(
        calculus.jacobian(
            lambda x: jnp.sum(jnp.sin(x)),
        )
    )(jnp.ones(999, DTYPE))
    assert max(np.prod(v.aval.shape) for e in program.eqns for v in e.outvars) == 999


def test_reference_gradient_and_directional_derivative():
    x = np.array([0.3, -1.2, 0.7])
    expected_df = reference.calculus.gradient(lambda v: (v**3).sum(), x)
    np.testing.assert_allclose(expected_df, 3 * x**2, atol=1e-10)
    v = np.array([1.0, 2.0, -1.0])
    along = reference.calculus.directional_derivative(field, x, v)
    np.testing.assert_allclose(along, reference.calculus.jacobian(field, x) @ v, atol=1e-10)


@settings(derandomize=True, deadline=None, max_examples=40)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_the_chain_rule_for_vector_maps(entries):
    """J of g∘f is J_g(f(x)) · J_f(x)."""
    x = jnp.asarray(entries, DTYPE)

    whole = JACOBIAN_OF_BOTH(x)
    expected = linalg.matmul(JACOBIAN_OF_OUTER(field(x)), JACOBIAN_OF_FIELD(x))
    assert whole.shape == (3, 3)
    assert_close(
        whole, expected, units=32, scale=max(1.0, float(jnp.abs(whole).max()), float(jnp.abs(x).max()) ** 2)
    )


def outer_map(u):
    return jnp.stack([jnp.tanh(u[0]), u[0] * u[1], jnp.sin(u[1])])


JACOBIAN_OF_FIELD = jax.jit(calculus.jacobian(field))
JACOBIAN_OF_OUTER = jax.jit(calculus.jacobian(outer_map))
JACOBIAN_OF_BOTH = jax.jit(calculus.jacobian(lambda v: outer_map(field(v))))


# -- the rules, against sympy --------------------------------------------------------------------------------

SYMBOL = sympy.Symbol("x", positive=True)

TABLE = [
    (Differentiable(lambda x: jnp.ones_like(x), lambda x: jnp.zeros_like(x)), sympy.Integer(1)),
    (X, SYMBOL),
    (X**2, SYMBOL**2),
    (X**3, SYMBOL**3),
    (SQRT, sympy.sqrt(SYMBOL)),
    (LN, sympy.log(SYMBOL)),
    (EXP, sympy.exp(SYMBOL)),
    (18 * X**5, 18 * SYMBOL**5),
    (LN - X**2 + 5, sympy.log(SYMBOL) - SYMBOL**2 + 5),
    (2 * EXP * X, 2 * sympy.exp(SYMBOL) * SYMBOL),
    (1 / LN, 1 / sympy.log(SYMBOL)),
    (LN / X**2, sympy.log(SYMBOL) / SYMBOL**2),
    (EXP(X**2), sympy.exp(SYMBOL**2)),
    (3 - X, 3 - SYMBOL),
    (-(X**0.5), -(SYMBOL ** sympy.Rational(1, 2))),
    (X**0 + X, 1 + SYMBOL),
    (EXP / 4, sympy.exp(SYMBOL) / 4),
]
POINTS = [0.25, 0.5, 1.5, 2.0]


def exact(expression, point) -> float:
    """Return the value to 30 digits, rounded once."""
    return float(sympy.N(expression.subs(SYMBOL, sympy.Rational(point)), 30))


@pytest.mark.parametrize(("pair", "expression"), TABLE, ids=[str(row[1]) for row in TABLE])
def test_derivatives_of_the_table(pair, expression):
    """The derivatives by rule, by JAX, by limit and by sympy agree."""
    expected_df = sympy.diff(expression, SYMBOL)
    for point in POINTS:
        x = jnp.asarray(point, DTYPE)
        assert_close(pair(x), exact(expression, point), units=32, scale=8 * (1 + abs(exact(expression, point))))
        scale = 8 * (1 + abs(exact(expected_df, point)))
        assert_close(pair.df(x), exact(expected_df, point), units=32, scale=scale)
        assert_close(calculus.derivative(pair)(x), exact(expected_df, point), units=32, scale=scale)
    evaluate: Any = sympy.lambdify(SYMBOL, expression, "numpy")
    assert reference.calculus.derivative(evaluate, 1.5) == pytest.approx(exact(expected_df, 1.5), rel=1e-7)


def composition(rng: random.Random, depth: int) -> tuple[Differentiable, Any]:
    """Return a random function, positive and of moderate size for positive x, as a pair and in sympy."""
    if depth == 0:
        return rng.choice([(X, SYMBOL), (SQRT, sympy.sqrt(SYMBOL)), (EXP(-X), sympy.exp(-SYMBOL))])
    f, f_exact = composition(rng, depth - 1)
    g, g_exact = composition(rng, rng.randrange(depth))
    return rng.choice(
        [
            lambda: (f + g, f_exact + g_exact),
            lambda: (f * g, f_exact * g_exact),
            lambda: (f / (1 + g), f_exact / (1 + g_exact)),
            lambda: (1 / (2 + f), 1 / (2 + f_exact)),
            lambda: (f - g, f_exact - g_exact) if depth == 1 else (f + 3 * g, f_exact + 3 * g_exact),
            lambda: (LN(1 + f * f), sympy.log(1 + f_exact**2)),
            lambda: (EXP(-f * f), sympy.exp(-(f_exact**2))),
            lambda: ((1 + f * f) ** 1.5, (1 + f_exact**2) ** sympy.Rational(3, 2)),
            lambda: (SQRT(1 + f * f), sympy.sqrt(1 + f_exact**2)),
        ]
    )()


@pytest.mark.parametrize("seed", range(10))
def test_random_compositions_by_rule_by_jax_and_by_sympy(seed):
    """The tolerance of 1e-10 in float64 leaves no room for a wrong rule."""
    rng = random.Random(seed)
    pairs = [composition(rng, rng.randint(1, 3)) for _ in range(10)]
    with jax.enable_x64(True):
        x = jnp.asarray(0.75, jnp.float64)
        results = jax.jit(lambda x: [(pair(x), pair.df(x), calculus.derivative(pair)(x)) for pair, _ in pairs])(x)
    for (value, by_rule, by_jax), (_, expression) in zip(results, pairs, strict=True):
        expected_df = exact(sympy.diff(expression, SYMBOL), 0.75)
        assert float(value) == pytest.approx(exact(expression, 0.75), rel=1e-12, abs=1e-12)
        assert float(by_rule) == pytest.approx(expected_df, rel=1e-10, abs=1e-10)
        assert float(by_jax) == pytest.approx(expected_df, rel=1e-10, abs=1e-10)


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.floats(0.125, 4), st.floats(-3, 3), st.integers(-3, 5))
def test_the_rules_hold_on_generated_numbers(point, factor, power):
    """The derivatives of cf, f + g, fg, 1/f, f/g and f(g) equal their formulas in NumPy."""
    x = np.float64(DTYPE.type(point))
    f, df = x**power, (power * x ** (power - 1) if power else 0.0)
    g, dg = np.log(1 + x), 1 / (1 + x)
    F, G = X**power, LN(1 + X)
    expected = {
        "factor": (factor * F, factor * df),
        "sum": (F + G, df + dg),
        "product": (F * G, df * g + f * dg),
        "reciprocal": (1 / F, -df / f**2),
        "quotient": (F / G, (df * g - f * dg) / g**2),
        "chain": (G(F), df / (1 + f)),
    }
    for pair, expected_df in expected.values():
        size = max(1.0, abs(df), abs(f), abs(df) * g / g**2, f * dg / g**2, abs(df / f**2), 1 / abs(f))
        assert_close(pair.df(jnp.asarray(point, DTYPE)), expected_df, units=64, scale=size * max(1, abs(factor)))


def test_the_rules_use_no_automatic_differentiation(monkeypatch):
    def forbidden(*args, **kwargs):
        raise AssertionError

    for name in ("grad", "jvp", "vjp", "jacfwd", "jacrev", "linearize"):
        monkeypatch.setattr(jax, name, forbidden)
    assert float(EXP(X**2 / SQRT).df(jnp.asarray(1.0, DTYPE))) == pytest.approx(1.5 * np.e, rel=1e-6)


def test_pairs_refuse_invalid_operands():
    with pytest.raises(TypeError, match="expected another pair or a number, got str"):
        _ = X + cast(Any, "1")
    with pytest.raises(TypeError, match="expected another pair or a number, got bool"):
        _ = X * True
    with pytest.raises(TypeError, match="a number as the exponent, got Differentiable"):
        _ = X ** cast(Any, X)
    with pytest.raises(TypeError, match="expected df as a function, got int"):
        Differentiable(jnp.sin, cast(Any, 1))


def test_the_power_0_has_the_derivative_0_at_0():
    assert float((X**0).df(jnp.zeros((), DTYPE))) == 0
    assert float((X**1).df(jnp.zeros((), DTYPE))) == 1


def test_a_constant_of_an_integer_is_not_truncated():
    assert float((X / 4 + 0.5)(jnp.asarray(1))) == 0.75


# -- the check of gradients ----------------------------------------------------------------------------------


def scaled(factor: float):
    """Return sin with a derivative that is `factor` times the right one."""

    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    f.defjvp(lambda primals, tangents: (jnp.sin(primals[0]), factor * jnp.cos(primals[0]) * tangents[0]))
    return f


SIZE = 100_000


@pytest.mark.parametrize("factor", [0.0, 2.0, -1.0, 1.001])
@pytest.mark.parametrize("reduced", [False, True])
def test_a_wrong_gradient_is_rejected_at_size_1e5(factor, reduced):
    f = scaled(factor)
    x = np.random.default_rng(0).normal(size=SIZE)
    report = calculus.check_gradient((lambda x: f(x).sum()) if reduced else f, x)
    assert not report.passed
    assert report.forward_error == pytest.approx(report.reverse_error, rel=1e-6)
    assert report.forward_error > abs(factor - 1) / 5


@pytest.mark.parametrize(
    "f", [scaled(1.0), jnp.tanh, lambda x: linalg.vector_norm(x, 3), lambda x: jnp.exp(x) / 7]
)
def test_a_right_gradient_passes_at_size_1e5(f):
    report = calculus.check_gradient(f, np.random.default_rng(0).normal(size=SIZE))
    assert report.passed
    assert max(report.forward_error, report.reverse_error) < 1e-8


def test_a_single_wrong_entry_is_found():
    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    def wrong_jvp(primals, tangents):
        return jnp.sin(primals[0]), (jnp.cos(primals[0]) * tangents[0]).at[17].mul(-1)

    f.defjvp(wrong_jvp)
    assert not calculus.check_gradient(f, np.random.default_rng(0).normal(size=1000)).passed


def test_a_wrong_transpose_is_found():
    """The linear map is right in forward mode and doubled in reverse mode."""

    def f(x):
        return jax.custom_derivatives.linear_call(lambda _, x: 3 * x, lambda _, t: 6 * t, (), x)

    report = calculus.check_gradient(f, np.ones(3))
    assert report.forward_error < 1e-8
    assert report.reverse_error > 0.1
    assert not report.passed


def test_a_wrong_reverse_rule_without_a_forward_rule_is_found():
    @jax.custom_vjp
    def f(x):
        return jnp.sin(x)

    f.defvjp(lambda x: (jnp.sin(x), x), lambda x, cotangent: (2 * jnp.cos(x) * cotangent,))
    report = calculus.check_gradient(f, np.ones(3))
    assert not report.passed
    assert np.isnan(report.forward_error)
    assert report.reverse_error > 0.1


def test_trees_constants_and_loops():
    tree = {"a": np.ones(3), "b": (np.float32(2), 3)}
    assert calculus.check_gradient(lambda t: {"c": t["a"] * t["b"][0] ** 2, "d": jnp.sin(t["b"][1])}, tree).passed
    assert calculus.check_gradient(lambda x: jnp.sin(x) ** 2 + jnp.cos(x) ** 2, np.linspace(0, 1, 7)).passed
    looped = calculus.check_gradient(
        lambda x: jax.lax.fori_loop(0, jnp.int32(x.size), lambda _, s: s * 1.5, x), np.ones(2)
    )
    assert looped.passed


def test_a_while_loop_is_checked_forward_only():
    def f(x):
        return jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[1]

    report = calculus.check_gradient(f, np.ones(2))
    assert report.passed
    assert report.forward_error < 1e-8
    assert np.isnan(report.reverse_error)


@pytest.mark.parametrize(
    ("error", "arguments", "message"),
    [
        (TypeError, (3, np.ones(2)), "expected a function, got int"),
        (ValueError, (jnp.sin, np.ones(0)), "x has no entries"),
        (ValueError, (jnp.sin, np.array([1, np.nan])), "x: expected finite numbers, got nan"),
        (ValueError, (jnp.log, np.array([-1.0])), r"f\(x\) is not finite"),
        (TypeError, (lambda x: x > 0, np.ones(2)), r"expected f\(x\) real, got \['bool'\]"),
        (TypeError, (jnp.sin, np.array(["a"])), "x: expected numbers"),
    ],
)
def test_check_gradient_refuses_invalid_arguments(error, arguments, message):
    with pytest.raises(error, match=message):
        calculus.check_gradient(*arguments)
    with pytest.raises(ValueError, match="tol: expected a finite number above 0, got 0"):
        calculus.check_gradient(jnp.sin, np.ones(2), tol=0)


@pytest.mark.parametrize("name", ["derivative", "gradient", "jacobian"])
def test_an_argument_that_is_no_function_is_refused(name):
    with pytest.raises(TypeError, match=f"{name}: expected a function, got float"):
        getattr(calculus, name)(1.0)


def test_wrong_arguments_of_derivatives():
    with pytest.raises(TypeError, match="partial: expected a function"):
        calculus.partial(cast(Any, 1.0), 0)
    with pytest.raises(ValueError, match="no argument 2 among 1"):
        calculus.partial(jnp.sin, 2)(1.0)
    with pytest.raises(ValueError, match=r"derivative: expected a scalar x, got shape \(2,\)"):
        calculus.derivative(jnp.sin)(jnp.ones(2))
    with pytest.raises(ValueError, match=r"x \(2,\), v \(3,\)"):
        calculus.directional_derivative(jnp.sin, jnp.ones(2), jnp.ones(3))
    with pytest.raises(TypeError, match="x: expected an array, got str"):
        calculus.difference_quotient(jnp.sin, cast(Any, "1"), 0.1)
