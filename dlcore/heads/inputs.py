"""What `fit_heads` is given, checked once on the host and placed once on the device."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore import _checks
from dlcore._types import Array
from dlcore.heads.class_weights import class_weights, factors
from dlcore.heads.packing import rows_at_once
from dlcore.heads.placing import place_rows
from dlcore.heads.row_weights import read_weights
from dlcore.heads.scales import column_scales
from dlcore.heads.strengths import read_strengths
from dlcore.heads.validation import Validation, read_validation
from dlcore.objective import BlockedData
from dlcore.objective.lent import LentRows

LOSSES = ("logistic", "squared", "softmax")
SCALED_BYTES = 2**21
"""Size of a block of rows in float64 whose deviations are summed, on a CPU."""
FOLDS_AT_MOST = 31
"""A row's part in the folds is one bit of a 32-bit number each; bit 0 is the fit on all rows."""


class Rows(NamedTuple):
    """The training rows. A fold is a bit: any folds of these rows run the same programs.

    Attributes:
      x: shape (n, m), in its own dtype, on the device.
      weight: shape (n,), float64, at most 1, on the device.
      train: shape (n,), uint32; bit f says whether the row trains fit f, bit 0 the fit on all rows.
      test: the same of the rows that fit f is scored on.
      scale: shape (fits, m), what the columns of each fit are divided by; None where they stay as they are.
    """

    x: Array | LentRows
    weight: Array
    train: np.ndarray
    test: np.ndarray
    scale: np.ndarray | None


class Inputs(NamedTuple):
    """What was asked for, on the host.

    Attributes:
      x: shape (n, m), NumPy or `SparseRows`.
      y: shape (n,) or (n, targets); labels in float64, numbers in the dtype they came in.
      weight: shape (n,), float64, at most 1; of one target with its class weights.
      l2: shape (folds + 1, L), float64; the first row is that of the fits on all rows.
      train: shape (folds + 1, n), booleans; the first row is all True.
      test: the same of the rows that are scored; the first row is all False.
      scored: shape (n,), float64: what a row weighs in a score, which no class weight changes.
      unit: what the weights given were divided by, a power of two.
      balance: shape (targets, 2), what the classes of each of many targets weigh; None where they weigh the same.
      validation: the rows that score the fits on all rows; None without.
      standardize: whether the weights of standardised columns are penalised.
    """

    x: Any
    y: np.ndarray
    weight: np.ndarray
    l2: np.ndarray
    train: np.ndarray
    test: np.ndarray
    scored: np.ndarray
    unit: float
    balance: np.ndarray | None
    validation: Validation | None
    standardize: bool

    def weights(self, fit: int, target: int) -> np.ndarray:
        """What every row weighs in one fit of one target, (n,)."""
        weight = np.where(self.train[fit], self.weight, 0)
        return weight if self.balance is None else weight * factors(self.balance[target], self.y[:, target])


def read_inputs(
    x: Any,
    y: Any,
    loss: str,
    l2: Any,
    folds: Any,
    sample_weight: Any,
    class_weight: Any = None,
    validation: Any = None,
    standardize: Any = False,
    fit_intercept: Any = True,
) -> Inputs:
    """All checks of values; nothing is compiled here."""
    if loss not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(map(repr, LOSSES))}, got {loss!r}")
    for name, choice in (("standardize", standardize), ("fit_intercept", fit_intercept)):
        if not isinstance(choice, bool | np.bool_):
            raise TypeError(f"{name}: expected True or False, got {choice!r}")
    rows = _checks.as_host_rows("x", x)
    _checks.check_matrix("x", rows)
    target = _checks.as_host_numbers("y", y, objects=True)
    _checks.check_rows(x=rows, y=target)
    _checks.check_finite("x", rows)
    _checks.check_finite("y", target)
    if loss == "squared":
        _checks.check_squares("x", rows)
        _checks.check_squares("y", target)
    elif not standardize:
        _checks.check_squares("x", rows, "scale the columns, or pass standardize=True")
    weight, unit = read_weights("sample_weight", sample_weight, len(rows))
    if loss == "logistic" and target.ndim == 2 and target.size:
        for column in target.T:
            _checks.check_binary_labels(column, weight)
    elif loss == "logistic":
        _checks.check_binary_labels(target, weight)
    elif loss == "softmax":
        _check_classes(target, weight)
    elif target.ndim not in (1, 2) or 0 in target.shape:
        raise ValueError(f"y: expected [n] or [n, targets], got shape {target.shape}")
    if loss != "squared":
        target = target.astype(np.float64)
    labels = None if loss == "squared" else target
    train, test = _folds(folds, len(rows), labels if target.ndim == 1 else None)
    for index, chosen in enumerate(train[1:]):
        if not (weight[chosen] > 0).any():
            raise ValueError(
                f"folds: expected training rows of positive weight in every fold, got none in {index}"
            )
        if not (weight[test[index + 1]] > 0).any():
            raise ValueError(
                f"folds: expected rows of positive weight to score every fold on, got none in {index}"
            )
        for column in [] if labels is None else labels.reshape(len(labels), -1).T:
            _check_known(loss, column, chosen & (weight > 0), index, without=bool(fit_intercept))
    if validation is not None and folds is not None:
        raise ValueError("validation: expected None where there are folds; rows are scored by one of the two")
    held = None if validation is None else read_validation(validation, rows, target, loss)
    scored, balance = weight, None
    if class_weight is not None:
        balance = class_weights(class_weight, target, weight, loss)
        if target.ndim == 1:
            weight, balance = weight * factors(balance[0], target), None
    mass = np.where(train, weight, 0).sum(1)
    strengths = read_strengths(l2, mass, alike=balance is None)
    return Inputs(rows, target, weight, strengths, train, test, scored, unit, balance, held, bool(standardize))


def _check_classes(y: np.ndarray, weights: np.ndarray) -> None:
    """`y` holds the numbers of classes, 0 to K − 1, each of them in rows of positive weight."""
    _checks.check_rank("y", y, 1, "[n]")
    _checks.check_class_labels(y, weights)
    present = np.unique(y[weights > 0]).astype(np.int64)
    classes = int(y.max()) + 1
    if len(present) < classes:
        first = int(np.argmax(np.append(present, classes) != np.arange(len(present) + 1)))
        raise ValueError(
            f"y: expected every class 0 to {classes - 1} in rows of positive weight, got none of {first}"
        )


def _check_known(loss: str, labels: np.ndarray, chosen: np.ndarray, fold: int, *, without: bool) -> None:
    """The rows that train a fold hold two classes, and every class where heads cannot do without one."""
    present = np.unique(labels[chosen])
    if len(present) < 2:
        needed = "both" if loss == "logistic" else "two"
        raise ValueError(f"folds: expected {needed} classes in the training rows of every fold, got one in {fold}")
    missing = np.setdiff1d(labels, present)
    if len(missing) and not without:
        raise ValueError(
            "folds: expected every class in the training rows of every fold where there is no intercept, got none "
            f"of {missing[0]:g} in {fold}"
        )


def place(inputs: Inputs, x: Any) -> Rows:
    """The rows on the device; an array that is there already is not copied. Wants JAX's x64 mode."""
    rows = place_rows(x if isinstance(x, jax.Array) else inputs.x)
    train, scale = _bits(inputs.train), None
    if inputs.standardize:
        block = rows_at_once(rows, len(inputs.x), SCALED_BYTES, 8 * inputs.x.shape[1])
        data = BlockedData(rows, jax.device_put(train), jax.device_put(inputs.scored), block)
        scale = np.asarray(column_scales(data, jax.device_put(np.where(inputs.train, inputs.scored, 0).sum(1))))
    return Rows(rows, jax.device_put(inputs.weight), train, _bits(inputs.test), scale)


def _folds(folds: Any, rows: int, labels: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """(train, test), a row of booleans for the fit on all rows and for each fold."""
    if folds is None:
        pairs = []
    elif isinstance(folds, int | np.integer) and not isinstance(folds, bool):
        pairs = _consecutive(_checks.check_count("folds", folds, least=2, most=FOLDS_AT_MOST), rows, labels)
    else:
        pairs = _given(folds, rows, labels)
    if len(pairs) > FOLDS_AT_MOST:
        raise ValueError(f"folds: expected at most {FOLDS_AT_MOST} folds, got {len(pairs)}")
    train, test = np.ones((len(pairs) + 1, rows), bool), np.zeros((len(pairs) + 1, rows), bool)
    for index, (chosen, scored) in enumerate(pairs):
        train[index + 1], test[index + 1] = chosen, scored
    return train, test


def _consecutive(folds: int, rows: int, labels: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """scikit-learn's KFold, and for labels its StratifiedKFold, both without shuffling.

    Stratified: the labels, sorted by the order in which the classes first appear, are dealt one by one to the
    folds; that says how many rows of each class each fold scores, and they are taken in the order of the data.
    """
    if folds > rows:
        raise ValueError(f"folds: expected at most as many as rows ({rows}), got {folds}")
    if labels is None:
        owner = np.repeat(np.arange(folds), [len(part) for part in np.array_split(np.arange(rows), folds)])
    else:
        order = np.unique(labels, return_index=True)[1].argsort()
        codes = order.argsort()[np.searchsorted(np.unique(labels), labels)]
        dealt = np.sort(codes)
        owner = np.empty(rows, np.int64)
        for code in range(len(order)):
            counts = [int((dealt[fold::folds] == code).sum()) for fold in range(folds)]
            if sum(counts) < folds:
                raise ValueError(f"folds: expected at most as many as rows of the rarest class, got {folds}")
            owner[codes == code] = np.repeat(np.arange(folds), counts)
    return [(owner != fold, owner == fold) for fold in range(folds)]


def _given(folds: Any, rows: int, labels: np.ndarray | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """0/1 weights [folds, n], 1 where a row trains; a splitter; or (train, test) pairs of row numbers."""
    splits = getattr(folds, "split", None)
    if isinstance(folds, str | bytes | bool) or not (splits or isinstance(folds, Iterable)):
        expected = "None, an integer, 0/1 weights, a splitter or 'leave-one-out'"
        raise TypeError(f"folds: expected {expected}, got {folds!r}")
    if splits is not None:
        folds = list(splits(np.zeros((rows, 1)), labels))
    if not hasattr(folds, "ndim"):
        folds = list(folds)
        if folds and all(isinstance(pair, tuple) and len(pair) == 2 for pair in folds):
            return [(_mask(train, rows), _mask(test, rows)) for train, test in folds]
    table = _checks.as_host_numbers("folds", folds)
    if table.ndim != 2 or table.shape[1] != rows:
        raise ValueError(f"folds: expected 0/1 weights of shape (folds, {rows}), got shape {table.shape}")
    other = table[~np.isin(table, (0, 1))]
    if len(other):
        raise ValueError(f"folds: expected 0/1 weights, 1 where a row trains, got {other[0]:g}")
    return [(chosen, ~chosen) for chosen in table.astype(bool)]


def _mask(part: Any, rows: int) -> np.ndarray:
    """Row numbers, or booleans, as booleans."""
    numbers = _checks.as_host_numbers("folds", part)
    if numbers.dtype == bool and numbers.shape == (rows,):
        return numbers
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= rows)).any():
        raise ValueError(f"folds: expected the numbers of rows, 0 to {rows - 1}, got {part!r}")
    mask = np.zeros(rows, bool)
    mask[numbers] = True
    return mask


def _bits(masks: np.ndarray) -> np.ndarray:
    """(fits, n) booleans as one number per row."""
    shifts = np.arange(len(masks), dtype=np.uint32)[:, None]
    return np.bitwise_or.reduce(masks.astype(np.uint32) << shifts, axis=0)
