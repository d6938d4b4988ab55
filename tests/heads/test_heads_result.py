"""The status of a head from its certificate, and the best strength."""

import numpy as np
import pytest

from dlcore import Status
from dlcore.certificate.data_report.separation_names import QUASI_UNATTAINED, UNATTAINED
from dlcore.heads.result import statuses
from dlcore.heads.scoring.best_penalty import best_of

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
