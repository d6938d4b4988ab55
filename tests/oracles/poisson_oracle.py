"""Poisson regression by code that shares nothing with the library: J, its gradient, its optimum and its gap.

The optimum is that of a damped Newton method with gradients in extended precision and steps by NumPy in float64.
J, the gradient and the gap are computed with mpmath in 50 digits.
"""

from typing import Any, NamedTuple

import mpmath
import numpy as np

DIGITS = 50
KINDS = ("counts", "rare", "large", "rates", "far", "weights", "wide", "twins")
"""Kinds of rows: small counts, few above 0, up to 10⁶, tiny numbers, columns far from 0, weights over 9 decades,
more columns than rows, equal columns."""


class PoissonProblem(NamedTuple):
    """The objective of a head for counts; σ is the scale of the penalty."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float
    scale: np.ndarray
    intercept: bool


class PoissonResults(NamedTuple):
    """Exact numbers at a head: J, the norm of its gradient, the gap of duality, and J of the best constant."""

    value: Any
    gradient_norm: Any
    gap: Any
    null_value: Any
    penalty: Any


def poisson_problem(seed: int) -> PoissonProblem:
    """Return a random problem; kinds of rows in turn, penalties from 10⁻⁶ to 10²."""
    rng = np.random.default_rng([seed, 5])
    kind = KINDS[seed % len(KINDS)]
    n, m = (8, 12) if kind == "wide" else (int(rng.integers(20, 60)), int(rng.integers(1, 5)))
    columns = rng.normal(size=(n, m))
    if kind == "twins" and m > 1:
        columns[:, 1] = columns[:, 0]
    effect = columns @ rng.normal(size=m) / np.sqrt(m) * rng.uniform(0.1, 1)
    level = {"rare": -3.0, "large": float(np.log(2e5))}.get(kind, 1.0)
    rates = np.exp(level + effect)
    y = 1e-9 * rates * rng.uniform(0.5, 2, n) if kind == "rates" else rng.poisson(rates).astype(float)
    y[0] += y.max() == 0
    unit = 10 ** rng.uniform(-1, 1, m)
    x = (columns + (1e3 * rng.normal(size=m) if kind == "far" else 0)) * unit
    s = 10 ** rng.uniform(-4.5, 4.5, n) if kind == "weights" else rng.uniform(0.5, 2, n) * (rng.random(n) < 0.9)
    s[0] = 1
    scale = x.std(0) + 1e-3 if rng.random() < 0.5 else np.ones(m)
    return PoissonProblem(x, y, s, 10 ** rng.uniform(-6, 2), scale, bool(kind == "far" or rng.random() < 0.7))


def poisson_optimum(problem: PoissonProblem) -> np.ndarray:
    """Return the coefficients, and the intercept last or 0, in extended precision.

    Columns are centered where there is an intercept.
    """
    used = problem.s > 0
    x, y, s = (part[used].astype(np.longdouble) for part in problem[:3])
    share = s / s.sum()
    center = share @ x if problem.intercept else np.zeros(x.shape[1], np.longdouble)
    rows = np.column_stack([x - center, np.full(len(x), float(problem.intercept), np.longdouble)])
    penalty = np.append(np.longdouble(problem.l2) * problem.scale.astype(np.longdouble) ** 2, 0)

    def value(theta: np.ndarray) -> np.longdouble:
        z = rows @ theta
        return share @ (np.exp(z) - y * z) + penalty @ theta**2 / 2

    def gradient(theta: np.ndarray) -> np.ndarray:
        return (share * (np.exp(rows @ theta) - y)) @ rows + penalty * theta

    unit = np.sqrt((share @ rows**2 + penalty).astype(float))
    unit[unit == 0] = 1

    def newton_step(theta: np.ndarray) -> np.ndarray:
        root = (np.sqrt(share * np.exp(rows @ theta))[:, None] * rows).astype(float) / unit
        hessian = root.T @ root + np.diag(penalty.astype(float) / unit**2)
        return np.linalg.pinv(hessian, rcond=1e-15, hermitian=True) @ (gradient(theta) / unit).astype(float) / unit

    theta = np.zeros(len(penalty), np.longdouble)
    theta[-1] = np.log(share @ y) if problem.intercept else 0
    best = value(theta)
    for _ in range(500):
        step, size = newton_step(theta), np.longdouble(1)
        with np.errstate(over="ignore", invalid="ignore"):
            while not value(theta - size * step) < best and size > 1e-9:
                size /= 2
        if size <= 1e-9:
            break
        theta = theta - size * step
        best = value(theta)
    for _ in range(20):  # J no longer falls visibly, but its gradient does
        trial = theta - newton_step(theta)
        if not np.linalg.norm((gradient(trial) / unit).astype(float)) < np.linalg.norm(
            (gradient(theta) / unit).astype(float)
        ):
            break
        theta = trial
    theta[-1] -= center @ theta[:-1]
    return theta


def poisson_results(problem: PoissonProblem, coef: np.ndarray, intercept: float) -> PoissonResults:
    """Return exact numbers at a head of float64 numbers, or at a point in extended precision."""
    with mpmath.workdps(DIGITS):
        s = [_exact(part) for part in problem.s]
        total = mpmath.fsum(s)
        y, x = [_exact(part) for part in problem.y], [[_exact(part) for part in row] for row in problem.x]
        w, b, l2 = [_exact(part) for part in coef], _exact(intercept), _exact(problem.l2)
        scale = [_exact(part) for part in problem.scale]
        z = [mpmath.fdot(row, w) + b for row in x]
        rates = [mpmath.exp(part) for part in z]

        def mean(parts: list[Any]) -> Any:
            return mpmath.fdot(s, parts) / total

        def loss(rate: Any, target: Any) -> Any:
            return rate - target + (target * mpmath.log(target / rate) if target else 0)

        def slope(q: list[Any]) -> list[Any]:
            differences = [a - target for a, target in zip(q, y, strict=True)]
            return [mean([d * row[j] for d, row in zip(differences, x, strict=True)]) for j in range(len(w))]

        penalty = l2 / 2 * mpmath.fsum((a * unit) ** 2 for a, unit in zip(w, scale, strict=True))
        value = mean([loss(*pair) for pair in zip(rates, y, strict=True)]) + penalty
        own = [g + l2 * unit**2 * a for g, a, unit in zip(slope(rates), w, scale, strict=True)]
        own.append(mean(rates) - mean(y) if problem.intercept else mpmath.mpf(0))
        factor = mean(y) / mean(rates) if problem.intercept else mpmath.mpf(1)
        repaired = [factor * rate for rate in rates]
        divergence = mean([loss(*pair) for pair in zip(rates, repaired, strict=True)])
        residue = [g / unit + l2 * unit * a for g, a, unit in zip(slope(repaired), w, scale, strict=True)]
        gap = divergence + mpmath.fsum(part**2 for part in residue) / (2 * l2) if l2 else mpmath.inf
        constant = mean(y) if problem.intercept else mpmath.mpf(1)
        null_value = mean([loss(constant, target) for target in y])
        return PoissonResults(value, mpmath.sqrt(mpmath.fsum(part**2 for part in own)), gap, null_value, penalty)


def _exact(number: Any) -> Any:
    """Return a float64 or extended number as an mpmath number."""
    high = float(number)
    return mpmath.mpf(high) + mpmath.mpf(float(np.longdouble(number) - np.longdouble(high)))
