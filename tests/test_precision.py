"""What programs ask of an accelerator: products state their precision, halves add up in float32."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE

from dlcore import linalg
from dlcore.models import LinearParams
from dlcore.verification.objective_checks import data_of, objective_of
from dlcore.verification.registry import all_checks

HALVES = (jnp.bfloat16, jnp.float16)

SUMS = ("reduce_sum", "cumsum", "dot_general", "conv_general_dilated", "add_any", "reduce_window_sum")
"""What adds numbers up."""


def programs(value: Any) -> Iterator[Any]:
    """The programs inside a parameter of an equation."""
    if isinstance(value, jax.extend.core.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, jax.extend.core.Jaxpr):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from programs(part)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Every equation of a program and of the programs within it."""
    for equation in jaxpr.eqns:
        yield equation
        platforms = equation.params.get("branches_platforms")
        for value in equation.params.values():
            for k, inner in enumerate(programs(value)):
                # jnp.diagonal inside a Mosaic kernel, which the library has none of: one term and zeros.
                if not platforms or platforms[k] != ("mosaic",):
                    yield from equations(inner)


def unstated(jaxpr: Any) -> list[str]:
    """Products of floating-point numbers that leave their precision to the device."""
    highest = (jax.lax.Precision.HIGHEST,) * 2
    return [
        str(equation)
        for equation in equations(jaxpr)
        if equation.primitive.name in ("dot_general", "conv_general_dilated")
        and jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact)
        and equation.params["precision"] not in (highest, jax.lax.Precision.HIGHEST)
    ]


def sums_in_halves(jaxpr: Any) -> list[str]:
    """Sums of several terms whose total is kept in a half."""
    return [
        str(equation)
        for equation in equations(jaxpr)
        if equation.primitive.name in SUMS and equation.outvars[0].aval.dtype in HALVES
    ]


def traced(check: Any) -> Any:
    """The program of one example of a check."""
    return jax.make_jaxpr(check.function)(*(array[0] for array in check.inputs)).jaxpr


def cases(dtype: Any) -> list[Any]:
    return [check for check in all_checks(jnp.dtype(dtype)) if check.traced]


@pytest.mark.parametrize("check", cases(DTYPE), ids=lambda check: check.name)
def test_every_product_states_its_precision(check):
    assert unstated(traced(check)) == []


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_add_up_in_float32(dtype):
    for check in cases(dtype):
        program = traced(check)
        assert unstated(program) == [], check.name
        assert sums_in_halves(program) == [], check.name


def test_the_walk_finds_what_it_looks_for():
    """In the program of a loop, and where the precision or the dtype of the sum is not as it should be."""
    a = jnp.ones((2, 2), DTYPE)
    half = a.astype(jnp.bfloat16)

    def looped(product):
        return lambda a: jax.lax.fori_loop(0, 3, lambda _, b: product(a, b), a)

    assert len(unstated(jax.make_jaxpr(looped(jnp.matmul))(a).jaxpr)) == 1
    assert unstated(jax.make_jaxpr(looped(linalg.matmul))(a).jaxpr) == []
    assert len(sums_in_halves(jax.make_jaxpr(looped(jnp.matmul))(half).jaxpr)) == 1
    assert sums_in_halves(jax.make_jaxpr(looped(linalg.matmul))(half).jaxpr) == []


@pytest.mark.parametrize("name", ["logistic", "squared"])
def test_objectives_of_halves_are_computed_in_float32(name):
    data = tuple(part.astype(jnp.bfloat16) for part in data_of(name, jnp.dtype(jnp.float32)))
    params = LinearParams(jnp.ones(3, jnp.bfloat16), jnp.ones((), jnp.bfloat16))
    program = jax.make_jaxpr(lambda params: objective_of(name).value_and_grad(params, data))(params).jaxpr
    assert unstated(program) == []
    assert sums_in_halves(program) == []


def test_ten_million_float32_terms_keep_six_digits():
    """J and ∇J of a weighted mean, whose terms are all of one sign: a running sum would lose three digits."""
    rows = 10_000_000
    x = np.random.default_rng(0).uniform(0.5, 1.5, (rows, 1)).astype(np.float32)
    y, s = np.zeros(rows, np.float32), np.full(rows, 0.1, np.float32)
    weight, bias = np.array([0.75], np.float32), np.array(0.5, np.float32)
    objective = objective_of("squared", 0.0)
    data = objective.prepare((x, y, s))
    value, gradient = objective.value_and_grad(LinearParams(jnp.asarray(weight), jnp.asarray(bias)), data)
    assert value.dtype == gradient.weight.dtype == np.float32
    wide = x[:, 0].astype(np.float64)
    z = wide * 0.75 + 0.5
    found = [value, gradient.weight[0], gradient.bias]
    np.testing.assert_allclose(found, [(z * z).mean(), (2 * z * wide).mean(), (2 * z).mean()], rtol=1e-6)
