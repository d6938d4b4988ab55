"""Heads of random problems, every kind of every loss, against an oracle that shares no code with the library.

`scripts/bench oracle` runs the same on hundreds of them.
"""

import pytest
from oracles.head_problems import KINDS, LOSSES, heads_problem
from oracles.head_trial import verdicts_of

from dlcore import Status

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]

SEEDS = range(42)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_gap_is_below_the_true_one_and_converged_is_true(seed):
    problem = heads_problem(seed)
    for verdict in verdicts_of(problem, seed):
        assert verdict.covered, verdict
        assert verdict.honest, verdict
        assert verdict.meets or verdict.status != Status.CONVERGED, verdict
        assert verdict.error <= 1e-3 * verdict.allowed, verdict  # the oracle knows what it says
        if verdict.l2 > 0 and problem.kind != "offset 1e6":  # there the certificate's own rounding is too large
            assert verdict.status == Status.CONVERGED, verdict


def test_every_kind_of_every_loss_is_tried():
    problems = [heads_problem(seed) for seed in SEEDS]
    assert {(p.loss, p.kind) for p in problems} == {(loss, kind) for loss in LOSSES for kind in KINDS}
    for asked in ({p.intercept for p in problems}, {p.train is None for p in problems}):
        assert asked == {True, False}
    assert {0.0} < {float(l2) for p in problems for l2 in p.l2}
    assert {3, 12} <= {int(p.y.max()) + 1 for p in problems if p.loss == "softmax"}
