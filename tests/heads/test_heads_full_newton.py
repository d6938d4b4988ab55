"""Softmax heads at which L-BFGS has no end: Newton's method with the whole Hessian brings them to their goal."""

import numpy as np
import pytest
from oracles.head_problems import heads_problem

from dlcore import Status, fit_heads

pytestmark = pytest.mark.any_mode

SETTINGS = {
    "as it is": {},
    "no intercept": {"fit_intercept": False},
    "standardised": {"standardize": True},
    "weights of classes": {"class_weight": {0: 1.0, 1: 3.0, 2: 0.5}},
    "folds": {"folds": 3},
    "standardised folds": {"folds": 3, "standardize": True},
    "a class absent from a fold": {"folds": "of class 2"},
}


def table(seed=0, n=240):
    """Three classes that overlap; columns of scales over two decades."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 4)) * np.array([1, 0.1, 3, 0.03]) + np.array([0, 5, 0, 1])
    logits = (x - x.mean(0)) @ rng.standard_normal((4, 3)) + 2 * rng.standard_normal((n, 3))
    return x.astype(np.float32), logits.argmax(1)


@pytest.mark.filterwarnings("ignore:folds. heads train in fold:UserWarning")
@pytest.mark.parametrize("name", SETTINGS)
def test_newton_goes_on_where_l_bfgs_ends_short_in_every_setting(name):
    """L-BFGS has nine passes of twelve; the certificate of each head, which knows of no solver, is the judge."""
    x, y = table()
    settings = dict(SETTINGS[name])
    if settings.get("folds") == "of class 2":
        held_out = [y == 2, np.arange(len(y)) % 2 == 0]
        settings["folds"] = [(np.flatnonzero(~held), np.flatnonzero(held)) for held in held_out]
    heads = fit_heads(x, y, loss="softmax", l2=[1e-4, 1e-2], max_steps=12, tol=1e-9, **settings)
    assert set(heads.status) == {Status.CONVERGED}
    assert set(np.ravel(heads.fold_status)) <= {Status.CONVERGED, Status.CLASS_ABSENT}
    assert (Status.CLASS_ABSENT in np.ravel(heads.fold_status)) == (name == "a class absent from a fold")
    assert (heads.steps > 9).all()


def test_a_weak_penalty_and_weights_over_six_decades():
    """L-BFGS alone makes more than 250 passes."""
    problem = heads_problem(94, classes_of_softmax=5)
    arguments = {**problem.arguments, "l2": [float(np.min(problem.l2))], "max_steps": 200}
    heads = fit_heads(problem.x, problem.y, **arguments)
    assert list(heads.status) == [Status.CONVERGED]
    assert 150 < heads.steps[0] < 175  # a quarter is kept for Newton's method
