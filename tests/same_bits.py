"""Numbers that are the same bits on every machine, whatever its last digits of exp, log, powers and products.

What is drawn is rounded to a grid so coarse that such digits vanish, but for a chance of about 1e-8 a number.
"""

from typing import Any

import numpy as np


def single(drawn: Any) -> np.ndarray:
    """Round to float32, kept as float64."""
    return np.asarray(drawn, np.float32).astype(np.float64)


def conditioned(
    rng: np.random.Generator, rows: np.ndarray, condition: float, *, bits: int
) -> tuple[np.ndarray, np.ndarray]:
    """Give the rows about that condition: columns about orthogonal, scaled down to 1/condition, then turned.

    Every product and sum is exact, in any order: columns and turn are multiples of 2^-bits, scales have three
    bits. A sum takes about 2·bits + log2(condition) + 6 of the 53 bits.

    Returns:
      The rows, and the columns before they are scaled.
    """
    n, m = rows.shape
    unit = 2.0**-bits
    columns = np.round(np.sqrt(n) * np.linalg.qr(rows)[0] / unit) * unit
    turn = np.round(np.linalg.qr(rng.normal(size=(m, m)))[0] / unit) * unit
    fraction, exponent = np.frexp(np.geomspace(1, 1 / condition, m))
    return columns * np.ldexp(np.round(8 * fraction) / 8, exponent) @ turn, columns
