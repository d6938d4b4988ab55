"""Precision of compiled programs: products state it, and halves are summed in float32."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE
from seams import clear_compiled_programs

from dlcore import descent, fit, fit_heads, linalg, sweep
from dlcore.models import LinearParams
from dlcore.verification.checks.objective import FEATURES, make_data, make_objective
from dlcore.verification.registry import all_checks

HALVES = (jnp.bfloat16, jnp.float16)

SUMS = ("reduce_sum", "cumsum", "dot_general", "conv_general_dilated", "add_any", "reduce_window_sum")
"""Primitives that add numbers."""


def programs(value: Any) -> Iterator[Any]:
    """Yield the programs inside a parameter of an equation."""
    if isinstance(value, jax.extend.core.ClosedJaxpr):
        yield value.jaxpr
    elif isinstance(value, jax.extend.core.Jaxpr):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from programs(part)


def equations(jaxpr: Any) -> Iterator[Any]:
    """Yield every equation of a program and of its inner programs."""
    for equation in jaxpr.eqns:
        yield equation
        platforms = equation.params.get("branches_platforms")
        for value in equation.params.values():
            for k, inner in enumerate(programs(value)):
                # jnp.diagonal inside a Mosaic kernel, which the library has none of: one term and zeros.
                if not platforms or platforms[k] != ("mosaic",):
                    yield from equations(inner)


def unstated(jaxpr: Any) -> list[str]:
    """Return products of floating-point numbers that leave their precision to the device."""
    highest = (jax.lax.Precision.HIGHEST,) * 2
    return [
        str(equation)
        for equation in equations(jaxpr)
        if equation.primitive.name in ("dot_general", "conv_general_dilated")
        and jnp.issubdtype(equation.outvars[0].aval.dtype, jnp.inexact)
        and equation.params["precision"] not in (highest, jax.lax.Precision.HIGHEST)
    ]


def sums_in_halves(jaxpr: Any) -> list[str]:
    """Return sums of several terms that are accumulated in a half."""
    return [
        str(equation)
        for equation in equations(jaxpr)
        if equation.primitive.name in SUMS and equation.outvars[0].aval.dtype in HALVES
    ]


def traced(check: Any) -> Any:
    """Return the program of one example of a check."""
    return jax.make_jaxpr(check.function)(*(array[0] for array in check.inputs)).jaxpr


def cases(dtype: Any) -> list[Any]:
    return [check for check in all_checks(jnp.dtype(dtype)) if check.traced]


@pytest.mark.parametrize("check", cases(DTYPE), ids=lambda check: check.name)
def test_every_product_states_its_precision(check):
    assert unstated(traced(check)) == []


@pytest.mark.parametrize("dtype", HALVES)
def test_halves_are_summed_in_float32(dtype):
    for check in cases(dtype):
        program = traced(check)
        assert unstated(program) == [], check.name
        assert sums_in_halves(program) == [], check.name


def test_the_search_finds_missing_precisions():
    """Loops are searched too, and a wrong precision or dtype of a sum is found."""
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
    data = tuple(part.astype(jnp.bfloat16) for part in make_data(name, jnp.dtype(jnp.float32)))
    params = LinearParams(jnp.ones(3, jnp.bfloat16), jnp.ones((), jnp.bfloat16))
    program = jax.make_jaxpr(lambda params: make_objective(name).value_and_grad(params, data))(params).jaxpr
    assert unstated(program) == []
    assert sums_in_halves(program) == []


PRODUCT = re.compile(r"stablehlo\.(?:dot_general|dot|convolution)\b.*->\s*tensor<(?:\d+x)*(?:f\d+|bf16)>")


def compiled_products(directory: Path) -> list[str]:
    """Return the products of floating-point numbers in every program that JAX has written to the directory."""
    return [
        line for path in directory.glob("*.mlir") for line in path.read_text().splitlines() if PRODUCT.search(line)
    ]


def imprecise(products: list[str]) -> list[str]:
    """Return the products that do not ask for the highest precision of both operands."""
    return [line for line in products if line.count("HIGHEST") != 2]


@pytest.fixture
def lowered(tmp_path):
    """Return an empty directory to which JAX writes the text of every compiled program."""
    clear_compiled_programs()
    jax.config.update("jax_dump_ir_to", str(tmp_path))
    yield tmp_path
    jax.config.update("jax_dump_ir_to", "")
    clear_compiled_programs()


def run_fit(name: Any, **options: Any) -> Any:
    def call() -> None:
        start = LinearParams(np.zeros(FEATURES, DTYPE), np.zeros((), DTYPE))
        rule = descent.gradient_descent(0.25)
        fit(make_objective(name), make_data(name, DTYPE), rule, params=start, max_steps=3, **options)

    return call


def run_sweep() -> None:
    start = LinearParams(np.zeros(FEATURES, DTYPE), np.zeros((), DTYPE))
    settings = {"rate": np.array([0.1, 0.2], DTYPE), "l2": np.array([0.1, 0.2], DTYPE)}
    data = make_data("logistic", DTYPE)
    sweep(
        make_objective("logistic", 0.0),
        data,
        lambda setting: descent.gradient_descent(setting["rate"]),
        settings,
        params=start,
        max_steps=3,
    )


def run_lipschitz_step() -> None:
    descent.lipschitz_step(make_objective("logistic"), make_data("logistic", DTYPE))


def run_fit_heads(loss: Any, **options: Any) -> Any:
    def call() -> None:
        x, y, _ = make_data("squared" if loss == "squared" else loss, DTYPE)
        results = fit_heads(x, y, loss=loss, l2=[0.01, 0.1, 1.0], **options)
        results.predict(x)

    return call


CALLS = {
    "fit": run_fit("logistic"),
    "fit, certified": run_fit("logistic", stop="certificate"),
    "fit, batches": run_fit("squared", batch_size=8, key=jax.random.key(0)),
    "sweep": run_sweep,
    "lipschitz_step": run_lipschitz_step,
    "fit_heads logistic": run_fit_heads("logistic", folds=3),
    "fit_heads softmax": run_fit_heads("softmax", folds=3),
    "fit_heads softmax, standardised": run_fit_heads("softmax", standardize=True),
    "fit_heads squared": run_fit_heads("squared", folds=3),
    "fit_heads squared, leave-one-out": run_fit_heads("squared", folds="leave-one-out"),
}


@pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning")
@pytest.mark.parametrize("name", CALLS)
def test_compiled_programs_state_the_precision_of_products(name, lowered):
    """The programs are those that XLA gets, with their inner loops. Certificates use NumPy alone."""
    CALLS[name]()
    products = compiled_products(lowered)
    assert products
    assert imprecise(products) == []


def test_a_compiled_product_without_precision_is_found(lowered):
    a = jnp.ones((2, 2), DTYPE)
    jax.jit(lambda a: jax.lax.fori_loop(0, 3, lambda _, b: linalg.matmul(a, b), a))(a)
    assert len(compiled_products(lowered)) == 1
    assert imprecise(compiled_products(lowered)) == []
    jax.jit(lambda a: jax.lax.fori_loop(0, 3, lambda _, b: jnp.matmul(a, b), a))(a)
    assert len(imprecise(compiled_products(lowered))) == 1


def test_ten_million_float32_terms_keep_six_digits():
    """J and ∇J are weighted means of terms of one sign, of which a running sum would lose three digits."""
    rows = 10_000_000
    x = np.random.default_rng(0).uniform(0.5, 1.5, (rows, 1)).astype(np.float32)
    y, s = np.zeros(rows, np.float32), np.full(rows, 0.1, np.float32)
    weight, bias = np.array([0.75], np.float32), np.array(0.5, np.float32)
    objective = make_objective("squared", 0.0)
    data = objective.prepare((x, y, s))
    value, gradient = objective.value_and_grad(LinearParams(jnp.asarray(weight), jnp.asarray(bias)), data)
    assert value.dtype == gradient.weight.dtype == np.float32
    wide = x[:, 0].astype(np.float64)
    z = wide * 0.75 + 0.5
    results = [value, gradient.weight[0], gradient.bias]
    np.testing.assert_allclose(results, [(z * z).mean(), (2 * z * wide).mean(), (2 * z).mean()], rtol=1e-6)
