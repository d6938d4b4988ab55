"""Reference of `dlcore.fit`: a plain Python loop of descent on one float64 vector."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore._core.status import Status
from dlcore.reference.descent import Rule


class Path(NamedTuple):
    """History of a descent; entry k belongs to the parameters after k updates.

    Attributes:
      parameters: shape (steps + 1, size).
      value: J, shape (steps + 1,).
      gradient_norm: ‖∇J‖, shape (steps + 1,).
      status: the reason why it stopped.
    """

    parameters: np.ndarray
    value: np.ndarray
    gradient_norm: np.ndarray
    status: Status


def fit(
    value_and_grad: Callable[[np.ndarray], tuple[float, np.ndarray]],
    start: np.ndarray,
    rule: Rule,
    *,
    l2: float = 0.0,
    null_value: float = 0.0,
    penalised: slice = slice(None),
    tol: float = 1e-6,
    max_steps: int = 10_000,
    callback: Callable[[int], object] | None = None,
) -> Path:
    r"""Descend until $\|\nabla J\|^2/(2\lambda) \le$ tol·min(max(J, J₀/1000), max(J₀ − J, λ‖w‖²/2)).

    At λ = 0 descend until ‖∇J‖ is at most tol times its initial value.
    The status is diverged if J is not finite, or above its initial value at a thousandth step or the last.
    The status is never precision floor.

    Args:
      value_and_grad: a function of one vector to J and its gradient.
      start: the initial parameters.
      rule: a rule of `dlcore.reference.descent`.
      l2: λ, used by the stopping rule alone, as are the next two arguments.
      null_value: J₀, the value of the best constant prediction.
      penalised: the entries of the vector that are w.
      tol: the relative tolerance.
      max_steps: the largest number of updates.
      callback: a function of the number of updates, called before each step.

    Returns:
      The history of all steps.
    """
    parameters = np.array(start, np.float64)
    state = rule.init(parameters)
    history, values, norms = [], [], []
    status = Status.OUT_OF_STEPS
    for step in range(max_steps + 1):
        value, gradient = value_and_grad(parameters)
        norm = float(np.sqrt((gradient * gradient).sum()))
        history.append(parameters)
        values.append(value)
        norms.append(norm)
        if callback is not None:
            callback(step)
        penalty = l2 / 2 * float((parameters[penalised] ** 2).sum())
        improvement = max(null_value - value - 16 * np.finfo(np.float64).eps * abs(value), penalty)
        scale = min(max(value, 1e-3 * null_value), improvement)
        increased = value > values[0] + np.sqrt(np.finfo(np.float64).eps) * abs(values[0])
        if not np.isfinite([value, norm]).all() or (increased and (step % 1_000 == 0 or step == max_steps)):
            status = Status.DIVERGED
            break
        if norm**2 <= 2 * l2 * tol * scale if l2 > 0 else norm <= tol * norms[0]:
            status = Status.CONVERGED
            break
        if step < max_steps:
            change, state = rule.update(gradient, state)
            parameters = parameters + change
    return Path(np.array(history), np.array(values), np.array(norms), status)
