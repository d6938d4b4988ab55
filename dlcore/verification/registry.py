"""All checks there are."""

from collections.abc import Callable

import numpy as np

from dlcore.verification import linalg_checks, loss_checks
from dlcore.verification.check import Check

BUILDERS: tuple[Callable[[np.dtype], list[Check]], ...] = (
    linalg_checks.checks,
    loss_checks.checks,
)
"""Each makes the checks of one module of the library for a dtype."""


def all_checks(dtype: np.dtype) -> list[Check]:
    """The checks of a dtype, in the order of the library's floors."""
    return [check for build in BUILDERS for check in build(dtype)]
