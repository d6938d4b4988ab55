"""The objective: a sum over examples, computed block by block, plus a penalty."""

from dlcore.objective.blocks import Batch, BlockedData
from dlcore.objective.objective import Objective
from dlcore.objective.row_sums import sum_over_blocks
from dlcore.objective.sharding import run_program
from dlcore.objective.terms import penalised

__all__ = ["Batch", "BlockedData", "Objective", "penalised", "run_program", "sum_over_blocks"]
