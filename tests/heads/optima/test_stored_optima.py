"""The stored optima are those of the problems that tests make now, and a sample of them computed again."""

import mpmath
import numpy as np
import pytest
from helpers import exact_value
from oracles import stored_optima
from oracles.head_oracle import Objective, centre_of, logits_of, value_at
from oracles.stored_optima import ChangedProblemError, Optimum, find, names
from oracles.stored_problems import computed, stored_problems

pytestmark = pytest.mark.any_mode

PROBLEMS = stored_problems()
SAMPLE = sorted(np.random.default_rng(0).choice(list(PROBLEMS), 25, replace=False).tolist())


def test_what_is_stored_is_what_tests_ask_for():
    assert sorted(names()) == sorted(PROBLEMS), f"remake the data with `{stored_optima.REMAKE}`"
    for name, stored in PROBLEMS.items():
        found = find(name, stored.problem)
        assert found is not None
        assert bool(found.theta.size) == stored.placed
        assert 0 <= found.error <= 1e-15 * max(float(found.value), 1e-9), name


def test_a_problem_that_has_changed_is_never_compared():
    """By one bit of one number; the sentence says what to do."""
    name, stored = next(iter(PROBLEMS.items()))
    x = stored.problem.x.copy()
    x[0, 0] = np.nextafter(x[0, 0], 1)
    for changed in (stored.problem._replace(x=x), stored.problem._replace(l2=2 * stored.problem.l2)):
        with pytest.raises(ChangedProblemError, match=r"remake the data with `python tests/oracles/make\.py`"):
            find(name, changed)
    assert find("no such name", stored.problem) is None


def test_what_is_written_is_read_to_32_digits(tmp_path):
    path = tmp_path / "optima.npz"
    problem = next(iter(PROBLEMS.values())).problem
    with mpmath.workdps(40):
        theta, value = np.linspace(-1, 1, 6).astype(np.longdouble) / 3, mpmath.mpf(1) / 3
        optimum = Optimum(theta, value, mpmath.mpf(0))
        stored_optima.save({"one": (stored_optima.fingerprint(problem), optimum)}, path)
        found = find("one", problem, path)
        assert found is not None
        assert abs(found.value - value) <= found.error <= 1e-32
    np.testing.assert_array_equal(found.theta, theta)


@pytest.mark.parametrize("name", SAMPLE)
@pytest.mark.slow
def test_an_optimum_computed_again_is_the_stored_one(name):
    """J* within both errors, and J at the stored place."""
    problem = PROBLEMS[name].problem
    stored, again = find(name, problem), computed(PROBLEMS[name])
    assert stored is not None
    with mpmath.workdps(40):
        assert abs(stored.value - again.value) <= stored.error + again.error + 1e-30 * again.value
    if not isinstance(problem, Objective):
        apart = exact_value(problem, stored.theta) - exact_value(problem, again.theta)
        assert abs(apart) <= 1e-18 * float(again.value)
    elif stored.theta.size:
        theta, centre = stored.theta.reshape(problem.outputs, -1), centre_of(problem)
        with mpmath.workdps(40):
            value = value_at(problem, theta, logits_of(problem, theta, centre))
            assert abs(value - stored.value) <= stored.error + 1e-30 * value
