"""Weights of the rows, at a scale at which no sum of them overflows."""

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.devices import aligned_empty


def read_weights(name: str, given: npt.ArrayLike | None, rows: int) -> tuple[np.ndarray, float]:
    """Return weights in float64 and a power of two `unit`.

    The weights times `unit` are what was given, bit for bit. The largest weight lies in [½, 1). For None all
    weights and `unit` are 1. A CPU device can share the memory of the weights.
    """
    shared = aligned_empty((rows,), np.float64)
    if given is None:
        shared.fill(1)
        return shared, 1.0
    weight = host_checks.as_numpy(name, given).astype(np.float64)
    host_checks.check_weights(weight, rows, name)
    power = min(int(np.frexp(weight.max())[1]), 1023)  # 2**1024 is no number
    return np.ldexp(weight, -power, out=shared), float(np.ldexp(1.0, power))
