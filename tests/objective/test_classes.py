"""Labels that are numbers of classes, in the data, the objective, the fit and the loss."""

import functools
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS, assert_close, random_like
from sklearn.linear_model import LogisticRegression

from dlcore import Objective, Status, descent, fit, reference
from dlcore.losses import huber, softmax_cross_entropy, squared_error
from dlcore.models import LinearParams, Model, linear, mlp, softmax
from dlcore.objective import BlockedData

ROWS, FEATURES, CLASSES = 101, 5, 4
X = np.asarray(random_like(0, ROWS, FEATURES))
Y = np.random.default_rng(1).integers(0, CLASSES, ROWS)
S = np.random.default_rng(2).integers(0, 4, ROWS).astype(DTYPE)
PARAMS = LinearParams(random_like(3, FEATURES, CLASSES), random_like(4, CLASSES))
ONE_HOT = np.eye(CLASSES, dtype=DTYPE)[Y]


def objective(l2: float = 0.3) -> Objective:
    return Objective(softmax, softmax_cross_entropy, l2)


@pytest.mark.parametrize("prepared", [False, True])
@pytest.mark.parametrize("weights", [None, S], ids=["plain", "weighted"])
@pytest.mark.parametrize(
    "y",
    [Y, Y.astype(np.uint8), Y.astype(np.float32), Y.astype(np.float16), list(map(int, Y)), ONE_HOT],
    ids=["int64", "uint8", "float32", "float16", "list", "one-hot"],
)
def test_value_and_gradient_equal_the_formulas_whatever_dtype_the_labels_have(y, weights, prepared):
    """They are ∂J/∂W = Xᵀ(s∘(P − Y))/S + l2·W and ∂J/∂b = Σ s∘(P − Y)/S, in blocks of rows or in one."""
    data: Any = (X, y) if weights is None else (X, y, weights)
    if prepared:
        data = objective().prepare(data)
        data = BlockedData(data.x, data.y, data.weights, 7)
    elif isinstance(y, list):
        pytest.skip("lists are read by prepare and fit")
    value, gradient = objective().value_and_grad(PARAMS, data)
    expected = reference.objective.value_and_grad("softmax", *PARAMS, X, Y, weights=weights, l2=0.3)
    assert_close(value, expected[0], units=32)
    assert_close(gradient.weight, expected[1], units=64, scale=1)
    assert_close(gradient.bias, expected[2], units=64, scale=1)


def test_the_reference_equals_the_formula_in_matrices():
    w, b = (np.asarray(part, float) for part in PARAMS)
    p = reference.losses.softmax(X @ w + b)
    residual = S[:, None] * (p - ONE_HOT) / S.sum(dtype=float)
    expected = reference.objective.value_and_grad("softmax", w, b, X, Y, weights=S, l2=0.3)
    np.testing.assert_allclose(expected[1], X.astype(float).T @ residual + 0.3 * w, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(expected[2], residual.sum(0), rtol=1e-9, atol=1e-12)


def test_prepare_casts_labels_to_integers_and_not_probabilities():
    prepare = objective().prepare
    for y in (Y, Y.astype(float), Y.astype(np.int8)):
        prepared = prepare((X, y))
        assert prepared.y.dtype == np.int32
        np.testing.assert_array_equal(prepared.y, Y)
    assert prepare((X, Y % 2 == 0)).y.dtype == np.int32
    assert prepare((X, ONE_HOT)).y.dtype == DTYPE
    as_numbers = Objective(linear, squared_error).prepare(prepare((X, Y)))
    assert as_numbers.y.dtype == DTYPE


@pytest.mark.parametrize("label", [-1, CLASSES, 2**31 - 1, 0.5, np.nan, np.inf, 3e9, -0.5])
def test_an_invalid_label_gives_nan_under_jit(label):
    y = jnp.asarray(Y).astype(DTYPE if isinstance(label, float) else int).at[7].set(label)
    value, gradient = jax.jit(objective().value_and_grad)(PARAMS, (X, y))
    assert jnp.isnan(value)
    assert jnp.isnan(gradient.weight).any()


PROBABILITIES = np.full((ROWS, CLASSES), 0.25, DTYPE)


def with_entry(array, value):
    array = np.array(array, float)
    array.flat[5] = value
    return array


WRONG: dict[str, Any] = {
    "negative": (
        with_entry(Y, -1),
        r"y: expected labels 0, 1, 2, …, the numbers of the classes, got the values -1, 0,",
    ),
    "half": (
        with_entry(Y, 0.5),
        r"y: expected labels 0, 1, 2, …, the numbers of the classes, got the values 0, 0.5, 1,",
    ),
    "nan": (with_entry(Y, np.nan), "y: expected finite numbers, got nan"),
    "too large": (with_entry(Y, 2.0**31), "y: expected labels 0, 1, 2, …"),
    "one class": (np.full(ROWS, 2), "y: expected at least two classes, got only 2"),
    "not in the model": (with_entry(Y, 4), "y: expected classes from 0 to 3, as many as the model has, got 4"),
    "3-D": (
        np.zeros((ROWS, 2, 2)),
        r"y: expected 1-D \[n\].*or 2-D \[n, classes\].*got 3-D with shape \(101, 2, 2\)",
    ),
    "column": (
        Y[:, None],
        r"y: expected 2-D \[n, classes\] with at least two classes, got shape \(101, 1\); labels",
    ),
    "no distribution": (
        with_entry(PROBABILITIES, 0.5),
        "y: expected the probabilities of each row to sum to 1, got 1.25 in row 1",
    ),
    "below 0": (with_entry(PROBABILITIES, -0.5), "y: expected probabilities of at least 0, got -0.5"),
    "too few columns": (np.full((ROWS, 2), 0.5), r"shape of logits \(4,\), got .* of shape \(2,\)"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_labels_are_named_before_anything_is_compiled(case, compiles):
    y, message = WRONG[case]
    params = jax.tree.map(np.asarray, PARAMS)
    start = compiles()
    with pytest.raises(ValueError, match=message):
        fit(objective(), (X, y), descent.gradient_descent(0.1), params=params)
    assert compiles() == start


def test_two_classes_must_have_weight():
    with pytest.raises(ValueError, match="at least two classes in rows of positive weight, got only 1"):
        objective().prepare((X, Y, (Y == 1).astype(float)))


def test_a_network_with_too_few_classes_is_an_error():
    network = mlp((FEATURES, 3, 3))
    with pytest.raises(ValueError, match="y: expected classes from 0 to 2, as many as the model has, got 3"):
        fit(Objective(network, softmax_cross_entropy), (X, Y), descent.adam(0.1), key=jax.random.key(0))


# -- fits ----------------------------------------------------------------------------------------------------


def test_a_fit_counts_the_classes_and_compiles_one_program(compiles):
    x, y = X[:83], Y[:83]
    fitted = fit(objective(), (x, y), descent.gradient_descent(0.1), max_steps=9)
    assert compiles() == 1
    assert fitted.params.weight.shape == (FEATURES, CLASSES)
    for labels in (y.astype(DTYPE), np.minimum(y + 1, 3)):
        fit(objective(0.1), (2 * x, labels), descent.gradient_descent(0.2), max_steps=9)
    fewer = np.minimum(y, 2)  # the number of classes comes from the parameters, not from these labels
    fit(objective(), (x, fewer), descent.gradient_descent(0.1), params=fitted.params, max_steps=9)
    assert compiles() == 1
    from_one_hot = fit(objective(), (x, np.eye(4)[y]), descent.gradient_descent(0.1), max_steps=9)
    assert_close(from_one_hot.params.weight, np.asarray(fitted.params.weight, float), units=64)


def test_the_optimum_equals_that_of_scikit_learn():
    l2 = 0.05
    rate = descent.lipschitz_step(objective(l2), (X, Y))
    fitted = fit(objective(l2), (X, Y), descent.nesterov(rate), tol=1e-10)
    assert fitted.status in (Status.CONVERGED, Status.PRECISION_FLOOR)
    sklearn_model: Any = LogisticRegression(C=1 / (l2 * ROWS), tol=1e-10, max_iter=1_000).fit(X.astype(float), Y)
    coef, intercept = sklearn_model.coef_.T, sklearn_model.intercept_
    sklearn_value = reference.objective.value_and_grad("softmax", coef, intercept, X, Y, l2=l2)[0]
    assert_close(fitted.value, sklearn_value, units=1, scale=64 + 2e-10 / EPS)
    assert_close(fitted.params.weight, coef, units=1, scale=max(1e-4, 1e4 * EPS) / EPS)


@pytest.mark.parametrize(
    ("model", "loss", "y"),
    [
        (softmax, softmax_cross_entropy, Y),
        (linear, huber, 0.3 * Y),
        (linear, functools.partial(huber, delta=2.0), 0.3 * Y),
    ],
    ids=["softmax", "huber", "huber of 2"],
)
def test_the_safe_step_bounds_the_curvature_and_descends(model, loss, y):
    """The step 1/L is at most 1 over the largest eigenvalue of every Hessian tried, and never increases J."""
    problem = Objective(model, loss, 0.05)
    step = descent.lipschitz_step(problem, (X, y, S))
    start = model.init(None, FEATURES, *((CLASSES,) if model is softmax else ()))
    flat, unflatten = jax.flatten_util.ravel_pytree(start)
    hessian = jax.jit(jax.hessian(lambda v: problem.value(unflatten(v), (X, y, S))))
    for scale in (0.0, 0.1, 1.0):
        largest = np.linalg.eigvalsh(np.asarray(hessian(scale * random_like(5, flat.size)), float)).max()
        assert largest <= 1 / float(step)
    if model is linear:  # the bound is reached where the loss is quadratic
        assert 1 / float(step) <= 1.01 * np.linalg.eigvalsh(np.asarray(hessian(0 * flat), float)).max()
    fitted = fit(problem, (X, y, S), descent.gradient_descent(step), max_steps=200, tol=0)
    assert (np.diff(fitted.history.value) <= 4 * EPS).all()


def test_the_safe_step_is_reached_by_a_softmax():
    """The curvature of two classes is exactly ½ at equal logits."""
    y = Y % 2
    step = float(descent.lipschitz_step(objective(0.0), (X, y)))
    extended = np.column_stack([X, np.ones(ROWS)]).astype(float)
    largest = 0.5 * np.linalg.eigvalsh(extended.T @ extended / ROWS).max()
    assert largest <= 1 / step <= 1.001 * largest


def test_a_network_learns_exclusive_or(compiles):
    """A fit compiles the draw of its start and one program. A linear head cannot learn it."""
    x: Any = np.asarray(random_like(0, 200, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    problem = Objective(mlp((2, 16, 2)), softmax_cross_entropy, 1e-4)
    keys = [jax.random.key(k) for k in range(2)]
    start = compiles()
    fitted = [fit(problem, (x, y), descent.adam(0.02), key=key, max_steps=800) for key in keys]
    assert compiles() - start == 2
    for result in fitted:
        predict = jax.vmap(problem.model.predict, (None, 0))
        assert (np.argmax(predict(result.params, x), 1) == y).mean() > 0.97
    head = fit(Objective(softmax, softmax_cross_entropy, 1e-4), (x, y), descent.adam(0.02), max_steps=800)
    assert head.value > 0.6
    assert all(result.value < 0.2 for result in fitted)


def test_a_start_that_cannot_be_made_is_explained():
    with pytest.raises(TypeError, match=r"key: the start is random, expected a key such as jax\.random\.key"):
        fit(Objective(mlp((FEATURES, 2)), softmax_cross_entropy), (X, Y % 2), descent.adam(0.1))
    with pytest.raises(
        TypeError, match=r"the model's init cannot be called with \(key, features, classes\).*pass params"
    ):
        fit(Objective(linear, softmax_cross_entropy), (X, Y), descent.adam(0.1))
    with pytest.raises(
        ValueError, match=r"y: expected classes numbered 0, 1, 2, …, got 70000 among 101 rows;.*pass"
    ):
        fit(objective(), (X, with_entry(Y, 70_000)), descent.adam(0.1))
    with pytest.raises(TypeError, match=r"the model's init cannot be called with \(key\)"):
        fit(
            Objective(Model(softmax.init, softmax.apply, softmax.predict), softmax_cross_entropy),
            (X, Y),
            descent.adam(0.1),
        )
