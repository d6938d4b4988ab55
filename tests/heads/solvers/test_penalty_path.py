"""Strengths that are fitted first, and starts of the heads between them."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dlcore import fit_heads
from dlcore.heads.solvers.penalty_path import NODES, SPACING, choose_anchors, interpolate

pytestmark = pytest.mark.any_mode

STRENGTHS = st.lists(st.floats(1e-12, 1e12), min_size=1, max_size=60)


@given(STRENGTHS, st.integers(0, 3))
def test_no_strength_is_outside_a_short_interval_of_anchors(positive, zeros):
    l2 = np.array(sorted(positive, reverse=True) + [0.0] * zeros)
    anchors = choose_anchors(l2)
    assert anchors[0]
    assert anchors[l2 == 0].all()
    assert anchors[len(positive) - 1]
    chosen = np.flatnonzero(anchors & (l2 > 0))
    for left, right in itertools.pairwise(chosen):
        assert right == left + 1 or np.log(l2[left] / l2[right]) <= SPACING


@pytest.mark.parametrize(("factor", "count"), [(1.001, 3), (0.999, 2)])
def test_a_strength_between_is_an_anchor_where_the_interval_is_too_wide(factor, count):
    assert choose_anchors(np.exp([factor * SPACING, 0.1, 0.0])).sum() == count


@pytest.mark.parametrize("nodes", [1, 2, NODES, NODES + 5])
def test_a_polynomial_of_the_logarithm_is_reproduced(nodes):
    random = np.random.default_rng(0)
    anchors = np.exp(np.sort(random.uniform(-3, 3, nodes)))[::-1]
    l2 = np.concatenate([random.uniform(anchors[-1], anchors[0], 20), anchors])
    polynomials = random.standard_normal((2, 3, min(nodes, NODES)))

    def values(strengths):
        return np.moveaxis(np.polynomial.polynomial.polyval(np.log(strengths), polynomials.T), -1, 0)

    np.testing.assert_allclose(interpolate(l2, anchors, values(anchors)), values(l2), rtol=1e-6, atol=1e-6)


def test_equal_strengths_have_equal_values_and_zeros_count_nothing():
    anchors, values = np.array([1.0, 0.5, 0.5, 0.25, 0.0, 0.0]), np.array([3.0, 2.0, 2.0, 5.0, np.nan, np.nan])
    np.testing.assert_allclose(interpolate(anchors[:4], anchors, values), values[:4], rtol=1e-15)


def rows(outputs=1):
    random = np.random.default_rng(0)
    x = random.standard_normal((60, 4)).astype(np.float32)
    logits = x @ random.standard_normal((4, max(outputs, 2))) + random.gumbel(size=(60, max(outputs, 2)))
    return x, logits.argmax(1)


@pytest.mark.parametrize(("loss", "outputs"), [("logistic", 1), ("softmax", 3)])
def test_heads_between_others_end_where_they_start(loss, outputs):
    x, y = rows(outputs)
    l2 = np.geomspace(1e-4, 1, 60)
    heads = fit_heads(x, y, l2=l2, loss=loss, folds=3)
    assert (heads.status == "converged").all()
    assert (heads.fold_status == "converged").all()
    between = ~choose_anchors(l2[::-1])[::-1]
    assert between.sum() > 40
    assert np.median(heads.steps[between]) <= 1 < heads.steps[~between].min()


def test_a_head_that_starts_near_its_optimum_is_that_of_its_strength_alone():
    x, y = rows()
    l2 = np.geomspace(1e-3, 1, 30)
    heads = fit_heads(x, y, l2=l2, loss="logistic", tol=1e-10)
    for k in (3, 14, 26):
        alone = fit_heads(x, y, l2=l2[k : k + 1], loss="logistic", tol=1e-10)
        np.testing.assert_allclose(heads.coef[k], alone.coef[0], atol=1e-4)


def test_targets_that_share_a_batch_unevenly_have_strengths_to_start_from():
    """A batch of 256 logits ends within the heads of a strength, where each target has others of its own."""
    x, _ = rows()
    targets = (x @ np.random.default_rng(1).standard_normal((4, 100)) > 0).astype(int)
    heads = fit_heads(x, targets, l2=np.geomspace(0.1, 0.2, 6), loss="logistic")
    assert (heads.status == "converged").all()
    assert heads.steps.shape == (100, 6)
