"""Bootstrap intervals equal those of metrics on the resampled rows themselves."""

import numpy as np
import pytest
from sklearn import metrics as sk

from dlcore.probing import bootstrap, paired_bootstrap

pytestmark = pytest.mark.any_mode

RNG = np.random.default_rng(5)
N, B = 80, 60
Y = RNG.integers(0, 3, N)
P = RNG.dirichlet(np.ones(3), N)
P2 = RNG.dirichlet(np.ones(3), N)
LABEL = P.argmax(1)
GROUPS = np.array([f"g{k}" for k in RNG.integers(0, 12, N)])
ORACLES = {
    "accuracy": (LABEL, sk.accuracy_score),
    "balanced_accuracy": (LABEL, sk.balanced_accuracy_score),
    "f1_macro": (LABEL, lambda y, p: sk.f1_score(y, p, average="macro")),
    "log_loss": (P, lambda y, p: sk.log_loss(y, p, labels=[0, 1, 2])),
    "roc_auc": (P, lambda y, p: sk.roc_auc_score(y, p, multi_class="ovr", labels=[0, 1, 2])),
}


def resampled_rows(groups, seed):
    """Return the rows of each resample, drawn with the generator that the docstring names."""
    rng = np.random.default_rng(seed)
    if groups is None:
        return [rng.integers(0, N, N) for _ in range(B)]
    names = np.unique(groups)
    draws = [rng.integers(0, len(names), len(names)) for _ in range(B)]
    return [np.concatenate([np.flatnonzero(groups == names[k]) for k in draw]) for draw in draws]


@pytest.mark.parametrize("groups", [None, GROUPS], ids=["rows", "groups"])
@pytest.mark.parametrize("name", ORACLES)
def test_an_interval_is_that_of_scikit_learn_on_the_resampled_rows(name, groups):
    prediction, metric = ORACLES[name]
    table = bootstrap(Y, prediction, name, groups=groups, resamples=B, confidence=0.9, seed=3)
    values = [metric(Y[rows], prediction[rows]) for rows in resampled_rows(groups, 3)]
    np.testing.assert_allclose(table["low"][0], np.quantile(values, 0.05), rtol=1e-12)
    np.testing.assert_allclose(table["high"][0], np.quantile(values, 0.95), rtol=1e-12)
    np.testing.assert_allclose(table["standard_error"][0], np.std(values, ddof=1), rtol=1e-9)
    np.testing.assert_allclose(table["value"][0], metric(Y, prediction), rtol=1e-12)


def test_paired_differences_use_the_same_resamples():
    table = paired_bootstrap(Y, P, P2, "log_loss", resamples=B, seed=1)
    values = [
        sk.log_loss(Y[rows], P[rows], labels=[0, 1, 2]) - sk.log_loss(Y[rows], P2[rows], labels=[0, 1, 2])
        for rows in resampled_rows(None, 1)
    ]
    np.testing.assert_allclose(
        [table["low"][0], table["high"][0]], np.quantile(values, [0.025, 0.975]), rtol=1e-11
    )
    same = paired_bootstrap(Y, P, P, "log_loss", resamples=20)
    assert same["low"] == same["high"] == same["value"] == 0


def test_the_docstrings_generator_is_the_one_that_is_used():
    rows = np.random.default_rng(3).integers(0, N, (B, N))
    np.testing.assert_array_equal(rows, resampled_rows(None, 3))


def test_undefined_resamples_are_counted():
    y, score = np.array([0, 0, 0, 0, 1]), np.array([0.1, 0.2, 0.3, 0.4, 0.9])
    table = bootstrap(y, score, "roc_auc", resamples=300, seed=0)
    draws = np.random.default_rng(0).integers(0, 5, (300, 5))
    assert table["undefined"][0] == (~(draws == 4).any(1) | (draws == 4).all(1)).sum() > 0
    assert table["value"] == table["low"] == 1


def test_a_function_may_be_the_metric():
    def errors(y, prediction, weight):
        return float((weight * (y != prediction)).sum() / weight.sum())

    mine = bootstrap(Y, LABEL, errors, resamples=B)
    theirs = bootstrap(Y, LABEL, "accuracy", resamples=B)
    np.testing.assert_allclose(mine["low"], 1 - theirs["high"], rtol=1e-12)
    assert mine["metric"] == "errors"


def test_seeds_have_an_effect():
    lows = {float(bootstrap(Y, P, "log_loss", resamples=50, seed=seed)["low"][0]) for seed in range(5)}
    assert len(lows) == 5


def test_coverage_is_near_the_level():
    covered = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        correct = rng.random(150) < 0.7
        table = bootstrap(np.ones(150, int), correct.astype(int), resamples=300, seed=seed)
        covered += table["low"][0] <= 0.7 <= table["high"][0]
    assert 0.90 <= covered / 300 <= 0.98


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"metric": "acc"}, "metric: expected a function or one of 'accuracy'"),
        ({"confidence": 1.0}, "confidence: expected a number between 0 and 1, got 1.0"),
        ({"groups": np.zeros(N, int)}, "groups: expected at least two groups to resample, got one"),
        ({"groups": GROUPS[:-1]}, r"groups: expected shape \(80,\), got \(79,\)"),
        ({"resamples": 0}, "resamples: expected an integer of at least 1, got 0"),
    ],
)
def test_wrong_arguments(changed, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(Y, LABEL, **({"resamples": 5} | changed))
