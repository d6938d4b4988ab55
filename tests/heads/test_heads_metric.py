"""The metric of softmax heads against the curvature that it stands for, inverted in NumPy."""

import jax
import numpy as np
import pytest

from dlcore.heads.frame import frame_of
from dlcore.heads.metric import invert, metric_of
from dlcore.objective import BlockedData

pytestmark = pytest.mark.any_mode


@pytest.mark.parametrize("intercept", [True, False])
def test_it_inverts_the_curvature_of_each_head_and_class(intercept):
    """With weights and folds the mean is not the centre: the intercept stands apart about the mean."""
    rng = np.random.default_rng(0)
    n, m, heads, classes = 60, 5, 2, 3
    x, s = rng.normal(size=(n, m)) @ rng.normal(size=(m, m)) + 7, rng.uniform(0, 1, n) ** 4
    gradient = rng.normal(size=(heads, classes, m + 1))
    gradient[..., -1] *= intercept
    spread, l2 = rng.uniform(0.05, 0.25, (heads, classes)), np.array([1e-2, 1.0])
    with jax.enable_x64(True):
        frame = frame_of(x, intercept)
        marks = np.zeros((n, 1), np.uint32)
        data = BlockedData(jax.device_put(x), jax.device_put(marks), jax.device_put(s), 25)
        metric = metric_of(data, frame)
        step = np.asarray(jax.jit(invert)(metric, gradient, spread, l2, frame.intercept))
    rows = np.column_stack([x - frame.centre, np.full(n, float(intercept))])
    curvature = (rows.T * s) @ rows / s.sum()
    curvature[-1, -1] = 1
    expected = np.empty_like(step)
    for b in range(heads):
        for k in range(classes):
            penalty = np.append(np.full(m, l2[b]), 0)
            expected[b, k] = np.linalg.solve(spread[b, k] * curvature + np.diag(penalty), gradient[b, k])
    expected -= expected.mean(1, keepdims=True)
    # The least curvature is eps of float32 of the largest eigenvalue, beside a penalty of 0.01.
    np.testing.assert_allclose(step, expected, atol=1e-3 * abs(expected).max())
    assert not intercept or abs(np.asarray(metric.middle)).max() > 0.1
