"""One pass on several cores: the same numbers, the same bits at every call, no copy of X, no setting changed."""

import re
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, random_like
from jax.flatten_util import ravel_pytree

from dlcore import Objective
from dlcore.losses import sigmoid_cross_entropy, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, Model, logistic, mlp, softmax
from dlcore.objective import BlockedData, passes, threads

ROWS, BLOCK = 1_003, 100
OBJECTIVE = Objective(logistic, sigmoid_cross_entropy, 0.3)
PARAMS = LinearParams(random_like(3, 5), random_like(4))


def example(weighted: bool = True, dtype: Any = DTYPE) -> BlockedData:
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(ROWS, 5)), dtype)
    y = jnp.asarray(rng.random(ROWS) < 0.4, DTYPE)
    s = jnp.asarray(rng.random(ROWS) * (rng.random(ROWS) < 0.8), DTYPE) if weighted else None
    return BlockedData(x, y, s, BLOCK)


@pytest.fixture
def on_cores(monkeypatch):
    """A function that lets every pass, however short, run on so many cores."""

    def choose(count):
        monkeypatch.setattr(threads, "MIN_BYTES", 0)
        monkeypatch.setattr(threads, "core_count", lambda: count)

    return choose


@pytest.fixture
def names(monkeypatch):
    """The threads that ran a part."""
    seen = []
    add = jax.block_until_ready

    def noted(result):
        seen.append(threading.current_thread().name)
        return add(result)

    monkeypatch.setattr(threads.jax, "block_until_ready", noted)
    return seen


PASSES = {
    "value": lambda data: OBJECTIVE.value(PARAMS, data),
    "value_and_grad": lambda data: OBJECTIVE.value_and_grad(PARAMS, data),
    "values_and_grads": lambda data: OBJECTIVE.values_and_grads(stack(PARAMS), data),
    "hvp": lambda data: OBJECTIVE.hvp(PARAMS, LinearParams(random_like(5, 5), random_like(6)), data),
    "hessian": lambda data: OBJECTIVE.hessian(PARAMS, data),
}


def stack(params):
    return jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf, 0 * leaf]), params)


def close(a, b, units=64, dtype=DTYPE):
    """Each entry within 64 units of rounding of numbers of size 1: means of 1,003 terms."""
    jax.tree.map(lambda one, other: assert_close(one, np.asarray(other), units=units, scale=1, dtype=dtype), a, b)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", PASSES)
def test_any_number_of_cores_gives_the_same(name, weighted, on_cores, names):
    data = example(weighted)
    on_cores(1)
    single = PASSES[name](data)
    assert names == []
    for count in (2, 3, 64):
        on_cores(count)
        first = PASSES[name](data)
        close(first, single)
        parts = min(count, -(-ROWS // BLOCK))
        assert len(names) == parts
        assert "MainThread" not in names
        for _ in range(5):
            jax.tree.map(np.testing.assert_array_equal, PASSES[name](data), first)
        names.clear()


def test_a_short_pass_is_one_program(names):
    data = example()
    OBJECTIVE.value_and_grad(PARAMS, data)
    assert names == []
    assert data.x.nbytes < threads.MIN_BYTES
    long = jnp.zeros((threads.MIN_BYTES // 2**12 // DTYPE.itemsize, 2**12), DTYPE)
    assert threads.part_count((), long, 8) == threads.core_count()
    assert threads.part_count((), long[:-1], 8) == 1
    assert threads.part_count((), long, len(long)) == 1
    with jax.disable_jit():
        assert threads.part_count((), long, 8) == 1


def test_under_a_transformation_it_is_one_program(on_cores, names):
    on_cores(2)
    data, f = example(), OBJECTIVE.value
    slope = OBJECTIVE.value_and_grad(PARAMS, data)[1]
    many = OBJECTIVE.values_and_grads(stack(PARAMS), data)
    assert len(names) == 4
    names.clear()
    close(jax.grad(f)(PARAMS, data), slope)
    close(jax.jit(OBJECTIVE.value_and_grad)(PARAMS, data)[1], slope)
    close(jax.vmap(OBJECTIVE.value_and_grad, (0, None))(stack(PARAMS), data), many)
    along = jax.jvp(lambda l2: Objective(logistic, sigmoid_cross_entropy, l2).value(PARAMS, data), (0.3,), (1.0,))[
        1
    ]
    close(along, jnp.square(PARAMS.weight).sum() / 2)
    targets = jnp.stack([data.y, 1 - data.y])
    batch = jax.vmap(lambda y: f(PARAMS, BlockedData(data.x, y, data.weights, BLOCK)))(targets)
    assert names == []
    close(batch[0], f(PARAMS, data))


def test_a_constant_inside_a_program_of_the_caller(on_cores):
    on_cores(2)
    data = example()
    close(jax.jit(lambda t: t * OBJECTIVE.value(PARAMS, data))(jnp.ones((), DTYPE)), OBJECTIVE.value(PARAMS, data))


def test_raw_arrays_are_summed_by_threads_too(on_cores, names, monkeypatch):
    on_cores(2)
    x, y, s = (np.asarray(part) for part in jax.tree.leaves(example()))
    monkeypatch.setattr("dlcore.objective.preparing.rows_per_block", lambda x: BLOCK)
    close(OBJECTIVE.value_and_grad(PARAMS, (x, y, s)), OBJECTIVE.value_and_grad(PARAMS, example()))
    assert len(names) == 4
    names.clear()
    with pytest.raises(ValueError, match="a row of x for every row of y"):
        OBJECTIVE.value(PARAMS, (x, y[:-1]))


def test_two_programs_are_compiled_and_then_none(on_cores, compiles):
    data = BlockedData(jnp.ones((407, 3), DTYPE), jnp.ones(407, DTYPE), None, 50)
    params = LinearParams(jnp.zeros(3, DTYPE), jnp.zeros((), DTYPE))
    before = compiles()
    for count in (2, 2, 2):
        on_cores(count)
        OBJECTIVE.value_and_grad(params, data)
    assert compiles() - before == 2
    on_cores(3)  # the same part, another sum of the parts
    OBJECTIVE.value_and_grad(params, data)
    assert compiles() - before == 3


def test_no_copy_of_x_is_made():
    data = BlockedData(jnp.ones((20_011, 64), DTYPE), jnp.ones(20_011, DTYPE), None, 1_024)
    params = LinearParams(jnp.zeros(64, DTYPE), jnp.zeros((), DTYPE))
    for work, arguments in (
        (passes.VALUE_AND_GRAD, (params,)),
        (passes.HVP, (params, params)),
        (passes.HESSIAN, (params,)),
    ):
        ends = np.int32(0), np.int32(3)
        lowered: Any = passes._part.lower(OBJECTIVE, data, arguments, *ends, work=work)
        assert lowered.compile().memory_analysis().temp_size_in_bytes < 0.25 * data.x.nbytes


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_halves_stay_halves_in_memory(dtype, on_cores):
    data = example(dtype=dtype)
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), PARAMS)
    single = OBJECTIVE.value_and_grad(params, data)
    on_cores(3)
    found = OBJECTIVE.value_and_grad(params, data)
    assert found[0].dtype == found[1].weight.dtype == jnp.float32
    close(found, single, dtype=jnp.float32)


def test_the_settings_of_the_caller_hold_in_every_thread(on_cores):
    """float64 asked for around one call, from a process in float32 and from a thread of the caller's own."""
    on_cores(2)
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(ROWS, 5)), (rng.random(ROWS) < 0.4).astype(float)
    found: list[Any] = []

    def in_float64():
        with jax.enable_x64(True), jax.default_device(jax.devices()[-1]):
            data = BlockedData(jax.device_put(x), jax.device_put(y), None, BLOCK)
            params = LinearParams(jnp.ones(5, jnp.float64), jnp.ones((), jnp.float64))
            found.append(OBJECTIVE.value(params, data))

    thread = threading.Thread(target=in_float64)
    thread.start()
    thread.join()
    z = x.sum(1) + 1
    expected = (np.logaddexp(0, z) - y * z).mean() + 0.3 / 2 * 5
    assert found[0].dtype == np.float64
    assert found[0].devices() == {jax.devices()[-1]}
    assert abs(float(found[0]) - expected) < 1e-13
    value = OBJECTIVE.value(jax.tree.map(lambda p: p.astype(jnp.float32), PARAMS), example(dtype=jnp.float32))
    assert value.dtype == np.float32


def test_an_error_in_a_thread_is_raised(on_cores, monkeypatch):
    on_cores(2)
    done = []
    wait = jax.block_until_ready

    def fail_first(result):
        if not done:
            done.append(False)
            raise FloatingPointError("planted")
        done.append(wait(result) is not None)
        return result

    monkeypatch.setattr(threads.jax, "block_until_ready", fail_first)
    with pytest.raises(FloatingPointError, match="planted"):
        OBJECTIVE.value(PARAMS, example())
    assert len(done) == 2, "the error comes when all parts have ended"
    monkeypatch.undo()
    OBJECTIVE.value(PARAMS, example())


def test_many_callers_at_once(on_cores):
    on_cores(3)
    data = example()
    expected = OBJECTIVE.value_and_grad(PARAMS, data)
    found: list[Any] = []
    callers = [
        threading.Thread(target=lambda: found.append(OBJECTIVE.value_and_grad(PARAMS, data))) for _ in range(8)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert len(found) == 8
    for one in found:
        jax.tree.map(np.testing.assert_array_equal, one, expected)


def dense(objective, params, data):
    """The Hessian by jax.hessian, without blocks."""
    whole = BlockedData(data.x, data.y, data.weights, len(data.x))
    flat, build = ravel_pytree(params)
    return jax.hessian(lambda theta: objective.value(build(theta), whole))(flat)


@pytest.mark.parametrize("loss", [sigmoid_cross_entropy, squared_error, lambda z, y: jnp.cos(z) * y])
def test_the_hessian_is_the_second_derivative(loss, on_cores):
    """The last loss is not convex: its ℓ'' has either sign."""
    on_cores(2)
    objective, data = Objective(logistic, loss, 0.3), example()
    found = objective.hessian(PARAMS, data)
    expected = dense(objective, PARAMS, data)
    close(found, expected, units=128)
    np.testing.assert_array_equal(found, found.T)
    close(jax.jit(objective.hessian)(PARAMS, data), expected, units=128)


@pytest.mark.parametrize("count", [1, 2])
def test_hvp_is_the_hessian_times_a_vector(count, on_cores):
    on_cores(count)
    data = example()
    network = mlp([5, 3, 1])
    problems: list[tuple[Objective, Any]] = [
        (OBJECTIVE, PARAMS),
        (Objective(network, sigmoid_cross_entropy, 0.3), network.init(jax.random.key(0))),
    ]
    classes = BlockedData(data.x, data.y.astype(jnp.int32), data.weights, BLOCK)
    head = LinearParams(random_like(1, 5, 2), random_like(2, 2))
    problems.append((Objective(softmax, softmax_cross_entropy, 0.3), head))
    for objective, params in problems:
        given = classes if objective.model is softmax else data
        flat, build = ravel_pytree(params)
        v = random_like(9, flat.size)
        found = ravel_pytree(objective.hvp(params, build(v), given))[0]
        expected = np.asarray(dense(objective, params, given), float) @ np.asarray(v, float)
        assert_close(found, expected, units=256, scale=1)


def test_curvature_says_what_it_cannot_do():
    data = example()
    with pytest.raises(ValueError, match="hvp: expected v of the shapes of params"):
        OBJECTIVE.hvp(PARAMS, LinearParams(random_like(0, 4), random_like(0)), data)
    head = LinearParams(random_like(1, 5, 2), random_like(2, 2))
    with pytest.raises(ValueError, match="hessian: expected a linear head with one output"):
        Objective(softmax, softmax_cross_entropy).hessian(head, data)
    curved = Model(logistic.init, logistic.apply, logistic.predict)
    with pytest.raises(ValueError, match="hessian: expected a linear head"):
        Objective(curved, sigmoid_cross_entropy).hessian(PARAMS, data)
    with pytest.raises(ValueError, match="params: expected an axis of the models"):
        OBJECTIVE.values_and_grads(PARAMS, data)


def test_a_row_of_weight_zero_has_no_curvature():
    x = jnp.asarray([[1.0], [np.sqrt(np.finfo(DTYPE).max)]], DTYPE)
    data = BlockedData(x, jnp.ones(2, DTYPE), jnp.asarray([1.0, 0.0], DTYPE), 1)
    found = Objective(logistic, squared_error).hessian(
        LinearParams(jnp.ones(1, DTYPE), jnp.zeros((), DTYPE)), data
    )
    np.testing.assert_array_equal(found, [[2, 2], [2, 2]])


def test_many_models_are_two_products_per_block():
    """Vmap makes of the product with X, and of that with its transpose, one matrix product for all models."""
    models, data = 7, example(weighted=False)
    data = BlockedData(data.x[:1_000], data.y[:1_000], None, BLOCK)
    params = LinearParams(random_like(0, models, 5), random_like(1, models))
    for f in (OBJECTIVE.values_and_grads, jax.vmap(OBJECTIVE.value_and_grad, (0, None))):
        text = jax.jit(f).lower(params, data).as_text()
        dots = re.findall(r"stablehlo\.dot_general.*-> tensor<([0-9x]*)xf", text)
        shapes = sorted(tuple(sorted(map(int, shape.split("x")))) for shape in dots)
        assert shapes == [(5, models), (models, BLOCK)]
