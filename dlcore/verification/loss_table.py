"""Table of exact losses in the package; `tests/oracles/loss_table.py` generates it with mpmath."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

PATH = Path(__file__).parent / "loss_table.json"


class LossTable(NamedTuple):
    """Exact results of one function.

    Attributes:
      inputs: shape (points, arguments).
      value: the nearest float64, shape (points, results).
      rest: the exact number minus `value`, shape (points, results).
      scale: the magnitude of the terms that add up to a result, shape (points, results).
    """

    inputs: np.ndarray
    value: np.ndarray
    rest: np.ndarray
    scale: np.ndarray

    def representable(self, dtype: np.dtype) -> "LossTable":
        """Return the points whose inputs are exact and not subnormal in the dtype."""
        with np.errstate(over="ignore"):
            rounded = self.inputs.astype(dtype).astype(np.float64)
        is_exact = (rounded == self.inputs).all(-1)
        tiny = float(jnp.finfo(dtype).tiny)  # a device may flush smaller inputs to 0
        is_normal = ((self.inputs == 0) | (np.abs(self.inputs) >= tiny)).all(-1)
        return LossTable(*(array[is_exact & is_normal] for array in self))


@functools.cache
def loss_tables() -> dict[str, LossTable]:
    """Return all tables by the name of the function.

    >>> sorted(loss_tables())[:2]
    ['absolute_error', 'binary_cross_entropy']
    """
    tables = {}
    for name, rows in json.loads(PATH.read_text(encoding="utf-8")).items():
        inputs = np.array([[float.fromhex(x) for x in point] for point, _ in rows])
        exact = np.array([[[float.fromhex(x) for x in entry] for entry in entries] for _, entries in rows])
        tables[name] = LossTable(inputs, *np.moveaxis(exact, -1, 0))
    return tables
