"""One pass for many softmax heads, folds as bits, against the formulas in NumPy."""

import jax
import numpy as np
import pytest

from dlcore.heads.frame import Frame
from dlcore.heads.multinomial import Task, held_out, look
from dlcore.objective import BlockedData

pytestmark = pytest.mark.any_mode


@pytest.mark.parametrize("intercept", [1.0, 0.0])
def test_a_pass_gives_each_head_its_own_sums(intercept):
    rng = np.random.default_rng(0)
    n, m, heads, classes = 53, 4, 3, 5
    x, y, s = rng.normal(size=(n, m)) + 2, rng.integers(0, classes, n), rng.uniform(0.1, 1, n)
    train = np.array([np.ones(n), rng.integers(0, 2, n), rng.integers(0, 2, n)], bool)
    bits = [(mask * np.array([[1], [2], [4]])).sum(0).astype(np.uint32) for mask in (train, ~train)]
    theta, l2 = rng.normal(size=(heads, classes, m + 1)) / 3, rng.uniform(0.1, 1, heads)
    centre, unit, ratio = rng.normal(size=m), rng.uniform(0.5, 2, m), rng.uniform(0.5, 2, (heads, m))
    y = np.where(np.arange(n) % 3 > 0, ((x - centre) * unit @ theta[..., :-1].mean(0).T).argmax(1), y)
    fit, nothing = np.array([2, 0, 1], np.uint32), np.zeros(heads)
    total, share = (train[fit] * s).sum(1), np.full((heads, classes), 0.2)
    task, frame = (
        Task(l2, ratio, fit, total, share, nothing, nothing),
        Frame(centre, unit, np.float64(intercept), np.float64(1)),
    )
    with jax.enable_x64(True):
        marks = np.stack([y.astype(np.uint32), *bits], axis=1)
        data = BlockedData(jax.device_put(x), jax.device_put(marks), jax.device_put(s), 20)
        seen = jax.jit(lambda t, k, d, f: look(t, k, d, f, np.dtype("float64")))(theta, task, data, frame)
        seen, lost, right = jax.device_get((seen, *held_out(theta, fit, data, frame)))
    rows = np.column_stack([(x - centre) * unit, np.full(n, intercept)])
    for b in range(heads):
        z = rows @ theta[b].T
        p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
        own, weight = p[np.arange(n), y], s * train[fit[b]] / total[b]
        penalty = np.append(l2[b] * ratio[b], 0)
        gradient = (weight[:, None] * (p - np.eye(classes)[y])).T @ rows + penalty * theta[b]
        value = -weight @ np.log(own) + (penalty * theta[b] ** 2).sum() / 2
        np.testing.assert_allclose(seen.value[b], value, rtol=1e-13)
        np.testing.assert_allclose(seen.gradient[b], gradient, atol=1e-14 * n)
        np.testing.assert_allclose(seen.spread[b], weight @ (p * (1 - p)), rtol=1e-12)
        doubted = (own <= 0.5) & (weight > 0)
        assert int(seen.doubted[b]) == doubted.sum()
        assert (own[doubted] > 1 / 3).any()  # the largest of all, and doubted all the same
        test = s * ~train[fit[b]]
        np.testing.assert_allclose(lost[b], -test @ np.log(own), rtol=1e-13)
        np.testing.assert_allclose(right[b], test @ (z.argmax(1) == y), rtol=1e-13)
