"""Reproducibility of bits: statements of `docs/determinism.md` that no other file tests."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close, breast_cancer

from dlcore import LinearHeads, Objective, certify, descent, fit, fit_heads, sweep
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import LinearParams, logistic

PROBLEM = Objective(logistic, sigmoid_cross_entropy, 1e-2)
X, Y = breast_cancer()
POINT = LinearParams(np.linspace(-1, 1, X.shape[1]).astype(DTYPE), np.asarray(0.3, DTYPE))
ORDER = np.random.default_rng(0).permutation(len(X))
STEPS = 100


def size_of_terms() -> tuple[float, float]:
    """Return Σ|tᵢ|/n, the scale of rounding errors, for J and for its largest derivative."""
    logit = np.abs(X.astype(float) @ POINT.weight) + 0.3
    return float(logit.mean() + 1), float(max(1, np.abs(X).mean(0).max()))


def assert_reassociated(result: Any, expected: Any) -> None:
    """Assert that two orders of summation differ by at most 2γₙ·Σ|tᵢ| and the rounding of a term."""
    units = 2 * (len(X) + X.shape[1])
    for first, second, scale in zip(
        (result[0], result[1].weight, result[1].bias),
        (expected[0], expected[1].weight, expected[1].bias),
        (size_of_terms()[0], size_of_terms()[1], 1.0),
        strict=True,
    ):
        assert_close(first, second, units=units, scale=scale)


# -- the objective -------------------------------------------------------------------------------------------


def test_values_and_gradients_repeat_and_differ_by_rounding_inside_jit():
    data = PROBLEM.prepare((X, Y))
    first, again = (PROBLEM.value_and_grad(POINT, data) for _ in range(2))
    chex.assert_trees_all_equal(first, again, strict=True)
    assert_reassociated(jax.jit(PROBLEM.value_and_grad)(POINT, data), first)
    with jax.disable_jit():
        assert_reassociated(PROBLEM.value_and_grad(POINT, data), first)


def test_one_example_equals_its_row_of_a_vmap_to_rounding():
    """A logit is a sum of m products, with an error of 2γₘ₊₁·Σ|xⱼwⱼ|, and |dloss/dlogit| ≤ 1."""

    def of_one(x, y):
        return sigmoid_cross_entropy(logistic.apply(POINT, x), y)

    together = jax.vmap(of_one)(X, Y)
    alone = np.array([of_one(x, y) for x, y in zip(X[:20], jnp.asarray(Y[:20]), strict=True)])
    scale = np.abs(X[:20].astype(float)) @ np.abs(POINT.weight) + 1
    assert_close(together[:20], alone, units=2 * (X.shape[1] + 1) + 8, scale=scale)


def test_reordered_rows_have_the_same_sum_to_rounding():
    assert_reassociated(PROBLEM.value_and_grad(POINT, (X[ORDER], Y[ORDER])), PROBLEM.value_and_grad(POINT, (X, Y)))


# -- fits and sweeps -----------------------------------------------------------------------------------------


def sweep_weights(rates: np.ndarray, **given: Any) -> np.ndarray:
    """Return the weights after a hundred steps at each rate."""

    def make(setting):
        return descent.gradient_descent(setting["rate"])

    result = sweep(PROBLEM, (X, Y), make, {"rate": rates}, tol=0, max_steps=STEPS, **given)
    return np.asarray(result.params.weight)


def test_a_model_of_a_sweep_depends_on_its_size_and_slots_by_rounding():
    """Steps at rates of at most 1/L do not amplify differences, so rounding errors of the steps only add up."""
    safe = float(descent.lipschitz_step(PROBLEM, (X, Y)))
    rates = safe * np.geomspace(0.03, 1, 50)
    of_fifty = sweep_weights(rates)
    bound = STEPS * (safe * 2 * (len(X) + X.shape[1]) * size_of_terms()[1] + 2)
    for selected in ([17], [0, 10, 17, 30, 49]):
        assert_close(sweep_weights(rates[selected]), of_fifty[selected], units=bound, scale=1)
    for slots in (1, 8):
        assert_close(sweep_weights(rates, slots=slots), of_fifty, units=bound, scale=1)
    np.testing.assert_array_equal(
        sweep_weights(rates[::-1]), of_fifty[::-1]
    )  # the position in the queue changes no bit


# -- bounds by certificates ----------------------------------------------------------------------------------


def assert_certified_distance(
    first: LinearHeads, second: LinearHeads, data: tuple[np.ndarray, np.ndarray], tol: float = 1e-6
) -> None:
    """Assert that two solutions differ by at most the sum of their certified distances to the optimum.

    J is λ-strongly convex in w, so each w is within √(2·gap/λ) of the optimum. The gaps must be small too.
    """
    certificates = [certify(heads, *data) for heads in (first, second)]
    assert all(
        (np.asarray(certificate.gap) <= tol * np.asarray(certificate.value)).all() for certificate in certificates
    )
    radius = sum(np.sqrt(2 * np.asarray(certificate.gap) / first.l2) for certificate in certificates)
    axes = tuple(range(1, np.ndim(first.coef)))
    distance = np.sqrt(((np.asarray(first.coef, float) - np.asarray(second.coef, float)) ** 2).sum(axes))
    assert np.isfinite(radius).all()
    assert (distance <= radius).all(), (distance, radius)


def heads_of(result: Any, selected: Any = slice(None)) -> LinearHeads:
    return LinearHeads(result.coef[selected], result.intercept[selected], result.l2[selected], result.loss)


LABELS = {"logistic": Y.astype(int), "softmax": np.arange(len(X)) % 3, "squared": X[:, 0] + Y}


@pytest.mark.parametrize("loss", LABELS)
def test_heads_alone_or_together_agree_within_certified_distances(loss):
    y, l2 = LABELS[loss], np.geomspace(1e-3, 1, 8)
    many = fit_heads(X, y, loss=loss, l2=l2)
    alone = fit_heads(X, y, loss=loss, l2=l2[[5]])
    assert_certified_distance(heads_of(alone), heads_of(many, [5]), (X, y))
    moved = fit_heads(X[ORDER], y[ORDER], loss=loss, l2=l2)
    assert_certified_distance(heads_of(moved), heads_of(many), (X, y))
    if loss != "squared":
        return
    backwards = fit_heads(X, y, loss=loss, l2=l2[::-1])
    assert_certified_distance(heads_of(backwards, slice(None, None, -1)), heads_of(many), (X, y))


@pytest.mark.slow
def test_float32_and_float64_agree_within_certified_distances():
    """Descent and heads are run on the same numbers in both dtypes."""
    x, l2 = X.astype(np.float32), 1e-2
    result = []
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            data = x.astype(dtype), Y.astype(dtype)
            params = fit(PROBLEM, data, descent.nesterov(0.1), tol=1e-5).params
            assert params.weight.dtype == dtype
            coef, intercept = np.asarray(params.weight)[None], np.asarray(params.bias)[None]
            result.append(LinearHeads(coef, intercept, np.array([l2])))
    assert_certified_distance(result[0], result[1], (x, Y), tol=1e-4)
    single, double = (fit_heads(x.astype(dtype), Y, l2=[1e-3, l2]) for dtype in (np.float32, np.float64))
    assert_certified_distance(heads_of(single), heads_of(double), (x, Y))


# -- the certificate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LABELS)
def test_a_certificate_repeats_and_reordered_rows_change_it_by_rounding(loss):
    y = LABELS[loss]
    classes = (3,) if loss == "softmax" else ()
    coef = np.random.default_rng(1).normal(size=(2, *classes, X.shape[1]))
    heads = LinearHeads(coef, np.zeros((2, *classes)), [1e-2, 1.0], loss)
    first, again, moved = certify(heads, X, y), certify(heads, X, y), certify(heads, X[ORDER], y[ORDER])
    for name in ("value", "gradient_norm", "gap", "rounding"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert (abs(moved.gap - first.gap) <= moved.rounding + first.rounding).all()
    assert_close(moved.value, first.value, units=2 * len(X), scale=first.value, dtype=np.float64)
