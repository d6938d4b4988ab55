"""Twin of `dlcore.fit`: the loop of descent in plain Python over one float64 vector."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from dlcore._core.status import Status
from dlcore.reference.descent import Rule


class Path(NamedTuple):
    """What a descent went through; entry k belongs to the parameters after k updates.

    Attributes:
      parameters: shape (steps + 1, size).
      value: J, shape (steps + 1,).
      gradient_norm: ‖∇J‖, shape (steps + 1,).
      status: why it stopped.
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

    At λ = 0 until ‖∇J‖ is tol of that at the start. Diverged: J not finite, or above its start at every thousandth
    step or the last. It knows no precision floor.

    Args:
      value_and_grad: of one vector.
      start: where to begin.
      rule: from `dlcore.reference.descent`.
      l2: λ, for the stopping rule alone, as what follows.
      null_value: J₀, that of the best constant prediction.
      penalised: the entries of the vector that are w.
      tol: relative.
      max_steps: most updates.
      callback: called with the number of updates before each step.

    Returns:
      The whole path.
    """
    position = np.array(start, np.float64)
    memory = rule.init(position)
    positions, values, norms = [], [], []
    status = Status.OUT_OF_STEPS
    for step in range(max_steps + 1):
        value, gradient = value_and_grad(position)
        norm = float(np.sqrt((gradient * gradient).sum()))
        positions.append(position)
        values.append(value)
        norms.append(norm)
        if callback is not None:
            callback(step)
        penalty = l2 / 2 * float((position[penalised] ** 2).sum())
        gained = max(null_value - value - 16 * np.finfo(np.float64).eps * abs(value), penalty)
        size = min(max(value, 1e-3 * null_value), gained)
        above = value > values[0] + np.sqrt(np.finfo(np.float64).eps) * abs(values[0])
        if not np.isfinite([value, norm]).all() or (above and (step % 1_000 == 0 or step == max_steps)):
            status = Status.DIVERGED
            break
        if norm**2 <= 2 * l2 * tol * size if l2 > 0 else norm <= tol * norms[0]:
            status = Status.CONVERGED
            break
        if step < max_steps:
            change, memory = rule.update(gradient, memory)
            position = position + change
    return Path(np.array(positions), np.array(values), np.array(norms), status)
