"""Script for the table of the losses that `dlcore.verify` compares with: `python tests/oracles/loss_table.py`.

Values, first and second derivatives in the prediction at 60 digits, from the definitions, on points of few bits.
Each number is kept as two float64, what the first leaves being the second, and beside it the size that its error
is measured by: that of the terms that it is a sum of.
"""

import itertools
import json
from pathlib import Path
from typing import Any

import mpmath
from mpmath import mpf

PATH = Path(__file__).parent.parent.parent / "dlcore" / "verification" / "loss_table.json"

Entry = tuple[Any, Any]
"""A number and the size of its terms."""

SIZES = [0.0, 2.0**-149, 2.0**-126, 2.0**-60, 2.0**-24, 2.0**-12, 0.125, 0.5, 1.0, 1.5, 2.0, 5.0, 12.0, 16.5, 17.0]
LOGITS = [*SIZES, 30.0, 36.5, 37.0, 60.0, 87.0, 88.5, 104.0, 700.0, 708.0, 745.0, 2.0**14, 2.0**100]
RESIDUALS = [*SIZES, 1 - 2.0**-24, 1 + 2.0**-23, 0.5 - 2.0**-25, 2.0**14, 2.0**60, 2.0**100]
RATES = [0.0, 2.0**-60, 2.0**-10, 0.25, 1.0, 3.0, 2.0**10, 2.0**20]
NEAR_RATES = [[-41.5, 2.0**-60], [-1.375, 0.25], [1.09375, 3.0], [6.9375, 2.0**10], [13.875, 2.0**20]]
"""Logarithms of few bits next to that of the rate."""
PROBABILITIES = [0.0, 2.0**-126, 2.0**-60, 2.0**-24, 2.0**-10, 0.125, 0.25, 0.28125, 0.296875, 0.3046875, 0.375]
PROBABILITIES += [0.4140625, 0.5, 0.625, 0.875, 1 - 2.0**-8, 1 - 2.0**-11, 1 - 2.0**-24, 1.0]
VECTORS = [
    [0.0, 0.0, 0.0],
    [1.0, 2.0, 3.0],
    [0.5, -0.25, 2.0**-12],
    [20.0, 0.0, 0.0],
    [0.0, 36.0, -36.0],
    [-80.0, 0.0, -85.0],
    [0.0, -100.0, -101.0],
    [2.0**14, 2.0**14, -(2.0**14)],
    [700.0, 0.0, -700.0],
    [5.0, 5.0, -60.0],
]


def signed(sizes: list[float]) -> list[float]:
    """Return both signs of every size."""
    return sorted({sign * size for size in sizes for sign in (-1, 1)})


def alone(*values: Any) -> list[Entry]:
    """Return numbers that are one term each."""
    return [(value, abs(value)) for value in values]


def sigma(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


def squared_error(p: Any, y: Any) -> list[Entry]:
    return alone((p - y) ** 2, 2 * (p - y), mpf(2))


def absolute_error(p: Any, y: Any) -> list[Entry]:
    return alone(abs(p - y), mpmath.sign(p - y), mpf(0))


def huber(p: Any, y: Any, delta: Any) -> list[Entry]:
    r = p - y
    inside = abs(r) <= delta
    value = r**2 / 2 if inside else delta * (abs(r) - delta / 2)
    second = mpmath.nan if abs(r) == delta else mpf(int(inside))  # there it has none
    return alone(value, max(-delta, min(r, delta)), second)


def sigmoid(z: Any) -> list[Entry]:
    p, q = sigma(z), sigma(-z)
    return [*alone(p, p * q), (p * q * (q - p), p * q)]


def sigmoid_cross_entropy(z: Any, y: Any) -> list[Entry]:
    p, q = sigma(z), sigma(-z)
    value = y * mpmath.log1p(mpmath.exp(-z)) + (1 - y) * mpmath.log1p(mpmath.exp(z))
    return [(value, value), ((1 - y) * p - y * q, (1 - y) * p + y * q), (p * q, p * q)]


def binary_cross_entropy(p: Any, y: Any) -> list[Entry]:
    def of(weight: Any, number: Any) -> Any:
        return mpf(0) if weight == 0 else weight * number()

    def inverse(number: Any) -> Any:
        return mpmath.inf if number == 0 else 1 / number

    value = of(y, lambda: -mpmath.log(p)) + of(1 - y, lambda: -mpmath.log1p(-p))
    first = of(1 - y, lambda: inverse(1 - p)) - of(y, lambda: inverse(p))
    second = of(1 - y, lambda: inverse(1 - p) ** 2) + of(y, lambda: inverse(p) ** 2)
    return alone(value, first, second)


def half_poisson_deviance(z: Any, y: Any) -> list[Entry]:
    """Return the results; the value is a function of z − ln y, where ln y is rounded."""
    rate = mpmath.exp(z)
    logarithm = mpmath.log(y) if y else mpf(0)
    with mpmath.extradps(120):  # the value may be 1e-90 of its terms
        value = mpmath.exp(z) - y * (1 + z - (mpmath.log(y) if y else 0))
    size = value + min(abs(rate - y), y) * abs(logarithm)
    return [(value, size), (rate - y, rate + y), (rate, rate)]


def softmax(*z: Any) -> list[Entry]:
    """Return values, then [j, i] = ∂p_j/∂z_i, then [j, i, k]."""
    p = probabilities(z)
    # The differences of the logits are rounded, each by up to half an eps of the largest.
    spread = 1 + max(z) - min(z)
    k = range(len(z))
    first = {(j, i): p[j] * (others(p, j) if i == j else -p[i]) for j in k for i in k}
    second = []
    for j, i, m in itertools.product(k, k, k):
        one = first[j, m] * (others(p, j) if i == j else -p[i])
        other = -p[j] * first[i, m]
        second.append((one + other, (abs(one) + abs(other)) * spread))
    return [*((x, x * spread) for x in p), *((x, abs(x) * spread) for x in first.values()), *second]


def softmax_cross_entropy(*z: Any, label: int) -> list[Entry]:
    p = probabilities(z)
    spread = 1 + max(z) - min(z)
    value = mpmath.log1p(sum(mpmath.exp(z[j] - z[label]) for j in range(len(z)) if j != label))
    first = [-others(p, j) if j == label else p[j] for j in range(len(z))]
    second = [p[j] * (others(p, j) if i == j else -p[i]) for j in range(len(z)) for i in range(len(z))]
    return [(value, value * spread), *((x, abs(x) * spread) for x in (*first, *second))]


def probabilities(z: Any) -> list[Any]:
    return [1 / sum(mpmath.exp(other - mine) for other in z) for mine in z]


def others(p: list[Any], j: int) -> Any:
    """Return 1 − p_j, which 60 digits do not always hold."""
    return sum(p[k] for k in range(len(p)) if k != j)


def pairs(first: list[float], second: list[float]) -> list[list[float]]:
    return [list(pair) for pair in itertools.product(first, second)]


TABLES: dict[str, tuple[Any, list[list[float]]]] = {
    "squared_error": (squared_error, pairs(signed(RESIDUALS), [0.0, 1.0])),
    "absolute_error": (absolute_error, pairs(signed(RESIDUALS), [0.0, 1.0])),
    "huber": (huber, [[r, 0.0, d] for r, d in pairs(signed(RESIDUALS), [1.0, 0.5])]),
    "sigmoid": (sigmoid, [[z] for z in signed(LOGITS)]),
    "sigmoid_cross_entropy": (sigmoid_cross_entropy, pairs(signed(LOGITS), [0.0, 0.25, 1.0])),
    "half_poisson_deviance": (half_poisson_deviance, pairs(signed(LOGITS), RATES) + NEAR_RATES),
    "binary_cross_entropy": (binary_cross_entropy, pairs(PROBABILITIES, [0.0, 0.25, 1.0])),
    "softmax": (softmax, VECTORS),
    "softmax_cross_entropy": (
        lambda a, b, c, label: softmax_cross_entropy(a, b, c, label=int(label)),
        [[*z, float(label)] for z in VECTORS for label in range(3)],
    ),
}


def two(number: Any) -> list[str]:
    """Return a number as two float64 in hexadecimal: the nearest, and the nearest to the rest."""
    high = float(number)
    rest = float(number - mpf(high)) if mpmath.isfinite(number) and abs(high) < float("inf") else 0.0
    return [high.hex(), rest.hex()]


def table() -> dict[str, Any]:
    """Return the table as it is written."""
    made = {}
    with mpmath.workdps(60):
        for name, (function, points) in TABLES.items():
            rows = []
            for point in points:
                entries = function(*map(mpf, point))
                rows.append([[*two(value), float(size).hex()] for value, size in entries])
            made[name] = {"inputs": [[x.hex() for x in point] for point in points], "exact": rows}
    return made


def text() -> str:
    """Return the text of the file: a line for each point."""
    parts = []
    for name, part in table().items():
        rows = [
            json.dumps([x, e], separators=(",", ":")) for x, e in zip(part["inputs"], part["exact"], strict=True)
        ]
        parts.append(f"{json.dumps(name)}: [\n" + ",\n".join(rows) + "\n]")
    return "{\n" + ",\n".join(parts) + "\n}\n"


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
