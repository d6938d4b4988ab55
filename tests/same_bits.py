"""Random numbers with the same bits on every machine.

Machines differ in the last digits of exp, log, powers and products.
Random numbers are therefore rounded to a coarse grid. The chance of a difference is about 1e-8 for each number.
"""

from typing import Any

import numpy as np


def single(drawn: Any) -> np.ndarray:
    """Return numbers rounded to float32, as float64."""
    return np.asarray(drawn, np.float32).astype(np.float64)


def conditioned(
    rng: np.random.Generator, rows: np.ndarray, condition: float, *, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows with about the given condition number.

    Nearly orthogonal columns are scaled down to 1/condition and rotated.
    Every product and sum is exact, in any order: columns and rotation are multiples of 2^-bits, and scales have
    three bits. A sum takes about 2·bits + log2(condition) + 6 of the 53 bits.

    Returns:
      The rows, and the columns before they are scaled.
    """
    n, m = rows.shape
    unit = 2.0**-bits
    columns = np.round(np.sqrt(n) * np.linalg.qr(rows)[0] / unit) * unit
    rotation = np.round(np.linalg.qr(rng.normal(size=(m, m)))[0] / unit) * unit
    fraction, exponent = np.frexp(np.geomspace(1, 1 / condition, m))
    return columns * np.ldexp(np.round(8 * fraction) / 8, exponent) @ rotation, columns
