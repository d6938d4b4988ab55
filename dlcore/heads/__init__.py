"""Linear heads: every strength and fold over one copy of the features, each with its certificate."""

from dlcore.heads.interface import fit_heads
from dlcore.heads.result import Heads

__all__ = ["Heads", "fit_heads"]
