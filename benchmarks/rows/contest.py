"""What rows have in common: contestants timed in turn, peers tightened until their certified gap will do."""

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from dlcore.devices import core_count
from dlcore.measuring import Timing, measure

TOL = 1e-6
"""Of the certified gap, relative to max(J, 1e-3·J₀)."""

TIGHTER = tuple((dtype, tol) for dtype in ("float32", "float64") for tol in (1e-4, 1e-6, 1e-8, 1e-10))
"""What is tried of a peer, one after another: the dtype it is given and its own tolerance."""

FAR, PATIENCE = 10, 60.0
"""A peer that takes so many times as long as ours, and so many seconds, and still misses the gap is out."""

Contestants = dict[str, Callable[[], Any]]


class Peer(NamedTuple):
    """Somebody else's solver.

    Attributes:
      solve: (dtype, its tolerance) to its heads.
      gap: of these the worst certified gap, relative to max(J, 1e-3·J₀).
    """

    solve: Callable[[str, float], Any]
    gap: Callable[[Any], float]


@contextlib.contextmanager
def threads(count: int) -> Iterator[None]:
    """So many threads of the BLAS that NumPy, SciPy and scikit-learn call."""
    import threadpoolctl

    with threadpoolctl.threadpool_limits(count):
        yield


def on_threads(run: Callable[[], Any], count: int) -> Callable[[], Any]:
    """`run` with so many threads."""

    def limited() -> Any:
        with threads(count):
            return run()

    return limited


def against_solvers(
    ours: Callable[[], Any], gap: Callable[[Any], float], peers: Mapping[str, Peer], repeats: int
) -> dict[str, Any]:
    """Ours against peers, each at the loosest of its settings whose certified gap is within `TOL`.

    Settings are tried on all threads, then the one that will do on one: the better of both is timed. A peer that
    takes three times as long as the best so far, or far longer than ours, and still misses the gap is out, and the
    notes say so: its time is then a bound.
    """
    start = time.perf_counter()
    heads = ours()
    first = time.perf_counter() - start  # compiles
    mine = _seconds(ours, core_count())[1]
    contestants, gaps, notes = {"dlcore": ours}, {"dlcore": gap(heads)}, []
    best = np.inf
    for name, peer in peers.items():
        solve, seconds, reached = None, np.inf, np.inf
        for dtype, tol in TIGHTER:
            solve = functools.partial(peer.solve, dtype, tol)
            found, seconds = _seconds(solve, core_count())
            reached = peer.gap(found)
            if reached <= TOL:
                break
            took = f"{dtype}, tol {tol:g} took {seconds:.2f} s"
            notes.append(f"{name}: {took} to a gap of {reached:.0e}, too much")
            if seconds > 3 * best or seconds > max(PATIENCE, FAR * mine):
                notes.append(f"{name}: that was {seconds / mine:.1f} × as long as one of dlcore's {mine:.2f} s")
                break
        if solve is None or reached > TOL:
            notes.append(f"{name} is out")
            continue
        each = {1: _seconds(solve, 1)[1], core_count(): seconds}
        count = min(each, key=lambda count: each[count])
        best = min(best, each[count])
        listed = ", ".join(f"{seconds:.3g} s on {count}" for count, seconds in each.items())
        notes.append(
            f"{name} is given {solve.args[0]}, tol {solve.args[1]:g} and the better number of threads of {listed}"
        )
        title = f"{name}, {count} thread" + "s" * (count > 1)
        contestants[title], gaps[title] = on_threads(solve, count), reached
    result = timed(contestants, repeats)
    result["contestants"]["dlcore"]["first"] = round(first, 6)
    for name, value in gaps.items():
        result["contestants"][name]["gap"] = float(f"{value:.2g}") if np.isfinite(value) else str(value)
    return {**result, "agree": bool(gaps["dlcore"] <= TOL), "notes": notes}


def _seconds(run: Callable[[], Any], count: int) -> tuple[Any, float]:
    """What `run` gives on so many threads, and its time."""
    with threads(count):
        start = time.perf_counter()
        found = run()
        return found, time.perf_counter() - start


def timed(contestants: Contestants, repeats: int) -> dict[str, Any]:
    """The figures of all; their first call is apart."""
    timings = measure(contestants, repeats)
    mine = timings["dlcore"].median
    return {"contestants": {name: figures(timing, mine) for name, timing in timings.items()}}


def figures(timing: Timing, mine: float) -> dict[str, Any]:
    """What is printed of a contestant, in seconds; ratio: its median over ours."""
    return {
        "median": round(timing.median, 6),
        "quartiles": [round(seconds, 6) for seconds in timing.quartiles],
        "first": round(timing.first, 6),
        "ratio": round(timing.median / mine, 3),
    }


def correlated(rng: np.random.Generator, rows: int, features: int, condition: float) -> np.ndarray:
    """Normal rows with correlated columns: singular values fall from 1 by `condition`, in random directions."""
    turn = np.linalg.qr(rng.standard_normal((features, features)))[0]
    spread = (np.geomspace(1, 1 / condition, features)[:, None] * turn).astype(np.float32)
    x = rng.standard_normal((rows, features), dtype=np.float32) @ spread
    return x / x.std(0)


def labels(rng: np.random.Generator, x: np.ndarray) -> np.ndarray:
    """Labels of a logistic model of x whose logits are of size 2."""
    logits = x @ rng.standard_normal(x.shape[1], dtype=np.float32)
    logits *= 2 / logits.std()
    return (logits + rng.logistic(size=len(x)) > 0).astype(np.int64)


def relative(certificate: Any, start: Any) -> float:
    """The worst gap, relative to max(J, 1e-3·J₀)."""
    return float(np.max(certificate.gap / np.maximum(certificate.value, 1e-3 * np.asarray(start))))


def entropy(y: np.ndarray) -> float:
    """J₀ of labels: the objective of the best intercept alone."""
    share = np.bincount(y.astype(np.int64)) / len(y)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum())
