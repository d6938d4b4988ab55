"""Subsets of rows: nested, stratified, and different for each seed."""

import numpy as np
import pytest

from dlcore.probing import few_shot_rows, stratified_rows
from dlcore.probing.data.splits import shuffled_folds
from dlcore.probing.data.subsets import group_equal, read_seeds
from dlcore.probing.fits.subset_fits import padded_sizes

pytestmark = pytest.mark.any_mode

LABELS = np.random.default_rng(0).choice(["a", "b", "c", "d"], 400, p=[0.6, 0.25, 0.1, 0.05])
COUNTS = dict(zip(*np.unique(LABELS, return_counts=True), strict=True))


@pytest.mark.parametrize("seed", range(20))
def test_few_shot_rows_are_nested_and_have_k_of_each_class(seed):
    before = set()
    for k in (1, 2, 5, 10, min(COUNTS.values())):
        rows = few_shot_rows(LABELS, k, seed)
        assert set(np.unique(LABELS[rows], return_counts=True)[1]) == {k}
        assert len(rows) == 4 * k
        assert (np.diff(rows) > 0).all()
        assert before <= set(rows.tolist())
        before = set(rows.tolist())


@pytest.mark.parametrize("seed", range(20))
def test_stratified_rows_are_nested_and_in_proportion(seed):
    before = set()
    for count in (4, 8, 20, 40, 100, 200, 399, 400):
        rows = stratified_rows(LABELS, count, seed)
        assert len(set(rows.tolist())) == count
        assert before <= set(rows.tolist())
        before = set(rows.tolist())
        for name, size in COUNTS.items():
            expected = size * count / 400
            assert (LABELS[rows] == name).sum() >= 1
            if expected >= 1 and count >= 100:
                assert abs((LABELS[rows] == name).sum() - expected) <= 1.5


@pytest.mark.parametrize(
    "choose", [lambda y, seed: few_shot_rows(y, 3, seed), lambda y, s: stratified_rows(y, 20, s)]
)
def test_seeds_choose_different_rows_and_each_row_equally_often(choose):
    subsets = [choose(LABELS, seed) for seed in range(300)]
    assert len({rows.tobytes() for rows in subsets}) == 300
    assert (choose(LABELS, 7) == subsets[7]).all()
    for name, size in COUNTS.items():
        drawn = np.concatenate(subsets)
        often = np.bincount(drawn[LABELS[drawn] == name], minlength=400)[name == LABELS]
        expected = often.sum() / size
        # Binomial counts: five standard deviations.
        assert np.abs(often - expected).max() < 5 * np.sqrt(expected) + 1


def test_numbers_are_not_stratified():
    y = np.random.default_rng(0).normal(size=50)
    rows = stratified_rows(y, 20, 3)
    assert len(set(rows.tolist())) == 20
    assert set(rows.tolist()) <= set(stratified_rows(y, 30, 3).tolist())


def test_equal_subsets_are_found_whatever_their_order():
    assert group_equal([np.array([1, 2]), np.array([3]), np.array([2, 1])]) == [[0, 2], [1]]
    assert read_seeds(3) == (3,)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("sizes", [[10, 50, 100, 500, 1000], [3], [990], [10, 20, 30, 40, 600], [500, 501]])
def test_padded_sizes_are_few_and_waste_least(sizes, seed):
    padded = padded_sizes(sizes, 1000)
    assert padded.keys() == set(sizes)
    assert all(padded[size] >= size for size in sizes)
    assert all(padded[size] == 1000 for size in sizes if size > 500)
    assert len(set(padded.values())) <= 3
    small = [size for size in sizes if size <= 500]
    tops = 3 - any(size > 500 for size in sizes)
    rng = np.random.default_rng(seed)
    for _ in range(50 if small else 0):
        chosen = sorted({*rng.choice(small, min(tops, len(small)) - 1), max(small)})
        waste = sum(min(top for top in chosen if top >= size) for size in small)
        assert sum(padded[size] for size in small) <= waste


@pytest.mark.parametrize("grouped", [False, True])
def test_folds_are_even_stratified_and_keep_groups(grouped):
    groups = np.random.default_rng(1).integers(0, 60, 400) if grouped else None
    fold = shuffled_folds(LABELS, 4, 0, groups)
    assert set(fold) == {0, 1, 2, 3}
    if groups is not None:
        assert all(len(set(fold[groups == group])) == 1 for group in np.unique(groups))
    for name, size in COUNTS.items():
        counts = np.bincount(fold[name == LABELS], minlength=4)
        assert np.abs(counts - size / 4).max() < (0.35 * size / 4 + 4 if grouped else 1)
    assert (fold != shuffled_folds(LABELS, 4, 1, groups)).any()
