r"""Quasi-separation: a hyperplane touches the classes and crosses none.

Classes are quasi-separable if a direction d has no negative margin and some positive margin. J falls along d to a
limit that it does not attain, so there is no minimum without a penalty. A row of class y has the margin
$(d_{y} - d_k)\cdot x$ for each class k ≠ y. For the sigmoid its margin is $\pm d\cdot x$.

Near the infimum the loss of a row of margin t is about $e^{-t}$. So a Newton step raises by about 1 each margin
that can grow without limit. It leaves the margins of touching rows unchanged. The step is projected onto the
directions that leave the margins of the touching rows unchanged. The verdict then follows from the margins of all
rows. No margin may be negative beyond its rounding, and some margin must be far above its rounding. A margin
within its rounding is treated as 0.

Source: Albert and Anderson (1984), On the existence of maximum likelihood estimates in logistic regression models.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from dlcore.certificate.bounds.curvature import HeadParams, newton_step, row_blocks
from dlcore.certificate.bounds.row_losses import margins
from dlcore.certificate.rounding.base import err_margin
from dlcore.certificate.rows import TrainingData

STEPS = 12
MAX_NEWTON_PRODUCTS = 2 * 10**10
"""Maximum number of multiplications of all steps together. At least two steps are made."""
TOUCHING_TOL = 1e-3
"""Rows whose margin is below this fraction of the largest are treated as touching."""
NULL_TOL = 1e-10
"""Eigenvalues below this fraction of the largest belong to the null space."""
POSITIVE_FACTOR = 1e3
"""A margin of this many times its rounding is positive."""
SPARSITY_TOL = 1e-8
"""Components below this fraction of the largest component are first set to 0 and tested."""


class _RowSpace(NamedTuple):
    """The row space of a table.

    Attributes:
      scale: the largest magnitude of each column, shape (D,).
      basis: a basis of the row space of the columns divided by `scale`, shape (D, rank).
    """

    scale: np.ndarray
    basis: np.ndarray

    def project(self, direction: np.ndarray) -> np.ndarray:
        """Remove from a direction (K, D) the parts that change no margin.

        They are the part outside of the row space, and an equal shift of all classes.
        """
        direction = direction @ self.basis @ self.basis.T
        return direction - direction.mean(0) if len(direction) > 1 else direction


def quasi_separating_direction(params: HeadParams, data: TrainingData) -> np.ndarray | None:
    """Return a direction that quasi-separates the classes, shape (K, D), or None if none is found.

    Args:
      params: a head without a penalty, near the infimum of J.
      data: rows of classes with one set of weights.
    """
    transform = None
    with np.errstate(all="ignore"):
        space = _row_space(params, data)
        for _ in range(min(STEPS, max(2, MAX_NEWTON_PRODUCTS // (2 * len(data.x) * params.coef.size**2)))):
            step, transform, _ = newton_step(params, data, transform)
            if step is None or not np.isfinite(step).all():
                return None
            step = space.project(step * space.scale)
            direction = _direction_near(params, step, space, data)
            if direction is not None:
                return direction
            params = params._replace(coef=params.coef + step / space.scale)
    return None


def _row_space(params: HeadParams, data: TrainingData) -> _RowSpace:
    """Return the row space of the rows of positive weight."""
    scale = np.max([np.abs(rows).max(0) for rows, _ in _blocks(params, data)], axis=0)
    scale = np.where(scale > 0, scale, 1)
    gram = np.zeros((len(scale), len(scale)))
    for rows, _ in _blocks(params, data):
        gram += (rows / scale).T @ (rows / scale)
    return _RowSpace(scale, _null_and_range(gram)[1])


def _direction_near(
    params: HeadParams, step: np.ndarray, space: _RowSpace, data: TrainingData
) -> np.ndarray | None:
    """Return a direction for the columns as given, near a step for columns of scale 1.

    Return None if the direction does not quasi-separate the classes.
    """
    smallest, largest = np.inf, 0.0
    for rows, label in _blocks(params, data):
        margin = margins(rows / space.scale @ step.T, label)
        smallest, largest = min(smallest, margin.min()), max(largest, margin[np.isfinite(margin)].max())
    if not smallest > -TOUCHING_TOL * largest:
        return None
    touching = np.zeros((step.size, step.size))
    for rows, label in _blocks(params, data):
        rows = rows / space.scale
        pairs = _touching_pairs(rows, label, margins(rows @ step.T, label) <= TOUCHING_TOL * largest)
        touching += pairs.T @ pairs
    null, _ = _null_and_range(touching)
    step_size = np.abs(step).max()
    for _ in range(2):  # the second projection removes the rounding of the first
        step = space.project((null @ (null.T @ step.ravel())).reshape(step.shape))
    projected_size = np.abs(step).max()
    if not projected_size > SPARSITY_TOL * step_size:
        return None
    for mask in (np.abs(step) > SPARSITY_TOL * projected_size, True):
        direction = np.where(mask, step / projected_size, 0.0) / space.scale
        direction = np.ldexp(direction, -np.frexp(np.abs(direction).max())[1])
        if is_quasi_separating(params, direction, data):
            return direction
    return None


def _null_and_range(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bases of the null space and of the range of a Gram matrix, by columns."""
    values, vectors = np.linalg.eigh(gram)
    null = values <= NULL_TOL * max(values[-1], np.finfo(float).tiny)
    return vectors[:, null], vectors[:, ~null]


def is_quasi_separating(params: HeadParams, direction: np.ndarray, data: TrainingData) -> bool:
    """Return whether no margin is negative beyond its rounding, and some margin is far above its rounding."""
    largest, has_positive = np.abs(direction).max(0), False
    for rows, label in _blocks(params, data):
        margin = margins(rows @ direction.T, label)
        err = 2 * err_margin(direction.shape[1], np.abs(rows) @ largest)
        if (margin.min(1) < -err).any():
            return False
        finite = np.where(np.isfinite(margin), margin, 0)
        has_positive |= bool((finite.max(1) > POSITIVE_FACTOR * err).any())
    return has_positive


def _touching_pairs(rows: np.ndarray, label: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """Return the rows (e_y − e_k) ⊗ x of every touching margin, shape (pairs, K·D). K is 1 for the sigmoid."""
    if touching.shape[1] == 1:
        return rows[touching[:, 0]]
    row, wrong_class = np.nonzero(touching)
    pairs = np.zeros((len(row), touching.shape[1], rows.shape[1]))
    index = np.arange(len(row))
    pairs[index, label[row]] = rows[row]
    pairs[index, wrong_class] = -rows[row]
    return pairs.reshape(len(row), touching.shape[1] * rows.shape[1])


def _blocks(params: HeadParams, data: TrainingData) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of positive weight, with a column of ones for an intercept, and their classes."""
    for block in row_blocks(data.x, params):
        rows, label = data.weighted_block(block)
        if not len(rows):
            continue
        if params.has_intercept:
            rows = np.column_stack([rows, np.ones(len(rows))])
        yield rows, label
