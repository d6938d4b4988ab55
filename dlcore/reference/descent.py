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
