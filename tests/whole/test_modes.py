"""Every public task in every JAX mode that checks or changes how programs run."""

import contextlib
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import DTYPE
from seams import clear_compiled_programs, use_threads

from dlcore import (
    LinearHeads,
    Objective,
    calculus,
    certify,
    descent,
    fit,
    fit_heads,
    graph,
    linalg,
    losses,
    models,
    sweep,
    tensors,
    verify,
)
from dlcore.cli.graph import trace
from dlcore.models import LinearParams


@contextlib.contextmanager
def every_check():
    """Turn on the checks that compiled programs keep. A compiled program is made once for all of them."""
    with jax.transfer_guard("disallow"), jax.debug_nans(True), jax.debug_infs(True):
        yield


MODES = {
    "every check": every_check,
    "transfer_guard": lambda: jax.transfer_guard("disallow"),
    "disable_jit": jax.disable_jit,
    "checking_leaks": jax.checking_leaks,
}
DEBUG_MODES = {"debug_nans": lambda: jax.debug_nans(True), "debug_infs": lambda: jax.debug_infs(True)}

R = np.random.default_rng(0)
X = R.normal(size=(60, 4)).astype(DTYPE)
BINARY = (R.random(60) < 1 / (1 + np.exp(-3 * X[:, 0]))).astype(np.int32)
CLASSES = np.argmax(X[:, :3] + R.normal(size=(60, 3)), 1).astype(np.int32)
REAL = (X @ np.arange(4) + R.normal(size=60)).astype(DTYPE)
WIDE = R.normal(size=(60, 90)).astype(DTYPE)
WEIGHTS = R.uniform(0.5, 2, 60)
SQUARE = R.normal(size=(4, 4)).astype(DTYPE)
LOSSES = {
    "logistic": (models.logistic, losses.sigmoid_cross_entropy, BINARY),
    "squared": (models.linear, losses.squared_error, REAL),
    "softmax": (models.softmax, losses.softmax_cross_entropy, CLASSES),
    "huber": (models.linear, losses.huber, REAL),
}
KEY = jax.random.key(0)
MLP = models.mlp((4, 3, 1))
L2 = [1e-3, 1e-1]
LBFGS, SGD = optax.lbfgs(), optax.sgd(0.1)


def mlp_loss(prediction, target):
    return losses.squared_error(prediction, target)


def bias(params):
    return params.bias


def make_rule(setting):
    return descent.gradient_descent(setting["rate"])


def make_sgd(setting):
    return optax.sgd(setting["rate"])


def still(setting):
    return descent.gradient_descent(0.01)


def problem(loss, l2=1e-2):
    model, function, y = LOSSES[loss]
    return Objective(model, function, l2), (X, y)


def fitted(loss, optimizer=None, **options):
    return fit(*problem(loss), optimizer or descent.accelerated(0.05), max_steps=5, **options)


def search():
    with jax.numpy_dtype_promotion("standard"):  # Optax adds an int64 to an int32
        fitted("logistic", LBFGS)


def heads(loss, x=X, **options):
    return fit_heads(
        x, {"logistic": BINARY, "squared": REAL, "softmax": CLASSES}[loss], loss=loss, l2=L2, **options
    )


@functools.cache
def prepared(loss):
    return heads(loss)


def passes(loss):
    objective, data = problem(loss)
    sizes = (3,) if loss == "softmax" else ()
    params = jax.tree.map(np.asarray, objective.model.init(KEY, 4, *sizes))
    for given in (data, (*data, WEIGHTS), objective.prepare(data)):
        objective.value(params, given)
        objective.value_and_grad(params, given)
        objective.hvp(params, params, given)
        if loss != "softmax":
            objective.hessian(params, given)
    many = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), params)
    objective.values_and_grads(many, data, np.array([0.1, 0.2]))


def algebra(a, v):
    for f in (linalg.add, linalg.multiply, linalg.matmul, linalg.solve, linalg.lstsq):
        f(a, a)
    for f in (linalg.vecdot, linalg.outer, linalg.angle, linalg.are_orthogonal):
        f(v, v)
    for f in (linalg.trace, linalg.matrix_transpose, linalg.inv, linalg.pinv, linalg.matrix_rank, linalg.cond):
        f(a)
    for f in (linalg.spectral_norm, linalg.is_symmetric, linalg.is_orthogonal, linalg.are_orthonormal):
        f(a)
    linalg.identity(3)
    linalg.solve(a, v, refine=np.float32)
    for order in (0, 0.5, 1, 2, 3, np.inf, -np.inf):
        linalg.vector_norm(v, order)
    for order in ("fro", "nuc", 1, 2, np.inf, -2):
        linalg.matrix_norm(a, order)


def loss_functions(number, vector):
    half = number / number / (number / number + number / number)
    for f in (losses.squared_error, losses.absolute_error, losses.huber):
        f(number, number)
    for f in (losses.sigmoid_cross_entropy, losses.binary_cross_entropy):
        f(half, half)
    losses.softmax_cross_entropy(vector, np.int32(1))
    losses.softmax_cross_entropy(vector, losses.softmax(vector))
    losses.sigmoid(number)


def model_functions():
    x = jax.device_put(X[0])
    for model, sizes in ((models.linear, ()), (models.logistic, ()), (models.softmax, (3,))):
        params = model.init(KEY, 4, *sizes)
        model.apply(params, x)
        model.predict(params, x)
    MLP.predict(MLP.init(KEY), x)


def calculus_functions():
    def f(x):
        return jnp.sin(x)

    def g(x):
        return linalg.vecdot(x, x)

    calculus.difference_quotient(f, 1.0, 1e-2)
    calculus.central_difference(f, 1.0, 1e-2)
    calculus.derivative(f)(1.0)
    calculus.directional_derivative(g, X[0], X[1])
    calculus.check_gradient(g, X[0])


def rules():
    params = jax.device_put(LinearParams(X[0], X[0, 0]))
    for rule in (descent.gradient_descent(0.1), descent.momentum(0.1), descent.nesterov(0.1),
                 descent.accelerated(0.1), descent.adam(0.1)):  # fmt: skip
        rule.update(params, rule.init(params), params)


def resumed(folder, task):
    """Run a task with a checkpoint to its end, and resume it from the file."""
    for _ in range(2):
        task(checkpoint=folder / "state")


TASKS = {
    "fit logistic": lambda _: fitted("logistic", callback=lambda now: None, chunk=2, record=bias),
    "fit softmax": lambda _: fitted("softmax", descent.adam(0.1)),
    "fit squared": lambda _: fitted("squared", descent.momentum(0.01), params=LinearParams(X[0], 0.0)),
    "fit huber": lambda _: fitted("huber", descent.nesterov(0.05)),
    "fit optax": lambda _: fitted("logistic", SGD),
    "fit line search": lambda _: search(),
    "fit batches": lambda _: fit(
        Objective(MLP, mlp_loss, 1e-2), (X, REAL), descent.momentum(0.01), key=KEY, batch_size=20, max_steps=5
    ),
    "fit certified": lambda _: fit(*problem("logistic", 0.1), descent.accelerated(0.3), stop="certificate"),
    "fit checkpoint": lambda folder: resumed(folder, functools.partial(fitted, "logistic")),
    "lipschitz": lambda _: [descent.lipschitz_step(*problem(loss)) for loss in LOSSES],
    "sweep rates": lambda _: sweep(
        *problem("logistic"), make_rule, {"rate": [0.1, 0.2, 0.3], "l2": [0.01, 0.1, 1.0]}, max_steps=5, slots=2
    ),
    "sweep seeds": lambda _: sweep(
        Objective(MLP, mlp_loss), (X, REAL), still, {"seed": np.arange(2)}, key=KEY, max_steps=3
    ),
    "sweep optax": lambda _: sweep(*problem("softmax"), make_sgd, {"rate": [0.1, 0.2]}, max_steps=3, record=True),
    "sweep targets": lambda _: sweep(
        *problem("squared"), still, {"targets": np.stack([REAL, -REAL]), "weights": np.stack([WEIGHTS] * 2)},
        max_steps=3,
    ),
    **{
        f"heads {loss} {kind}": lambda _, loss=loss, options=options: heads(loss, **options)
        for loss in ("logistic", "softmax", "squared")
        for kind, options in {
            "folds": {"folds": 3},
            "standardized": {"folds": 3, "standardize": True, "sample_weight": WEIGHTS},
            "wide": {"x": WIDE},
            "validated": {"validation": (X, LOSSES[loss][2])},
            "without intercept": {"fit_intercept": False, "folds": 3},
        }.items()
    },
    "heads ranked": lambda _: [
        heads("logistic", folds=3, scoring="roc_auc"), heads("softmax", folds=3, scoring="roc_auc_ovr"),
    ],
    "heads balanced": lambda _: heads("logistic", folds=3, class_weight="balanced"),
    "heads targets": lambda _: fit_heads(X, np.stack([BINARY, 1 - BINARY], 1), l2=L2, folds=3),
    "heads left out": lambda _: [heads("squared", x, folds="leave-one-out") for x in (X, WIDE)],
    "heads class absent": lambda _: heads("softmax", folds=[tuple(np.array_split(np.flatnonzero(CLASSES), 2))]),
    "heads checkpoint": lambda folder: resumed(folder, functools.partial(heads, "softmax", folds=3)),
    "heads of the device's arrays": lambda _: heads("logistic", jax.device_put(X), folds=3),
    "heads unpenalised": lambda _: fit_heads(X, BINARY, l2=[0.0]),
    "predict": lambda _: [prepared(loss).predict(x) for loss in ("logistic", "softmax", "squared")
                          for x in (X, jax.device_put(X))],
    "predict_proba": lambda _: [prepared(loss).predict_proba(X) for loss in ("logistic", "softmax")],
    "certify": lambda _: [
        certify(LinearHeads(jax.device_put(X[0]), 0.0, 0.1), X, BINARY, tight=True, report=True),
        certify(prepared("softmax"), jax.device_put(X), CLASSES),
    ],
    **{f"objective {loss}": lambda _, loss=loss: passes(loss) for loss in LOSSES},
    "linalg": lambda _: algebra(SQUARE, X[0]),
    "linalg on the device": lambda _: algebra(*jax.device_put((SQUARE, X[0]))),
    "linalg compiled": lambda _: jax.jit(algebra)(*jax.device_put((SQUARE, X[0]))),
    "losses": lambda _: loss_functions(X[0, 0], X[0]),
    "losses on the device": lambda _: loss_functions(*jax.device_put((X[0, 0], X[0]))),
    "losses compiled": lambda _: jax.jit(loss_functions)(*jax.device_put((X[0, 0], X[0]))),
    "models": lambda _: model_functions(),
    "calculus": lambda _: calculus_functions(),
    "descent": lambda _: rules(),
    "graph": lambda _: graph.trace(lambda x, y: jnp.sum(x * y + jnp.exp(x)), X[0], 2.0).to_html(),
    "graph of text": lambda _: trace("x*(log(3*y) + sum(z))", ["x=1", "y=2", "z=[1,2]"]).to_text(),
    "tensors": lambda _: tensors.over_examples(jnp.sum, tensors.Layout("row column example", over="example"))(
        jax.device_put(R.normal(size=(2, 3, 4)).astype(DTYPE))
    ),
    "verify": lambda _: verify("cpu", ["float32"], only=["losses.squared_error", "losses.huber"]),
}  # fmt: skip


QUICK = ("fit logistic", "sweep rates", "heads logistic folds", "heads softmax folds", "losses compiled")
"""Tasks that are fast without compiled programs and with checks of every trace."""


def marks_of(task, mode):
    """Return the marks of a task in a mode.

    Most tasks take seconds without compiled programs. Every check includes the guard of transfers, but threads
    of the host then run one after another.
    """
    slow = mode != "every check" and task not in QUICK
    return [pytest.mark.slow] if slow or task == "verify" else []


@pytest.mark.parametrize(
    ("task", "mode"), [pytest.param(task, mode, marks=marks_of(task, mode)) for task in TASKS for mode in MODES]
)
def test_every_task_in_every_mode(task, mode, tmp_path):
    with warnings.catch_warnings(), MODES[mode]():
        warnings.simplefilter("ignore")  # of the grid's edge, and of JAX's modes
        TASKS[task](tmp_path)


ON_CORES = ("fit logistic", "sweep rates", "heads logistic folds", "heads softmax folds", "objective squared")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("task", ON_CORES)
def test_every_mode_with_two_threads(task, mode, tmp_path, monkeypatch):
    use_threads(2, monkeypatch)
    with warnings.catch_warnings(), MODES[mode]():
        warnings.simplefilter("ignore")
        TASKS[task](tmp_path)


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(("mode", "x"), [("debug_nans", np.nan), ("debug_infs", np.inf)])
def test_nan_raises_the_error_of_jax(mode, x, cores, monkeypatch):
    """The mathematics propagates nan, and the mode finds it with any number of threads."""
    use_threads(cores, monkeypatch)
    objective, _ = problem("squared")
    data = (np.full((60, 4), x, DTYPE), REAL)
    with DEBUG_MODES[mode](), pytest.raises(FloatingPointError) as raised:
        objective.value(LinearParams(np.ones(4, DTYPE), np.zeros((), DTYPE)), data)
    assert type(raised.value) is FloatingPointError


def test_a_diverging_sweep_raises_the_error_of_jax():
    with jax.debug_nans(True), pytest.raises(FloatingPointError) as raised:
        sweep(*problem("squared", 0.0), make_rule, {"rate": [1e30, 2e30]}, max_steps=50)
    assert type(raised.value) is FloatingPointError


def test_a_mode_changes_no_result():
    """Debugging modes raise on infinities, which the solvers do not use as sentinels."""
    expected = heads("softmax", folds=3)
    clear_compiled_programs()
    with jax.debug_infs(True), jax.debug_nans(True):
        actual = heads("softmax", folds=3)
    np.testing.assert_array_equal(expected.coef, actual.coef)
    np.testing.assert_array_equal(expected.scores, actual.scores)
