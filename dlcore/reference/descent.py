"""Twins of `dlcore.descent`: the textbook rules on one float64 vector.

A rule is an (init, update) pair: `init(parameters)` gives the memory, `update(gradient, memory)` what is
added to the parameters and the new memory.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


class Rule(NamedTuple):
    """A rule of descent on one vector."""

    init: Callable[[np.ndarray], Any]
    update: Callable[[np.ndarray, Any], tuple[np.ndarray, Any]]


def gradient_descent(rate: float) -> Rule:
    r"""$-\alpha g$."""
    return Rule(lambda parameters: None, lambda gradient, memory: (-rate * gradient, None))


def momentum(rate: float, decay: float = 0.9) -> Rule:
    r"""$v \leftarrow g + \beta v$; $-\alpha v$."""

    def update(gradient: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = gradient + decay * velocity
        return -rate * velocity, velocity

    return Rule(np.zeros_like, update)


def nesterov(rate: float, decay: float = 0.9) -> Rule:
    r"""$v \leftarrow g + \beta v$; $-\alpha(g + \beta v)$."""

    def update(gradient: np.ndarray, velocity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        velocity = gradient + decay * velocity
        return -rate * (gradient + decay * velocity), velocity

    return Rule(np.zeros_like, update)


def adam(rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Rule:
    """Algorithm 1 of Kingma and Ba (2015)."""

    def update(
        gradient: np.ndarray, memory: tuple[int, np.ndarray, np.ndarray]
    ) -> tuple[np.ndarray, tuple[int, np.ndarray, np.ndarray]]:
        step, first, second = memory[0] + 1, memory[1], memory[2]
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * gradient**2
        unbiased_first, unbiased_second = first / (1 - b1**step), second / (1 - b2**step)
        return -rate * unbiased_first / (np.sqrt(unbiased_second) + eps), (step, first, second)

    return Rule(lambda parameters: (0, np.zeros_like(parameters), np.zeros_like(parameters)), update)


def accelerated(rate: float) -> Rule:
    """FISTA's momentum with the gradient restart of O'Donoghue and Candès (2015), in their two sequences.

    The memory is the parameters y (a sum of all updates, from 0), the point x of the step before, and t.
    """

    def init(parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        return np.zeros_like(parameters), np.zeros_like(parameters), 1.0

    def update(
        gradient: np.ndarray, memory: tuple[np.ndarray, np.ndarray, float]
    ) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, float]]:
        y, before, t = memory
        x = y - rate * gradient
        if (gradient * (x - before)).sum() > 0:
            t = 1.0
        following = (1 + np.sqrt(1 + 4 * t * t)) / 2
        ahead = x + (t - 1) / following * (x - before)
        return ahead - y, (ahead, x, following)

    return Rule(init, update)
