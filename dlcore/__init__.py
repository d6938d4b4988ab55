"""The mathematics under deep learning as small pure JAX functions, and a trainer that proves its results."""

from dlcore import calculus, descent, graph, linalg, losses, models, objective, reference, tensors
from dlcore._status import Status
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.fitting import Fit, fit
from dlcore.heads import GridEdgeWarning, Heads, fit_heads
from dlcore.objective import Objective
from dlcore.sweeping import sweep
from dlcore.verification import verify

__version__ = "0.1.0"

__all__ = [
    "Certificate",
    "Fit",
    "GridEdgeWarning",
    "Heads",
    "LinearHeads",
    "Objective",
    "Status",
    "calculus",
    "certify",
    "descent",
    "fit",
    "fit_heads",
    "graph",
    "linalg",
    "losses",
    "models",
    "objective",
    "reference",
    "sweep",
    "tensors",
    "verify",
]
