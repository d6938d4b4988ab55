"""The smallest value of the objective of a linear head, by code that shares nothing with the library.

The squared loss is solved by orthogonalisation in 60 digits. The cross-entropies are solved by damped Newton with
gradients in extended precision. SciPy's QR in float64 factors the roots of the terms of the Hessian, whose
condition is the root of that of the Hessian. J is compared in 40 digits. The error of the oracle is its Newton
decrement, with a gradient in 40 digits. Sums of products are exact, in integers. Only exp, log and later
operations round to 40 digits.

Optima that tests need are stored (`stored_optima`). An optimum without a stored name is computed.
"""

import math
from typing import Any, NamedTuple, cast

import mpmath
import numpy as np
import scipy.linalg
from oracles import stored_optima
from oracles.stored_optima import DIGITS


class Objective(NamedTuple):
    """The objective of a head: rows of positive weight only, labels or numbers."""

    loss: str
    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float
    intercept: bool

    @property
    def outputs(self) -> int:
        """Return the number of outputs of a row."""
        return int(self.y.max()) + 1 if self.loss == "softmax" else 1


class Least(NamedTuple):
    """J at the optimum of the oracle, and how much lower the exact optimum may be."""

    value: Any
    error: Any


class Exact(NamedTuple):
    """Exact numbers: Python's integers in units of 2^-places."""

    units: np.ndarray
    places: int

    def numbers(self) -> list[Any]:
        """Round to 40 digits."""
        return [mpmath.ldexp(mpmath.mpf(number), -self.places) for number in self.units.ravel().tolist()]


def least_value(objective: Objective, name: str = "") -> Least:
    """Return J* of a head, stored under the name or computed; a cross-entropy needs l2 > 0."""
    stored = stored_optima.find(name, objective)
    if stored is not None:
        return Least(stored.value, stored.error)
    return computed_optimum(objective)[1]


def optimum_of(objective: Objective, name: str = "") -> tuple[np.ndarray, np.ndarray, Least]:
    """Return the optimum of a cross-entropy for centered rows, (outputs, m + 1), the center, and J."""
    stored = stored_optima.find(name, objective)
    if stored is not None and stored.theta.size:
        theta = stored.theta.reshape(objective.outputs, -1)
        return theta, centre_of(objective), Least(stored.value, stored.error)
    theta, least = computed_optimum(objective)
    return theta, centre_of(objective), least


def computed_optimum(objective: Objective) -> tuple[np.ndarray, Least]:
    """Compute the optimum for centered rows, empty for the squared loss, and J there."""
    if objective.loss == "squared":
        return np.empty(0, np.longdouble), Least(_least_of_squares(objective), mpmath.mpf(0))
    centre = centre_of(objective)
    theta, factor = _newton(objective, centre)
    z = logits_of(objective, theta, centre)
    gradient = _gradient(objective, theta, z, centre).ravel()
    error = mpmath.mpf(float(gradient @ _solved(factor, gradient)) / 2)
    return theta, Least(value_at(objective, theta, z), error)


def centre_of(objective: Objective) -> np.ndarray:
    """Return the mean of the rows, 0 without an intercept; the same bits on every machine."""
    weighted = (objective.s[:, None] * objective.x).T.tolist()
    return np.array([math.fsum(column) for column in weighted]) / math.fsum(objective.s) * objective.intercept


def value_of(objective: Objective, coef: np.ndarray, intercept: np.ndarray | float) -> Any:
    """Return J of a head as given, (outputs, m) or (m,), in 40 digits."""
    theta = np.column_stack([np.reshape(coef, (-1, objective.x.shape[1])), np.ravel(intercept)])
    return value_at(objective, theta, logits_of(objective, theta, np.zeros(objective.x.shape[1])))


def value_at(objective: Objective, theta: np.ndarray, z: Exact) -> Any:
    """Return J in 40 digits at (outputs, m + 1), whose logits are z."""
    with mpmath.workdps(DIGITS):
        coef = exact(theta[:, :-1])
        penalty = mpmath.ldexp(mpmath.mpf(int((coef.units**2).sum())), -2 * coef.places)
        return mean_loss(objective, z) + mpmath.mpf(objective.l2) / 2 * penalty


def mean_loss(objective: Objective, z: Exact) -> Any:
    """Return J without its penalty, in 40 digits, from logits z."""
    with mpmath.workdps(DIGITS):
        weights = exact(objective.s).numbers()
        return mpmath.fdot(weights, _losses(objective, z)) / mpmath.fsum(weights)


def exact(array: np.ndarray) -> Exact:
    """Return float64 or extended precision exactly, the latter as the sum of two float64."""
    high = array.astype(np.float64)
    low = (array - high).astype(np.float64)
    parts = np.stack([high, low]) if low.any() else high[None]
    fraction, exponent = np.frexp(parts)
    places = 53 - int(exponent[fraction != 0].min(initial=53))
    digits = np.ldexp(fraction, 53).astype(np.int64).astype(object)
    shifts = np.where(fraction != 0, exponent - 53 + places, 0).astype(object)
    return Exact((digits << shifts).sum(0), places)


def logits_of(objective: Objective, theta: np.ndarray, centre: np.ndarray) -> Exact:
    """Return the logits of centered rows, (n, outputs)."""
    about, heads = _about(objective, centre), exact(theta)
    product = about.units @ heads.units[:, :-1].T + (heads.units[:, -1] << about.places)
    return Exact(product, about.places + heads.places)


def _about(objective: Objective, centre: np.ndarray) -> Exact:
    """Return the rows less the center."""
    both = exact(np.vstack([objective.x, centre]))
    return Exact(both.units[:-1] - both.units[-1], both.places)


def _own(objective: Objective) -> np.ndarray:
    """Return a mask of the right class of each row, (n, outputs)."""
    return np.eye(objective.outputs, dtype=bool)[objective.y.astype(int)]


def _losses(objective: Objective, z: Exact) -> list[Any]:
    if objective.loss == "squared":
        y = exact(objective.y)
        places = max(z.places, y.places)
        error = (z.units[:, 0] << (places - z.places)) - (y.units << (places - y.places))
        return Exact(error**2, 2 * places).numbers()
    if objective.loss == "logistic":
        away = np.where(objective.y == 1, -1, 1).astype(object) * z.units[:, 0]
        return [mpmath.log1p(mpmath.exp(number)) for number in Exact(away, z.places).numbers()]
    own = _own(objective)
    away = (z.units - z.units[own][:, None])[~own]
    powers = [mpmath.exp(number) for number in Exact(away, z.places).numbers()]
    others = objective.outputs - 1
    return [mpmath.log1p(mpmath.fsum(powers[i * others : (i + 1) * others])) for i in range(len(own))]


def _gradient(objective: Objective, theta: np.ndarray, z: Exact, centre: np.ndarray) -> np.ndarray:
    """Return ∇J of centered rows, (outputs, m + 1): in 40 digits, then rounded to float64."""
    places = 200  # of what a row pulls; what it leaves out is below 1e-60 of the pull at 0
    with mpmath.workdps(DIGITS):
        weights = exact(objective.s).numbers()
        total = mpmath.fsum(weights)
        shares = [weight / total for weight in weights]
        pulls = [[int(mpmath.ldexp(share * part, places)) for part in parts] for share, parts in
                 zip(shares, _excess(objective, z), strict=True)]  # fmt: skip
        residual, about, coef = np.array(pulls, object), _about(objective, centre), exact(theta[:, :-1])
        slope = Exact(residual.T @ about.units, places + about.places).numbers()
        shrink = [mpmath.mpf(objective.l2) * w for w in coef.numbers()]
        inner = np.array([float(a + b) for a, b in zip(slope, shrink, strict=True)]).reshape(len(theta), -1)
        last = np.array([float(b) for b in Exact(residual.sum(0), places).numbers()]) * objective.intercept
        return np.column_stack([inner, last])


def _excess(objective: Objective, z: Exact) -> list[list[Any]]:
    """Return the derivative of the loss of each row by its logits."""
    if objective.loss == "logistic":
        sign = np.where(objective.y == 1, 1, -1)
        away = Exact(sign.astype(object) * z.units[:, 0], z.places).numbers()
        return [[-int(side) / (1 + mpmath.exp(number))] for side, number in zip(sign, away, strict=True)]
    own = _own(objective)
    away = Exact(z.units - z.units[own][:, None], z.places).numbers()
    found = []
    for i, label in enumerate(objective.y.tolist()):
        powers = [mpmath.exp(number) for number in away[i * objective.outputs : (i + 1) * objective.outputs]]
        total = mpmath.fsum(powers)
        parts = [p / total for p in powers]
        parts[label] = -mpmath.fsum(p for k, p in enumerate(parts) if k != label)
        found.append(parts)
    return found


def value_about(objective: Objective, theta: np.ndarray, centre: np.ndarray) -> np.longdouble:
    """Return J of a cross-entropy in extended precision, for centered rows."""
    z = (objective.x.astype(np.longdouble) - centre) @ theta[:, :-1].T + theta[:, -1]
    if objective.loss == "logistic":
        losses = np.logaddexp(np.longdouble(0), np.where(objective.y == 1, -1, 1) * z[:, 0])
    else:
        losses = np.log1p(np.exp(z - z[_own(objective)][:, None]).sum(1, where=~_own(objective)))
    s = objective.s.astype(np.longdouble)
    return (s * losses).sum() / s.sum() + np.longdouble(objective.l2) / 2 * (theta[:, :-1] ** 2).sum()


def _newton(objective: Objective, centre: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the optimum for centered rows in extended precision, and R with RᵀR the Hessian there."""
    rows = np.column_stack(
        [objective.x.astype(np.longdouble) - centre, np.full(len(objective.x), objective.intercept)]
    )
    share = (objective.s / objective.s.astype(np.longdouble).sum()).astype(np.longdouble)
    theta = np.zeros((objective.outputs, rows.shape[1]), np.longdouble)
    value, gradient, factor = _seen(objective, rows, share, theta)
    fewest = np.inf
    for _ in range(100):
        step = _solved(factor, gradient.astype(float).ravel()).reshape(theta.shape)
        step[:, -1] *= objective.intercept  # where there is none its step would be rounding
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
    """Return J, ∇J and the factor R of the Hessian in float64."""
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
    """Return (RᵀR)⁻¹ times the gradient."""
    return scipy.linalg.solve_triangular(factor, scipy.linalg.solve_triangular(factor, gradient, trans=1))


def _least_of_squares(objective: Objective) -> Any:
    """Return the squared distance of y from the span of the columns, the roots of the penalty below them."""
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
