"""Descent rules as Optax's (init, update) pairs, and the safe step size."""

from dlcore.descent.accelerated import accelerated
from dlcore.descent.adaptive import adam
from dlcore.descent.base import rule
from dlcore.descent.gradient import gradient_descent, momentum, nesterov
from dlcore.descent.step_size import lipschitz_step

__all__ = ["accelerated", "adam", "gradient_descent", "lipschitz_step", "momentum", "nesterov", "rule"]
