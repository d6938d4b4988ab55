"""Heads with a scale for the penalty: their certificates are those of the heads of x/σ."""

import numpy as np
import pytest

from dlcore import LinearHeads, certify

pytestmark = pytest.mark.any_mode

LOSSES = ("logistic", "softmax", "squared", "poisson")


def heads_of(loss: str, seed: int, intercept: bool) -> tuple[LinearHeads, np.ndarray, np.ndarray, np.ndarray]:
    """Return several heads, some far from their optima, with their data and weights."""
    rng = np.random.default_rng(seed)
    n, m, models = 60, 4, 5
    x, s = rng.normal(size=(n, m)) * [1e-4, 1.0, 30.0, 1e5] + [0.0, 1.0, 10.0, 0.0], rng.uniform(0.1, 2, n)
    y = rng.normal(size=n) if loss == "squared" else rng.integers(0, 2 if loss == "logistic" else 3, n)
    shape = (models, 3) if loss == "softmax" else (models,)
    coef = rng.normal(size=(*shape, m)) * np.geomspace(1e-3, 1, models).reshape(-1, *[1] * len(shape))
    bias = rng.normal(size=shape) * 0.1 if intercept else None
    return LinearHeads(coef / [1e-4, 1.0, 30.0, 1e5], bias, np.geomspace(1e-4, 1, models), loss), x, y, s


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("exact", [True, False])
def test_it_is_the_proof_of_the_columns_divided(loss, intercept, exact):
    """It is so to the bit where the scale is made of powers of two. J and ∇J are those of the columns as given."""
    heads, x, y, s = heads_of(loss, 1, intercept)
    scale = np.array([1e-4, 0.9, 31.0, 2e5])
    scale = np.ldexp(1.0, np.frexp(scale)[1]) if exact else scale
    divided = certify(heads._replace(coef=heads.coef * scale), x / scale, y, s)
    proof = certify(heads._replace(scale=scale), x, y, s)
    tolerance = 1e-13 if exact else 1e-11
    np.testing.assert_allclose(proof.value, divided.value, rtol=tolerance)
    np.testing.assert_allclose(proof.gap, divided.gap, rtol=1e-2 if loss == "squared" else tolerance, atol=1e-12)
    assert proof.bound == divided.bound
    assert (proof.rounding <= 10 * divided.rounding).all()
    assert not np.allclose(proof.gap, certify(heads, x, y, s).gap, rtol=0.5)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_that_of_the_columns_as_given(loss):
    heads, x, y, s = heads_of(loss, 2, intercept=True)
    scale = np.array([1e-4, 0.9, 31.0, 2e5])
    heads = heads._replace(scale=scale)
    norms = []
    for k in range(5):
        one = LinearHeads(
            np.asarray(heads.coef)[k], np.asarray(heads.intercept)[k], np.asarray(heads.l2)[k], loss, scale
        )
        theta = np.concatenate([one.coef, np.asarray(one.intercept)[..., None]], axis=-1)
        slope = np.zeros_like(theta)
        for index in np.ndindex(theta.shape):
            step = 1e-5 / (1 + np.abs(x).max(0)[index[-1]] if index[-1] < 4 else 1)
            values = []
            for sign in (1, -1):
                moved = theta.copy()
                moved[index] += sign * step
                values.append(certify(one._replace(coef=moved[..., :-1], intercept=moved[..., -1]), x, y, s).value)
            slope[index] = (values[0] - values[1]) / (2 * step)
        norms.append(np.linalg.norm(slope))
    np.testing.assert_allclose(certify(heads, x, y, s).gradient_norm, norms, rtol=1e-5)


@pytest.mark.parametrize(
    ("scale", "error", "message"),
    [
        (np.ones(3), ValueError, r"heads.scale: expected shape \(4,\), got \(3,\)"),
        ([1.0, 1.0, 0.0, 1.0], ValueError, "heads.scale: expected finite numbers above 0"),
        ([1.0, 1.0, np.nan, 1.0], ValueError, "heads.scale: expected finite numbers above 0"),
        (["a"] * 4, TypeError, "heads.scale: expected numbers"),
    ],
)
def test_a_wrong_scale_is_named(scale, error, message):
    heads, x, y, s = heads_of("logistic", 1, intercept=True)
    with pytest.raises(error, match=message):
        certify(heads._replace(scale=scale), x, y, s)
