"""Weights of the rows, at a scale at which no sum of them overflows."""

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.devices import aligned_empty


def read_weights(name: str, given: npt.ArrayLike | None, rows: int) -> tuple[np.ndarray, float]:
    """(weights, unit): in float64, the largest in [½, 1), of a power of two, so that each comes back in every bit.

    None weighs every row 1. A CPU device can share their memory.
    """
    shared = aligned_empty((rows,), np.float64)
    if given is None:
        shared.fill(1)
        return shared, 1.0
    weight = host_checks.as_numpy(name, given).astype(np.float64)
    host_checks.check_weights(weight, rows, name)
    power = min(int(np.frexp(weight.max())[1]), 1023)  # 2**1024 is no number
    return np.ldexp(weight, -power, out=shared), float(np.ldexp(1.0, power))
