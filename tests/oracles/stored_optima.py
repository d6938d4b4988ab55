"""Optima of the tests' problems, stored as data: no code of the library takes part in them.

`tests/oracles/make.py` computes and writes them. Each has a name and a fingerprint of
its problem. So a changed problem is never compared with the optimum of another problem.
"""

import functools
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import mpmath
import numpy as np

FILE = Path(__file__).parent / "optima.npz"
REMAKE = "python tests/oracles/make.py"
DIGITS = 40


class Optimum(NamedTuple):
    """An optimum in extended precision, empty where no test needs it, J there, and a bound on J − J*."""

    theta: np.ndarray
    value: Any
    error: Any


class ChangedProblemError(AssertionError):
    """A problem that is not the one whose optimum is stored."""


def fingerprint(problem: Iterable[Any]) -> bytes:
    """Digest the numbers of a problem: arrays by shape and float64 bits, everything else by its text."""
    found = hashlib.sha256()
    for part in problem:
        if isinstance(part, np.ndarray):
            found.update(str(part.shape).encode() + np.ascontiguousarray(part, np.float64).tobytes())
        else:
            found.update(f"{part!r};".encode())
    return found.digest()


def find(name: str, problem: Iterable[Any], path: Path = FILE) -> Optimum | None:
    """Look up the optimum under a name.

    Returns:
      None where the name is not stored.

    Raises:
      ChangedProblemError: if the problem is not the one that the optimum was computed for.
    """
    data, places = _read(path)
    place = places.get(name)
    if place is None:
        return None
    if data["fingerprints"][place].tobytes() != fingerprint(problem):
        raise ChangedProblemError(
            f"{name}: the problem is not the one whose optimum tests/oracles/{path.name} holds. If the change is "
            f"meant, remake the data with `{REMAKE}` and commit the file."
        )
    start, end = data["ends"][place : place + 2]
    high, low = data["theta"][:, start:end].astype(np.longdouble)
    with mpmath.workdps(DIGITS):
        value = mpmath.mpf(float(data["value"][0, place])) + mpmath.mpf(float(data["value"][1, place]))
        return Optimum(high + low, value, mpmath.mpf(float(data["error"][place])))


def names() -> list[str]:
    """Return the names of the stored optima."""
    return list(_read(FILE)[1])


def save(optima: dict[str, tuple[bytes, Optimum]], path: Path) -> None:
    """Write optima with the fingerprints of their problems, numbers as sums of two of float64.

    What a sum leaves out of J is added to the error.
    """
    values, errors = [], []
    with mpmath.workdps(DIGITS):
        for _, found in optima.values():
            high = float(found.value)
            low = float(found.value - high)
            values.append((high, low))
            errors.append(float((found.error + abs(found.value - high - low)) * (1 + mpmath.mpf(2) ** -50)))
    theta = np.concatenate([found.theta.ravel() for _, found in optima.values()]).astype(np.longdouble)
    high = theta.astype(np.float64)
    np.savez_compressed(
        path,
        names=np.array(list(optima)),
        fingerprints=np.array([np.frombuffer(digest, np.uint8) for digest, _ in optima.values()]),
        value=np.array(values).T,
        error=np.array(errors),
        ends=np.cumsum([0, *(found.theta.size for _, found in optima.values())]),
        theta=np.stack([high, (theta - high).astype(np.float64)]),
    )


@functools.cache
def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """Return the arrays of a file and the index of each name in them; both empty without a file."""
    if not path.exists():
        return {}, {}
    with np.load(path, allow_pickle=False) as archive:
        data = dict(archive)
    return data, {str(name): place for place, name in enumerate(data["names"])}
