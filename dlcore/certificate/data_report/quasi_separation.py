r"""Quasi-separation: a hyperplane touches the classes and crosses none.

Classes are quasi-separable where a direction d has no negative margin and a positive one: J falls along d for
ever, and has no minimum without a penalty. The margin of a row is $(d_{y} - d_k)\cdot x$ for each other class k,
for the sigmoid $\pm d\cdot x$.

Far down the way to the infimum Newton's step is such a direction, because losses there are $e^{-t}$ of a margin t.
The step is projected onto the directions that leave the margins of the touching rows where they are. The verdict
is then read from the margins of all rows: none below its own rounding, some far above. A margin of rounding counts
as 0.

Source: Albert and Anderson (1984), On the existence of maximum likelihood estimates in logistic regression models.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from dlcore.certificate.bounds.curvature import Place, newton_step, row_blocks
from dlcore.certificate.bounds.newton import margins
from dlcore.certificate.rows import UNIT, Weights, weights_of

STEPS = 12
PRODUCTS = 2 * 10**10
"""The most multiplications of all steps together; two steps are made in any case."""
TOUCHING = 1e-3
"""Rows whose margin is below this part of the largest are taken to touch."""
NULL = 1e-10
"""Eigenvalues below this part of the largest are those of the null space."""
FAR_ABOVE = 1e3
"""A margin of this many times its rounding is not 0."""
SMALL = 1e-8
"""Components of a direction below this part of its largest are tried as 0."""


def touching_direction(place: Place, x: Any, y: np.ndarray, s: Weights) -> np.ndarray | None:
    """Return a direction that quasi-separates the classes, shape (K, D), or None where none is found.

    Args:
      place: a head without a penalty, far down the way to the infimum.
      x: rows, shape (n, m).
      y: classes, shape (n,).
      s: weights of the rows, one set.
    """
    w = None
    with np.errstate(all="ignore"):
        sizes, span = _span(place, x, y, s)
        for _ in range(min(STEPS, max(2, PRODUCTS // (2 * len(x) * place.coef.size**2)))):
            step, w, _ = newton_step(place, x, y, s, w)
            if step is None or not np.isfinite(step).all():
                return None
            step = _told_apart(step * sizes, span)
            found = _quasi_separating(place, step, sizes, span, x, y, s)
            if found is not None:
                return found
            place = place._replace(coef=place.coef + step / sizes)
    return None


def _span(place: Place, x: Any, y: np.ndarray, s: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Return the largest magnitude of each column, (D,), and a basis of the row space at size 1, (D, rank)."""
    sizes = np.max([np.abs(rows).max(0) for rows, _ in _blocks(place, x, y, s)], axis=0)
    sizes = np.where(sizes > 0, sizes, 1)
    gram = np.zeros((len(sizes), len(sizes)))
    for rows, _ in _blocks(place, x, y, s):
        gram += (rows / sizes).T @ (rows / sizes)
    return sizes, _spaces(gram)[1]


def _told_apart(scaled: np.ndarray, span: np.ndarray) -> np.ndarray:
    """Return a direction (K, D) without what changes no margin: dependent columns, and a part of all classes."""
    scaled = scaled @ span @ span.T
    return scaled - scaled.mean(0) if len(scaled) > 1 else scaled


def _quasi_separating(
    place: Place, step: np.ndarray, sizes: np.ndarray, span: np.ndarray, x: Any, y: np.ndarray, s: Weights
) -> np.ndarray | None:
    """Return the direction next to a step, in columns of size 1, if it quasi-separates the classes."""
    least, most = np.inf, 0.0
    for rows, label in _blocks(place, x, y, s):
        margin = margins(rows / sizes @ step.T, label)
        least, most = min(least, margin.min()), max(most, margin[np.isfinite(margin)].max())
    if not least > -TOUCHING * most:
        return None
    touching = np.zeros((step.size, step.size))
    for rows, label in _blocks(place, x, y, s):
        rows = rows / sizes
        pairs = _touching_pairs(rows, label, margins(rows @ step.T, label) <= TOUCHING * most)
        touching += pairs.T @ pairs
    null, _ = _spaces(touching)
    size = np.abs(step).max()
    for _ in range(2):  # the second time takes out the rounding of the first
        step = _told_apart((null @ (null.T @ step.ravel())).reshape(step.shape), span)
    largest = np.abs(step).max()
    if not largest > SMALL * size:
        return None
    for kept in (np.abs(step) > SMALL * largest, True):
        direction = np.where(kept, step / largest, 0.0) / sizes
        direction = np.ldexp(direction, -np.frexp(np.abs(direction).max())[1])
        if is_touching(place, direction, x, y, s):
            return direction
    return None


def _spaces(gram: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bases of the null space and of the range of a Gram matrix, by columns."""
    values, vectors = np.linalg.eigh(gram)
    null = values <= NULL * max(values[-1], np.finfo(float).tiny)
    return vectors[:, null], vectors[:, ~null]


def is_touching(place: Place, direction: np.ndarray, x: Any, y: np.ndarray, s: Weights) -> bool:
    """Return whether no margin is below its rounding, and one is far above."""
    size, far_above = np.abs(direction).max(0), False
    for rows, label in _blocks(place, x, y, s):
        margin = margins(rows @ direction.T, label)
        off = 4 * (direction.shape[1] + 6) * UNIT * (np.abs(rows) @ size)
        if (margin.min(1) < -off).any():
            return False
        far_above |= bool((np.where(np.isfinite(margin), margin, 0).max(1) > FAR_ABOVE * off).any())
    return far_above


def _touching_pairs(rows: np.ndarray, label: np.ndarray, touching: np.ndarray) -> np.ndarray:
    """Return the rows (e_y − e_k) ⊗ x of every touching margin, shape (pairs, K·D); K is 1 for the sigmoid."""
    if touching.shape[1] == 1:
        return rows[touching[:, 0]]
    row, other = np.nonzero(touching)
    pairs = np.zeros((len(row), touching.shape[1], rows.shape[1]))
    index = np.arange(len(row))
    pairs[index, label[row]] = rows[row]
    pairs[index, other] = -rows[row]
    return pairs.reshape(len(row), touching.shape[1] * rows.shape[1])


def _blocks(place: Place, x: Any, y: np.ndarray, s: Weights) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield rows of positive weight, with a column of ones for an intercept, and their classes."""
    for block in row_blocks(x, place):
        chosen = weights_of(s, slice(None), block)[0] > 0
        if not chosen.any():
            continue
        rows = x[block][chosen].astype(np.float64)
        if place.intercept:
            rows = np.column_stack([rows, np.ones(len(rows))])
        yield rows, y[block][chosen].astype(np.intp)
