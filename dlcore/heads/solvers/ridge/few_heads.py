r"""Few ridge heads, by NumPy: solved with a Hessian in the dtype of the rows, refined in float64.

With rows about a point, the gradient without the intercept's part is $h(w) = \frac2S\sum_i s_i\rho_i(x_i - \bar x)
+ \lambda w$, ρ the residuals about their mean. The inverse M of a Hessian in float32 gives the step $w - Mh(w)$.
A step multiplies ‖h‖ by about η, which is measured on the first step. Steps are made until the duality gap
$\|h\|^2 / 2\lambda$ is small.

Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, chapter 12 (iterative refinement).
"""

from collections.abc import Callable

import numpy as np

from dlcore.certificate.rows import read_rows, slices_of
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.passes.host_rows import NEAR
from dlcore.heads.solvers.ridge.gram import POINT_ROWS

MOST_STRENGTHS, MOST_HEADS = 4, 8
"""The most strengths, each with a factorisation for every step, and the most heads."""
GRAM_BYTES, PASS_BYTES = 2**25, 2**21
"""Bytes of a block of rows of the Gram matrix, and of a pass in float64."""
GAP = 1e-13
"""A head is solved if its duality gap is at most this times the smaller of J and the improvement."""
SAFETY = 10.0
"""The next step is expected to multiply ‖h‖ by at most this times η."""
SLOW = 0.1
"""If a step leaves more than this fraction of ‖h‖, the Hessian has too few digits and `fit_few` returns None."""


def is_few(inputs: TrainingData) -> bool:
    """Return whether heads are few, penalised and without folds, and there are no fewer rows than columns."""
    x, strengths = inputs.x, inputs.l2.shape[1]
    return (
        len(inputs.train) == 1
        and isinstance(x, np.ndarray)
        and x.dtype in (np.float32, np.float64)
        and len(x) >= x.shape[1]
        and strengths <= MOST_STRENGTHS
        and strengths * inputs.targets <= MOST_HEADS
        and not inputs.standardize
        and bool((inputs.l2[0] > 0).all())
    )


def fit_few(inputs: TrainingData, *, fit_intercept: bool) -> tuple[np.ndarray, np.ndarray] | None:
    """Return coefficients (L, targets, m) and intercepts (L, targets); None if the Hessian lacks digits."""
    rows = _Rows(inputs, fit_intercept=fit_intercept)
    strengths, targets = inputs.l2[0], inputs.targets
    l2, null_value = np.repeat(strengths, targets), np.tile(rows.null_value, len(strengths))
    with np.errstate(over="ignore", invalid="ignore"):
        gram, cross = rows.products()
        hessians = [_hessian(gram, strength, inputs.x.dtype) for strength in strengths]

        def step(h: np.ndarray) -> np.ndarray:
            """Return Mh, shape (heads, m). h is scaled to a largest entry of 1, against underflow in float32."""
            size = np.abs(h).max(axis=1, keepdims=True)
            size = np.where(size > 0, size, 1.0)
            parts = (h / size).astype(inputs.x.dtype).reshape(len(hessians), targets, -1)
            solved = [np.linalg.solve(hessian, part.T).T for hessian, part in zip(hessians, parts, strict=True)]
            return size * np.concatenate(solved).astype(np.float64)

        try:
            coef = _refine(rows, l2, null_value, np.tile(cross, (len(strengths), 1)), step)
        except np.linalg.LinAlgError:
            return None
    if coef is None:
        return None
    shape = len(strengths), targets
    return coef.reshape(*shape, -1), rows.intercept_of(coef).reshape(shape)


def _hessian(gram: np.ndarray, l2: float, dtype: np.dtype) -> np.ndarray:
    hessian = 2 * gram
    hessian[np.diag_indices_from(hessian)] += l2
    return hessian.astype(dtype)


def _refine(
    rows: "_Rows",
    l2: np.ndarray,
    null_value: np.ndarray,
    cross: np.ndarray,
    step: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray | None:
    """Return the coefficients of the heads, shape (heads, m), or None if the steps are slow.

    Args:
      rows: the passes.
      l2: shape (heads,).
      null_value: J of the best constant prediction, shape (heads,).
      cross: Σ s·y·x of the heads' targets, shape (heads, m).
      step: a function from h to Mh.
    """
    norm, coef = np.linalg.norm(2 * cross, axis=1), step(2 * cross)
    while np.isfinite(coef).all():
        h, value = rows.evaluate(coef, l2)
        before, norm = norm, np.linalg.norm(h, axis=1)
        improvement = np.maximum(null_value - value, l2 / 2 * np.einsum("ij,ij->i", coef, coef))
        goal = GAP * 2 * l2 * np.minimum(value, improvement)
        if (norm**2 <= goal).all():
            return coef
        shrunk = norm / np.where(before > 0, before, 1.0)
        if not (shrunk <= SLOW).all():
            break
        coef = coef - step(h)
        if ((SAFETY * shrunk * norm) ** 2 <= goal).all():
            return coef
    return None


class _Rows:
    """Passes over the rows of positive weight, about 0, or about a point near the mean if the mean is far from 0.

    Attributes:
      null_value: J of the best constant prediction, or of 0 without an intercept, shape (targets,).
    """

    def __init__(self, inputs: TrainingData, *, fit_intercept: bool) -> None:
        assert isinstance(inputs.x, np.ndarray)
        self._x, self._y = inputs.x, inputs.y.reshape(len(inputs.y), -1).astype(np.float64)
        self._index = np.flatnonzero(inputs.weight > 0)
        weight = inputs.weight[self._index]
        self._weight = weight / weight.sum()
        self._is_centered = fit_intercept
        few = self._x[self._index[:: max(1, len(self._index) // POINT_ROWS)]].astype(np.float64)
        mean = few.mean(0)
        self._is_near_0 = not fit_intercept or bool((np.abs(mean) <= NEAR * few.std(0)).all())
        self._point = np.zeros(len(mean)) if self._is_near_0 else mean
        y = self._y[self._index]
        self._level = self._weight @ y if fit_intercept else np.zeros(y.shape[1])
        self._y -= self._level
        self.null_value = self._weight @ self._y[self._index] ** 2
        self._rest = np.zeros(self._x.shape[1])

    def products(self) -> tuple[np.ndarray, np.ndarray]:
        """Return Σ s·x·xᵀ (m, m) and Σ s·y·xᵀ (targets, m) in the dtype of the rows, x and y about their means."""
        features, rows, dtype = self._x.shape[1], len(self._index), self._x.dtype
        uniform = bool((self._weight == self._weight[0]).all())
        # One product of the rows in place is faster than products of copied blocks.
        in_place = uniform and self._is_near_0 and rows == len(self._x)
        blocks = slices_of(rows, rows if in_place else max(1, GRAM_BYTES // (dtype.itemsize * features)))
        buffer = np.empty((0 if in_place else blocks[0].stop, features), dtype)
        gram, first = np.zeros((features, features)), np.zeros(features)
        cross = np.zeros((self._y.shape[1], features))
        for block in blocks:
            index, weight = self._index[block], self._weight[block].astype(dtype)
            z = self._x
            if not in_place:
                z = read_rows(self._x, index, buffer)
                z -= self._point.astype(dtype)
            first += weight @ z
            cross += (weight[:, None] * self._y[index].astype(dtype)).T @ z
            if uniform:
                gram += weight[0] * (z.T @ z)
            else:
                z *= np.sqrt(weight)[:, None]
                gram += z.T @ z
        if self._is_centered:
            gram -= np.outer(first, first)
        return gram, cross

    def evaluate(self, coef: np.ndarray, l2: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return h (heads, m) and J (heads,) of heads (heads, m) from one pass in float64."""
        heads, features = coef.shape
        target = np.arange(heads) % self._y.shape[1]
        blocks = slices_of(len(self._index), max(1, PASS_BYTES // (8 * features)))
        buffer = np.empty((blocks[0].stop, features))
        grad, first = np.zeros((heads, features)), np.zeros(features)
        square, mean = np.zeros((2, heads))
        for block in blocks:
            index, weight = self._index[block], self._weight[block]
            z = read_rows(self._x, index, buffer)
            if not self._is_near_0:
                z -= self._point
            first += weight @ z
            residual = coef @ z.T - self._y[index].T[target]
            weighted = weight * residual
            grad += weighted @ z
            square += (weighted * residual).sum(1)
            mean += weighted.sum(1)
        self._rest = first if self._is_centered else np.zeros(features)
        mean = mean if self._is_centered else np.zeros(heads)
        value = square - mean**2 + l2 / 2 * np.einsum("ij,ij->i", coef, coef)
        return 2 * (grad - mean[:, None] * first) + l2[:, None] * coef, value

    def intercept_of(self, coef: np.ndarray) -> np.ndarray:
        """Return the intercepts of coefficients (heads, m) after a pass, shape (heads,)."""
        return np.resize(self._level, len(coef)) - coef @ (self._point + self._rest)
