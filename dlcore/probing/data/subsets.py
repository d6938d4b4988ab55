"""Nested random subsets of rows: k of each class, or a fraction of all rows, stratified."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.labels import read_labels, shown


def few_shot_rows(y: npt.ArrayLike, shots: int, seed: int) -> np.ndarray:
    """Return the numbers of `shots` random rows of each class, sorted.

    The rows of fewer shots are among the rows of more shots of the same seed.

    Args:
      y: labels, shape (n,).
      shots: the number of rows of each class, at least 1.
      seed: an integer of at least 0.

    Returns:
      Row numbers, shape (classes · shots,), int64.

    Raises:
      ValueError: if a class has fewer rows than `shots`, or y is not 1-D.
      TypeError: if `shots` or `seed` is no integer.

    Source: Vinyals et al. (2016), Matching networks for one shot learning.

    >>> labels = np.array([0, 1, 0, 1, 0, 1])
    >>> set(few_shot_rows(labels, 1, seed=0)) < set(few_shot_rows(labels, 2, seed=0))
    True
    """
    shots = host_checks.check_count("shots", shots)
    codes, classes = read_labels("y", y)
    host_checks.check_rank("y", codes, 1, "[n], the class of each row")
    counts = np.bincount(codes)
    if counts.min() < shots:
        rarest = int(counts.argmin())
        raise ValueError(
            f"shots: expected at most the rows of the smallest class, got {shots}; class "
            f"{shown(classes[[rarest]])} has {counts[rarest]}"
        )
    return np.sort(np.concatenate([rows[:shots] for rows in shuffled_classes(codes, seed)]))


def stratified_rows(y: npt.ArrayLike, count: int, seed: int) -> np.ndarray:
    """Return the numbers of `count` random rows, sorted, with the classes in proportion.

    The rows of a smaller count are among the rows of a larger count of the same seed. Each class has at least one
    row. Above that, the number of rows of a class differs from its proportion by less than 1 where no class is so
    rare that its first row is more than its proportion. Targets that are no labels, and several targets, are not
    stratified.

    Args:
      y: labels or numbers, shape (n,) or (n, targets).
      count: the number of rows, from the number of classes to n.
      seed: an integer of at least 0.

    Returns:
      Row numbers, shape (count,), int64.

    Raises:
      ValueError: if `count` is less than the number of classes or more than n.
      TypeError: if `count` or `seed` is no integer.

    Source: Särndal, Swensson and Wretman (1992), Model assisted survey sampling, sections 3.4 and 3.7.

    >>> labels = np.repeat([0, 1], [90, 10])
    >>> np.bincount(labels[stratified_rows(labels, 20, seed=0)])
    array([18,  2])
    """
    targets = np.asarray(y)
    count = host_checks.check_count("count", count, maximum=max(1, len(targets)))
    if is_stratified(targets) and count < (classes := len(np.unique(targets))):
        raise ValueError(
            f"count: expected at least one row of each of {classes} classes, got {count} rows in all; a class "
            "would be absent"
        )
    return np.sort(stratified_order(targets, seed)[:count])


def is_stratified(y: np.ndarray) -> bool:
    """Return whether targets are labels of one task: 1-D, and strings, booleans or integers."""
    return y.ndim == 1 and y.dtype.kind in "biuU"


def stratified_order(y: np.ndarray, seed: int) -> np.ndarray:
    """Return all row numbers in an order of which every beginning is stratified.

    The j-th of the n_c shuffled rows of class c has the place (j + u_c)/n_c, u_c uniform in [0, 1). That is
    systematic sampling of each class. The first row of each class comes before all others.
    """
    rng = _generator(seed)
    if not is_stratified(y):
        return rng.permutation(len(y))
    codes, classes = read_labels("y", y)
    place, offsets = np.empty(len(y)), rng.random(len(classes))
    for rows, offset in zip(_shuffle(codes, rng), offsets, strict=True):
        place[rows] = (np.arange(len(rows)) + offset) / len(rows)
        place[rows[0]] = offset - 1
    return np.argsort(place, kind="stable")


def shuffled_classes(codes: np.ndarray, seed: int) -> list[np.ndarray]:
    """Return the rows of each class in random order."""
    return _shuffle(codes, _generator(seed))


def _shuffle(codes: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.permutation(np.flatnonzero(codes == k)) for k in range(int(codes.max()) + 1)]


def _generator(seed: int) -> np.random.Generator:
    return np.random.default_rng(host_checks.check_count("seed", seed, minimum=0))


def read_seeds(seeds: int | Iterable[int]) -> tuple[int, ...]:
    """Return one seed or several as a tuple.

    Raises:
      ValueError: if there is none, or a seed occurs twice, which would count one trial as two.
    """
    given = (seeds,) if np.ndim(seeds) == 0 and not isinstance(seeds, Iterable) else tuple(seeds)  # pyright: ignore
    numbers = tuple(host_checks.check_count("seeds", seed, minimum=0) for seed in given)
    if not numbers:
        raise ValueError("seeds: expected at least one, got none")
    repeated = [seed for position, seed in enumerate(numbers) if seed in numbers[:position]]
    if repeated:
        raise ValueError(
            f"seeds: expected each seed once, got {repeated[0]} twice; a repeated seed repeats its subsets and "
            "makes the spread too small"
        )
    return numbers


def group_equal(subsets: Sequence[np.ndarray]) -> list[list[int]]:
    """Return the positions of equal subsets together, in the order of their first occurrence."""
    found: dict[bytes, list[int]] = {}
    for position, rows in enumerate(subsets):
        found.setdefault(np.sort(rows).astype(np.int64).tobytes(), []).append(position)
    return list(found.values())
