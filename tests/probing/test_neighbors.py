"""The k-NN baseline against scikit-learn, and its ties."""

from typing import Any

import numpy as np
import pytest
from probe_problems import TEST, TRAIN, X, Y, record_of
from sklearn.metrics import log_loss
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

from dlcore.probing import knn, nearest_neighbors

pytestmark = pytest.mark.any_mode


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_those_of_scikit_learn(distance, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    train, rows = rng.normal(size=(200, 7)) + 3, rng.normal(size=(50, 7)).astype(np.float32)
    expected = NearestNeighbors(n_neighbors=9, metric=distance, algorithm="brute").fit(train)
    distances, index = expected.kneighbors(rows.astype(np.float64))
    monkeypatch.setattr("dlcore.probing.neighbors.BLOCK_BYTES", 8 * 200 * 7)  # blocks of 7 rows
    found = nearest_neighbors(train, rows, 9, distance)
    np.testing.assert_array_equal(found.rows, index)
    np.testing.assert_allclose(found.distance, distances, atol=1e-7)


@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_equal_rows_are_in_the_order_of_their_numbers(distance):
    rng = np.random.default_rng(0)
    base = rng.normal(size=(5, 301)) * 10.0 ** rng.uniform(-3, 3, 301)
    train = base[np.arange(1000) % 5]
    rows = base[[3, 1]] + 1e-9 * rng.normal(size=(2, 301))
    found = nearest_neighbors(train, rows, 150, distance)
    np.testing.assert_array_equal(found.rows, [np.arange(3, 1000, 5)[:150], np.arange(1, 1000, 5)[:150]])


def test_distances_far_from_the_origin_lose_no_digits():
    """Products of rows near 1e9 round by more than the differences of the distances."""
    rng = np.random.default_rng(2)
    train, rows = (rng.integers(0, 30, (n, 3)) + 10.0**9 for n in (60, 10))
    squares = ((rows[:, None] - train) ** 2).sum(2)
    found = nearest_neighbors(train, rows, 12, "euclidean")
    np.testing.assert_array_equal(found.rows, np.argsort(squares, axis=1, kind="stable")[:, :12])
    np.testing.assert_array_equal(found.distance, np.sqrt(np.sort(squares, axis=1)[:, :12]))


@pytest.mark.parametrize("temperature", [None, 0.07, 1.0])
@pytest.mark.parametrize("distance", ["cosine", "euclidean"])
def test_votes_are_those_of_scikit_learn(temperature, distance):
    table = knn(
        TRAIN, TEST, k=[1, 5, 20], distance=distance, temperature=temperature, metrics=("accuracy", "log_loss")
    )
    weights: Any = "uniform" if temperature is None else lambda d: np.exp((1 - d) / temperature)
    for row, k in enumerate((1, 5, 20)):
        model = KNeighborsClassifier(k, metric=distance, weights=weights, algorithm="brute").fit(*TRAIN)
        p = model.predict_proba(TEST[0])
        assert table["test_accuracy"][row] == (p.argmax(1) == TEST[1]).mean()
        if k == 20:
            np.testing.assert_allclose(table["test_log_loss"][row], log_loss(TEST[1], p), rtol=1e-6)


def test_a_small_temperature_is_the_nearest_neighbour():
    table = knn(TRAIN, TEST, k=[1, 30], temperature=1e-9)
    assert table["test_accuracy"][0] == table["test_accuracy"][1]


def test_zero_rows_have_the_cosine_zero():
    found = nearest_neighbors(np.array([[0.0, 0.0], [-1.0, 0.0], [1e200, 0.0]]), np.array([[1e-200, 0.0]]), 3)
    np.testing.assert_array_equal(found.rows, [[2, 0, 1]])
    np.testing.assert_array_equal(found.distance, [[0, 1, 2]])


def test_two_classes_with_a_ranking_metric():
    y = (Y == 0).astype(int)
    table = knn((X[:90], y[:90]), (X[120:], y[120:]), k=7, metrics=("roc_auc", "brier"))
    assert 0.5 < table["test_roc_auc"][0] <= 1
    assert record_of(table)["rows"].keys() == {"train", "test"}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"k": 91}, "k: expected an integer of at most 90, got 91"),
        ({"k": [3, 3]}, r"k: expected each number once, and at least one, got \[3, 3\]"),
        ({"distance": "l1"}, "distance: expected 'cosine' or 'euclidean', got 'l1'"),
        ({"temperature": 0.0}, "temperature: expected a finite number above 0"),
        ({"metrics": ("r2",)}, "metrics: expected names among 'accuracy'"),
    ],
)
def test_wrong_arguments(changed, message):
    with pytest.raises(ValueError, match=message):
        knn(TRAIN, TEST, **changed)
