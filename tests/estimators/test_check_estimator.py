"""scikit-learn's checks of estimators, with no expected failure."""

import warnings

import pytest
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks

from dlcore.sklearn import (
    LinearRegression,
    LogisticRegression,
    LogisticRegressionCV,
    Ridge,
    RidgeClassifier,
    RidgeCV,
)

pytestmark = [pytest.mark.any_mode, pytest.mark.filterwarnings("default")]

OTHERS = [
    LinearRegression(),
    Ridge(),
    RidgeCV(),
    RidgeClassifier(),
    LogisticRegressionCV(cv=3, l1_ratios=(0,), scoring="neg_log_loss", use_legacy_attributes=False),
]


def test_check_estimator_of_logistic_regression():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(LogisticRegression(), on_skip=None)
    assert len(results) > 40
    assert {result["status"] for result in results} <= {"passed", "skipped"}


@pytest.mark.slow
@parametrize_with_checks(OTHERS)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)
