"""Baseline of k nearest neighbours on the same features, with exact ties."""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

import numpy as np

from dlcore._core import host_checks
from dlcore._core.labels import codes_of, read_labels
from dlcore.probing.data.leakage import Duplicates, check_apart
from dlcore.probing.data.provenance import make_record
from dlcore.probing.data.rows import RowsLike, check_same_form, read_rows
from dlcore.probing.fits.scoring import check_metric_names, measure
from dlcore.probing.table import ProbeTable

Distance: TypeAlias = Literal["cosine", "euclidean"]
BLOCK_BYTES = 2**25
"""Size of the float64 products of a block of test rows with all training rows."""


class Neighbors(NamedTuple):
    """The nearest training rows of test rows, the nearest first; of equal distances the first row.

    Attributes:
      rows: row numbers, shape (r, k).
      distance: 1 − cosine, or the Euclidean distance, shape (r, k), float64.
    """

    rows: np.ndarray
    distance: np.ndarray


def nearest_neighbors(train: np.ndarray, rows: np.ndarray, k: int, distance: Distance = "cosine") -> Neighbors:
    r"""Return the k nearest training rows of each row.

    Products in float64 find the candidates, block by block. The distances of the candidates are then computed
    again row by row, in one order of summation. Equal training rows therefore have equal distances, and the first
    is nearer.

    Args:
      train: shape (n, m), real numbers.
      rows: shape (r, m), real numbers.
      k: the number of neighbours, at most n.
      distance: "cosine" is $1 - x\cdot y/(\|x\|\|y\|)$, and 1 for a row of zeros; or "euclidean".

    Returns:
      Row numbers and distances, shape (r, k) each.

    Raises:
      ValueError: if shapes do not fit, a number is not finite, k is more than n, or the distance is unknown.
      TypeError: if an argument is no array of numbers.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 13.3.

    >>> nearest_neighbors(np.array([[0.0], [1.0], [1.0]]), np.array([[0.9]]), 2, "euclidean").rows
    array([[1, 2]])
    """
    known, asked = host_checks.as_numpy("train", train), host_checks.as_numpy("rows", rows)
    for name, x in (("train", known), ("rows", asked)):
        host_checks.check_matrix(name, x)
        host_checks.check_finite(name, x)
    if known.shape[1] != asked.shape[1]:
        raise ValueError(f"rows: expected {known.shape[1]} columns, as train has, got {asked.shape[1]}")
    k = host_checks.check_count("k", k, maximum=len(known))
    if distance not in ("cosine", "euclidean"):
        raise ValueError(f"distance: expected 'cosine' or 'euclidean', got {distance!r}")
    index, distances = np.empty((len(asked), k), np.int64), np.empty((len(asked), k))
    points = _prepared(known, distance)
    squares = np.einsum("ij,ij->i", points, points)
    for part in _blocks(len(asked), len(known)):
        block = _prepared(asked[part], distance)
        found = _nearest_of_block(points, squares, block, k, distance)
        index[part], distances[part] = found
    return Neighbors(index, distances)


def _prepared(x: np.ndarray, distance: Distance) -> np.ndarray:
    """Return rows in float64, of length 1 for cosines."""
    rows = x.astype(np.float64)
    if distance == "euclidean":
        return rows
    rows /= np.where((largest := np.abs(rows).max(1, keepdims=True)) > 0, largest, 1)
    length = np.sqrt(np.einsum("ij,ij->i", rows, rows))[:, None]
    return rows / np.where(length > 0, length, 1)


def _blocks(rows: int, columns: int) -> Iterator[slice]:
    step = max(1, BLOCK_BYTES // (8 * columns))
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))


def _nearest_of_block(
    points: np.ndarray, squares: np.ndarray, block: np.ndarray, k: int, distance: Distance
) -> tuple[np.ndarray, np.ndarray]:
    """Return the neighbours of a block of rows.

    A row is a candidate if its rounded distance is within the rounding error of the k-th smallest. The error of a
    product of m terms is at most m·eps times the lengths of the two rows.
    """
    products = block @ points.T
    if distance == "cosine":
        rough, size = -products, np.ones(len(block))
    else:
        own = np.einsum("ij,ij->i", block, block)
        rough, size = squares - 2 * products, own + squares.max()
    slack = 8 * (points.shape[1] + 4) * np.finfo(np.float64).eps * size
    limit = np.partition(rough, k - 1, axis=1)[:, k - 1] + 2 * slack
    index, distances = np.empty((len(block), k), np.int64), np.empty((len(block), k))
    for row, (values, bound) in enumerate(zip(rough, limit, strict=True)):
        candidates = np.flatnonzero(values <= bound)
        exact = _distances(points[candidates], block[row], distance)
        nearest = np.argsort(exact, kind="stable")[:k]
        index[row], distances[row] = candidates[nearest], exact[nearest]
    return index, distances


def _distances(points: np.ndarray, row: np.ndarray, distance: Distance) -> np.ndarray:
    """Return distances with one order of summation for every row, so that equal rows have equal distances."""
    if distance == "cosine":
        return 1 - (points * row).sum(1)
    return np.sqrt(((points - row) ** 2).sum(1))


def knn(
    train: RowsLike,
    test: RowsLike,
    *,
    k: int | Sequence[int] = (5, 20),
    distance: Distance = "cosine",
    temperature: float | None = None,
    metrics: Sequence[str] = ("accuracy",),
    duplicates: Duplicates = "refuse",
) -> ProbeTable:
    r"""Score the vote of the k nearest training rows on test rows.

    Each neighbour has one vote, or with `temperature` T the vote $e^{(1 - d)/T}$ of its distance d. The fraction
    of the votes is the probability of a class. Of equal fractions the first class is predicted, and of equal
    distances the first training row is nearer.

    Args:
      train: `Rows`, or (x, y), with labels of shape (n,).
      test: the rows that are scored.
      k: the numbers of neighbours, a number or several. The neighbours are found once.
      distance: "cosine" or "euclidean".
      temperature: T above 0, such as 0.07 for cosines as in DINO. None for one vote each.
      metrics: names of metrics of classifiers: see `METRICS`.
      duplicates: "refuse" or "report" for rows of both sets that are equal in features and label.

    Returns:
      A table with a row for each k: k, distance, temperature, and the metrics of the test rows.

    Raises:
      ValueError: if k is more than the training rows, a k or a metric occurs twice, or shapes do not fit.
      LeakageError: if the sets have a row or a group in common.

    Source: Wu, Xiong, Yu and Lin (2018), Unsupervised feature learning via non-parametric instance discrimination,
    section 3.4; Caron et al. (2021), Emerging properties in self-supervised vision transformers.

    >>> x = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1], [0.0, 2.0], [2.0, 0.1]])
    >>> y = np.array([0, 0, 1, 1, 0, 1])
    >>> print(knn((x[:4], y[:4]), (x[4:], y[4:]), k=[1, 3])["test_accuracy"])
    [1. 1.]
    """
    parts = [read_rows("train", train), read_rows("test", test)]
    check_same_form(parts[1], parts[0])
    common = check_apart(parts, duplicates)
    labels, classes = read_labels("train y", parts[0].y)
    host_checks.check_rank("train y", labels, 1, "[n], the class of each row")
    truth = codes_of("test y", parts[1].y, classes)
    check_metric_names(metrics, "softmax")
    counts = [host_checks.check_count("k", count, maximum=len(labels)) for count in np.atleast_1d(k).tolist()]
    if len(set(counts)) < len(counts) or not counts:
        raise ValueError(f"k: expected each number once, and at least one, got {counts}")
    if temperature is not None:
        host_checks.check_number("temperature", temperature, above=0)
    found = nearest_neighbors(parts[0].x, parts[1].x, max(counts), distance)
    columns: dict[str, list[float]] = {f"test_{name}": [] for name in metrics}
    for count in counts:
        p = vote(labels[found.rows[:, :count]], found.distance[:, :count], len(classes), temperature)
        for name in metrics:
            columns[f"test_{name}"].append(measure(name, truth, p if len(classes) > 2 else _binary(name, p)))
    table = {
        "k": np.array(counts),
        "distance": np.full(len(counts), distance),
        "temperature": np.full(len(counts), np.nan if temperature is None else temperature),
        **{name: np.array(values) for name, values in columns.items()},
    }
    settings = {"k": counts, "distance": distance, "temperature": temperature, "metrics": list(metrics)}
    return ProbeTable(table, make_record("knn", settings, parts, "NumPy on the host", common_rows=common))


def _binary(name: str, p: np.ndarray) -> np.ndarray:
    """Return the probability of class 1 where a ranking metric of two classes takes it."""
    return p[:, 1] if name in ("roc_auc", "average_precision") else p


def vote(labels: np.ndarray, distance: np.ndarray, classes: int, temperature: float | None) -> np.ndarray:
    """Return the fraction of the votes of each class.

    Args:
      labels: the class numbers of the neighbours, shape (rows, k).
      distance: their distances, shape (rows, k).
      classes: the number of classes.
      temperature: of the weights exp((1 − d)/T), or None for equal weights.

    Returns:
      Shape (rows, classes).
    """
    if temperature is None:
        weight = np.ones(distance.shape)
    else:
        weight = np.exp((distance.min(1, keepdims=True) - distance) / temperature)
    votes = np.stack([np.where(labels == k, weight, 0).sum(1) for k in range(classes)], axis=1)
    return votes / weight.sum(1, keepdims=True)
