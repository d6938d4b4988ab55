"""The table of exact losses that ships with the package; `tests/oracles/loss_table.py` makes it by mpmath."""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

PATH = Path(__file__).parent / "loss_table.json"


class Table(NamedTuple):
    """Exact results of one function.

    Attributes:
      inputs: shape (points, arguments).
      value: shape (points, results), the nearest float64.
      rest: what it leaves of the exact number.
      scale: the size of the terms that a result is a sum of.
    """

    inputs: np.ndarray
    value: np.ndarray
    rest: np.ndarray
    scale: np.ndarray

    def held_by(self, dtype: np.dtype) -> "Table":
        """The points whose inputs the dtype holds exactly."""
        with np.errstate(over="ignore"):
            there = self.inputs.astype(dtype).astype(np.float64)
        held = (there == self.inputs).all(-1)
        tiny = float(jnp.finfo(dtype).tiny)  # a device may flush the inputs below it to 0
        normal = ((self.inputs == 0) | (np.abs(self.inputs) >= tiny)).all(-1)
        return Table(*(part[held & normal] for part in self))


@functools.cache
def tables() -> dict[str, Table]:
    """All tables, by the name of the function.

    >>> sorted(tables())[:2]
    ['absolute_error', 'binary_cross_entropy']
    """
    read = json.loads(PATH.read_text(encoding="utf-8"))
    return {name: _table(rows) for name, rows in read.items()}


def _table(rows: list[list]) -> Table:
    inputs = np.array([[float.fromhex(x) for x in point] for point, _ in rows])
    exact = np.array([[[float.fromhex(x) for x in entry] for entry in entries] for _, entries in rows])
    return Table(inputs, *np.moveaxis(exact, -1, 0))
