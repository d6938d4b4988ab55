"""Problems with known answers, oracles that share no code with the library, and the tests' one comparison."""

import dataclasses
import gc
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.linalg
from jax import monitoring
from oracles import stored_optima
from same_bits import single
from sklearn.datasets import load_breast_cancer

from dlcore import Heads, Status

ROOT = Path(__file__).parent.parent
"""The project."""

DTYPE = np.dtype(jnp.result_type(float))
"""The dtype of this run of the suite."""

EPS = float(np.finfo(DTYPE).eps)

compilations: list[bool] = []
"""An entry for each program compiled in this process: whether the mode was x64 on the thread that compiled it."""


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    if event.endswith("backend_compile_duration"):
        compilations.append(bool(jax.config.read("jax_enable_x64")))


monitoring.register_event_duration_secs_listener(_listen)


def assert_close(actual, expected, *, units: float, scale=None, dtype=None) -> None:
    """|actual − expected| ≤ units · eps · scale, entry by entry; nan and infinity equal themselves.

    Args:
      actual: what the library computed; its shape must be the expected one.
      expected: what an oracle says, in float64.
      units: how many roundings may add up.
      scale: what they are relative to; the largest finite expected magnitude where left out.
      dtype: of the arithmetic; that of the run where left out.
    """
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"shape {actual.shape}, expected {expected.shape}"
    eps = float(jnp.finfo(dtype or DTYPE).eps)
    if scale is None:
        scale = np.abs(expected[np.isfinite(expected)]).max(initial=0)
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(actual[~finite], expected[~finite])
    error = np.abs(actual[finite] - expected[finite])
    bound = np.broadcast_to(units * eps * np.asarray(scale), expected.shape)[finite]
    worst = np.max(error - bound, initial=-np.inf)
    assert worst <= 0, f"off by {error.max():.3e}, allowed {bound[np.argmax(error - bound)]:.3e}"


def ulps(actual, exact: np.ndarray) -> np.ndarray:
    """The error in units of the last place of the exact result, 0 where that is no normal number.

    Args:
      actual: what the library computed, in the dtype of the run.
      exact: the same in extended precision.
    """
    with np.errstate(over="ignore"):
        actual, nearest = np.asarray(actual), np.abs(exact.astype(DTYPE))
    assert actual.dtype == DTYPE
    assert actual.shape == exact.shape
    normal = (np.abs(exact) >= np.finfo(DTYPE).tiny) & np.isfinite(nearest)
    error = np.abs(actual.astype(np.longdouble) - exact) / np.spacing(np.where(normal, nearest, 1))
    return np.where(normal, error, 0).astype(float)


def exactly(number: np.longdouble) -> Any:
    """A number of extended precision as one of mpmath."""
    fraction, exponent = np.frexp(number)
    high = float(fraction)
    return mpmath.ldexp(mpmath.mpf(high) + mpmath.mpf(float(fraction - np.longdouble(high))), int(exponent))


LARGEST = 88.0 if np.float32 == DTYPE else 708.5
"""Beyond it e^-z is no normal number."""


def dense_grid() -> np.ndarray:
    """More than 20 000 numbers: the whole range of e^z, where 1 + e^-z rounds to 1, and all sizes down to 0."""
    tiny = float(np.finfo(DTYPE).smallest_subnormal)
    sizes = np.geomspace(tiny, LARGEST, 3_000)
    steps = [np.linspace(edge - 0.5, edge + 0.5, 1_001) for edge in (16.6, 36.7, LARGEST - 0.5)]
    positive = np.concatenate([np.linspace(0, LARGEST, 8_001), sizes, tiny * np.arange(64), *steps])
    return np.unique(np.concatenate([-positive, positive]).astype(DTYPE))


class Problem(NamedTuple):
    """A weighted logistic regression in float64."""

    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: float


def breast_cancer(dtype: Any = DTYPE) -> tuple[np.ndarray, np.ndarray]:
    """The 569 × 30 table, standardised."""
    x, y = load_breast_cancer(return_X_y=True)
    return ((x - x.mean(0)) / x.std(0)).astype(dtype), y.astype(dtype)


def random_problem(seed: int) -> Problem:
    """One of many: plain, weighted over six decades, ill-conditioned, nearly separable, wide, in turn."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(20, 200)), int(rng.integers(1, 25))
    kind = ("plain", "weighted", "ill-conditioned", "nearly separable", "wide")[seed % 5]
    if kind == "wide":
        n, m = m + 4, n
    x = rng.normal(size=(n, m))
    if kind == "ill-conditioned":
        x = x @ np.diag(np.geomspace(1, 1e-5, m)) @ np.linalg.qr(rng.normal(size=(m, m)))[0] + 3
    x = single(x)  # the same bits on every machine, as are s and l2
    slope = rng.normal(size=m) * (20 if kind == "nearly separable" else 1)
    y = (x @ slope + rng.logistic(size=n) > np.median(x @ slope)).astype(np.float64)
    y[:2] = 0, 1
    s = 10 ** rng.uniform(-3, 3, n) if kind == "weighted" else np.ones(n)
    return Problem(x, y, single(s), float(single(10 ** rng.uniform(-6, 1))))


def optimum_of(problem: Problem, name: str) -> np.ndarray:
    """Return the optimum as `newton` has it, stored under the name or computed."""
    stored = stored_optima.find(name, problem)
    return newton(problem) if stored is None else stored.theta


def random_optimum(seed: int) -> np.ndarray:
    """Return the optimum of a random problem."""
    return optimum_of(random_problem(seed), f"random problem {seed}")


def exact_value(problem: Problem, theta: np.ndarray) -> np.longdouble:
    """J at weights and, last, an intercept, in extended precision."""
    x, y, s = (part.astype(np.longdouble) for part in problem[:3])
    theta = theta.astype(np.longdouble)
    z = (x * theta[:-1]).sum(1) + theta[-1]
    losses = np.logaddexp(np.longdouble(0), np.where(y == 1, -z, z))
    return (s * losses).sum() / s.sum() + np.longdouble(problem.l2) / 2 * (theta[:-1] ** 2).sum()


def damped(
    value: Callable[[np.ndarray], np.longdouble], direction: Callable[[np.ndarray], np.ndarray], theta: np.ndarray
) -> np.ndarray:
    """θ ← θ − rate·direction(θ), the rate halved until the value falls, until it falls no more."""
    least = value(theta)
    for _ in range(300):
        step, rate = direction(theta), np.longdouble(1)
        while value(theta - rate * step) > least and rate > 1e-12:
            rate /= 2
        candidate = theta - rate * step
        if not value(candidate) < least:
            break
        theta, least = candidate, value(candidate)
    return theta


def newton(problem: Problem) -> np.ndarray:
    """The optimum by damped Newton: gradients in extended precision, steps by SciPy in float64."""
    x, y, s, l2 = problem
    extended = np.column_stack([x, np.ones(len(x))]).astype(np.longdouble)
    penalty = np.append(np.full(x.shape[1], np.longdouble(l2)), 0)
    share = s / s.sum()

    def direction(theta: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-(extended * theta).sum(1)))
        gradient = ((share * (p - y))[:, None] * extended).sum(0) + penalty * theta
        curved = np.sqrt((share * p * (1 - p)).astype(np.float64))[:, None] * extended.astype(np.float64)
        hessian = curved.T @ curved + np.diag(penalty.astype(np.float64))
        return cast(Any, scipy.linalg.lstsq(hessian, gradient.astype(np.float64)))[0]

    start = np.zeros(x.shape[1] + 1, np.longdouble)
    return damped(lambda theta: exact_value(problem, theta), direction, start)


def random_like(seed: int, *shape: int, dtype=DTYPE) -> jax.Array:
    """Normal numbers of a shape, the same in every dtype up to rounding."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32), dtype)


def scored(heads: Heads) -> np.ndarray:
    """The scores of heads that have some."""
    assert heads.scores is not None
    return heads.scores


def same_heads(one: Any, other: Any) -> None:
    """Two results of `fit_heads` are one: types, shapes, dtypes, bits."""
    assert type(one) is type(other)
    if dataclasses.is_dataclass(one):
        for field in dataclasses.fields(one):
            same_heads(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, np.ndarray):
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        if one.dtype == object:
            assert all(isinstance(end, Status) for end in other.ravel())
            assert (one == other).all()
        else:
            assert one.tobytes() == other.tobytes()
    else:
        assert one == other


def anonymous_bytes() -> int:
    """Return the memory of this process that no file stands behind; skip the test where Linux does not say it."""
    status = Path("/proc/self/status")
    if not status.exists() or jax.default_backend() != "cpu":
        pytest.skip("asks Linux for the memory of the process, which the device must share")
    return next(
        1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon")
    )


def memory_added(run: Callable[[], Any]) -> tuple[Any, int]:
    """Run it, and tell the most bytes that the process had beyond those it began with.

    Malloc returns pieces of 32 MiB and more to the system at once; smaller ones may have been there before.
    """
    gc.collect()
    before, most, ended = anonymous_bytes(), [0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            most[0] = max(most[0], anonymous_bytes())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        found = run()
    finally:
        ended.set()
        watcher.join()
    return found, most[0] - before
