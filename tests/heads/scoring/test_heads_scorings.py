"""Every name of `scoring` is a metric of `dlcore.metrics`, whichever sums the device makes."""

import functools
from typing import Any

import numpy as np
import pytest
from helpers import scores_of

from dlcore import fit_heads, metrics
from dlcore.heads.losses import LOSSES

pytestmark = [
    pytest.mark.any_mode,
    pytest.mark.filterwarnings("ignore:l2. the best strength:dlcore.GridEdgeWarning"),
]
L2 = [0.001, 0.03, 1.0]
ROWS, CLASSES = 180, 6


def negated(metric):
    return lambda y, p, s: -metric(y, p, sample_weight=s)


def plain(metric, **options):
    return lambda y, p, s: metric(y, p, sample_weight=s, **options)


def labelled(metric, **options):
    """Return a metric of the labels that probabilities predict."""

    def score(y, p, s):
        predicted = p.argmax(1) if p.ndim == 2 else p > 0.5
        return metric(y, predicted, sample_weight=s, **options)

    return score


CLASSIFIER = {
    "log_loss": negated(metrics.log_loss),
    "accuracy": labelled(metrics.accuracy),
    "balanced_accuracy": labelled(metrics.balanced_accuracy),
    "f1_macro": labelled(metrics.f1, average="macro"),
    "f1_micro": labelled(metrics.f1, average="micro"),
    "brier": negated(metrics.brier),
    "expected_calibration_error": negated(metrics.expected_calibration_error),
    "average_precision": plain(metrics.average_precision),
    "average_precision_voc2007": plain(metrics.average_precision, interpolation="voc2007"),
}
METRICS: dict[str, dict[str, Any]] = {
    "logistic": CLASSIFIER | {"roc_auc": plain(metrics.roc_auc)},
    "softmax": CLASSIFIER
    | {
        "roc_auc_ovr": plain(metrics.roc_auc),
        "roc_auc_micro": plain(metrics.roc_auc, average="micro"),
        "average_precision_micro": plain(metrics.average_precision, average="micro"),
    }
    | {f"top_{k}_accuracy": plain(metrics.top_k_accuracy, k=k) for k in (2, 3, 5)},
    "squared": {"r2": plain(metrics.r2), "pearson_r": plain(metrics.pearson_r)},
    "poisson": {"d2": plain(metrics.d2_poisson), "poisson_deviance": negated(metrics.poisson_deviance)},
}
NAMES = [(loss, name) for loss, of_loss in METRICS.items() for name in of_loss]


@functools.cache
def table(loss: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return features, targets and weights, some of them 0."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(ROWS, 5))
    signal = x @ rng.normal(size=(5, CLASSES)) + rng.gumbel(size=(ROWS, CLASSES))
    y = {
        "logistic": (signal[:, 0] > 0).astype(float),
        "softmax": signal.argmax(1),
        "squared": signal[:, :2],
        "poisson": np.floor(np.exp(signal[:, 0] / 3)),
    }[loss]
    s = rng.uniform(0.3, 3, ROWS)
    s[::17] = 0
    return x, y, s


def test_every_name_is_tested():
    for loss, record in LOSSES.items():
        assert set(METRICS[loss]) == set(record.metrics) - {"top_10_accuracy"}
    assert {name: METRICS[name] and next(iter(LOSSES[name].metrics)) for name in METRICS} == {
        "logistic": "log_loss",
        "softmax": "log_loss",
        "squared": "r2",
        "poisson": "d2",
    }


@pytest.mark.parametrize(("loss", "name"), NAMES)
def test_a_name_scores_folds_as_its_metric_does(loss, name):
    """The metric gets the predictions that the folds hold out. The device sums the products of r2."""
    x, y, s = table(loss)
    given: dict[str, Any] = {"loss": loss, "l2": L2, "folds": 3, "sample_weight": s}
    expected = scores_of(fit_heads(x, y, scoring=METRICS[loss][name], **given))
    heads = fit_heads(x, y, scoring=name, **given)
    assert heads.scoring == name
    np.testing.assert_allclose(scores_of(heads), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("loss", "name"), NAMES)
def test_a_name_scores_a_validation_set_as_its_metric_does(loss, name):
    x, y, s = table(loss)
    train, held = slice(0, 120), slice(120, ROWS)
    heads = fit_heads(x[train], y[train], loss=loss, l2=L2, validation=(x[held], y[held], s[held]), scoring=name)
    said = heads.predict(x[held]) if loss in ("squared", "poisson") else heads.predict_proba(x[held])
    if loss == "logistic":
        said = said[..., 1]
    several = y.ndim == 2
    for target in range(2 if several else 1):
        for k in range(len(L2)):
            truth, prediction = (y[held, target], said[target, k]) if several else (y[held], said[k])
            found = scores_of(heads)[target, 0, k] if several else scores_of(heads)[0, k]
            expected = METRICS[loss][name](truth, prediction, s[held])
            np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["r2", "pearson_r"])
def test_a_name_scores_rows_left_out_as_its_metric_does(name):
    x, y, s = table("squared")
    given: dict[str, Any] = {"loss": "squared", "l2": L2, "folds": "leave-one-out", "sample_weight": s}
    expected = scores_of(fit_heads(x, y, scoring=METRICS["squared"][name], **given))
    np.testing.assert_allclose(scores_of(fit_heads(x, y, scoring=name, **given)), expected, rtol=1e-9)


def test_a_head_that_predicts_a_constant_has_a_correlation_of_0():
    x, y, _ = table("squared")
    heads = fit_heads(0 * x, y[:, 0], loss="squared", l2=[0.1, 1.0], folds=3, scoring="pearson_r")
    np.testing.assert_array_equal(scores_of(heads), np.zeros((3, 2)))
