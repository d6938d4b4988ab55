"""Metrics of predictions in float64 NumPy, equal to scikit-learn's or torchmetrics', weights and ties included."""

from dlcore.metrics.calibration import expected_calibration_error
from dlcore.metrics.classification import accuracy, balanced_accuracy, f1, per_class_accuracy, top_k_accuracy
from dlcore.metrics.inputs import UndefinedMetricWarning
from dlcore.metrics.probabilities import brier, log_loss
from dlcore.metrics.ranking import average_precision, recall_at_fpr, roc_auc
from dlcore.metrics.regression import d2_poisson, pearson_r, poisson_deviance, r2

__all__ = [
    "UndefinedMetricWarning",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier",
    "d2_poisson",
    "expected_calibration_error",
    "f1",
    "log_loss",
    "pearson_r",
    "per_class_accuracy",
    "poisson_deviance",
    "r2",
    "recall_at_fpr",
    "roc_auc",
    "top_k_accuracy",
]
