"""All checks there are, and what none is for."""

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
"""Each makes the checks of one module of the library for a dtype, halves included."""

COMPUTED: tuple[Callable[[np.dtype], list[Check]], ...] = (
    tensors.checks,
    calculus.checks,
    models.checks,
    objective.checks,
    descent.checks,
    fitting.checks,
    heads.checks,
)
"""The same for dtypes that are computed with."""

NO_NUMBER = {
    "losses.Facts": "a record of what is known of a loss",
    "losses.facts_of": "reads such a record",
    "losses.with_facts": "states one; the loss stays as it is",
    "objective.Batch": "a view of rows, of a fit on batches",
    "objective.BlockedData": "data as it is handed over; what is computed from it is checked",
    "objective.penalised": "lists the leaves that l2 acts on; the penalty is part of J, which is checked",
    "objective.run_program": "calls a program; the objective's are checked",
    "objective.sum_over_blocks": "the loop of every pass; the objective's passes are checked",
}
"""Public names that no check is for, each with the reason."""


def all_checks(dtype: np.dtype) -> list[Check]:
    """The checks of a dtype, in the order of the library's floors."""
    halves = dtype in (jnp.bfloat16, jnp.float16)
    return [check for build in (STORED if halves else STORED + COMPUTED) for check in build(dtype)]
