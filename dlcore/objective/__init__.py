"""The objective: a finite sum over examples, summed block by block, plus a penalty."""

from dlcore.objective.blocks import Batch, BlockedData, run_program, sum_over_blocks
from dlcore.objective.objective import Objective
from dlcore.objective.terms import penalised

__all__ = ["Batch", "BlockedData", "Objective", "penalised", "run_program", "sum_over_blocks"]
