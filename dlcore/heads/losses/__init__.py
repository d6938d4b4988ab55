"""Losses of linear heads by name: a new one is a file here and a line below."""

from dlcore.heads.losses.base import HeadLoss, RowLoss
from dlcore.heads.losses.logistic import LOGISTIC
from dlcore.heads.losses.poisson import POISSON
from dlcore.heads.losses.soft import SOFT_LOGISTIC, SOFT_SOFTMAX
from dlcore.heads.losses.softmax import SOFTMAX
from dlcore.heads.losses.squared import SQUARED

LOSSES: dict[str, HeadLoss] = {loss.name: loss for loss in (LOGISTIC, SQUARED, SOFTMAX, POISSON)}
"""The records by name."""

SOFT: dict[str, HeadLoss] = {"logistic": SOFT_LOGISTIC, "softmax": SOFT_SOFTMAX}
"""The records for soft labels, by the name that `fit_heads` takes."""

_RECORDS = LOSSES | {loss.name: loss for loss in SOFT.values()}


def row_loss(name: str) -> RowLoss:
    """Return what solvers need of a loss."""
    loss = loss_record(name).row_loss
    assert loss is not None
    return loss


def loss_record(name: str) -> HeadLoss:
    """Return the record of a loss by name, including the records for soft labels."""
    return _RECORDS[name]


def read_loss(name: str) -> HeadLoss:
    """Return the record of a loss that a caller names.

    Raises:
      ValueError: if there is no such loss.
    """
    if not isinstance(name, str) or name not in LOSSES:
        raise ValueError(f"loss: expected one of {', '.join(map(repr, LOSSES))}, got {name!r}")
    return LOSSES[name]
