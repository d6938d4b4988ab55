"""`dlcore.data.train_test_split`: fractions, classes, groups and columns."""

import numpy as np
import pytest

from dlcore.data import read, train_test_split

pytestmark = pytest.mark.any_mode

RNG = np.random.default_rng(1)
N = 200
X = np.arange(N, dtype=np.float64)[:, None]
Y = np.repeat(["a", "b", "c"], [120, 70, 10])
G = RNG.integers(0, 30, N)


def rows_of(side) -> np.ndarray:
    return side.features[:, 0].astype(int)


@pytest.mark.parametrize("test", [0.1, 0.25, 0.333, 0.5, 0.9])
@pytest.mark.parametrize("stratify", [False, True])
def test_every_row_is_on_one_side(test, stratify):
    train, held = train_test_split(read(X, Y), test, seed=3, stratify=stratify)
    assert len(held) == round(N * test)
    assert sorted([*rows_of(train), *rows_of(held)]) == list(range(N))
    assert (np.diff(rows_of(train)) > 0).all()
    np.testing.assert_array_equal(held.target, Y[rows_of(held)])
    if stratify:
        counts = np.array([(held.target == label).sum() for label in "abc"])
        assert (np.abs(counts - test * np.array([120, 70, 10])) < 1).all()


def test_the_seed_chooses():
    data = read(X, Y)
    first, again, other = (rows_of(train_test_split(data, 0.3, seed=seed)[1]) for seed in (0, 0, 1))
    assert (first == again).all()
    assert len(np.intersect1d(first, other)) < 40  # of 60; 18 are expected


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_on_both_sides(seed):
    train, held = train_test_split(read(X, Y, groups=G), 0.3, seed=seed)
    assert not {*np.asarray(train.groups)} & {*np.asarray(held.groups)}
    assert len(train) + len(held) == N
    assert abs(len(held) - 0.3 * N) <= np.bincount(G).max()


@pytest.mark.parametrize(
    "values",
    [
        np.where(X[:, 0] < 50, "Train", " test "),
        np.where(X[:, 0] < 50, "training", "validation"),
        (X[:, 0] >= 50).astype(int),
        X[:, 0] >= 50,
    ],
)
def test_a_column_chooses(values):
    train, held = train_test_split(read(X, Y, split=values))
    assert rows_of(train).tolist() == list(range(50))
    assert rows_of(held).tolist() == list(range(50, N))


@pytest.mark.parametrize(
    ("columns", "arguments", "message"),
    [
        ({}, {}, "test: expected a fraction or a split column, got neither"),
        ({"split": X[:, 0] > 3}, {"test": 0.2}, "got both"),
        ({}, {"test": 1.0}, r"test: expected a fraction in \(0, 1\), got 1.0"),
        ({}, {"test": 0.001}, "test: expected rows that are held out, got none of 200"),
        ({}, {"test": -0.5}, "test: expected a finite number above 0"),
        ({}, {"test": 0.5, "seed": -1}, "seed: expected an integer of at least 0"),
        ({"groups": np.zeros(N)}, {"test": 0.5}, "groups: expected at least two groups to split, got one"),
        ({"split": np.arange(N) % 3}, {}, "split: expected 'train' and 'test' or .*, got 2 in row 2"),
        ({"split": ["train"] * N}, {}, "expected rows that are held out, got none"),
        ({"split": np.arange(N) % 2, "groups": G}, {}, "split: expected no group on both sides, got"),
    ],
)
def test_impossible_splits(columns, arguments, message):
    with pytest.raises(ValueError, match=message):
        train_test_split(read(X, Y, **columns), **arguments)


def test_stratify_needs_a_target():
    with pytest.raises(ValueError, match="stratify: expected data with a target"):
        train_test_split(read(X), 0.5, stratify=True)
