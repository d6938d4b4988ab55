"""What rows weigh, in a size that no sum of theirs overflows in."""

from typing import Any

import numpy as np

from dlcore import _checks


def read_weights(name: str, given: Any, rows: int) -> tuple[np.ndarray, float]:
    """(weights, unit): in float64, the largest in [½, 1), of a power of two, so that each comes back in every bit.

    None weighs every row 1.
    """
    if given is None:
        return np.ones(rows), 1.0
    weight = _checks.as_host_numbers(name, given).astype(np.float64)
    _checks.check_weights(weight, rows, name)
    power = int(np.frexp(weight.max())[1])
    return np.ldexp(weight, -power), float(np.ldexp(1.0, power))
