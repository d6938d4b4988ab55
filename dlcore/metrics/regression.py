"""Metrics of predicted numbers: R², Pearson's r, and the deviance of counts with the R² that belongs to it."""

from typing import Literal, overload

import numpy as np
import numpy.typing as npt

from dlcore.metrics.inputs import Targets, read_choice, read_targets, warn_undefined
from dlcore.metrics.weighted_sums import weighted_mean

UNIFORM, RAW = "uniform_average", "raw_values"


@overload
def r2(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    multioutput: Literal["uniform_average"] = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> float: ...
@overload
def r2(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    multioutput: Literal["raw_values"],
    sample_weight: npt.ArrayLike | None = ...,
) -> np.ndarray: ...
def r2(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    multioutput: Literal["uniform_average", "raw_values"] = "uniform_average",
    sample_weight: npt.ArrayLike | None = None,
) -> float | np.ndarray:
    r"""Return the coefficient of determination $R^2 = 1 - \sum_i s_i(y_i-\hat y_i)^2 / \sum_i s_i(y_i-\bar y)^2$.

    Args:
      y_true: numbers, shape (n,) or (n, targets).
      y_pred: predictions, of the same shape.
      multioutput: "uniform_average" for the mean over the targets, "raw_values" for each target.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number of at most 1, or with "raw_values" shape (targets,). A constant target has 1 without any error and
      else 0. A single row has nan, with a warning. It equals scikit-learn's `r2_score`.

    Raises:
      ValueError: if shapes differ, there are no rows, a number is not finite, a weight is negative or all are 0,
        or `multioutput` is unknown.
      TypeError: if an argument is not an array of real numbers.

    Warns:
      UndefinedMetricWarning: if a single row has a positive weight.

    Source: James, Witten, Hastie and Tibshirani, An Introduction to Statistical Learning, section 3.1.3.

    >>> r2([1.0, 2.0, 3.0], [1.0, 2.0, 4.0])
    0.5
    """
    read_choice("multioutput", multioutput, (UNIFORM, RAW))
    rows = read_targets(y_true, y_pred, sample_weight)
    values = batched_r2(*rows)
    if len(rows.weight) < 2:
        warn_undefined("r2: one row has a positive weight, and the value is nan")
        values = np.full_like(values, np.nan)
    return values if multioutput == RAW else float(values.mean())


@overload
def pearson_r(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    multioutput: Literal["uniform_average"] = ...,
    sample_weight: npt.ArrayLike | None = ...,
) -> float: ...
@overload
def pearson_r(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    multioutput: Literal["raw_values"],
    sample_weight: npt.ArrayLike | None = ...,
) -> np.ndarray: ...
def pearson_r(
    y_true: npt.ArrayLike,
    y_pred: npt.ArrayLike,
    *,
    multioutput: Literal["uniform_average", "raw_values"] = "uniform_average",
    sample_weight: npt.ArrayLike | None = None,
) -> float | np.ndarray:
    r"""Return Pearson's correlation of targets and predictions.

    With means under the weights,
    $r = \sum_i s_i(y_i-\bar y)(\hat y_i-\bar{\hat y})/\sqrt{\sum_i s_i(y_i-\bar y)^2\sum_i s_i(\hat y_i-\bar{\hat
    y})^2}$.

    Args:
      y_true: numbers, shape (n,) or (n, targets).
      y_pred: predictions, of the same shape.
      multioutput: "uniform_average" for the mean over the targets, "raw_values" for each target.
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number from −1 to 1, or with "raw_values" shape (targets,). It is nan, with a warning, where the target or
      the prediction is constant; so is the mean then. Without weights it equals SciPy's `pearsonr`.

    Raises:
      ValueError: as `r2`.
      TypeError: if an argument is not an array of real numbers.

    Warns:
      UndefinedMetricWarning: if a target or its prediction is constant in the rows of positive weight.

    Source: Casella and Berger, Statistical Inference, section 4.5.

    >>> round(pearson_r([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]), 6)
    0.981981
    """
    read_choice("multioutput", multioutput, (UNIFORM, RAW))
    values = batched_pearson_r(*read_targets(y_true, y_pred, sample_weight))
    if np.isnan(values).any():
        warn_undefined("pearson_r: a target or its prediction is constant, and the value nan")
    return values if multioutput == RAW else float(values.mean())


def poisson_deviance(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Return the mean deviance of counts, the weighted mean of $2(\mu_i - y_i + y_i\ln(y_i/\mu_i))$.

    Args:
      y_true: counts or rates of at least 0, shape (n,).
      y_pred: predicted rates μ, positive, shape (n,).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number of at least 0. It equals scikit-learn's `mean_poisson_deviance`.

    Raises:
      ValueError: as `r2`, or if a count is negative, a rate not positive, or there are several targets.
      TypeError: if an argument is not an array of real numbers.

    Source: McCullagh and Nelder, Generalized Linear Models, section 2.3.

    >>> poisson_deviance([0, 2], [1.0, 2.0])
    1.0
    """
    y, rate, weight = _read_rates(y_true, y_pred, sample_weight)
    return float(batched_poisson_deviance(y, np.log(rate), weight)[0])


def d2_poisson(
    y_true: npt.ArrayLike, y_pred: npt.ArrayLike, *, sample_weight: npt.ArrayLike | None = None
) -> float:
    r"""Return $D^2 = 1 - D(y, \mu)/D(y, \bar y)$, the fraction of the deviance of counts that rates explain.

    Args:
      y_true: counts or rates of at least 0, not all 0, shape (n,).
      y_pred: predicted rates μ, positive, shape (n,).
      sample_weight: weights of the rows, shape (n,). None weighs every row 1. A row of weight 0 is left out.

    Returns:
      A number of at most 1. Counts that are all the same have 1 without any error and else 0. A single row has
      nan, with a warning. It equals scikit-learn's `d2_tweedie_score` with `power=1`.

    Raises:
      ValueError: as `poisson_deviance`, or if every count is 0.
      TypeError: if an argument is not an array of real numbers.

    Warns:
      UndefinedMetricWarning: if a single row has a positive weight.

    Source: Cameron and Windmeijer (1996), R-squared measures for count data regression models.

    >>> round(d2_poisson([0, 2], [0.5, 1.5]), 6)
    0.584963
    """
    y, rate, weight = _read_rates(y_true, y_pred, sample_weight)
    if not y.any():
        raise ValueError("y_true: expected a positive number in rows of positive weight, got only zeros")
    if len(weight) < 2:
        warn_undefined("d2_poisson: one row has a positive weight, and the value is nan")
        return float("nan")
    return float(batched_d2_poisson(y, np.log(rate), weight)[0])


def _read_rates(y_true: npt.ArrayLike, y_pred: npt.ArrayLike, sample_weight: npt.ArrayLike | None) -> Targets:
    """Return counts and positive rates, shape (1, n)."""
    rows = read_targets(y_true, y_pred, sample_weight)
    if len(rows.true) > 1:
        raise ValueError(f"y_true: expected 1-D [n], got shape {rows.true.shape[::-1]}")
    if (rows.true < 0).any():
        raise ValueError(f"y_true: expected counts or rates of at least 0, got {rows.true.min():g}")
    if not (rows.predicted > 0).all():
        raise ValueError(f"y_pred: expected positive rates, got {rows.predicted.min():g}")
    return rows


# -- many predictions at once, unchecked: leading axes, rows last ----------------------------------------------


def fraction_explained(error: np.ndarray, null_error: np.ndarray) -> np.ndarray:
    """Return 1 − error/null_error. A null error of 0 gives 1 for no error and else 0, as in scikit-learn.

    Args:
      error: the squared error or deviance of predictions, a sum over rows of any origin.
      null_error: that of the best constant prediction.
    """
    constant = np.where(error == 0, 1.0, 0.0)
    return np.where(null_error > 0, 1 - error / np.where(null_error > 0, null_error, 1), constant)


def batched_r2(y: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return R² of numbers and predictions, both of shape (…, n), shape (…,)."""
    null_error = weighted_mean((y - weighted_mean(y, weight)[..., None]) ** 2, weight)
    null_error = np.where(y.max(-1) > y.min(-1), null_error, 0)  # a mean rounds
    return fraction_explained(weighted_mean((prediction - y) ** 2, weight), null_error)


def batched_pearson_r(y: np.ndarray, prediction: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return Pearson's r of numbers and predictions, both of shape (…, n), shape (…,). A constant has nan."""
    scaled = []
    for values in (y, prediction):
        constant = values.max(-1, keepdims=True) == values.min(-1, keepdims=True)
        offset = np.where(constant, np.nan, values - weighted_mean(values, weight)[..., None])
        offset = offset / np.abs(offset).max(-1, keepdims=True)  # squares stay within the range
        scaled.append(offset / np.sqrt((weight * offset**2).sum(-1, keepdims=True)))
    return np.clip((weight * scaled[0] * scaled[1]).sum(-1), -1, 1)


def half_poisson_deviances(log_rate: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""Return $e^z - yz - y + y\ln y$ of each row, of any shape, at least 0, from the logarithm z of its rate."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        d = log_rate - np.log(np.where(y > 0, y, 1))
        # Near d = 0 the difference of e^z and y(1 + d) would be rounding of y alone.
        excess = np.where(abs(d) < 1, y * (np.expm1(d) - d), np.exp(log_rate) - y * (1 + d))
        return np.maximum(np.where(y > 0, excess, np.exp(log_rate)), 0)


def batched_poisson_deviance(y: np.ndarray, log_rate: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return mean deviances of counts and logarithms of rates, both of shape (…, n), shape (…,)."""
    return 2 * weighted_mean(half_poisson_deviances(log_rate, y), weight)


def batched_d2_poisson(y: np.ndarray, log_rate: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return D² of counts and logarithms of rates, both of shape (…, n), shape (…,)."""
    with np.errstate(divide="ignore"):
        log_mean = np.log(weighted_mean(y, weight))[..., None]
    null = batched_poisson_deviance(y, log_mean, weight)
    return fraction_explained(
        batched_poisson_deviance(y, log_rate, weight), np.where(y.max(-1) > y.min(-1), null, 0)
    )
