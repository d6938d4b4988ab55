"""Arguments of `fit_heads`, checked once on the host and placed once on the device."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.labels import read_labels
from dlcore._core.soft_labels import read_soft_labels
from dlcore._core.types import Array, Device
from dlcore.certificate.rows import DataLike, HostTable
from dlcore.heads.data.batching import rows_at_once
from dlcore.heads.data.class_weights import ClassWeightLike, class_weights, row_factors
from dlcore.heads.data.column_scales import column_scales
from dlcore.heads.data.device_rows import rows_to_device
from dlcore.heads.data.folds import FoldsLike, check_folds, read_folds
from dlcore.heads.data.labels import check_classes, check_soft_classes
from dlcore.heads.data.penalties import read_penalties
from dlcore.heads.data.sample_weight import read_weights
from dlcore.heads.data.validation import Validation, read_validation
from dlcore.heads.losses import SOFT, HeadLoss, read_loss
from dlcore.objective import BlockedData
from dlcore.objective.borrowed import BorrowedRows

SCALED_BYTES = 2**21
"""Bytes of a block of rows in float64 whose deviations are summed, on a CPU."""


@dataclasses.dataclass
class DeviceRows:
    """The training rows. Folds are data: any folds of these rows run the same programs.

    Attributes:
      source: the rows as given, shape (n, m).
      weight: shape (n,), float64, at most 1, on the device.
      train: whether each row is in the training set of each fit, shape (n, fits), booleans on the device. Fit 0 is
        the fit on all rows.
      scale: divisors of the columns in each fit, shape (fits, m); None without standardised columns.
    """

    source: jax.Array | HostTable
    weight: Array
    train: Array
    scale: np.ndarray | None = None

    @functools.cached_property
    def x(self) -> Array | BorrowedRows:
        """The rows on the device, shape (n, m), in their dtype. They are copied at the first use, if at all."""
        return rows_to_device(self.source)

    @property
    def device(self) -> Device:
        """The device of the rows."""
        return next(iter((self.source if isinstance(self.source, jax.Array) else self.weight).devices()))


class TrainingData(NamedTuple):
    """Checked arguments, on the host.

    Attributes:
      x: shape (n, m), NumPy or `SparseRows`.
      y: shape (n,) or (n, targets): class codes, soft labels and targets of the Poisson loss in float64, targets
        of the squared loss in their dtype. Soft labels of a softmax have shape (n, classes).
      weight: shape (n,), float64, at most 1. With one target it includes the class weights.
      l2: shape (folds + 1, L), float64; the first row is that of the fit on all rows.
      train: whether each fit trains on each row, shape (folds + 1, n), booleans; the first row is all True.
      test: whether each fit is scored on each row, the same shape; the first row is all False.
      score_weight: the weights of the rows in scores, shape (n,), float64, without class weights.
      unit: the power of two that divided the given weights.
      balance: factors of the weights of the classes of each target, shape (targets, 2), if there are several
        targets; None without class weights.
      validation: the rows that score the fit on all rows; None without a validation set.
      standardize: whether the coefficients of standardised columns are penalised.
      loss: the loss of the heads, that of soft labels where `y` has them.
      classes: the labels that the codes 0, 1, … of `y` stand for, shape (classes,); None for numbers.
    """

    x: HostTable
    y: np.ndarray
    weight: np.ndarray
    l2: np.ndarray
    train: np.ndarray
    test: np.ndarray
    score_weight: np.ndarray
    unit: float
    balance: np.ndarray | None
    validation: Validation | None
    standardize: bool
    loss: HeadLoss
    classes: np.ndarray | None = None

    @property
    def has_targets(self) -> bool:
        """Return whether `y` has an axis of targets."""
        return self.y.ndim == 2 and not self.loss.has_distributions

    @property
    def targets(self) -> int:
        """Return the number of targets."""
        return self.y.shape[1] if self.has_targets else 1

    def weights(self, fit: int, target: int) -> np.ndarray:
        """Return the weight of every row in one fit of one target, shape (n,)."""
        weight = np.where(self.train[fit], self.weight, 0)
        return weight if self.balance is None else weight * row_factors(self.balance[target], self.y[:, target])


def read_training_data(
    x: DataLike,
    y: npt.ArrayLike,
    *,
    loss: str,
    penalties: Mapping[str, npt.ArrayLike | None],
    folds: FoldsLike | None,
    groups: npt.ArrayLike | None,
    sample_weight: npt.ArrayLike | None,
    class_weight: ClassWeightLike | None,
    validation: Sequence[DataLike] | None,
    standardize: bool,
    fit_intercept: bool,
) -> TrainingData:
    """Check all arguments and return the training data. Nothing is compiled."""
    record = read_loss(loss)
    for name, choice in (("standardize", standardize), ("fit_intercept", fit_intercept)):
        if not isinstance(choice, bool | np.bool_):
            raise TypeError(f"{name}: expected True or False, got {choice!r}")
    rows = host_checks.as_numpy_or_sparse("x", x)
    host_checks.check_matrix("x", rows)
    soft = read_soft_labels("y", y, has_classes=record.has_classes) if record.is_classifier else None
    if soft is not None:
        record, target, classes = SOFT[record.name], soft, None
    else:
        target, classes = read_labels("y", y) if record.is_classifier else (host_checks.as_numpy("y", y), None)
    host_checks.check_same_length(x=rows, y=target)
    host_checks.check_finite("x", rows)
    host_checks.check_finite("y", target)
    if record.is_exact:
        host_checks.check_squares("x", rows)
    elif not standardize:
        host_checks.check_squares("x", rows, "scale the columns, or pass standardize=True")
    weight, unit = read_weights("sample_weight", sample_weight, len(rows))
    if classes is not None:
        check_classes(target, classes, weight, record)
    if record.is_soft:
        check_soft_classes(target, weight, record, "rows of positive weight")
    if record.check_targets is not None:
        record.check_targets(target, weight)
    if not record.is_exact:
        target = target.astype(np.float64)
    labels = target if record.is_classifier and target.ndim == 1 else None
    train, test = read_folds(folds, len(rows), labels, groups, classes=classes)
    check_folds(train[1:], test[1:], weight, target, record, fit_intercept=bool(fit_intercept), classes=classes)
    if validation is not None and folds is not None:
        raise ValueError("validation: expected None where there are folds; rows are scored by one of the two")
    held = None if validation is None else read_validation(validation, rows, target, record, classes)
    score_weight, balance, whole_unit = weight, None, unit
    if class_weight is not None:
        balance, units = class_weights(class_weight, target, weight, record, classes)
        if target.ndim == 1:
            weight, balance, whole_unit = weight * row_factors(balance[0], target), None, unit * units[0]
    mass = np.where(train, weight, 0).sum(1)
    strengths = read_penalties(penalties, record, mass, whole_unit, same_for_targets=balance is None)
    return TrainingData(
        rows,
        target,
        weight,
        strengths,
        train,
        test,
        score_weight,
        unit,
        balance,
        held,
        bool(standardize),
        record,
        classes,
    )


def place_rows(inputs: TrainingData, x: DataLike) -> DeviceRows:
    """Return the rows for the device, in JAX's x64 mode. An array that is on the device already is not copied."""
    source = x if isinstance(x, jax.Array) else inputs.x
    weight, train = jax.device_put((inputs.weight, np.ascontiguousarray(inputs.train.T)))
    rows = DeviceRows(source, weight, train)
    if not inputs.standardize:
        return rows
    block = rows_at_once(rows.x, len(inputs.x), SCALED_BYTES, 8 * inputs.x.shape[1])
    data = BlockedData(rows.x, train, jax.device_put(inputs.score_weight), block)
    totals = jax.device_put(np.where(inputs.train, inputs.score_weight, 0).sum(1))
    rows.scale = np.asarray(column_scales(data, totals))
    return rows
