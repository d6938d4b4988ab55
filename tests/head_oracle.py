"""The least value of a linear head's objective, by means that share nothing with the library.

The squared loss by orthogonalisation in 60 digits. The cross-entropies by damped Newton: gradients in extended
precision, factors by SciPy's QR in float64, of the roots of the terms of the Hessian, whose condition is the root
of the Hessian's. What is compared is J in 40 digits, and what the oracle may itself be above the optimum is its
Newton decrement there, with a gradient in 40 digits.
"""

from typing import Any, NamedTuple, cast

import mpmath
import numpy as np
import scipy.linalg

DIGITS = 40


class Objective(NamedTuple):
    """J of one head: rows of positive weight only, labels or numbers."""

    loss: str
    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float
    intercept: bool

    @property
    def outputs(self) -> int:
        """How many numbers a row is mapped to."""
        return int(self.y.max()) + 1 if self.loss == "softmax" else 1


class Least(NamedTuple):
    """J at the oracle's place, and how much lower the optimum may be."""

    value: Any
    error: Any


def least_value(objective: Objective) -> Least:
    """J* of a head of any loss; of a cross-entropy with l2 > 0."""
    if objective.loss == "squared":
        return Least(_least_of_squares(objective), mpmath.mpf(0))
    return optimum_of(objective)[2]


def optimum_of(objective: Objective) -> tuple[np.ndarray, np.ndarray, Least]:
    """Of a cross-entropy: the oracle's place for rows about a centre, (outputs, m + 1), the centre, J there."""
    centre = objective.s @ objective.x / objective.s.sum() * objective.intercept
    theta, factor = _newton(objective, centre)
    z = logits_of(objective, theta, centre)
    gradient = np.array(_gradient(objective, theta, z, centre), float).ravel()
    error = mpmath.mpf(float(gradient @ _solved(factor, gradient)) / 2)
    return theta, centre, Least(value_at(objective, theta, z), error)


def value_of(objective: Objective, coef: np.ndarray, intercept: np.ndarray | float) -> Any:
    """J of a head as it is given, (outputs, m) or (m,), exactly but for 40 digits."""
    theta = np.column_stack([np.reshape(coef, (-1, objective.x.shape[1])), np.ravel(intercept)])
    return value_at(objective, theta, logits_of(objective, theta, np.zeros(objective.x.shape[1])))


def value_at(objective: Objective, theta: np.ndarray, z: list[list[Any]]) -> Any:
    """J in 40 digits at (outputs, m + 1), whose logits are z."""
    with mpmath.workdps(DIGITS):
        losses = [_loss(objective.loss, row, label) for row, label in zip(z, objective.y.tolist(), strict=True)]
        weights = [mpmath.mpf(w) for w in objective.s.tolist()]
        penalty = mpmath.fsum(_exact(w) ** 2 for w in theta[:, :-1].ravel())
        return mpmath.fdot(weights, losses) / mpmath.fsum(weights) + mpmath.mpf(objective.l2) / 2 * penalty


def _exact(number: Any) -> Any:
    """Of float64 or of extended precision."""
    high = float(number)
    return mpmath.mpf(high) + mpmath.mpf(float(number - np.longdouble(high)))


def logits_of(objective: Objective, theta: np.ndarray, centre: np.ndarray) -> list[list[Any]]:
    """Of rows about a centre, in 40 digits."""
    with mpmath.workdps(DIGITS):
        heads = [[_exact(w) for w in head] for head in theta]
        middle = [mpmath.mpf(c) for c in centre.tolist()]
        found = []
        for row in objective.x.tolist():
            about = [mpmath.mpf(v) - c for v, c in zip(row, middle, strict=True)]
            found.append([mpmath.fdot(about, head[:-1]) + head[-1] for head in heads])
        return found


def _loss(loss: str, z: list[Any], label: float) -> Any:
    if loss == "squared":
        return (z[0] - mpmath.mpf(label)) ** 2
    if loss == "logistic":
        return mpmath.log1p(mpmath.exp(-z[0] if label == 1 else z[0]))
    own = z[int(label)]
    return mpmath.log1p(mpmath.fsum(mpmath.exp(other - own) for k, other in enumerate(z) if k != int(label)))


def _gradient(objective: Objective, theta: np.ndarray, z: list[list[Any]], centre: np.ndarray) -> list[list[Any]]:
    """∇J in 40 digits, of rows about the centre; (outputs, m + 1)."""
    with mpmath.workdps(DIGITS):
        weights = [mpmath.mpf(w) for w in objective.s.tolist()]
        total = mpmath.fsum(weights)
        columns = [[mpmath.mpf(v) - mpmath.mpf(c) for v in column] for column, c in
                   zip(objective.x.T.tolist(), centre.tolist(), strict=True)]  # fmt: skip
        residuals = []
        for row, label, weight in zip(z, objective.y.tolist(), weights, strict=True):
            if objective.loss == "logistic":
                excess = [1 / (1 + mpmath.exp(-row[0])) - int(label)]
            else:
                powers = [mpmath.exp(other - row[int(label)]) for other in row]
                excess = [p / mpmath.fsum(powers) - (k == int(label)) for k, p in enumerate(powers)]
            residuals.append([weight * part / total for part in excess])
        found = []
        for residual, head in zip(zip(*residuals, strict=True), theta, strict=True):
            slope = [mpmath.fdot(residual, column) for column in columns]
            slope = [g + mpmath.mpf(objective.l2) * _exact(w) for g, w in zip(slope, head[:-1], strict=True)]
            found.append([*slope, mpmath.fsum(residual) * objective.intercept])
        return found


def _newton(objective: Objective, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(θ, R): the optimum about the centre in extended precision, and RᵀR the Hessian there."""
    rows = np.column_stack(
        [objective.x.astype(np.longdouble) - centre, np.full(len(objective.x), objective.intercept)]
    )
    share = (objective.s / objective.s.astype(np.longdouble).sum()).astype(np.longdouble)
    theta = np.zeros((objective.outputs, rows.shape[1]), np.longdouble)
    value, gradient, factor = _seen(objective, rows, share, theta)
    fewest = np.inf
    for _ in range(100):
        step = _solved(factor, gradient.astype(float).ravel()).reshape(theta.shape)
        decrement = float((gradient * step).sum() / 2)
        if decrement < 1e-24 * value or (decrement < 1e-14 * value and decrement > 0.5 * fewest):
            break
        fewest = min(fewest, decrement)
        rate = np.longdouble(1)
        # Where J no longer tells places apart full steps are safe: this near Newton's method converges.
        while decrement > 1e-14 * value and rate > 1e-12:
            if _seen(objective, rows, share, theta - rate * step)[0] <= value - 1e-4 * rate * decrement:
                break
            rate /= 2
        theta = theta - rate * step
        value, gradient, factor = _seen(objective, rows, share, theta)
    return theta, factor


def _seen(
    objective: Objective, rows: np.ndarray, share: np.ndarray, theta: np.ndarray
) -> tuple[np.longdouble, np.ndarray, np.ndarray]:
    """J, ∇J and the factor R of the Hessian, which is float64."""
    z = rows @ theta.T
    if objective.loss == "logistic":
        sign = np.where(objective.y == 1, 1, -1)[:, None]
        loss = np.logaddexp(np.longdouble(0), -sign * z)[:, 0]
        other = 1 / (1 + np.exp(sign * z))
        residual = -sign * other
        roots = np.sqrt(other * (1 - other))[:, :, None]
    else:
        own = np.eye(objective.outputs, dtype=bool)[objective.y]
        away = z - z.max(1, keepdims=True)
        powers = np.exp(away)
        total = powers.sum(1, keepdims=True)
        loss = np.log(total)[:, 0] - away[own]
        p = powers / total
        residual = np.where(own, -np.where(own, 0, p).sum(1, keepdims=True), p)
        # diag(p) − ppᵀ = BᵀB with B = (I − √p√pᵀ)diag(√p), because √p is of length 1.
        half = np.sqrt(p)
        roots = np.eye(objective.outputs) * half[:, None, :] - half[:, :, None] * p[:, None, :]
    penalty = np.append(np.full(rows.shape[1] - 1, objective.l2), 0)
    value = share @ loss + (penalty * theta**2).sum() / 2
    gradient = (share[:, None] * residual).T @ rows + penalty * theta
    terms = np.sqrt(share)[:, None, None] * roots
    stacked = np.einsum("nik,na->nika", terms.astype(float), rows.astype(float)).reshape(-1, theta.size)
    scale = max(np.abs(stacked).max(), np.sqrt(objective.l2))
    # What no term curves gets the least curvature, an intercept that is not there any. The gradients of the
    # classes sum to 0, and so do steps: a curvature of that sum changes none of them.
    least = np.maximum(np.sqrt(penalty), 1e-13 * scale)
    least[-1] = least[-1] if objective.intercept else scale
    below = [np.diag(np.tile(least, len(theta)))]
    if objective.loss == "softmax":
        below.append(scale * np.tile(np.eye(rows.shape[1]), objective.outputs))
    factor = cast(Any, scipy.linalg.qr(np.vstack([stacked, *below]), mode="r"))[0]
    return value, gradient, factor[: theta.size]


def _solved(factor: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """(RᵀR)⁻¹ times the gradient."""
    return scipy.linalg.solve_triangular(factor, scipy.linalg.solve_triangular(factor, gradient, trans=1))


def _least_of_squares(objective: Objective) -> Any:
    """The squared distance of y from the span of the columns, the roots of the penalty below them."""
    with mpmath.workdps(60):
        weights = [mpmath.mpf(w) for w in objective.s.tolist()]
        total = mpmath.fsum(weights)
        roots = [mpmath.sqrt(w / total) for w in weights]
        m = objective.x.shape[1]
        root = mpmath.sqrt(mpmath.mpf(objective.l2) / 2)
        columns = [
            [r * mpmath.mpf(v) for r, v in zip(roots, column, strict=True)] + [root * (j == k) for k in range(m)]
            for j, column in enumerate(objective.x.T.tolist())
        ]
        if objective.intercept:
            columns.insert(0, [*roots, *[mpmath.mpf(0)] * m])
        rest = [r * mpmath.mpf(v) for r, v in zip(roots, objective.y.tolist(), strict=True)] + [mpmath.mpf(0)] * m
        basis: list[tuple[list[Any], Any]] = []
        for column in columns:
            left, whole = column, mpmath.fdot(column, column)
            for unit, square in basis:
                share = mpmath.fdot(unit, left) / square
                left = [a - share * b for a, b in zip(left, unit, strict=True)]
            if mpmath.fdot(left, left) > mpmath.mpf(10) ** -80 * whole:
                basis.append((left, mpmath.fdot(left, left)))
        for unit, square in basis:
            share = mpmath.fdot(unit, rest) / square
            rest = [a - share * b for a, b in zip(rest, unit, strict=True)]
        return mpmath.fdot(rest, rest)
