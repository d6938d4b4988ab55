"""Linear heads: every strength and fold over one copy of the features, each with its certificate."""

from dlcore.heads.choosing import GridEdgeWarning
from dlcore.heads.interface import fit_heads
from dlcore.heads.result import Heads

__all__ = ["GridEdgeWarning", "Heads", "fit_heads"]
