"""Cross-validation folds: which rows train and which score each fit."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias, cast

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.heads.data.labels import check_soft_classes, label_of
from dlcore.heads.losses import HeadLoss


class Splitter(Protocol):
    """A splitter of scikit-learn."""

    def split(self, X: Any, y: Any, groups: Any) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """Yield the numbers of the rows that train and of those that are scored."""
        ...


FoldsLike: TypeAlias = int | str | npt.ArrayLike | Splitter | Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]
"""The argument `folds` of `fit_heads`."""


def read_folds(
    folds: FoldsLike | None,
    rows: int,
    labels: np.ndarray | None,
    groups: npt.ArrayLike | None = None,
    *,
    classes: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows train and which score each fit, (folds + 1, rows) each; the first fit is on all rows.

    Args:
      folds: as `fit_heads` takes it, without "leave-one-out".
      rows: the number of rows.
      labels: the classes of the rows, shape (rows,), by which an integer stratifies; None for numbers.
      groups: the group of each row, shape (rows,); None without groups.
      classes: the labels that numbers of classes stand for, shape (classes,), for messages.
    """
    codes = None if groups is None else _read_groups(groups, rows)
    is_count = isinstance(folds, int | np.integer) and not isinstance(folds, bool)
    if codes is not None and not (is_count or hasattr(folds, "split")):
        raise ValueError("groups: expected None, unless folds is an integer or a splitter")
    if folds is None:
        pairs = []
    elif is_count:
        count = host_checks.check_count("folds", folds, minimum=2)
        pairs = _consecutive(count, rows, labels, classes) if codes is None else _by_groups(count, codes)
    else:
        pairs = _given(folds, rows, labels, codes)
    train, test = np.ones((len(pairs) + 1, rows), bool), np.zeros((len(pairs) + 1, rows), bool)
    for index, (chosen, scored) in enumerate(pairs):
        train[index + 1], test[index + 1] = chosen, scored
    return train, test


def _consecutive(
    folds: int, rows: int, labels: np.ndarray | None, names: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return scikit-learn's KFold, or for labels its StratifiedKFold, both without shuffling.

    Classes are numbered by first appearance, and the sorted labels are dealt to the folds in turn. This gives the
    number of rows of each class in each fold. Each fold takes its rows of a class in the order of the data.
    """
    if folds > rows:
        raise ValueError(f"folds: expected at most as many as rows ({rows}), got {folds}")
    if labels is None:
        owner = np.repeat(np.arange(folds), [len(part) for part in np.array_split(np.arange(rows), folds)])
    else:
        classes, first, counts = np.unique(labels, return_index=True, return_counts=True)
        if counts.max() < folds:
            raise ValueError(
                f"folds: expected at most as many as rows of the largest class, got {folds}; class "
                f"{label_of(counts.argmax(), names)} has {counts.max()}"
            )
        order = first.argsort()
        codes = order.argsort()[np.searchsorted(classes, labels)]
        dealt = np.sort(codes)
        owner = np.empty(rows, np.int64)
        for code in range(len(order)):
            counts = [int((dealt[fold::folds] == code).sum()) for fold in range(folds)]
            owner[codes == code] = np.repeat(np.arange(folds), counts)
    return [(owner != fold, owner == fold) for fold in range(folds)]


def _read_groups(groups: npt.ArrayLike, rows: int) -> np.ndarray:
    """Return the number of the group of each row; groups are numbers or strings."""
    names = np.asarray(groups)
    if names.shape != (rows,):
        raise ValueError(f"groups: expected shape ({rows},), got shape {names.shape}")
    if names.dtype.kind not in "biufUSO":
        raise TypeError(f"groups: expected numbers or strings, got dtype {names.dtype}")
    try:
        return np.unique(names, return_inverse=True)[1]
    except TypeError:
        raise TypeError("groups: expected numbers or strings, got a mixture of types") from None


def _by_groups(folds: int, codes: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return scikit-learn's GroupKFold: the largest groups first, each to the fold with the fewest rows."""
    sizes = np.bincount(codes)
    if len(sizes) < folds:
        raise ValueError(f"folds: expected at most as many as groups ({len(sizes)}), got {folds}")
    fold_sizes, fold_of = np.zeros(folds), np.zeros(len(sizes), np.int64)
    for group in np.argsort(sizes, kind="stable")[::-1]:
        fold_of[group] = fold_sizes.argmin()
        fold_sizes[fold_of[group]] += sizes[group]
    owner = fold_of[codes]
    return [(owner != fold, owner == fold) for fold in range(folds)]


def _given(
    folds: FoldsLike, rows: int, labels: np.ndarray | None, codes: np.ndarray | None
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return the training and test masks of each fold, from 0/1 weights, a splitter, or pairs of row numbers."""
    splits = getattr(folds, "split", None)
    if isinstance(folds, str | bytes | bool) or not (splits or isinstance(folds, Iterable)):
        expected = "None, an integer, 0/1 weights, a splitter or 'leave-one-out'"
        raise TypeError(f"folds: expected {expected}, got {folds!r}")
    pairs = folds
    if splits is not None:
        pairs = list(splits(np.zeros((rows, 1)), labels, *(() if codes is None else (codes,))))
    if not hasattr(pairs, "ndim"):
        pairs = list(cast("Iterable[tuple[npt.ArrayLike, npt.ArrayLike]]", pairs))
        if pairs and all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            return [(_mask(train, rows), _mask(test, rows)) for train, test in pairs]
    table = host_checks.as_numpy("folds", cast("npt.ArrayLike", pairs))
    if table.ndim != 2 or table.shape[1] != rows:
        raise ValueError(f"folds: expected 0/1 weights of shape (folds, {rows}), got shape {table.shape}")
    other = table[~np.isin(table, (0, 1))]
    if len(other):
        raise ValueError(f"folds: expected 0/1 weights, 1 where a row trains, got {other[0]:g}")
    return [(chosen, ~chosen) for chosen in table.astype(bool)]


def _mask(part: npt.ArrayLike, rows: int) -> np.ndarray:
    """Return row numbers, or booleans, as booleans."""
    numbers = host_checks.as_numpy("folds", part)
    if numbers.dtype == bool and numbers.shape == (rows,):
        return numbers
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu" or ((numbers < 0) | (numbers >= rows)).any():
        raise ValueError(f"folds: expected the numbers of rows, 0 to {rows - 1}, got {part!r}")
    mask = np.zeros(rows, bool)
    mask[numbers] = True
    return mask


def check_folds(
    train: np.ndarray,
    test: np.ndarray,
    weight: np.ndarray,
    y: np.ndarray,
    loss: HeadLoss,
    *,
    fit_intercept: bool,
    classes: np.ndarray | None = None,
) -> None:
    """Check that every fold trains and scores rows of positive weight, and that its training targets suffice.

    Args:
      train: the training rows of each fold, booleans, shape (folds, n).
      test: the scored rows of each fold, shape (folds, n).
      weight: weights of the rows, shape (n,).
      y: targets, shape (n,) or (n, targets).
      loss: of the heads.
      fit_intercept: whether heads have an intercept.
      classes: the labels that numbers of classes stand for, shape (classes,).

    Raises:
      ValueError: if not. The message names the fold.
    """
    for fold, (chosen, scored) in enumerate(zip(train, test, strict=True)):
        if not (weight[chosen] > 0).any():
            raise ValueError(
                f"folds: expected training rows of positive weight in every fold, got none in fold {fold}"
            )
        if not (weight[scored] > 0).any():
            raise ValueError(
                f"folds: expected rows of positive weight to score every fold on, got none in fold {fold}"
            )
        if loss.is_soft:
            check_soft_classes(y, np.where(chosen, weight, 0), loss, f"the training rows of fold {fold}")
            continue
        for column in y.reshape(len(y), -1).T:
            if loss.is_classifier:
                missing = _missing_class(loss, column, chosen & (weight > 0), fold)
                if missing is not None and not fit_intercept:
                    raise ValueError(
                        "folds: expected every class in the training rows of every fold where there is no "
                        f"intercept, got none of {label_of(missing, classes)} in fold {fold}"
                    )
            elif loss.needs_positive and fit_intercept and not (column[chosen & (weight > 0)] > 0).any():
                raise ValueError(
                    "folds: expected a positive y in the training rows of every fold, "
                    f"got only zeros in fold {fold}"
                )


def _missing_class(loss: HeadLoss, labels: np.ndarray, chosen: np.ndarray, fold: int) -> int | None:
    """Return the first class that a fold does not train on, or None.

    Raises:
      ValueError: if the fold trains on one class only.
    """
    present = np.unique(labels[chosen])
    if len(present) < 2:
        needed = "two" if loss.has_classes else "both"
        raise ValueError(
            f"folds: expected {needed} classes in the training rows of every fold, got one class in fold {fold}"
        )
    missing = np.setdiff1d(labels, present)
    return int(missing[0]) if len(missing) else None


def warn_of_rare_classes(
    folds: FoldsLike | None, labels: np.ndarray, names: np.ndarray | None, stacklevel: int
) -> None:
    """Warn if a class has fewer rows than `folds`, when `folds` is an integer, as StratifiedKFold does.

    Args:
      folds: as `fit_heads` takes it.
      labels: the numbers of the classes, shape (n,).
      names: the labels that they stand for, shape (classes,).
      stacklevel: of `warnings.warn`, seen from the caller.
    """
    if not isinstance(folds, int | np.integer):
        return
    classes, counts = np.unique(labels, return_counts=True)
    if (rarest := counts.min()) < folds:
        rows = f"{rarest} {'row' if rarest == 1 else 'rows'}"
        warnings.warn(
            f"folds: class {label_of(classes[counts.argmin()], names)} has {rows}, fewer than the {folds} folds; "
            "some folds are scored on none of them",
            UserWarning,
            stacklevel=stacklevel + 1,
        )


def absent_classes(
    train: np.ndarray, test: np.ndarray, weight: np.ndarray, labels: np.ndarray, names: np.ndarray | None = None
) -> dict[int, list[str]]:
    """Return the classes that a fold is scored on without training on them, by the number of the fold.

    Args:
      train: the training rows of each fold, booleans, shape (folds, n).
      test: the scored rows of each fold, shape (folds, n).
      weight: weights of the rows, shape (n,).
      labels: the numbers of the classes, shape (n,).
      names: the labels that they stand for, shape (classes,).
    """
    known = weight > 0
    absent = {
        fold: [
            label_of(k, names) for k in np.setdiff1d(labels[scored & known], labels[chosen & known]).astype(int)
        ]
        for fold, (chosen, scored) in enumerate(zip(train, test, strict=True))
    }
    return {fold: classes for fold, classes in absent.items() if classes}


def warn_of_absent_classes(
    absent: Mapping[int, Sequence[str]], folds: int, scoring: object, stacklevel: int
) -> None:
    """Warn of folds that are scored on a class without training on it.

    Args:
      absent: the absent classes by the number of the fold.
      folds: the number of all folds.
      scoring: as `fit_heads` takes it.
      stacklevel: of `warnings.warn`, seen from the caller.
    """
    if not absent:
        return
    missing = {fold: _listed(classes) for fold, classes in absent.items()}
    shown = _listed([f"fold {fold} on no row of class {classes}" for fold, classes in missing.items()])
    effect = "these heads never predict these classes"
    if scoring == "log_loss":
        others = "the other folds choose" if len(absent) < folds else "no fold is left to choose"
        effect = f"their log loss is infinite, and {others} the best l2"
    warnings.warn(
        f"folds: heads train in {shown}, but are scored on such rows; {effect}",
        UserWarning,
        stacklevel=stacklevel + 1,
    )


def _listed(parts: Sequence[str], most: int = 5) -> str:
    """Return the first parts as a list in words."""
    return ", ".join(parts[:most]) + (f", … ({len(parts)} in all)" if len(parts) > most else "")
