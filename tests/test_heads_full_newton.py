"""Softmax heads at which L-BFGS has no end: Newton's method with the whole Hessian brings them to their goal."""

import numpy as np
from head_problems import heads_problem

from dlcore import Status, fit_heads


def test_a_weak_penalty_and_weights_over_six_decades():
    """L-BFGS alone makes all 1,000 passes."""
    problem = heads_problem(94)
    heads = fit_heads(problem.x, problem.y, **{**problem.arguments, "l2": [float(np.min(problem.l2))]})
    assert list(heads.status) == [Status.CONVERGED]
    assert 900 < heads.steps[0] < 910
