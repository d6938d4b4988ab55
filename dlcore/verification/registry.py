"""List of all checks, and of the public names without a check."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from dlcore.verification.check import Check
from dlcore.verification.checks import (
    calculus,
    descent,
    fitting,
    heads,
    linalg,
    losses,
    models,
    objective,
    tensors,
)

STORED: tuple[Callable[[np.dtype], list[Check]], ...] = (linalg.checks, losses.checks)
"""The builders of checks for every dtype, bfloat16 and float16 included."""

COMPUTED: tuple[Callable[[np.dtype], list[Check]], ...] = (
    tensors.checks,
    calculus.checks,
    models.checks,
    objective.checks,
    descent.checks,
    fitting.checks,
    heads.checks,
)
"""The builders of checks for float32 and float64."""

NOT_CHECKED = {
    "losses.LossInfo": "a record of properties of a loss",
    "losses.get_loss_info": "returns the record of a loss",
    "losses.with_loss_info": "attaches a record; the loss does not change",
    "objective.Batch": "a view of rows for a fit on batches",
    "objective.BlockedData": "a container of data; the functions of it are checked",
    "objective.penalised": "lists the penalised parameters; the penalty is part of J, which is checked",
    "objective.run_program": "calls a compiled program; those of the objective are checked",
    "objective.sum_over_blocks": "the loop of every pass; the passes of the objective are checked",
}
"""The public names without a check, with the reason."""


def all_checks(dtype: np.dtype) -> list[Check]:
    """Return the checks of a dtype, in the order of the library's layers."""
    halves = dtype in (jnp.bfloat16, jnp.float16)
    return [check for build in (STORED if halves else STORED + COMPUTED) for check in build(dtype)]
