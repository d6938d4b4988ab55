"""Logits of heads on some rows, on the host and on the device, against exact sums of products."""

import math
from typing import Any, cast

import jax
import numpy as np
import pytest
import scipy.sparse
from helpers import assert_close

from dlcore._core.tables.sparse import SparseRows
from dlcore.heads.scoring import logits
from dlcore.heads.scoring.logits import logits_of

pytestmark = pytest.mark.any_mode

ROWS, COLUMNS = 700, 9
RANDOM = np.random.default_rng(0)
X = (RANDOM.normal(size=(ROWS, COLUMNS)) * RANDOM.integers(0, 2, size=(ROWS, COLUMNS))).astype(np.float32)
THETA = RANDOM.normal(size=(4, COLUMNS + 1))
THETA[2, -1] = -np.inf
ALL, SOME, ONE = np.arange(ROWS), np.sort(RANDOM.choice(ROWS, 333, replace=False)), np.array([5])


@pytest.fixture(params=["array", "sparse", "device"])
def x(request):
    """Return the rows in one of the forms that are read."""
    if request.param == "array":
        return X
    if request.param == "sparse":
        return SparseRows("x", cast(Any, scipy.sparse.csr_array(X)))
    return jax.device_put(X)


@pytest.mark.parametrize("index", [ALL, SOME, ONE], ids=["all", "some", "one"])
def test_the_logits_are_those_of_exact_sums(x, index, monkeypatch):
    monkeypatch.setattr(logits, "BLOCK_BYTES", 8 * COLUMNS * 100)  # blocks of 100 rows, the last one shorter
    monkeypatch.setattr(logits, "LEAST_PRODUCTS", 1)
    with jax.enable_x64(True):
        found = logits_of(x, THETA, index)
    assert found.shape == (len(THETA), len(index))
    assert np.isneginf(found[2]).all()
    for head in (0, 1, 3):
        products = X[index].astype(float) * THETA[head, :-1]
        exact = np.array([math.fsum([*row, THETA[head, -1]]) for row in products])
        scale = np.abs(products).sum(1) + abs(THETA[head, -1])
        assert_close(found[head], exact, units=COLUMNS + 2, scale=scale, dtype="float64")


def test_the_logits_do_not_depend_on_the_number_of_threads(monkeypatch):
    alone = logits_of(X, THETA, SOME)
    monkeypatch.setattr(logits, "LEAST_PRODUCTS", 1)
    np.testing.assert_array_equal(logits_of(X, THETA, SOME), alone)
