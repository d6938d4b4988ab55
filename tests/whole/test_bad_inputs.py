"""Invalid input: the error says the name, the expected and the actual value, and nothing is compiled."""

from typing import Any, cast

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bad_data import CERTIFIED, DATA, M, N, X, Y, with_entry
from helpers import DTYPE

from dlcore import LinearHeads, Objective, certify, descent, fit
from dlcore.losses import sigmoid_cross_entropy, squared_error
from dlcore.models import linear, logistic
from dlcore.objective import BlockedData


@pytest.mark.parametrize("case", DATA)
def test_data(case, compiles):
    data, error, message = DATA[case]
    with pytest.raises(error, match=message) as caught:
        fit(Objective(logistic, sigmoid_cross_entropy, 0.1), data, descent.gradient_descent(0.1))
    assert caught.type is error
    assert compiles() == 0


@pytest.mark.filterwarnings("ignore:the matrix subclass:PendingDeprecationWarning")
def test_np_matrix():
    with pytest.raises(TypeError, match=r"x: np.matrix is not supported, pass np.asarray\(x\)"):
        fit(Objective(logistic, sigmoid_cross_entropy), (np.matrix(X), Y), descent.gradient_descent(0.1))


@pytest.mark.parametrize("case", CERTIFIED)
def test_certify_raises_the_same_error(case, compiles):
    data, error, message = DATA[case]
    with pytest.raises(error, match=message):
        certify(LinearHeads(np.zeros(M), 0.0, 0.1), *data)
    assert compiles() == 0


@pytest.mark.parametrize("case", ["nan in x", "rows", "1-D x", "objects", "negative weight", "zero weights"])
def test_lipschitz_step_raises_the_same_error(case, compiles):
    data, error, message = DATA[case]
    with pytest.raises(error, match=message):
        descent.lipschitz_step(Objective(logistic, sigmoid_cross_entropy), data)
    assert compiles() == 0


def test_regression_takes_any_finite_target(compiles):
    objective = Objective(linear, squared_error)
    with pytest.raises(ValueError, match="y: expected finite numbers, got nan"):
        fit(objective, (X, with_entry(Y, np.nan)), descent.gradient_descent(0.1))
    with pytest.raises(ValueError, match=r"y: expected 1-D \[n\], got 2-D"):
        fit(objective, (X, Y[:, None]), descent.gradient_descent(0.1))
    assert compiles() == 0
    assert fit(objective, (X, -3.5 * Y), descent.gradient_descent(0.1)).status == "converged"


OPTIONS = {
    "max_steps 1e10": ({"max_steps": 10**10}, ValueError, "max_steps: expected an integer of at most 2147483646"),
    "tol array": ({"tol": np.ones(2)}, ValueError, r"tol: expected one number, got an array of shape \(2,\)"),
    "nan params": ({"params": np.full(3, np.nan)}, ValueError, "params: expected finite numbers, got nan"),
    "callback 3": ({"callback": 3}, TypeError, "callback: expected a function of a Progress, got 3"),
    "max_steps 0": ({"max_steps": 0}, ValueError, "max_steps: expected an integer of at least 1, got 0"),
    "max_steps -1": ({"max_steps": -1}, ValueError, "max_steps: expected an integer of at least 1, got -1"),
    "max_steps 1.5": ({"max_steps": 1.5}, TypeError, "max_steps: expected an integer, got 1.5"),
    "max_steps True": ({"max_steps": True}, TypeError, "max_steps: expected an integer, got True"),
    "max_steps '9'": ({"max_steps": "9"}, TypeError, "max_steps: expected an integer, got '9'"),
    "chunk 0": ({"chunk": 0}, ValueError, "chunk: expected an integer of at least 1, got 0"),
    "tol nan": ({"tol": np.nan}, ValueError, "tol: expected a finite number of at least 0, got nan"),
    "tol -1": ({"tol": -1}, ValueError, "tol: expected a finite number of at least 0, got -1"),
    "tol '1'": ({"tol": "1"}, TypeError, "tol: expected a number, got '1'"),
    "integer params": (
        {"params": np.zeros(3, int)},
        TypeError,
        "params: expected a floating-point dtype, got int",
    ),
    "no params": ({"params": ()}, ValueError, "params: expected at least one array, got none"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options(case, compiles):
    options, error, message = OPTIONS[case]
    with pytest.raises(error, match=message):
        fit(Objective(logistic, sigmoid_cross_entropy), (X, Y), descent.gradient_descent(0.1), **options)
    assert compiles() == 0


@pytest.mark.parametrize(
    ("l2", "error", "message"),
    [
        (-1.0, ValueError, "l2: expected a finite number of at least 0, got -1.0"),
        (np.nan, ValueError, "l2: expected a finite number of at least 0, got nan"),
        (np.inf, ValueError, "l2: expected a finite number of at least 0, got inf"),
        (np.array([0.1, -0.1]), ValueError, "l2: expected a finite number of at least 0"),
        ("0.1", TypeError, "l2: expected a number, got '0.1'"),
        (None, TypeError, "l2: expected a number, got None"),
        (1j, TypeError, "l2: expected a real number, got 1j"),
    ],
)
def test_l2(l2, error, message, compiles):
    with pytest.raises(error, match=message):
        Objective(logistic, sigmoid_cross_entropy, l2)
    assert compiles() == 0


@pytest.mark.skipif(np.float32 != DTYPE, reason="the range of float64 is that of the input")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": 1e39}, "x: expected numbers within the range of float32; scale them"),
        ({"y": 1e39}, "y: expected numbers within the range of float32; scale them"),
        ({"rate": 1e-50}, "optimizer: expected a number within the range of float32, got 1e-50"),
        ({"rate": 1e39}, "optimizer: expected a number within the range of float32, got 1e\\+39"),
        ({"l2": 1e39}, "l2: expected a number within the range of float32, got 1e\\+39"),
    ],
)
def test_numbers_beyond_the_working_dtype(change, message, compiles):
    x, y = X.astype(float) * change.get("x", 1), Y.astype(float) * change.get("y", 1)
    objective = Objective(linear, squared_error, change.get("l2", 0.0))
    with pytest.raises(ValueError, match=message):
        fit(objective, (x, y), descent.gradient_descent(change.get("rate", 0.1)))
    assert compiles() == 0


def test_weights_of_any_size():
    objective = Objective(logistic, sigmoid_cross_entropy, 0.1)
    plain = fit(objective, (X, Y), descent.gradient_descent(0.1), max_steps=20)
    for scale in (1e-300, 1e300):
        scaled = fit(objective, (X, Y, np.full(N, scale)), descent.gradient_descent(0.1), max_steps=20)
        np.testing.assert_allclose(scaled.params.weight, plain.params.weight, rtol=1e-5)


def test_prepared_data_is_checked_for_each_loss():
    prepared = Objective(linear, squared_error).prepare((X, 2.5 * Y))
    with pytest.raises(ValueError, match=r"y: expected labels 0 and 1, got the values 0, 2.5"):
        fit(Objective(logistic, sigmoid_cross_entropy), prepared, descent.gradient_descent(0.1))
    by_hand = BlockedData(jnp.asarray(with_entry(X, np.nan)), jnp.asarray(Y), None, 5)
    with pytest.raises(ValueError, match="x: expected finite numbers, got nan"):
        fit(Objective(logistic, sigmoid_cross_entropy), by_hand, descent.gradient_descent(0.1))


def test_invalid_arguments_of_fit_are_named():
    rule = descent.gradient_descent(0.1)
    with pytest.raises(TypeError, match=r"objective: expected a dlcore.Objective, got NoneType"):
        fit(cast(Any, None), (X, Y), rule)
    with pytest.raises(TypeError, match=r"model: expected a dlcore.models.Model, got 'logistic'"):
        Objective(cast(Any, "logistic"), sigmoid_cross_entropy)
    with pytest.raises(TypeError, match="loss: expected a function"):
        Objective(logistic, cast(Any, "log"))
    with pytest.raises(TypeError, match=r"params: expected LinearParams\(weight, bias\), got tuple"):
        fit(
            Objective(logistic, sigmoid_cross_entropy),
            (X, Y),
            rule,
            params=(np.zeros(M, DTYPE), np.zeros((), DTYPE)),
        )
    with pytest.raises(ValueError, match=r"l2: expected one number, got an array of shape \(2,\)"):
        fit(Objective(logistic, sigmoid_cross_entropy, np.ones(2)), (X, Y), rule)
    with pytest.raises(ValueError, match=r"optimizer: expected one number, got an array of shape \(3,\)"):
        fit(Objective(logistic, sigmoid_cross_entropy), (X, Y), descent.gradient_descent(np.ones(3)))
    with pytest.raises(ValueError, match="a leaf called `weight` to penalise, got none"):
        Objective(logistic, sigmoid_cross_entropy, 5).value(jnp.ones(M), (X, Y))


def test_an_invalid_optimizer():
    with pytest.raises(TypeError, match="optimizer: expected an Optax GradientTransformation, got function"):
        fit(Objective(logistic, sigmoid_cross_entropy), (X, Y), descent.gradient_descent)  # pyright: ignore[reportArgumentType]


def test_integers_and_booleans_are_converted():
    objective = Objective(logistic, sigmoid_cross_entropy, 0.1)
    x = np.round(3 * X)
    plain = fit(objective, (x, Y), descent.gradient_descent(0.1), max_steps=20)
    for dtype in (np.int64, np.int8):
        fitted = fit(objective, (x.astype(dtype), Y.astype(bool)), descent.gradient_descent(0.1), max_steps=20)
        np.testing.assert_array_equal(fitted.params.weight, plain.params.weight)


def test_shapes_are_checked_under_jit_too():
    objective = Objective(logistic, sigmoid_cross_entropy, 0.1)
    params = logistic.init(None, M)
    with pytest.raises(ValueError, match=r"x: expected 2-D \[n, features\], got 1-D"):
        objective.value(params, (jnp.ones(N), jnp.ones(N)))
    with pytest.raises(ValueError, match=r"a row of x for every row of y, got shapes x \(12, 3\) and y \(11,\)"):
        objective.value_and_grad(params, (X, Y[:-1]))
    with pytest.raises(ValueError, match=r"weights: expected shape \(12,\), one per row, got \(3,\)"):
        objective.value(params, (X, Y, np.ones(3, DTYPE)))
    with pytest.raises(ValueError, match=r"x \(4,\) and weight \(3,\)"):
        objective.value(params, (jnp.ones((N, 4)), jnp.ones(N)))


def test_parameters_of_wrong_shapes_are_named():
    start = logistic.init(None, M + 1)
    with pytest.raises(ValueError, match=r"x \(3,\) and weight \(4,\)"):
        fit(Objective(logistic, sigmoid_cross_entropy), (X, Y), optax.sgd(0.1), params=start)
