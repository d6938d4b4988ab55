"""Shuffled folds, stratified by class, with whole groups."""

from typing import NamedTuple

import numpy as np

from dlcore._core import host_checks
from dlcore._core.labels import read_labels, shown
from dlcore.probing.data.subsets import is_stratified


class Split(NamedTuple):
    """Row numbers of the sets of one data set, apart from each other.

    Attributes:
      train: the rows that train.
      validation: the rows that choose the penalty, or None.
      test: the rows that are scored at the end, or None.

    >>> Split(train=[0, 1, 2], test=[3]).test
    [3]
    """

    train: np.ndarray | list[int]
    validation: np.ndarray | list[int] | None = None
    test: np.ndarray | list[int] | None = None


def read_indices(name: str, given: np.ndarray | list[int], rows: int) -> np.ndarray:
    """Return row numbers from 0 to rows − 1, each once."""
    index = host_checks.as_numpy(name, given)
    if index.ndim != 1 or index.dtype.kind not in "iu" or not len(index):
        raise ValueError(f"{name}: expected row numbers, 1-D, at least one, got {index.dtype} of {index.shape}")
    if index.min() < 0 or index.max() >= rows:
        raise ValueError(f"{name}: expected row numbers from 0 to {rows - 1}, got {index.min()} to {index.max()}")
    numbers, counts = np.unique(index, return_counts=True)
    if counts.max() > 1:
        raise ValueError(
            f"{name}: expected each row once, got row {numbers[counts.argmax()]} {counts.max()} times"
        )
    return index.astype(np.int64)


def shuffled_folds(y: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the fold of each row, shape (n,).

    Without groups the shuffled rows of each class are dealt to the folds one after another. With groups, each
    group goes to the fold in which the class counts then differ least between folds, the largest groups first.

    Args:
      y: labels, which are stratified, or numbers, which are not; shape (n,) or (n, targets).
      folds: the number of folds, at least 2.
      seed: of the shuffle.
      groups: the group of each row, shape (n,), or None.

    Raises:
      ValueError: if there are fewer rows of a class, or fewer groups, than folds.

    Source: Kohavi (1995), A study of cross-validation and bootstrap for accuracy estimation and model selection.
    """
    folds = host_checks.check_count("folds", folds, minimum=2)
    rng = np.random.default_rng(host_checks.check_count("seed", seed, minimum=0))
    codes, classes = read_labels("y", y) if is_stratified(y) else (np.zeros(len(y), np.intp), np.zeros(1))
    counts = np.bincount(codes)
    if groups is not None:
        return _grouped_folds(codes, folds, rng, groups)
    if counts.min() < folds:
        rarest = int(counts.argmin())
        what = (
            f"class {shown(classes[[rarest]])} has {counts[rarest]}"
            if len(counts) > 1
            else f"there are {counts[0]}"
        )
        raise ValueError(f"folds: expected at most as many as rows of the smallest class, got {folds}; {what}")
    fold, start = np.empty(len(y), np.intp), 0
    for k in range(len(counts)):
        rows = rng.permutation(np.flatnonzero(codes == k))
        fold[rows] = (start + np.arange(len(rows))) % folds
        start += len(rows)
    return fold


def _grouped_folds(codes: np.ndarray, folds: int, rng: np.random.Generator, groups: np.ndarray) -> np.ndarray:
    names, group_of_row = np.unique(groups, return_inverse=True)
    if len(names) < folds:
        raise ValueError(f"folds: expected at most as many as groups ({len(names)}), got {folds}")
    counts = np.zeros((len(names), codes.max() + 1))
    np.add.at(counts, (group_of_row, codes), 1)
    order = rng.permutation(len(names))
    order = order[np.argsort(-counts[order].sum(1), kind="stable")]
    share = counts / counts.sum(0)
    total, fold_of_group = np.zeros((folds, share.shape[1])), np.empty(len(names), np.intp)
    for position, group in enumerate(order):
        left = len(order) - position
        empty = np.flatnonzero(total.sum(1) == 0)
        candidates = empty if len(empty) >= left else np.arange(folds)
        spread = [((total + share[group] * (np.arange(folds) == f)[:, None]) ** 2).sum() for f in candidates]
        fold_of_group[group] = candidates[int(np.argmin(spread))]
        total[fold_of_group[group]] += share[group]
    return fold_of_group[group_of_row]
