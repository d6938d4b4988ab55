"""The results of `fit` and `sweep` as text and HTML, and their equality, hash and pickling."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE

from dlcore import Objective, Status, descent, fit, sweep
from dlcore.fitting import Fit, History
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic
from dlcore.sweeping import Sweep

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)).astype(DTYPE)
Y = (X[:, 0] > 0).astype(DTYPE)
PROBLEM = Objective(logistic, sigmoid_cross_entropy, 0.1)
RATES = {"rate": [0.5, 0.1, 1e6], "l2": [0.1, 0.01, 0.1]}


@pytest.fixture(scope="module")
def fitted() -> Fit:
    return fit(PROBLEM, (X, Y), descent.gradient_descent(0.5), stop="certificate", tol=1e-4)


@pytest.fixture(scope="module")
def swept() -> Sweep:
    def make(setting):
        return descent.gradient_descent(setting["rate"])

    return sweep(PROBLEM, (X, Y), make, RATES, max_steps=60, tol=1e-2)


def test_the_repr_of_a_fit_is_one_line(fitted):
    assert fitted.certificate is not None
    gap = f"{fitted.certificate.gap:.2g}"
    assert repr(fitted) == f"Fit(converged, {fitted.steps} steps, value={float(fitted.value):.4g}, gap ≤ {gap})"
    plain = dataclasses.replace(fitted, certificate=None, steps=1)
    assert repr(plain) == f"Fit(converged, 1 step, value={float(fitted.value):.4g})"
    assert repr(fitted.history) == f"History(value and gradient_norm of shape ({fitted.steps + 1},))"


def test_the_repr_of_a_fit_under_a_derivative_does_not_raise():
    texts = []

    def value(l2):
        fitted = fit(Objective(logistic, sigmoid_cross_entropy, l2), (X, Y), descent.adam(0.1), max_steps=2)
        texts.append(repr(fitted))
        return fitted.value

    jax.jvp(value, (jnp.asarray(0.1, DTYPE),), (jnp.asarray(1.0, DTYPE),))
    assert texts == ["Fit(out of steps, 2 steps, value=traced)"]


def test_the_repr_of_a_sweep_counts_statuses_and_names_the_best_setting(swept):
    values = np.where(swept.status == Status.DIVERGED, np.nan, np.asarray(swept.value))
    best = int(np.nanargmin(values))
    counts = {status: list(swept.status).count(status) for status in dict.fromkeys(swept.status)}
    text = repr(swept)
    assert text.startswith("Sweep(3 settings: ")
    assert text.endswith(
        f"best value {values[best]:.4g} at rate={RATES['rate'][best]:g}, l2={RATES['l2'][best]:g})"
    )
    for status, count in counts.items():
        assert f"{count} {status}" in text
    assert swept.status[2] is Status.DIVERGED


def test_a_sweep_in_which_all_models_diverge_has_no_best_value(swept):
    broken = dataclasses.replace(swept, value=jnp.full(3, jnp.nan, DTYPE))
    assert "best value" not in repr(broken)


def test_html_is_an_escaped_table_with_header_scopes(fitted, swept):
    page = dataclasses.replace(fitted, message="<script>")._repr_html_()
    assert page.startswith("<table><caption>Fit</caption>")
    assert '<th scope="row">status</th><td>converged</td>' in page
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    page = swept._repr_html_()
    assert page.count('<th scope="col">') == len(("setting", "rate", "l2", "status", "steps", "value"))
    assert page.count('<th scope="row">') == 3
    named = dataclasses.replace(swept, settings={"a<b": np.arange(3)})
    assert '<th scope="col">a&lt;b</th>' in named._repr_html_()


def test_the_html_of_a_long_sweep_is_cut():
    count = 50
    long = Sweep(
        params=(),
        value=jnp.zeros(count),
        gradient_norm=jnp.zeros(count),
        steps=np.zeros(count, int),
        status=np.full(count, Status.CONVERGED),
        history=History(np.zeros((count, 0)), np.zeros((count, 0))),
        message=("",) * count,
        settings={"seed": np.arange(123456, 123456 + count)},
    )
    page = long._repr_html_()
    assert page.count("<tr>") == 1 + 20 + 1
    assert "30 more" in page
    assert "<td>123456</td>" in page
    assert repr(long) == "Sweep(50 settings: 50 converged, best value 0 at seed=123456)"


def test_results_are_equal_to_themselves_alone_and_have_a_hash(fitted, swept):
    for result in (fitted, swept, fitted.history):
        twin = copy.copy(result)
        assert result == result
        assert result != twin
        assert len({result, twin, result}) == 2


def test_results_survive_pickling(fitted, swept):
    for result in (fitted, swept):
        twin = pickle.loads(pickle.dumps(result))
        assert type(twin) is type(result)
        assert repr(twin) == repr(result)
        np.testing.assert_array_equal(twin.params.weight, result.params.weight)
        np.testing.assert_array_equal(twin.status, result.status)


def test_a_sweep_is_a_fit_with_its_settings(swept):
    assert issubclass(Sweep, Fit)
    assert list(swept.settings) == ["rate", "l2"]
    np.testing.assert_array_equal(swept.settings["rate"], RATES["rate"])
