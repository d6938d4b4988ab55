"""Choices from shapes, on both sides of each border."""

import numpy as np
import pytest

from dlcore.heads.data.centering import fit_centering
from dlcore.heads.passes.host_rows import COPIED, HostRows
from dlcore.heads.solvers import cost_model
from dlcore.heads.solvers.cost_model import (
    COMPILATION,
    FEW_PASSES,
    FEWEST_PAIRS,
    FEWEST_STEPS,
    HESSIAN,
    HISTORY_BYTES,
    HOST_COLUMNS,
    HOST_LOGITS,
    KEPT,
    LOGITS,
    NEWTON_HEADS,
    PAIR_BYTES,
    PAIRS,
    QUICK_HESSIAN,
    SAMPLED_ROWS,
    SAMPLED_ROWS_OF_LOGIT,
    SAMPLED_WORK,
    CostModel,
)

pytestmark = pytest.mark.any_mode

SMALL = CostModel(rows=1000, columns=10, outputs=1, fits=1, heads=1000, max_steps=1000)
L2 = np.array([0.0, 0.1])


@pytest.mark.parametrize(("outputs", "most"), [(1, LOGITS), (10, LOGITS // 10), (2 * LOGITS, 1)])
def test_heads_together_fill_a_product(outputs, most):
    costs = SMALL._replace(outputs=outputs)
    assert costs.together == costs.slots(None) == most
    assert costs._replace(heads=1).together == 1


def test_the_pairs_of_heads_fit_the_memory():
    costs = SMALL._replace(columns=2**17 - 1)
    bytes_of_pair = PAIR_BYTES * costs.size
    assert FEWEST_PAIRS * costs.together * bytes_of_pair <= HISTORY_BYTES
    assert FEWEST_PAIRS * (costs.together + 1) * bytes_of_pair > HISTORY_BYTES
    assert costs.pairs(costs.together) == FEWEST_PAIRS
    assert SMALL.pairs(1) == PAIRS


@pytest.mark.parametrize(("more_rows", "slots"), [(-1, 3), (0, LOGITS)])
def test_folds_have_a_batch_of_their_own_where_it_is_worth_its_compilation(more_rows, slots):
    costs = SMALL._replace(columns=15, fits=6, heads=3)
    border = COMPILATION // 2**6 // (costs.size * 3) + 1
    assert costs._replace(rows=border + more_rows).slots(None) == slots


@pytest.mark.parametrize("more_rows", [0, 1])
def test_folds_fill_the_passes_of_numpy_where_it_makes_those_of_all_rows(more_rows):
    costs = SMALL._replace(rows=HOST_LOGITS // 8 + more_rows, outputs=2, fits=6, heads=4)
    x = np.ones((costs.rows, costs.columns), np.float32)
    centering = fit_centering(x, fit_intercept=True)
    host = HostRows(x, np.ones((costs.rows, 6), bool), np.zeros((costs.rows, 1)), np.ones(costs.rows), centering)
    assert costs.is_for_numpy(host, 8, "float64") == (more_rows == 0)
    assert costs._replace(heads=2).slots(host) == (4 if more_rows == 0 else 3)
    assert costs.slots(host) == 4


@pytest.mark.parametrize("more_rows", [0, 1])
def test_numpy_makes_all_passes_of_a_wide_table_that_is_not_too_large(more_rows, monkeypatch):
    monkeypatch.setattr(cost_model, "HOST_NUMBERS", COPIED + HOST_COLUMNS)
    rows = COPIED // HOST_COLUMNS + 1 + more_rows
    x = np.random.default_rng(0).standard_normal((rows, HOST_COLUMNS), np.float32)
    centering = fit_centering(x, fit_intercept=True)
    train, zeros, ones = np.ones((rows, 6), bool), np.zeros((rows, 1)), np.ones(rows)
    host = HostRows(x, train, zeros, ones, centering)
    costs = SMALL._replace(rows=rows, columns=HOST_COLUMNS, fits=6, heads=3)
    assert host.is_read_in_place
    assert costs.is_for_numpy(host, LOGITS, "float32") == (more_rows == 0)
    assert not costs.is_for_numpy(host, LOGITS, "float64")
    assert costs.is_for_numpy(host, 1, "float32")
    assert costs.slots(host) == (LOGITS if more_rows == 0 else 3)


@pytest.mark.parametrize(("more_rows", "is_worth_it"), [(0, False), (1, True)])
def test_half_a_batch_goes_on_alone_where_it_is_worth_its_compilation(more_rows, is_worth_it):
    costs = SMALL._replace(columns=15)
    costs = costs._replace(rows=COMPILATION // (2 * costs.size * 4 * FEW_PASSES) + more_rows)
    assert costs.is_half_worth_it(4, is_compiled=True) is is_worth_it
    assert costs.is_half_worth_it(4, is_compiled=False)  # NumPy compiles nothing
    assert not costs.is_half_worth_it(1, is_compiled=False)


@pytest.mark.parametrize(("size", "is_quicker"), [(QUICK_HESSIAN, True), (QUICK_HESSIAN + 1, False)])
def test_newton_takes_over_sooner_where_its_hessian_is_quick(size, is_quicker):
    costs = SMALL._replace(columns=size - 1)
    assert costs.is_for_newton(L2).all()
    assert (costs.is_newton_quicker(L2) == is_quicker).all()


def test_newton_takes_no_singular_hessian():
    costs = SMALL._replace(outputs=3)
    np.testing.assert_array_equal(costs.is_for_newton(L2), [False, True])
    np.testing.assert_array_equal(costs.is_newton_quicker(L2), [False, True])
    np.testing.assert_array_equal(costs.most_passes(L2), [1000, FEWEST_STEPS])


@pytest.mark.parametrize(("size", "kept"), [(HESSIAN, KEPT), (HESSIAN + 1, 0)])
def test_passes_are_kept_for_newton_where_it_has_a_hessian(size, kept):
    costs = SMALL._replace(columns=size - 1)
    assert costs.polish_steps == kept
    assert costs._replace(max_steps=8).polish_steps == min(kept, 2)
    assert (costs.most_passes(L2) == 1000 - kept).all()  # half the size is more than that
    assert 1 <= costs.newton_batch < SMALL.newton_batch == NEWTON_HEADS


@pytest.mark.parametrize(
    ("rows", "columns", "heads", "is_first"),
    [
        (SAMPLED_ROWS, 500, 1, True),
        (SAMPLED_ROWS - 1, 500, 1, False),
        (SAMPLED_ROWS, SAMPLED_WORK // SAMPLED_ROWS - 33, 1, False),
        (SAMPLED_ROWS, SAMPLED_WORK // SAMPLED_ROWS - 32, 1, True),
        (SAMPLED_ROWS, 1, 7, False),
        (SAMPLED_ROWS, 1, 8, True),
    ],
)
def test_a_sample_is_first_where_a_pass_over_all_rows_is_long(rows, columns, heads, is_first):
    assert SMALL._replace(rows=rows, columns=columns, heads=heads).is_sample_first == is_first


@pytest.mark.parametrize(("more_rows", "is_first"), [(-1, False), (0, True)])
def test_a_sample_is_first_where_it_has_rows_of_each_class(more_rows, is_first):
    costs = SMALL._replace(columns=500, outputs=50, heads=1, rows=50 * SAMPLED_ROWS_OF_LOGIT + more_rows)
    assert costs.is_sample_first == is_first
