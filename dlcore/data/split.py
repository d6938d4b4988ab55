"""Held-out rows: a split by seed, by groups or by a column."""

import numpy as np

from dlcore._core import host_checks
from dlcore.data.dataset import Dataset

TRAIN = ("train", "training")
VALIDATION = ("validation", "valid", "val", "dev")
TEST = ("test", "testing", "held-out", "heldout")
SETS = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
"""Values of a split column by set, in any case. Numbers are 0 for rows that train and 1 for rows held out."""


def train_test_split(
    data: Dataset, test: float | None = None, *, seed: int = 0, stratify: bool = False
) -> tuple[Dataset, Dataset]:
    """Split rows into those that train and those that are held out, in their order.

    Args:
      data: the rows. If they have groups, no group is on both sides.
      test: the fraction of the rows that is held out, in (0, 1). None splits by the values of `data.split`:
        "train" against "test" or "validation", in any case, or 0 and False against 1 and True.
      seed: the seed of the random choice of rows or groups.
      stratify: whether each class of the target keeps its fraction, to one row. It needs a target and no groups.

    Returns:
      The rows that train, and the rows held out. The rows are copied.

    Raises:
      ValueError: if `test` is not in (0, 1), a side is empty, a split column has other values, a group is on both
        of its sides, or there is neither `test` nor a split column, or both.
      TypeError: if `test` is no number or `seed` no integer.

    Source: scikit-learn's StratifiedShuffleSplit and GroupShuffleSplit, whose proportions are kept to one row.

    >>> from dlcore.data import read
    >>> data = read({"x": np.arange(10.0)[:, None], "y": ["a"] * 6 + ["b"] * 4}, "y")
    >>> train, test = train_test_split(data, 0.5, stratify=True)
    >>> print(len(train), sorted(test.target.tolist()))
    5 ['a', 'a', 'a', 'b', 'b']
    """
    held = held_out_rows(data, test, seed=seed, stratify=stratify)
    return data.take(~held), data.take(held)


def held_out_rows(
    data: Dataset, test: float | None = None, *, seed: int = 0, stratify: bool = False
) -> np.ndarray:
    """Return which rows `train_test_split` holds out, shape (n,). The arguments are the same."""
    if (test is None) == (data.split is None):
        got = "neither" if test is None else "both"
        raise ValueError(f"test: expected a fraction or a split column, got {got}")
    if test is None:
        held = _by_column(data)
    else:
        host_checks.check_number("test", test, above=0)
        if not test < 1:
            raise ValueError(f"test: expected a fraction in (0, 1), got {test!r}")
        rng = np.random.default_rng(host_checks.check_count("seed", seed, minimum=0))
        held = (
            _by_groups(data.groups, test, rng) if data.groups is not None else _by_rows(data, test, rng, stratify)
        )
    for side, count in (("train", len(held) - held.sum()), ("are held out", held.sum())):
        if not count:
            raise ValueError(f"test: expected rows that {side}, got none of {len(held)}")
    return held


def rows_of_sets(split: np.ndarray) -> dict[str, np.ndarray]:
    """Return the row numbers of the sets "train", "validation" and "test" that a split column names.

    Args:
      split: "train", "validation" and "test" or a synonym, in any case, or 0 for rows that train and 1 for test
        rows; shape (n,).

    Raises:
      ValueError: if there is another value, or no row trains.

    >>> rows_of_sets(np.array(["train", "val", "train", "test"]))["train"]
    array([0, 2])
    """
    folded = np.char.lower(np.char.strip(split)) if split.dtype.kind == "U" else split
    synonyms = SETS if split.dtype.kind == "U" else {"train": (0,), "test": (1,)}
    of_set = {name: np.isin(folded, values) for name, values in synonyms.items()}
    known = np.any(list(of_set.values()), axis=0)
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(
            f"split: expected 'train', 'validation' and 'test', or 0 and 1, got {split[row].item()!r} in row {row}"
        )
    sets = {name: np.flatnonzero(rows) for name, rows in of_set.items() if rows.any()}
    if "train" not in sets:
        raise ValueError(f"split: expected rows that train, got none of {len(split)}")
    return sets


def _by_rows(data: Dataset, test: float, rng: np.random.Generator, stratify: bool) -> np.ndarray:
    """Return which rows are held out, chosen at random, in each class if `stratify`."""
    n = len(data)
    codes = np.zeros(n, np.intp)
    if stratify:
        if data.target is None:
            raise ValueError("stratify: expected data with a target")
        codes = np.unique(data.target, return_inverse=True)[1]
    counts = np.bincount(codes)
    # Largest remainders: each class is within one row of its fraction, and the total is rounded once.
    exact = counts * test
    taken = np.floor(exact).astype(np.intp)
    order = np.argsort(taken - exact, kind="stable")
    taken[order[: round(n * test) - taken.sum()]] += 1
    held = np.zeros(n, bool)
    for code, count in enumerate(taken):
        held[rng.permutation(np.flatnonzero(codes == code))[:count]] = True
    return held


def _by_groups(groups: np.ndarray, test: float, rng: np.random.Generator) -> np.ndarray:
    """Return which rows are held out: whole groups in random order, until they have the fraction of the rows."""
    _, codes = np.unique(groups, return_inverse=True)
    sizes = np.bincount(codes)
    if len(sizes) < 2:
        raise ValueError("groups: expected at least two groups to split, got one")
    order = rng.permutation(len(sizes))
    total = np.cumsum(sizes[order])
    count = int(np.abs(total - test * len(groups)).argmin()) + 1
    return np.isin(codes, order[: min(count, len(sizes) - 1)])


def _by_column(data: Dataset) -> np.ndarray:
    """Return which rows are held out by the values of the split column."""
    values = data.split
    assert values is not None
    if values.dtype.kind == "U":
        folded = np.char.lower(np.char.strip(values))
        held, known = np.isin(folded, TEST + VALIDATION), np.isin(folded, TEST + VALIDATION + TRAIN)
    else:
        held, known = values == 1, np.isin(values, (0, 1))
    if not known.all():
        row = int(np.argmin(known))
        raise ValueError(
            "split: expected 'train' and 'test' or 'validation', or 0 and 1, got "
            f"{values[row].item()!r} in row {row}"
        )
    if data.groups is not None:
        both = np.intersect1d(data.groups[held], data.groups[~held])
        if len(both):
            raise ValueError(f"split: expected no group on both sides, got {both[0].item()!r} on both")
    return held
