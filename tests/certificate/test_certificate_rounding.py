"""Rounding that a certificate must not miss, in the cases that are far from the usual ones."""

import math

import mpmath
import numpy as np
import pytest

from dlcore.certificate.bounds import softmax
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.rounding.base import PAIRWISE, UNIT
from dlcore.certificate.rows import TrainingData, scaled_weights

pytestmark = pytest.mark.any_mode


@pytest.mark.parametrize("sets", [1, 2, 5])
def test_weights_of_a_class_are_added_pairwise_in_every_set(sets):
    """A large weight followed by thousands that a running sum would lose."""
    n = 20_000
    one_set = np.full(n, 2.0**-54)
    one_set[0] = 0.5
    x, y = np.zeros((n, 2)), np.zeros(n, int)
    heads = HeadArrays(np.zeros((sets, 3, 2)), np.zeros((sets, 3)), np.ones(sets))
    data = TrainingData(x, y, scaled_weights(np.tile(one_set, (sets, 1))))
    found = softmax._softmax_sums(heads, np.zeros((sets, 3)), data).weight[:, 0]
    exact = math.fsum(one_set)
    assert (np.abs(found / exact - 1) <= PAIRWISE * UNIT).all()


@pytest.mark.parametrize("ratio", [1e-3, 1.0, 1e3])
def test_gains_of_tiny_probabilities_are_not_below_the_exact_ones(ratio):
    shifted = np.full((1, 1, 1), -670.0)  # p is about 1e-291
    p = np.exp(shifted)
    gain = ratio * p
    found = softmax._gains(p, gain, shifted, np.ones((1, 1, 1)))[0, 0, 0]
    with mpmath.workdps(50):
        small, large = mpmath.mpf(float(p[0, 0, 0])), mpmath.mpf(float(gain[0, 0, 0]))
        exact = (small + large) * mpmath.log(1 + large / small) - large
    assert found >= float(exact) * (1 - 1e-6)
