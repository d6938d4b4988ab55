"""One pass for many logistic heads, in groups of folds and targets, against the formulas in NumPy."""

import jax
import numpy as np
import pytest

from dlcore.heads.frame import Frame
from dlcore.heads.slots import Slots, gap_estimate, place_of, sums_at
from dlcore.objective import BlockedData
from dlcore.objective.sharding import shard_rows

pytestmark = pytest.mark.any_mode


def test_a_pass_in_two_parts_gives_each_head_its_own_sums():
    rng = np.random.default_rng(0)
    n, m = 37, 3
    x = rng.normal(size=(n, m)).astype(np.float32)
    labels, weight = rng.integers(0, 2, (n, 2)), rng.uniform(0.1, 1, n)
    train = np.array([np.ones(n), rng.integers(0, 2, n), rng.integers(0, 2, n)], bool)
    bits = (train * np.array([[1], [2], [4]])).sum(0).astype(np.uint32)
    fit, target = np.array([2, 0, 1]), np.array([1, 0, 1])  # three groups of two heads
    theta, l2, centre = rng.normal(size=(6, m + 1)), rng.uniform(0.1, 1, 6), rng.normal(size=m)
    total = np.array([(weight * train[f]).sum() for f in fit])
    nothing, unit = np.zeros(6), rng.uniform(0.5, 2, m)
    ratio, balance = rng.uniform(0.5, 2, (3, m)), rng.uniform(0.5, 2, (3, 2))
    for intercept in (1.0, 0.0):
        with jax.enable_x64(True):
            where = fit.astype(np.uint32), target.astype(np.int32)
            slots = Slots(theta, l2, nothing, nothing, nothing, nothing, nothing, total, *where, ratio, balance)
            slots = jax.tree.map(jax.device_put, slots)
            marks = np.concatenate([bits[:, None], labels.astype(np.uint32)], axis=1)
            data = BlockedData(jax.device_put(x), jax.device_put(marks), jax.device_put(weight), 10)
            frame = Frame(centre, unit, np.float64(intercept), np.float64(1))

            @jax.jit
            def sums(slots, part, frame):
                return sums_at(slots, slots.theta, part, frame, curved=np.dtype("float64"), valued=True)

            parts = [sums(slots, part, frame) for part in shard_rows(data, 2)]
            seen = jax.device_get(place_of(slots, slots.theta, frame, parts))
        rows = np.column_stack([(x - centre) * unit, np.full(n, intercept)])
        for k in range(6):
            s, y = weight * train[fit[k // 2]], labels[:, target[k // 2]]
            z = rows @ theta[k]
            p, penalty = 1 / (1 + np.exp(-z)), np.append(l2[k] * ratio[k // 2], 0)
            s = s * balance[k // 2][y]
            value = s @ (np.logaddexp(0, z) - y * z) / total[k // 2] + penalty @ theta[k] ** 2 / 2
            gradient = rows.T @ (s * (p - y)) / total[k // 2] + penalty * theta[k]
            curvature = (rows.T * (s * p * (1 - p))) @ rows / total[k // 2]
            np.testing.assert_allclose(seen.value[k], value, rtol=1e-13)
            np.testing.assert_allclose(seen.gradient[k], gradient, atol=1e-14 * n)
            np.testing.assert_allclose(seen.curvature[k], curvature, atol=1e-14 * n)
            assert int(seen.wrong[k]) == ((s > 0) & ((2 * y - 1) * z <= 0)).sum()


def test_the_estimate_of_the_gap_is_no_less_than_the_slope_of_the_bound():
    """Its slope is that of probabilities repaired to the classes' weights. A head of 0 puts no row right."""
    rng = np.random.default_rng(1)
    n, m, heads = 41, 4, 12
    x, y, s = rng.normal(size=(n, m)), rng.integers(0, 2, n), rng.uniform(0.1, 1, n)
    theta = rng.normal(size=(heads, m + 1)) * np.geomspace(1e-3, 3, heads)[:, None]
    theta[:, -1] += 2
    theta[0] = 0
    l2, nothing, none = np.full(heads, 0.1), np.zeros(heads), np.zeros(n, np.uint32)
    spread = np.full(heads, 0.2)
    frame = Frame(np.zeros(m), None, np.float64(1), np.sqrt((x**2).sum(1).max()))
    with jax.enable_x64(True):
        slots = Slots(theta, l2, nothing, nothing, nothing, spread, nothing, np.array([s.sum()]))
        slots = jax.tree.map(jax.device_put, slots)
        marks = np.stack([none, y.astype(np.uint32)], axis=1)
        data = BlockedData(jax.device_put(x), jax.device_put(marks), jax.device_put(s), n)
        sums = jax.jit(lambda s, d, f: sums_at(s, s.theta, d, f, curved=None, valued=True))(slots, data, frame)
        seen = place_of(slots, slots.theta, frame, [sums])
        estimate = jax.device_get(jax.jit(gap_estimate)(slots, frame, seen.gradient))
        seen = jax.device_get(seen)
    assert int(seen.wrong[0]) == n
    for k in range(heads):
        residual = s * (1 / (1 + np.exp(-x @ theta[k, :-1] - theta[k, -1])) - y)
        mass = np.array([residual[y == 0].sum(), -residual[y == 1].sum()])
        residual *= np.where(y == 0, mass.min() / mass[0], mass.min() / mass[1])
        slope = residual @ x / s.sum() + 0.1 * theta[k, :-1]
        assert estimate[k] >= slope @ slope / 0.2
        radius, gradient = frame.radius, seen.gradient[k]
        expected = (np.linalg.norm(gradient[:-1]) + radius * abs(gradient[-1])) ** 2 / 0.2
        expected += gradient[-1] ** 2 / 0.2
        np.testing.assert_allclose(estimate[k], expected, rtol=1e-12)
