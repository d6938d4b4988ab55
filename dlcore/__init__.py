"""The mathematics under deep learning as small pure JAX functions, and a trainer that proves its results."""

from dlcore import calculus, descent, graph, linalg, losses, models, objective, reference, tensors
from dlcore._status import Status
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.fitting import Fit, fit
from dlcore.objective import Objective
from dlcore.sweeping import sweep

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Fit",
    "LinearHeads",
    "Objective",
    "Status",
    "calculus",
    "certify",
    "descent",
    "fit",
    "graph",
    "linalg",
    "losses",
    "models",
    "objective",
    "reference",
    "sweep",
    "tensors",
]
