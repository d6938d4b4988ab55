"""Newton's step for the intercepts of softmax heads against their optimum by scipy."""

import functools

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from sklearn.datasets import load_digits

from dlcore import fit_heads
from dlcore._core.status import Status
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.evaluate import HeadBatch
from dlcore.heads.passes.host_rows import HostRows
from dlcore.heads.passes.intercepts import fit_intercepts
from dlcore.heads.solvers.lbfgs_sweep import LBFGSSweep

pytestmark = pytest.mark.any_mode

ROWS, FEATURES, CLASSES = 80, 3, 4
ABSENT = 2
"""The class that fold 1 has not."""


@pytest.fixture(scope="module")
def problem():
    """Return a batch of two heads, one of all rows and one of a fold, their rows, and their best intercepts."""
    rng = np.random.default_rng(0)
    x, y, weight = rng.normal(size=(ROWS, FEATURES)) + 1, rng.integers(0, CLASSES, ROWS), rng.uniform(0.1, 1, ROWS)
    train = np.stack([np.ones(ROWS, bool), (y != ABSENT) & (rng.random(ROWS) < 0.7)])
    coef = rng.normal(size=(2, CLASSES, FEATURES))
    centre = x.mean(0)
    rows = HostRows(
        x, train.T, y[:, None].astype(np.uint32), weight, Centering(centre, None, np.float64(1), np.float64(1))
    )
    mass = np.stack([np.bincount(y, weight * own, CLASSES) for own in train])
    total, one = mass.sum(1), np.ones(2)
    batch = HeadBatch(
        one, np.ones((2, FEATURES)), np.arange(2, dtype=np.int32), total, mass / total[:, None], one, one
    )
    best = np.zeros((2, CLASSES))
    for fit in range(2):
        present, s, z = mass[fit] > 0, weight * train[fit], (x - centre) @ coef[fit].T
        classes = np.flatnonzero(present)
        used = np.flatnonzero(s)

        def loss(b, z=z, s=s, classes=classes, used=used):
            logits = z[np.ix_(used, classes)] + b
            own = logits[np.arange(len(used)), np.searchsorted(classes, y[used])]
            return (s[used] * (logsumexp(logits, 1) - own)).sum() / s.sum()

        found = minimize(loss, np.zeros(len(classes)), method="BFGS", options={"gtol": 1e-9})
        best[fit, classes] = found.x - found.x.mean()
    return rows, batch, coef, best


def centred(intercept, batch):
    present = batch.spread > 0
    return np.where(present, intercept - intercept.mean(1, keepdims=True, where=present), 0)


def test_one_step_from_near_the_optimum_squares_the_distance(problem):
    rows, batch, coef, best = problem
    away = 1e-2 * np.random.default_rng(1).normal(size=best.shape)
    theta = np.concatenate([coef, (best + centred(away, batch))[..., None]], axis=-1)
    found = fit_intercepts(rows, batch, theta, "softmax")
    np.testing.assert_array_equal(found[..., :-1], coef)
    # A Newton step leaves a multiple of the square; scipy finds the optimum to the root of its rounding.
    assert abs(centred(found[..., -1], batch) - best).max() <= abs(away).max() ** 2 + 1e-6


def test_a_class_without_rows_keeps_its_intercept(problem):
    rows, batch, coef, best = problem
    theta = np.concatenate([coef, best[..., None] + 0.01], axis=-1)
    found = fit_intercepts(rows, batch, theta, "softmax")
    assert found[1, ABSENT, -1] == theta[1, ABSENT, -1]


def test_a_head_far_from_its_optimum_stays(problem):
    rows, batch, coef, best = problem
    away = np.zeros(best.shape)
    away[0, 0] = 5
    theta = np.concatenate([coef, (best + away)[..., None]], axis=-1)
    found = fit_intercepts(rows, batch, theta, "softmax")
    np.testing.assert_array_equal(found[0], theta[0])
    assert (found[1] != theta[1]).any()


def test_heads_that_lack_their_intercepts_alone_make_fewer_passes(monkeypatch):
    """The same descents come first, with and without the step. Some of them end short of the tolerance."""
    x, y = load_digits(return_X_y=True)
    fit = functools.partial(fit_heads, x.astype(np.float32) / 16, y, loss="softmax", C=[0.3, 1.0, 3.0, 10.0, 30.0])
    with_step = fit()
    monkeypatch.setattr(LBFGSSweep, "fit_intercepts", lambda *arguments: False)
    without = fit()
    assert set(with_step.status) == set(without.status) == {Status.CONVERGED}
    assert with_step.steps.sum() < without.steps.sum()


def test_the_step_comes_before_the_first_certificate(monkeypatch):
    """The certificate need not send a head back for its intercepts."""
    x, y = load_digits(return_X_y=True)
    fit_intercepts, events = LBFGSSweep.fit_intercepts, []

    def noted(sweep, heads):
        if heads:
            events.append("step")
        return fit_intercepts(sweep, heads)

    monkeypatch.setattr(LBFGSSweep, "fit_intercepts", noted)
    x = x.astype(np.float32) / 16
    fit_heads(x, y, loss="softmax", C=[0.3, 1.0], progress=lambda progress: events.append(progress.stage))
    assert "step" in events[: events.index("certify")]
