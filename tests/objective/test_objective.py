"""The objective against its NumPy reference: values, derivatives, blocks, weights, penalty and preparation."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, breast_cancer, random_like

from dlcore import Objective, reference
from dlcore.devices import platform_of
from dlcore.losses import sigmoid_cross_entropy, squared_error
from dlcore.models import LinearParams, Model, linear, logistic
from dlcore.objective import BlockedData, sum_over_blocks
from dlcore.objective.blocks import rows_per_block

HEADS = {"logistic": (logistic, sigmoid_cross_entropy), "squared": (linear, squared_error)}


def example(seed: int = 0, rows: int = 101, weighted: bool = True) -> Any:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(rows, 5))
    y = (rng.random(rows) < 0.4).astype(float)
    s = rng.random(rows) * (rng.random(rows) < 0.8) if weighted else None
    params = LinearParams(random_like(seed, 5), random_like(seed + 1))
    return x.astype(DTYPE), y.astype(DTYPE), None if s is None else s.astype(DTYPE), params


def data_of(x, y, s):
    return (x, y) if s is None else (x, y, s)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", HEADS)
def test_value_and_gradient_equal_the_formulas(name, weighted):
    """The gradient of the cross-entropy is (1/n) Xᵀ(ŷ − y) + l2·w and mean(ŷ − y)."""
    x, y, s, params = example(weighted=weighted)
    objective = Objective(*HEADS[name], l2=0.3)
    value, gradient = objective.value_and_grad(params, data_of(x, y, s))
    expected = reference.objective.value_and_grad(name, params.weight, params.bias, x, y, weights=s, l2=0.3)
    assert_close(value, expected[0], units=16)
    assert_close(gradient.weight, expected[1], units=64, scale=1)
    assert_close(gradient.bias, expected[2], units=64, scale=1)
    assert_close(objective.value(params, data_of(x, y, s)), expected[0], units=16)
    if name == "logistic":
        w, b = (np.asarray(part, np.float64) for part in params)
        normalised = (np.ones(len(x)) if s is None else s.astype(np.float64)) / (
            len(x) if s is None else s.sum(dtype=float)
        )
        residual = normalised * (1 / (1 + np.exp(-(x @ w + b))) - y)
        np.testing.assert_allclose(expected[1], x.astype(float).T @ residual + 0.3 * w, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(expected[2], residual.sum(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", HEADS)
def test_the_gradient_is_the_derivative_of_the_value(name):
    """Reverse mode, forward mode and the central difference agree with it."""
    x, y, s, params = example()
    objective = Objective(*HEADS[name], l2=0.3)
    gradient = objective.value_and_grad(params, (x, y, s))[1]
    reverse = jax.grad(objective.value)(params, (x, y, s))
    jax.tree.map(lambda a, b: assert_close(a, b, units=16, scale=1), gradient, reverse)
    direction = LinearParams(random_like(7, 5), random_like(8))
    slope = sum(jnp.vdot(a, b) for a, b in zip(gradient, direction, strict=True))
    forward = jax.jvp(lambda p: objective.value(p, (x, y, s)), (params,), (direction,))[1]
    assert_close(forward, slope, units=64, scale=1)

    def value_along(step):
        w, b = (np.asarray(p, float) + step * np.asarray(d, float) for p, d in zip(params, direction, strict=True))
        return reference.objective.value_and_grad(name, w, b, x, y, weights=s, l2=0.3)[0]

    assert_close(slope, (value_along(1e-6) - value_along(-1e-6)) / 2e-6, units=64, scale=1 + 1e-9 / EPS)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("block", [1, 7, 50, 100, 101, 1000])
def test_every_blocking_gives_the_same_sum(block, weighted):
    x, y, s, params = example(weighted=weighted)
    objective = Objective(logistic, sigmoid_cross_entropy, 0.3)
    data = BlockedData(jnp.asarray(x), jnp.asarray(y), None if s is None else jnp.asarray(s), block)
    expected = reference.objective.value_and_grad("logistic", params.weight, params.bias, x, y, weights=s, l2=0.3)
    value, gradient = objective.value_and_grad(params, data)
    assert_close(value, expected[0], units=32)
    assert_close(gradient.weight, expected[1], units=64, scale=1)
    reverse = jax.grad(objective.value)(params, data)
    assert_close(reverse.weight, expected[1], units=64, scale=1)
    assert_close(reverse.bias, expected[2], units=64, scale=1)


def test_blocks_cover_every_row_once():
    x = jnp.arange(23, dtype=DTYPE)
    data = BlockedData(x, x, None, 5)
    total = sum_over_blocks(lambda x, y, s: (x if s is None else jnp.where(s, x, 0)).sum(), data)
    assert total == 23 * 22 / 2
    data = BlockedData(x, x, jnp.ones_like(x), 5)
    assert sum_over_blocks(lambda x, y, s: cast(Any, s).sum(), data) == 23


def test_the_size_of_a_block():
    """A block is half a megabyte, at most all rows and at least one."""

    def rows_of(*shape):
        data = Objective(linear, squared_error).prepare(
            (np.ones(shape, np.float32), np.ones(shape[0], np.float32))
        )
        return data.block

    assert rows_of(10, 3) == 10
    assert 2**18 < rows_of(100_000, 128) * 128 * 4 <= 2**20
    assert rows_of(2, 2**22) == 1


def test_no_copy_of_x_is_made():
    """The program needs less than a quarter of X besides its arguments. The block does not divide the rows."""
    x, y = jnp.ones((20_011, 64), DTYPE), jnp.ones(20_011, DTYPE)
    objective = Objective(logistic, sigmoid_cross_entropy, 0.1)
    params = LinearParams(jnp.zeros(64, DTYPE), jnp.zeros((), DTYPE))
    for f in (objective.value, objective.value_and_grad, jax.grad(objective.value)):
        memory: Any = jax.jit(f).lower(params, (x, y)).compile().memory_analysis()
        assert memory.temp_size_in_bytes < 0.25 * x.nbytes


def test_a_row_of_weight_zero_does_not_count():
    x, y, s, params = example()
    objective = Objective(logistic, sigmoid_cross_entropy, 0.3)
    positive = s > 0
    all_rows = objective.value_and_grad(params, (x, y, s))
    without = objective.value_and_grad(params, (x[positive], y[positive], s[positive]))
    jax.tree.map(lambda a, b: assert_close(a, b, units=32, scale=1), all_rows, without)


def test_a_row_of_weight_zero_does_not_count_if_its_loss_is_infinite():
    x, y, _, params = example()
    huge = x.copy()
    huge[0] = np.sqrt(np.finfo(DTYPE).max)
    s = np.ones(len(x), DTYPE)
    s[0] = 0
    objective = Objective(linear, squared_error, 0.3)
    expected = objective.value_and_grad(params, (x[1:], y[1:]))
    jax.tree.map(
        lambda a, b: assert_close(a, b, units=32, scale=1),
        objective.value_and_grad(params, (huge, y, s)),
        expected,
    )


def test_l2_finds_weights_in_dictionaries():
    def apply(params, x):
        return params["weight"] @ x + params["bias"]

    x, y, _, params = example()
    as_dict = {"weight": params.weight, "bias": params.bias}
    value = Objective(Model(linear.init, apply, apply), squared_error, 0.3).value(as_dict, (x, y))
    assert_close(value, Objective(linear, squared_error, 0.3).value(params, (x, y)), units=8)


def test_float64_targets_stay_float64_beside_float32_features():
    """The target 1e8 + 0.5 is not rounded to 1e8."""
    if np.float64 != DTYPE:
        pytest.skip("a float32 run has one precision")
    x, y, _, _ = example()
    targets = 1e8 + 0.5 * y
    data = Objective(linear, squared_error).prepare((x.astype(np.float32), targets))
    np.testing.assert_array_equal(data.y, targets)


def test_half_precision_parameters_are_computed_in_float32():
    x, y = np.ones((70_000, 1), DTYPE), (np.arange(70_000) % 2).astype(DTYPE)
    params = LinearParams(jnp.zeros(1, jnp.float16), jnp.zeros((), jnp.float16))
    value, gradient = Objective(logistic, sigmoid_cross_entropy).value_and_grad(params, (x, y))
    assert_close(value, np.log(2), units=8, dtype=jnp.float32)
    assert gradient.weight.dtype == jnp.float16


def test_l2_acts_on_weights_and_not_on_biases():
    x, y, s, params = example()
    plain, penalised = (
        Objective(logistic, sigmoid_cross_entropy, l2).value_and_grad(params, (x, y, s)) for l2 in (0, 2)
    )
    assert_close(penalised[0] - plain[0], np.square(np.asarray(params.weight, float)).sum(), units=32)
    assert_close(penalised[1].weight - plain[1].weight, 2 * np.asarray(params.weight, float), units=32)
    assert_close(penalised[1].bias - plain[1].bias, 0.0, units=0)


def test_vmap_maps_over_the_l2_of_an_objective():
    x, y, s, params = example()
    l2 = jnp.array([0.0, 0.1, 1.0], DTYPE)
    batch = jax.vmap(lambda l2: Objective(logistic, sigmoid_cross_entropy, l2).value(params, (x, y, s)))(l2)
    values = [Objective(logistic, sigmoid_cross_entropy, float(v)).value(params, (x, y, s)) for v in l2]
    assert_close(batch, np.stack(values), units=8)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_data_is_stored_as_it_is_and_summed_in_float32(dtype):
    x, y, s, params = example()
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), params)
    objective = Objective(logistic, sigmoid_cross_entropy, 0.3)
    data = objective.prepare((jnp.asarray(x).astype(dtype), y, s))
    assert data.x.dtype == dtype
    assert data.y.dtype == DTYPE
    value, gradient = objective.value_and_grad(params, data)
    rounded = np.asarray(data.x.astype(jnp.float32), float)
    expected = reference.objective.value_and_grad(
        "logistic", params.weight, params.bias, rounded, y, weights=s, l2=0.3
    )
    assert_close(value, expected[0], units=32, dtype=jnp.float32)
    assert_close(gradient.weight, expected[1], units=64, scale=1, dtype=jnp.float32)


def test_prepare_copies_what_the_caller_may_change():
    x, y = breast_cancer()
    aligned = np.empty(x.size + 16, DTYPE)
    offset = (-aligned.ctypes.data % 64) // DTYPE.itemsize
    array = aligned[offset : offset + x.size].reshape(x.shape)
    array[:] = x
    data = Objective(logistic, sigmoid_cross_entropy).prepare((array, y))
    array[:] = 7
    np.testing.assert_array_equal(data.x, x)


def test_prepare_takes_all_that_numpy_reads():
    objective = Objective(logistic, sigmoid_cross_entropy)
    x, y = [[1, 2], [3, 4]], [True, False]
    for array in (
        x,
        np.array(x, np.uint8),
        np.array(x, ">f4"),
        np.array(x * 1)[:, ::-1],
        np.array(x, np.float16),
    ):
        data = objective.prepare((array, y))
        assert jnp.issubdtype(data.x.dtype, jnp.floating)
        np.testing.assert_array_equal(np.asarray(data.x, float), np.asarray(array, float))
        np.testing.assert_array_equal(data.y, [1, 0])
    assert objective.prepare((x, y)).x.dtype == DTYPE
    assert objective.prepare(data) is data


def test_examples_may_have_any_shape():
    """An example is an image: the objective does not require a matrix x."""

    def apply(params, image):
        return (params.weight * image).sum() + params.bias

    model = Model(init=lambda key: None, apply=apply, predict=apply)
    x, y = np.asarray(random_like(0, 6, 2, 3)), np.asarray(random_like(1, 6))
    params = LinearParams(random_like(2, 2, 3), random_like(3))
    value = Objective(model, squared_error, 0.5).value(params, (x, y))
    flat = reference.objective.value_and_grad(
        "squared", np.ravel(params.weight), params.bias, x.reshape(6, 6), y, l2=0.5
    )
    assert_close(value, flat[0], units=16)


def test_a_loss_must_return_a_scalar():
    objective = Objective(
        Model(lambda key: None, lambda p, x: x, lambda p, x: x), lambda prediction, target: prediction
    )
    with pytest.raises(ValueError, match=r"a scalar per example, got shape \(3,\)"):
        objective.value(jnp.ones(1, DTYPE), (np.ones((4, 3), DTYPE), np.ones(4, DTYPE)))


@pytest.mark.parametrize(("x", "y"), [(1.0, np.ones(4)), (np.ones((4, 3)), 1.0), (np.ones((4, 3)), np.ones(5))])
def test_x_and_y_have_a_row_for_each_example(x, y):
    model = Model(lambda key: None, lambda p, x: p * x.sum(), lambda p, x: p * x.sum())
    objective = Objective(model, squared_error)
    with pytest.raises(ValueError, match="expected a row of x for every row of y, got shapes"):
        objective.value(jnp.ones((), DTYPE), (np.asarray(x, DTYPE), np.asarray(y, DTYPE)))


def test_affine_models_have_a_weight_and_a_bias():
    class WeightAlone(NamedTuple):
        weight: jax.Array

    x, y = random_like(0, 4, 3), random_like(1, 4)
    with pytest.raises(TypeError, match=r"expected LinearParams\(weight, bias\), got WeightAlone"):
        Objective(linear, squared_error).value(WeightAlone(random_like(2, 3)), (x, y))


@pytest.mark.parametrize(("shape", "expected"), [((10, 3), 10), ((0, 3), 0), ((4, 2**18), 1), ((2**15, 8), 2**14)])
def test_a_block_has_all_rows_of_a_small_table(shape, expected):
    """A block has at most 2¹⁹ bytes, or one row."""
    x = jnp.zeros(shape, jnp.float32)
    assert rows_per_block(x) == (expected if platform_of(x) == "cpu" else shape[0])
