"""Optimizers that are objects with `init` and `update`, such as `optax.MultiSteps`."""

from typing import Any, cast

import chex
import jax
import numpy as np
import optax
import pytest
from helpers import DTYPE, assert_close

from dlcore import Objective, descent, fit, losses, models, sweep

RNG = np.random.default_rng(0)
X = RNG.normal(size=(64, 3)).astype(DTYPE)
Y = (X[:, 0] > 0.3).astype(DTYPE)
OBJECTIVE = Objective(models.logistic, losses.sigmoid_cross_entropy, 0.1)
ACCUMULATED = 4


@pytest.fixture(autouse=True)
def promotion_as_users_have_it():
    """`optax.MultiSteps` itself adds integers to floats."""
    with jax.numpy_dtype_promotion("standard"):
        yield


class Pair:
    """A minimal optimizer: gradient descent at a rate."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def init(self, params: Any) -> Any:
        return ()

    def update(self, gradient: Any, state: Any, params: Any = None) -> Any:
        return jax.tree.map(lambda leaf: -self.rate * leaf, gradient), state


class Scaled(Pair):
    """An optimizer that reads one of Optax's extra arguments."""

    def update(self, gradient: Any, state: Any, params: Any = None, **more: Any) -> Any:
        assert set(more) >= {"value", "grad", "value_fn"}
        return super().update(more["grad"], state)


class Converted:
    """An object that returns an Optax optimizer."""

    def gradient_transformation(self) -> Any:
        return optax.sgd(0.5)


@pytest.mark.parametrize("rule", [Pair(0.5), Scaled(0.5), Converted()])
def test_an_object_descends_as_its_rule(rule):
    expected = fit(OBJECTIVE, (X, Y), optax.sgd(0.5))
    fitted = fit(OBJECTIVE, (X, Y), rule)
    assert (fitted.status, fitted.steps) == (expected.status, expected.steps)
    chex.assert_trees_all_close(fitted.params, expected.params, rtol=1e-5)


def test_multi_steps_makes_an_update_of_every_few_gradients():
    """The accumulated gradients of all rows are equal, so the path is that of the inner rule."""
    plain = fit(OBJECTIVE, (X, Y), optax.sgd(0.5))
    fitted = fit(OBJECTIVE, (X, Y), optax.MultiSteps(optax.sgd(0.5), ACCUMULATED))
    assert fitted.status == "converged"
    assert fitted.steps == ACCUMULATED * plain.steps
    chex.assert_trees_all_close(fitted.params, plain.params, rtol=1e-5)
    ours = fit(OBJECTIVE, (X, Y), optax.MultiSteps(descent.gradient_descent(0.5), ACCUMULATED))
    chex.assert_trees_all_close(ours.params, fitted.params, rtol=1e-5)


def test_multi_steps_adds_up_the_batches_of_an_epoch():
    """Four batches of 16 rows add up to the gradient of all 64 rows, in any order."""
    plain = fit(OBJECTIVE, (X, Y), optax.sgd(0.5), max_steps=5, tol=0)
    rule = optax.MultiSteps(optax.sgd(0.5), ACCUMULATED)
    fitted = fit(OBJECTIVE, (X, Y), rule, max_steps=5 * ACCUMULATED, tol=0, batch_size=16, key=jax.random.key(0))
    for leaf, expected in zip(jax.tree.leaves(fitted.params), jax.tree.leaves(plain.params), strict=True):
        assert_close(leaf, np.asarray(expected, np.float64), units=200, dtype=np.float32)


def test_one_object_compiles_once(compiles):
    rule = optax.MultiSteps(optax.sgd(0.5), 2)
    fit(OBJECTIVE, (X, Y), rule, max_steps=7)
    first = compiles()
    fit(OBJECTIVE, (X, 1 - Y), rule, max_steps=9)
    assert compiles() == first


def test_a_sweep_makes_objects_of_its_settings():
    plain = sweep(OBJECTIVE, (X, Y), lambda setting: optax.sgd(setting["rate"]), {"rate": [0.5, 0.25]})
    fitted = sweep(
        OBJECTIVE,
        (X, Y),
        lambda setting: optax.MultiSteps(optax.sgd(setting["rate"]), ACCUMULATED),
        {"rate": [0.5, 0.25]},
    )
    assert list(fitted.steps) == [ACCUMULATED * steps for steps in plain.steps]
    chex.assert_trees_all_close(fitted.params, plain.params, rtol=1e-5)
    pairs = sweep(OBJECTIVE, (X, Y), lambda setting: Pair(setting["rate"]), {"rate": [0.5, 0.25]})
    chex.assert_trees_all_close(pairs.params, plain.params, rtol=1e-5)


def test_a_checkpoint_of_another_object_is_refused(tmp_path):
    """The attributes of an object are part of the problem. A fit with an equal object resumes."""
    path = tmp_path / "fit"
    fit(OBJECTIVE, (X, Y), Pair(0.5), max_steps=3, checkpoint=path)
    assert fit(OBJECTIVE, (X, Y), Pair(0.5), max_steps=6, checkpoint=path).steps == 6
    for other in (Pair(0.25), optax.sgd(0.5)):
        with pytest.raises(ValueError, match="is of another problem: optimizer was"):
            fit(OBJECTIVE, (X, Y), other, max_steps=6, checkpoint=path)
    path = tmp_path / "multi"
    fit(OBJECTIVE, (X, Y), optax.MultiSteps(optax.sgd(0.5), 4), max_steps=3, checkpoint=path)
    with pytest.raises(ValueError, match="is of another problem: optimizer was"):
        fit(OBJECTIVE, (X, Y), optax.MultiSteps(optax.sgd(0.5), 5), max_steps=3, checkpoint=path)


@pytest.mark.parametrize("rule", [None, 3, {}, (1, 2), "adam", models.logistic])
def test_an_argument_that_is_no_optimizer_raises(rule, compiles):
    with pytest.raises(TypeError, match=r"^optimizer: expected an Optax GradientTransformation, got"):
        fit(OBJECTIVE, (X, Y), cast(Any, rule))
    assert compiles() == 0
