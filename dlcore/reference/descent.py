"""References of `dlcore.descent`: the textbook rules on one float64 vector.

A rule is an (init, update) pair. `init(parameters)` gives the state.
`update(gradient, state)` gives the change of the parameters and the new state.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

State = Any
"""The state of a rule: None, an array or a tuple."""


class Rule(NamedTuple):
    """A rule of descent on one vector."""

    init: Callable[[np.ndarray], State]
    update: Callable[[np.ndarray, State], tuple[np.ndarray, State]]


def gradient_descent(rate: float) -> Rule:
    r"""Return the rule $-\alpha g$."""
    return Rule(lambda parameters: None, lambda gradient, state: (-rate * gradient, None))


def momentum(rate: float, decay: float = 0.9) -> Rule:
    r"""Return the rule $v \leftarrow g + \beta v$; $-\alpha v$."""

    def update(gradient: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = gradient + decay * velocity
        return -rate * velocity, velocity

    return Rule(np.zeros_like, update)


def nesterov(rate: float, decay: float = 0.9) -> Rule:
    r"""Return the rule $v \leftarrow g + \beta v$; $-\alpha(g + \beta v)$."""

    def update(gradient: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = gradient + decay * velocity
        return -rate * (gradient + decay * velocity), velocity

    return Rule(np.zeros_like, update)


def adam(rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Return Adam, algorithm 1 of Kingma and Ba (2015)."""

    def update(
        gradient: np.ndarray, state: tuple[int, np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, tuple[int, np.ndarray, np.ndarray]]:
        step, first, second = state[0] + 1, state[1], state[2]
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        unbiased_first, unbiased_second = first / (1 - b1**step), second / (1 - b2**step)
        return -rate * unbiased_first / (np.sqrt(unbiased_second) + eps), (step, first, second)

    return Rule(lambda parameters: (0, np.zeros_like(parameters), np.zeros_like(parameters)), update)


def accelerated(rate: float) -> Rule:
    """Return FISTA's momentum with the gradient restart of O'Donoghue and Candès (2015).

    The state is the parameters y (a sum of all updates, from 0), the previous point x, and t.
    """

    def init(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        return np.zeros_like(parameters), np.zeros_like(parameters), 1.0

    def update(
        gradient: np.ndarray, state: tuple[np.ndarray, np.ndarray, float]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, float]]:
        y, x_previous, t = state
        x = y - rate * gradient
        if (gradient * (x - x_previous)).sum() > 0:
            t = 1.0
        t_next = (1 + np.sqrt(1 + 4 * t * t)) / 2
        y_next = x + (t - 1) / t_next * (x - x_previous)
        return y_next - y, (y_next, x, t_next)

    return Rule(init, update)
