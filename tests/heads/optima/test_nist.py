"""NIST's certified least-squares problems: how many digits of the worst coefficient are right."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import DTYPE, assert_close
from oracles.matrices import column_scales, exact_solution

from dlcore import linalg

FOLDER = Path(os.environ.get("DLCORE_DATA", "")) / "nist"

pytestmark = pytest.mark.skipif(
    "DLCORE_DATA" not in os.environ or not (FOLDER / "certified.json").exists(),
    reason="NIST's data sets are read from $DLCORE_DATA/nist, and there are none there",
)

# In float64: lstsq; lstsq refined from float32 factors; refined from float64 factors; solve of the normal
# equations with the columns scaled to length 1. None: nan under jit, the factors are too coarse. Digits are 15 at
# most. Refined solutions are those of the data as float64 rounds it, which is what limits Filip, Norris, Pontius.
DIGITS = {
    "Norris": (12.0, 13.9, 13.9, 11.0),
    "Pontius": (11.8, 13.3, 13.3, 10.5),
    "NoInt1": (14.0, 14.0, 14.0, 14.0),
    "NoInt2": (14.0, 14.0, 14.0, 14.0),
    "Filip": (7.4, None, 7.4, None),
    "Longley": (10.5, 14.0, 14.0, 6.0),
    "Wampler1": (9.0, 14.0, 14.0, 5.5),
    "Wampler2": (12.5, 13.0, 13.0, 8.5),
    "Wampler3": (8.9, 14.0, 14.0, 5.5),
    "Wampler4": (7.5, 14.0, 14.0, 5.5),
    "Wampler5": (5.5, 14.0, 14.0, 5.0),
}


QUICK = {"Norris", "Filip", "Longley", "Wampler5"}
"""What is always tried; each problem has a shape of its own, and programs of its own."""
NAMES = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in DIGITS]


def problem(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrix of the model, the observations and the certified coefficients."""
    certified = json.loads((FOLDER / "certified.json").read_text())[name]
    lines = [line for line in (FOLDER / f"{name}.csv").read_text().splitlines() if not line.startswith("#")]
    table = np.array([[float(entry) for entry in line.split(",")] for line in lines[1:]])
    y, x = table[:, 0], table[:, 1:]
    if certified["model"] == "poly":
        x = x ** np.arange(certified["degree"] + 1)
    elif certified["model"] == "linear":
        x = np.column_stack([np.ones(len(x)), x])
    return x, y, np.array([float(beta) for beta in certified["beta"]])


def digits(got, expected: np.ndarray) -> float:
    """Of the worst entry: −log₁₀ of its relative error, between 0 and 15."""
    error = np.max(np.abs(np.asarray(got, np.float64) - expected) / np.abs(expected))
    return float(np.clip(-np.log10(max(error, 1e-15)), 0, 15))


def normal_equations(x, y):
    scales = linalg.vector_norm(x, axis=0)
    scaled = x / scales[None, :]
    return linalg.solve(linalg.matmul(scaled.T, scaled), linalg.matmul(scaled.T, y)) / scales


PATHS = {
    "lstsq": jax.jit(lambda x, y: linalg.lstsq(x, y).solution),
    "from float32": jax.jit(lambda x, y: linalg.lstsq(x, y, refine=jnp.float32).solution),
    "from its own": jax.jit(lambda x, y: linalg.lstsq(x, y, refine=x.dtype).solution),
    "normal equations": jax.jit(normal_equations),
}


def digits_of(path: str, name: str) -> float | None:
    x, y, beta = problem(name)
    with jax.enable_x64(True):
        solution = np.asarray(PATHS[path](*padded(x, y)))
    return None if np.isnan(solution).any() else digits(solution, beta)


def padded(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """With equations 0 = 0 up to 82, as many as the largest set has: one compilation for a number of columns."""
    missing = 82 - len(x)
    return np.pad(x, ((0, missing), (0, 0))), np.pad(y, (0, missing))


@pytest.mark.parametrize("name", NAMES)
def test_digits_in_float64(name):
    for path, least in zip(PATHS, DIGITS[name], strict=True):
        reached = digits_of(path, name)
        if least is None:
            assert reached is None, f"{path}: {reached} digits, and an error was expected"
        else:
            assert reached is not None, path
            # Another order of summation, of other threads or another processor, moves the last digit.
            assert reached >= least - 0.5, f"{path}: {reached:.1f} digits"


@pytest.mark.parametrize("name", NAMES)
def test_a_refined_solution_is_that_of_the_rounded_data(name):
    """What no digits can show: of the data as it is rounded, the solution is right to the last digits."""
    x, y, _ = problem(name)
    x, y = x.astype(DTYPE), y.astype(DTYPE)
    if name == "Filip" and np.float32 == DTYPE:  # x¹⁰ in float32 leaves the rank 7
        assert np.isnan(PATHS["from float32"](*padded(x, y))).all()
        return
    expected, scales = exact_solution(x, y), column_scales(x)
    path = PATHS["from its own" if name == "Filip" else "from float32"]
    got = np.asarray(path(*padded(x, y)), np.float64)
    residual = np.linalg.norm(y - x.astype(float) @ expected)
    amount = np.linalg.norm(expected * scales) + residual * np.linalg.cond(x / scales)
    assert_close(got * scales, expected * scales, units=1, scale=amount)
    assert digits(got, expected) >= (6 if np.float32 == DTYPE else 14) or name in ("Wampler5", "Filip")
