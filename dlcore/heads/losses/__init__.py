"""Losses of linear heads by name: a new one is a file here and a line below."""

from dlcore.heads.losses.base import HeadLoss, RowLoss
from dlcore.heads.losses.logistic import LOGISTIC
from dlcore.heads.losses.poisson import POISSON
from dlcore.heads.losses.softmax import SOFTMAX
from dlcore.heads.losses.squared import SQUARED

LOSSES: dict[str, HeadLoss] = {loss.name: loss for loss in (LOGISTIC, SQUARED, SOFTMAX, POISSON)}
"""The records by name."""


def row_loss(name: str) -> RowLoss:
    """Return what solvers need of a loss."""
    record = LOSSES[name].row_loss
    assert record is not None
    return record


def read_loss(name: str) -> HeadLoss:
    """Return the record of a loss.

    Raises:
      ValueError: if there is no such loss.
    """
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(map(repr, LOSSES))}, got {name!r}")
    return LOSSES[name]
