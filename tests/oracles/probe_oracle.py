"""Heads by Newton's method in NumPy float64, which shares no code with the library."""

from typing import NamedTuple

import numpy as np
import scipy.linalg


class Optimum(NamedTuple):
    """The optimum of one head: shape (classes, m) and (classes,), and J with a bound on its distance from J*."""

    coef: np.ndarray
    intercept: np.ndarray
    value: float
    gap: float


def softmax_value(x: np.ndarray, y: np.ndarray, l2: float, coef: np.ndarray, intercept: np.ndarray) -> float:
    """Return J of a softmax head, rows of weight 1."""
    z = x.astype(np.float64) @ coef.T + intercept
    top = z.max(1)
    losses = np.log(np.exp(z - top[:, None]).sum(1)) + top - z[np.arange(len(y)), y]
    return float(losses.mean() + l2 / 2 * (coef**2).sum())


def logistic_value(x: np.ndarray, y: np.ndarray, l2: float, coef: np.ndarray, intercept: float) -> float:
    """Return J of a logistic head, rows of weight 1."""
    z = x.astype(np.float64) @ coef + intercept
    return float(np.logaddexp(0, np.where(y == 1, -z, z)).mean() + l2 / 2 * (coef**2).sum())


def softmax_newton(x: np.ndarray, y: np.ndarray, l2: float, classes: int) -> Optimum:
    """Return the optimum of a softmax head. The intercepts sum to 0.

    The gap is that of strong convexity, ‖g‖²/(2λ), with the smallest eigenvalue λ of the last Hessian.
    """
    rows = np.column_stack([x.astype(np.float64), np.ones(len(x))])
    n, size = rows.shape
    penalty = np.append(np.full(size - 1, l2), 0.0)
    theta, target = np.zeros((classes, size)), np.eye(classes)[y]
    shift = np.zeros(classes * size)
    shift[size - 1 :: size] = 1  # all intercepts alike change nothing

    def value(theta: np.ndarray) -> float:
        return softmax_value(x, y, l2, theta[:, :-1], theta[:, -1])

    gradient, hessian = np.zeros((classes, size)), np.zeros((classes * size,) * 2)
    for _ in range(100):
        z = rows @ theta.T
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = (p - target).T @ rows / n + penalty * theta
        for a in range(classes):
            for b in range(a + 1):
                weight = p[:, a] * ((a == b) - p[:, b]) / n
                block = (rows * weight[:, None]).T @ rows + (a == b) * np.diag(penalty)
                hessian[a * size : (a + 1) * size, b * size : (b + 1) * size] = block
                hessian[b * size : (b + 1) * size, a * size : (a + 1) * size] = block.T
        step = scipy.linalg.solve(hessian + np.outer(shift, shift), gradient.ravel(), assume_a="pos")
        step, before, rate = step.reshape(theta.shape), value(theta), 1.0
        while value(theta - rate * step) > before and rate > 1e-10:
            rate /= 2
        theta = theta - rate * step
        if np.abs(gradient).max() < 1e-15 or np.abs(rate * step).max() < 1e-14 * max(1, np.abs(theta).max()):
            break
    smallest = scipy.linalg.eigvalsh(hessian + np.outer(shift, shift), subset_by_index=[0, 0])[0]
    theta[:, -1] -= theta[:, -1].mean()
    gap = float((gradient**2).sum() / (2 * smallest)) if smallest > 0 else np.inf
    return Optimum(theta[:, :-1], theta[:, -1], value(theta), gap)


def logistic_newton(x: np.ndarray, y: np.ndarray, l2: float) -> Optimum:
    """Return the optimum of a logistic head, as the difference of a softmax head of two classes with l2/2."""
    both = softmax_newton(x, y, 2 * l2, 2)
    coef, intercept = both.coef[1] - both.coef[0], both.intercept[1] - both.intercept[0]
    return Optimum(coef, intercept, logistic_value(x, y, l2, coef, float(intercept)), both.gap)


def softmax_newton_cg(x: np.ndarray, y: np.ndarray, l2: float, classes: int) -> Optimum:
    """Return the optimum of a softmax head with many columns, by Newton's method with conjugate gradients.

    The gap is that of strong convexity in the coefficients, ‖g‖²/(2·l2). It leaves out the intercepts, whose
    gradient is far below that of the coefficients.
    """
    rows = np.column_stack([x.astype(np.float64), np.ones(len(x))])
    n, size = rows.shape
    penalty = np.append(np.full(size - 1, l2), 0.0)
    target = np.eye(classes)[y]
    theta = np.zeros((classes, size))
    gradient = theta

    def value(theta: np.ndarray) -> float:
        return softmax_value(x, y, l2, theta[:, :-1], theta[:, -1])

    for _ in range(60):
        z = rows @ theta.T
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        gradient = (p - target).T @ rows / n + penalty * theta
        diagonal = (p * (1 - p)).T @ rows**2 / n + penalty + 1e-12
        norm = np.sqrt((gradient**2).sum())
        if norm < 1e-13:
            break
        step, residual = np.zeros_like(theta), gradient.copy()
        direction = residual / diagonal
        product = (residual * direction).sum()
        for _ in range(3000):
            dz = rows @ direction.T
            curved = (p * (dz - (p * dz).sum(1, keepdims=True))).T @ rows / n + penalty * direction
            length = product / (direction * curved).sum()
            step += length * direction
            residual = residual - length * curved
            if np.sqrt((residual**2).sum()) <= min(0.1, np.sqrt(norm)) * norm * 1e-2:
                break
            scaled = residual / diagonal
            product, before = (residual * scaled).sum(), product
            direction = scaled + product / before * direction
        rate, least = 1.0, value(theta)
        while value(theta - rate * step) > least and rate > 1e-6:
            rate /= 2
        if rate <= 1e-6:
            break
        theta = theta - rate * step
    theta[:, -1] -= theta[:, -1].mean()
    gap = float((gradient**2).sum() / (2 * l2))
    return Optimum(theta[:, :-1], theta[:, -1], value(theta), gap)
