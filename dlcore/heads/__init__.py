"""Linear heads: every strength and fold over one copy of the features, each with its certificate."""

from dlcore.heads.fit_heads import fit_heads
from dlcore.heads.progress import HeadsProgress
from dlcore.heads.result import Heads
from dlcore.heads.scoring.best_penalty import GridEdgeWarning

__all__ = ["GridEdgeWarning", "Heads", "HeadsProgress", "fit_heads"]
