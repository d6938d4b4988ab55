"""NumPy float64 references of all functions that compute a number, from their definitions. No JAX."""

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
