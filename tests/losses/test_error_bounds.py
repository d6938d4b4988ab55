"""The error bounds that `dlcore.verify` states for the losses, where errors are largest, eager and jitted."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, EPS

import dlcore
from dlcore.losses import binary_cross_entropy, half_poisson_deviance, sigmoid, sigmoid_cross_entropy, softmax

TINY = float(np.finfo(DTYPE).tiny)


def only_logit(z, y):
    del y
    return sigmoid(z)


def exact_sigmoid(z, y):
    """Return the value, the first and the second derivative, each with the magnitude of its terms."""
    del y
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    return [(p, p), (p * q, p * q), (p * q * (q - p), p * q)]


def exact_sigmoid_cross_entropy(z, y):
    p, q = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z))
    value = np.where(z >= 0, 1 - y, y) * np.abs(z) + np.log1p(np.exp(-np.abs(z)))
    return [(value, value), ((1 - y) * p - y * q, (1 - y) * p + y * q), (p * q, p * q)]


def exact_binary_cross_entropy(p, y):
    value = -y * np.log(p) - (1 - y) * np.log1p(-p)
    second = y / p**2 + (1 - y) / (1 - p) ** 2
    return [(value, value), ((p - y) / (p * (1 - p)), y / p + (1 - y) / (1 - p)), (second, second)]


def exact_half_poisson_deviance(z, y):
    """Return the results for targets of 0 and 1, whose logarithm is not rounded."""
    rate, value = np.exp(z), np.expm1(z) - z
    small = z[np.abs(z) < 0.1]
    series = np.polynomial.polynomial.polyval(small, [1 / np.longdouble(math.factorial(k + 2)) for k in range(12)])
    value[np.abs(z) < 0.1] = small * small * series
    value = np.where(y == 0, rate, value)
    return [(value, value), (rate - y, rate + y), (rate, rate)]


LOSSES = {
    "sigmoid": (only_logit, exact_sigmoid, [0.0]),
    "sigmoid_cross_entropy": (sigmoid_cross_entropy, exact_sigmoid_cross_entropy, [0.0, 1.0, 0.824156522]),
    "half_poisson_deviance": (half_poisson_deviance, exact_half_poisson_deviance, [0.0, 1.0]),
    "binary_cross_entropy": (binary_cross_entropy, exact_binary_cross_entropy, [0.0, 1.0, 0.4544235]),
}
WORST = [0.0134377778, 0.0072, 0.00058, 0.435, 1.9516, 2.6424, 2.6538, 3.4305, 4.1313, 4.8399, 11.387, 30.82]
"""Logits near which a search found the largest errors."""


def hard_points(name):
    """Return 100,000 numbers near the largest errors and over the whole range."""
    rng = np.random.default_rng(0)
    if name == "binary_cross_entropy":
        probabilities = np.concatenate([rng.uniform(0, 1, 60_000), np.sqrt(TINY) * rng.uniform(0.2, 5, 20_000)])
        probabilities = np.concatenate([probabilities, 1 - np.geomspace(EPS / 2, 0.5, 20_000)])
        return probabilities.clip(TINY, 1 - EPS / 2).astype(DTYPE)
    near = np.concatenate([z * (1 + rng.normal(size=6_000) * 1e-3) for z in WORST])
    wide = rng.uniform(-80, 80, 28_000)
    return np.concatenate([near * rng.choice([-1, 1], len(near)), wide]).astype(DTYPE)


@functools.cache
def derivatives(name, *, jitted):
    """Return the loss and its first two derivatives, of arrays."""
    loss, _, _ = LOSSES[name]
    functions = [jax.vmap(functools.reduce(lambda f, _: jax.grad(f), range(order), loss)) for order in range(3)]
    return [jax.jit(function) for function in functions] if jitted else functions


def worst_error(name, points, *, jitted):
    """Return the largest error of the value and of both derivatives, in ULPs of their terms.

    Args:
      name: of the loss.
      points: logits or probabilities.
      jitted: in which ways the loss is computed, a list of False and True.
    """
    _, exact, targets = LOSSES[name]
    largest = np.zeros(3)
    for target in targets:
        y = np.full(points.shape, target, DTYPE)
        with np.errstate(all="ignore"):
            expected = exact(points.astype(np.longdouble), y.astype(np.longdouble))
        for order, (number, size) in enumerate(expected):
            with np.errstate(all="ignore"):
                ulp = np.spacing(size.astype(DTYPE)).astype(np.longdouble)
                normal = (size >= TINY) & np.isfinite(size.astype(DTYPE))
            for way in jitted:
                actual = np.asarray(derivatives(name, jitted=way)[order](points, y))
                assert actual.dtype == DTYPE
                with np.errstate(all="ignore"):
                    error = np.where(normal, np.abs(actual.astype(np.longdouble) - number) / ulp, 0)
                largest[order] = max(largest[order], float(error.max()))
    return largest


@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("name", LOSSES)
def test_the_stated_bounds_hold_where_errors_are_largest(name, jitted):
    stated = [part.bound for part in dlcore.verify("cpu", [DTYPE.name], only=[f"losses.{name}"]).outcomes][:3]
    error = worst_error(name, hard_points(name), jitted=[jitted])
    assert (error <= stated).all(), (error, stated)


@pytest.mark.slow
@pytest.mark.parametrize("name", LOSSES)
def test_the_stated_bounds_hold_over_the_range(name):
    """The points are every 64th float32 from 2⁻¹³ to 88, or random float64; probabilities end at 1."""
    stated = [part.bound for part in dlcore.verify("cpu", [DTYPE.name], only=[f"losses.{name}"]).outcomes][:3]
    rng = np.random.default_rng(0)
    for exponent in range(-13, 0 if name == "binary_cross_entropy" else 7):
        step = (64 * np.arange(2**17) + rng.integers(64)) * 2.0**-23
        points = (1 + (step if np.float32 == DTYPE else rng.uniform(0, 1, 2**17))) * 2.0**exponent
        points = np.where(points > 88, points / 2, points).astype(DTYPE)
        for signed in (points, 1 - points if name == "binary_cross_entropy" else -points):
            signed = np.where((signed == 0) | (signed == 1), DTYPE.type(0.5), signed)  # all of one shape
            error = worst_error(name, signed, jitted=[False, True])
            assert (error <= stated).all(), (exponent, error, stated)


@pytest.mark.parametrize(("classes", "rest"), [(2, 4), (10, 4), (300, 7)])
def test_the_error_of_softmax_is_the_rounding_of_the_differences_and_a_few_ulps(classes, rest):
    """The error is at most max z − zⱼ ULPs and `rest` more. Half of max z − zⱼ is not a bound."""
    rng = np.random.default_rng(classes)
    largest = 87.0 if np.float32 == DTYPE else 708.0
    rows = 120_000 // classes
    z = -rng.uniform(0, 1, (rows, classes)) * largest * 10 ** rng.uniform(-1, 0, (rows, 1))
    z[:, 0] = 0
    z = (z + rng.uniform(-3, 3, (len(z), 1))).astype(DTYPE)
    exact = z.astype(np.longdouble)
    difference = exact.max(1, keepdims=True) - exact
    exponentials = np.exp(-difference)
    exact = exponentials / exponentials.sum(1, keepdims=True)
    ulp = np.spacing(exact.astype(DTYPE)).astype(np.longdouble)
    for function in (jax.vmap(softmax), jax.jit(jax.vmap(softmax))):
        error = np.abs(np.asarray(function(z)).astype(np.longdouble) - exact) / ulp
        error = np.where(exact >= TINY, error, 0)
        assert (error - difference).max() <= rest
        assert (error - difference / 2).max() > rest


def test_the_second_derivative_at_small_probabilities_under_jit():
    """The factor 1/p² is a normal number where p² is not."""
    p = jnp.asarray(1.05 / np.sqrt(np.finfo(DTYPE).max), DTYPE)
    second = jax.grad(jax.grad(binary_cross_entropy))
    for function in (second, jax.jit(second)):
        np.testing.assert_allclose(function(p, jnp.ones((), DTYPE)) * p * p, 1, rtol=8 * EPS)
