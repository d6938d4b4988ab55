"""How a head is said to have ended, which strength is best, and factors where curvature is singular."""

import jax
import numpy as np
import pytest

from dlcore import Status
from dlcore.certificate.certify import QUASI_UNATTAINED, UNATTAINED
from dlcore.heads.choosing import best_of
from dlcore.heads.factors import factor, solve
from dlcore.heads.result import statuses

pytestmark = pytest.mark.any_mode


def test_converged_is_what_the_certificate_allows_and_no_more():
    allowed = np.full(9, 1e-3)
    gap = np.array([1e-3, np.nextafter(1e-3, 1), 2e-3, np.inf, np.inf, 1e-3, np.inf, np.inf, 2e-3])
    l2 = np.array([1, 1, 1, 0, 0, 0, 1.0, 0, 0])
    bound = np.array(["duality"] * 3 + [UNATTAINED, "none: why", "curvature", "none: overflow"])
    bound = np.append(bound, [f"{QUASI_UNATTAINED} column 3", "curvature"])
    exhausted = np.array([True, False, True, True, True, False, False, True, True])
    assert list(statuses(gap, allowed, l2, bound, exhausted)) == [
        Status.CONVERGED,
        Status.PRECISION_FLOOR,
        Status.OUT_OF_STEPS,
        Status.SEPARABLE,
        Status.UNPROVEN,
        Status.CONVERGED,
        Status.PRECISION_FLOOR,
        Status.QUASI_SEPARABLE,
        Status.OUT_OF_STEPS,
    ]


def test_the_strongest_penalty_of_equals_isbest_of():
    l2 = np.array([1e-3, 10.0, 1.0, 10.0])
    assert best_of(np.array([[2, 1, 0, 0], [0, 1, 2, 0]]), l2) == 1
    assert best_of(np.array([[2, 1, 0, 0], [1, 1, 2, 0.5]]), l2) == 0
    targets = np.array([[[2, 1, 0, 0.0]], [[0, 1, 1, 1]]])  # (targets, folds, l2)
    np.testing.assert_array_equal(best_of(targets, l2), [0, 1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("columns", [4, 9, 40])
def test_factors_of_a_singular_curvature_are_finite(dtype, columns):
    """A curvature of rank 3 without a penalty has factors, whatever its size and the processor.

    Its solution for a right side in its range is off by the lift, relative to its smallest eigenvalue above 0.
    """
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 3, columns)) * np.geomspace(1e-6, 1e6, 200)[:, None, None]
    curvature = (rows.swapaxes(1, 2) @ rows).astype(dtype).astype(float)
    with jax.enable_x64(True):
        given = map(jax.device_put, (curvature, np.zeros((200, columns)), np.float64(1)))
        factors = factor(*given, products=dtype)
        inside = (rows.swapaxes(1, 2) @ np.ones((200, 3, 1)))[..., 0]
        solved = np.asarray(solve(factors, jax.device_put(inside)))
    assert all(np.isfinite(np.asarray(part)).all() for part in jax.tree.leaves(factors))
    again = (rows.swapaxes(1, 2) @ (rows @ solved[..., None]))[..., 0]
    error = np.linalg.norm(again - inside, axis=1) / np.linalg.norm(inside, axis=1)
    trace, smallest = np.trace(curvature, axis1=1, axis2=2), np.linalg.svd(rows)[1][:, -1] ** 2
    share = np.finfo(dtype).eps / columns**0.5 + (columns + 1) * np.finfo(float).eps
    # As much again for the rounding of the curvature, and for that of the factors and the two solutions.
    assert (error <= 4 * share * trace / smallest).all()
