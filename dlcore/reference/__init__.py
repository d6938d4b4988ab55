"""The NumPy float64 twin of every function that computes a number, from its definition. No jax."""

from dlcore.reference import descent, fitting, linalg, losses, models, network, objective

__all__ = ["descent", "fitting", "linalg", "losses", "models", "network", "objective"]
