"""The NumPy float64 twin of every function that computes a number, from its definition. No jax."""

from dlcore.reference import calculus, descent, fitting, graph, linalg, losses, models, network, objective, tensors

__all__ = [
    "calculus",
    "descent",
    "fitting",
    "graph",
    "linalg",
    "losses",
    "models",
    "network",
    "objective",
    "tensors",
]
