"""Which bits repeat: what `docs/determinism.md` says and no other file tests."""

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
    """Σ|tᵢ|/n of the sums of J and of the largest of its derivatives, which roundings are relative to."""
    logit = np.abs(X.astype(float) @ POINT.weight) + 0.3
    return float(logit.mean() + 1), float(max(1, np.abs(X).mean(0).max()))


def assert_reassociated(found: Any, expected: Any) -> None:
    """Two orders of adding n terms: 2γₙ·Σ|tᵢ| and the rounding of a term, of which the product over m is most."""
    units = 2 * (len(X) + X.shape[1])
    for one, other, scale in zip(
        (found[0], found[1].weight, found[1].bias),
        (expected[0], expected[1].weight, expected[1].bias),
        (size_of_terms()[0], size_of_terms()[1], 1.0),
        strict=True,
    ):
        assert_close(one, other, units=units, scale=scale)


# -- the objective -------------------------------------------------------------------------------------------


def test_a_value_and_gradient_repeats_and_in_a_program_of_ones_own_rounds_differently():
    data = PROBLEM.prepare((X, Y))
    first, again = (PROBLEM.value_and_grad(POINT, data) for _ in range(2))
    chex.assert_trees_all_equal(first, again, strict=True)
    assert_reassociated(jax.jit(PROBLEM.value_and_grad)(POINT, data), first)
    with jax.disable_jit():
        assert_reassociated(PROBLEM.value_and_grad(POINT, data), first)


def test_one_example_is_its_row_of_a_vmap_to_rounding():
    """A logit is a sum of m products: 2γₘ₊₁·Σ|xⱼwⱼ|, and the loss has slope 1 at most."""

    def of_one(x, y):
        return sigmoid_cross_entropy(logistic.apply(POINT, x), y)

    together = jax.vmap(of_one)(X, Y)
    alone = np.array([of_one(x, y) for x, y in zip(X[:20], jnp.asarray(Y[:20]), strict=True)])
    scale = np.abs(X[:20].astype(float)) @ np.abs(POINT.weight) + 1
    assert_close(together[:20], alone, units=2 * (X.shape[1] + 1) + 8, scale=scale)


def test_rows_in_another_order_are_the_same_sum_to_rounding():
    assert_reassociated(PROBLEM.value_and_grad(POINT, (X[ORDER], Y[ORDER])), PROBLEM.value_and_grad(POINT, (X, Y)))


# -- fits and sweeps -----------------------------------------------------------------------------------------


def swept(rates: np.ndarray, **given: Any) -> np.ndarray:
    """The weights after a hundred steps at each rate."""

    def make(setting):
        return descent.gradient_descent(setting["rate"])

    found = sweep(PROBLEM, (X, Y), make, {"rate": rates}, tol=0, max_steps=STEPS, **given)
    return np.asarray(found.params.weight)


def test_a_model_of_a_sweep_depends_on_its_size_and_slots_by_rounding():
    """At rates of at most 1/L a step expands no difference, so what each step adds adds up at most: the rate times
    the rounding of a gradient, and that of the parameters."""
    safe = float(descent.lipschitz_step(PROBLEM, (X, Y)))
    rates = safe * np.geomspace(0.03, 1, 50)
    of_fifty = swept(rates)
    bound = STEPS * (safe * 2 * (len(X) + X.shape[1]) * size_of_terms()[1] + 2)
    for chosen in ([17], [0, 10, 17, 30, 49]):
        assert_close(swept(rates[chosen]), of_fifty[chosen], units=bound, scale=1)
    for slots in (1, 8):
        assert_close(swept(rates, slots=slots), of_fifty, units=bound, scale=1)
    np.testing.assert_array_equal(swept(rates[::-1]), of_fifty[::-1])  # the place in the queue changes no bit


# -- what a proof bounds -------------------------------------------------------------------------------------


def assert_as_proven(
    one: LinearHeads, other: LinearHeads, data: tuple[np.ndarray, np.ndarray], tol: float = 1e-6
) -> None:
    """Two answers to one problem: each w is within √(2·gap/λ) of the optimum's, as J is λ-strongly convex in w.

    That holds of any w; that the gaps are small is what makes it say something.
    """
    proofs = [certify(heads, *data) for heads in (one, other)]
    assert all((np.asarray(proof.gap) <= tol * np.asarray(proof.value)).all() for proof in proofs)
    radius = sum(np.sqrt(2 * np.asarray(proof.gap) / one.l2) for proof in proofs)
    axes = tuple(range(1, np.ndim(one.coef)))
    apart = np.sqrt(((np.asarray(one.coef, float) - np.asarray(other.coef, float)) ** 2).sum(axes))
    assert np.isfinite(radius).all()
    assert (apart <= radius).all(), (apart, radius)


def heads_of(found: Any, chosen: Any = slice(None)) -> LinearHeads:
    return LinearHeads(found.coef[chosen], found.intercept[chosen], found.l2[chosen], found.loss)


LABELS = {"logistic": Y.astype(int), "softmax": np.arange(len(X)) % 3, "squared": X[:, 0] + Y}


@pytest.mark.parametrize("loss", LABELS)
def test_a_head_alone_among_many_and_of_rows_in_another_order_is_as_near_as_proven(loss):
    y, l2 = LABELS[loss], np.geomspace(1e-3, 1, 8)
    many = fit_heads(X, y, loss=loss, l2=l2)
    alone = fit_heads(X, y, loss=loss, l2=l2[[5]])
    assert_as_proven(heads_of(alone), heads_of(many, [5]), (X, y))
    moved = fit_heads(X[ORDER], y[ORDER], loss=loss, l2=l2)
    assert_as_proven(heads_of(moved), heads_of(many), (X, y))
    if loss != "squared":
        return
    backwards = fit_heads(X, y, loss=loss, l2=l2[::-1])
    assert_as_proven(heads_of(backwards, slice(None, None, -1)), heads_of(many), (X, y))


@pytest.mark.slow
def test_float32_and_float64_are_as_near_as_proven():
    """The same numbers in either dtype, by descent and as heads."""
    x, l2 = X.astype(np.float32), 1e-2
    found = []
    with jax.enable_x64(True):
        for dtype in (np.float32, np.float64):
            data = x.astype(dtype), Y.astype(dtype)
            params = fit(PROBLEM, data, descent.nesterov(0.1), tol=1e-5).params
            assert params.weight.dtype == dtype
            coef, intercept = np.asarray(params.weight)[None], np.asarray(params.bias)[None]
            found.append(LinearHeads(coef, intercept, np.array([l2])))
    assert_as_proven(found[0], found[1], (x, Y), tol=1e-4)
    one, other = (fit_heads(x.astype(dtype), Y, l2=[1e-3, l2]) for dtype in (np.float32, np.float64))
    assert_as_proven(heads_of(one), heads_of(other), (x, Y))


# -- the certificate -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", LABELS)
def test_a_certificate_repeats_and_of_rows_in_another_order_differs_by_its_rounding(loss):
    y = LABELS[loss]
    classes = (3,) if loss == "softmax" else ()
    coef = np.random.default_rng(1).normal(size=(2, *classes, X.shape[1]))
    heads = LinearHeads(coef, np.zeros((2, *classes)), [1e-2, 1.0], loss)
    first, again, moved = certify(heads, X, y), certify(heads, X, y), certify(heads, X[ORDER], y[ORDER])
    for name in ("value", "gradient_norm", "gap", "rounding"):
        np.testing.assert_array_equal(getattr(again, name), getattr(first, name))
    assert (abs(moved.gap - first.gap) <= moved.rounding + first.rounding).all()
    assert_close(moved.value, first.value, units=2 * len(X), scale=first.value, dtype=np.float64)
