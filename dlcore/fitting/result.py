"""What a fit hands back, and what it shows on the way."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np

from dlcore._core.types import Array, Params
from dlcore.certificate import Certificate


@dataclasses.dataclass(frozen=True)
class History:
    """What happened at every evaluation of J, the start included.

    That is every step: entry k belongs to the parameters after k updates. With `batch_size` it is the beginning of
    every epoch, and the end: entry k belongs to the parameters after k epochs.

    Attributes:
      value: J, shape (steps + 1,), or (epochs + 1,).
      gradient_norm: ‖∇J‖, of the same shape.
      recorded: what `record` returned, with such a leading axis; None where nothing was asked.
    """

    value: np.ndarray
    gradient_norm: np.ndarray
    recorded: Any = None


class Progress(NamedTuple):
    """What the callback sees.

    Attributes:
      step: how many updates were made.
      max_steps: how many there may be.
      value, gradient_norm: J and ‖∇J‖ where they were last evaluated, at most one update before `step`, or one
        epoch with `batch_size`.
      params: the parameters after `step` updates.
    """

    step: int
    max_steps: int
    value: float
    gradient_norm: float
    params: Params


@dataclasses.dataclass(frozen=True)
class Fit:
    """One fitted model and how it was reached, or, from `dlcore.sweep`, one of each setting along the first axis.

    Attributes:
      params: the parameters after the last update.
      value: J at `params`, a scalar array.
      gradient_norm: ‖∇J‖ at `params`, a scalar array.
      steps: how many updates were made, an integer; of a sweep, a NumPy array.
      status: why it stopped, a `Status`; of a sweep, a NumPy array of them.
      history: J and ‖∇J‖ at every step.
      message: the status as a sentence, with what to do about it; of a sweep, a tuple of them.
      certificate: a float64 bound on J − J* at `params`; None where `stop` did not ask for it.
    """

    params: Params
    value: Array
    gradient_norm: Array
    steps: Any
    status: Any
    history: History
    message: Any
    certificate: Certificate | None = None
