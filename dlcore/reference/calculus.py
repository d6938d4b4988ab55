"""References of `dlcore.calculus`: limits of difference quotients, in float64."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


def difference_quotient(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike, h: ArrayLike) -> np.ndarray:
    """Return $(f(x + h) - f(x))/h$."""
    x, h = np.asarray(x, np.float64), np.asarray(h, np.float64)
    return (np.asarray(f(x + h)) - np.asarray(f(x))) / h


def central_difference(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike, h: ArrayLike) -> np.ndarray:
    """Return $(f(x + h) - f(x - h))/(2h)$."""
    x, h = np.asarray(x, np.float64), np.asarray(h, np.float64)
    return (np.asarray(f(x + h)) - np.asarray(f(x - h))) / (2 * h)


def derivative(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike) -> np.ndarray:
    """Return the limit of central differences by Richardson extrapolation, to about 1e-11 relative to f."""
    step = 0.01 * max(1.0, float(np.abs(x).max(initial=0)) if np.ndim(x) else abs(float(np.asarray(x))))
    row = [central_difference(f, x, step / 2**k) for k in range(5)]
    for order in range(1, 5):
        row = [(4**order * finer - coarser) / (4**order - 1) for coarser, finer in itertools.pairwise(row)]
    return row[0]


def partial(f: Callable[..., ArrayLike], argnum: int, *args: ArrayLike) -> np.ndarray:
    r"""Return $\partial f/\partial x_k$ by the same limit, the other arguments fixed."""
    before, after = args[:argnum], args[argnum + 1 :]
    return derivative(lambda x: f(*before, x, *after), args[argnum])


def gradient(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike) -> np.ndarray:
    """Return the partial derivatives of a scalar function, one entry of `x` at a time."""
    return jacobian(f, x)


def jacobian(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike) -> np.ndarray:
    """Return the partial derivatives of every entry of f(x), shape (*f(x).shape, *x.shape)."""
    x = np.asarray(x, np.float64)
    columns = []
    for index in np.ndindex(x.shape):
        unit = np.zeros(x.shape)
        unit[index] = 1
        columns.append(directional_derivative(f, x, unit))
    return np.stack(columns, axis=-1).reshape((*np.shape(columns[0]), *x.shape))


def directional_derivative(f: Callable[[np.ndarray], ArrayLike], x: ArrayLike, v: ArrayLike) -> np.ndarray:
    """Return the derivative of f(x + t v) at t = 0."""
    x, v = np.asarray(x, np.float64), np.asarray(v, np.float64)
    return derivative(lambda t: f(x + t * v), 0.0)
