"""Problems with known solutions, oracles that share no code with the library, and comparisons."""

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

from dlcore import Heads, Status

ROOT = Path(__file__).parent.parent
"""The root folder of the project."""

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
    """Assert |actual − expected| ≤ units · eps · scale for each entry; nan and infinity equal themselves.

    Args:
      actual: the result of the library, of the expected shape.
      expected: the result of an oracle, in float64.
      units: the number of roundings that may add up.
      scale: the size that roundings are relative to; the largest finite expected magnitude if None.
      dtype: the dtype of the arithmetic; that of the run if None.
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
    """Return the error in units in the last place of the exact result, 0 if it is no normal number.

    Args:
      actual: the result of the library, in the dtype of the run.
      exact: the exact result in extended precision.
    """
    with np.errstate(over="ignore"):
        actual, nearest = np.asarray(actual), np.abs(exact.astype(DTYPE))
    assert actual.dtype == DTYPE
    assert actual.shape == exact.shape
    normal = (np.abs(exact) >= np.finfo(DTYPE).tiny) & np.isfinite(nearest)
    error = np.abs(actual.astype(np.longdouble) - exact) / np.spacing(np.where(normal, nearest, 1))
    return np.where(normal, error, 0).astype(float)


def to_mpmath(number: np.longdouble) -> Any:
    """Return a number in extended precision as an mpmath number."""
    fraction, exponent = np.frexp(number)
    high = float(fraction)
    return mpmath.ldexp(mpmath.mpf(high) + mpmath.mpf(float(fraction - np.longdouble(high))), int(exponent))


LARGEST = 88.0 if np.float32 == DTYPE else 708.5
"""The largest z for which e^-z is a normal number."""


def dense_grid() -> np.ndarray:
    """Return over 20 000 numbers: the range of e^z, edges where 1 + e^-z rounds to 1, and all sizes down to 0."""
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
    """Return the standardised 569 × 30 table and its labels."""
    from sklearn.datasets import load_breast_cancer  # takes seconds, and most files do not need it

    x, y = (np.asarray(part) for part in load_breast_cancer(return_X_y=True))
    return ((x - x.mean(0)) / x.std(0)).astype(dtype), y.astype(dtype)


def random_problem(seed: int) -> Problem:
    """Return a random problem: plain, weighted, ill-conditioned, nearly separable or wide, by the seed."""
    rng = np.random.default_rng(seed)
    n, m = int(rng.integers(20, 200)), int(rng.integers(1, 25))
    kind = ("plain", "weighted", "ill-conditioned", "nearly separable", "wide")[seed % 5]
    if kind == "wide":
        n, m = m + 4, n
    x = rng.normal(size=(n, m))
    if kind == "ill-conditioned":
        x = x @ np.diag(np.geomspace(1, 1e-5, m)) @ np.linalg.qr(rng.normal(size=(m, m)))[0] + 3
    x = single(x)  # the same bits on every machine, as are s and l2
    coef = rng.normal(size=m) * (20 if kind == "nearly separable" else 1)
    y = (x @ coef + rng.logistic(size=n) > np.median(x @ coef)).astype(np.float64)
    y[:2] = 0, 1
    s = 10 ** rng.uniform(-3, 3, n) if kind == "weighted" else np.ones(n)
    return Problem(x, y, single(s), float(single(10 ** rng.uniform(-6, 1))))


def stored_optimum(problem: Problem, name: str) -> np.ndarray:
    """Return the optimum by `newton`, from the store if the name is in it."""
    stored = stored_optima.find(name, problem)
    return newton(problem) if stored is None else stored.theta


def random_optimum(seed: int) -> np.ndarray:
    """Return the optimum of a random problem."""
    return stored_optimum(random_problem(seed), f"random problem {seed}")


def exact_value(problem: Problem, theta: np.ndarray) -> np.longdouble:
    """Return J in extended precision. The last entry of theta is the intercept."""
    x, y, s = (part.astype(np.longdouble) for part in problem[:3])
    theta = theta.astype(np.longdouble)
    z = (x * theta[:-1]).sum(1) + theta[-1]
    losses = np.logaddexp(np.longdouble(0), np.where(y == 1, -z, z))
    return (s * losses).sum() / s.sum() + np.longdouble(problem.l2) / 2 * (theta[:-1] ** 2).sum()


def newton_with_line_search(
    value: Callable[[np.ndarray], np.longdouble], direction: Callable[[np.ndarray], np.ndarray], theta: np.ndarray
) -> np.ndarray:
    """Iterate θ ← θ − t·direction(θ) until the value stops falling, with t halved until it falls."""
    best_value = value(theta)
    for _ in range(300):
        step, step_size = direction(theta), np.longdouble(1)
        while value(theta - step_size * step) > best_value and step_size > 1e-12:
            step_size /= 2
        candidate = theta - step_size * step
        if not value(candidate) < best_value:
            break
        theta, best_value = candidate, value(candidate)
    return theta


def newton(problem: Problem) -> np.ndarray:
    """Return the optimum by Newton's method, with gradients in extended precision and steps by SciPy."""
    x, y, s, l2 = problem
    extended = np.column_stack([x, np.ones(len(x))]).astype(np.longdouble)
    penalty = np.append(np.full(x.shape[1], np.longdouble(l2)), 0)
    fraction = s / s.sum()

    def direction(theta: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-(extended * theta).sum(1)))
        gradient = ((fraction * (p - y))[:, None] * extended).sum(0) + penalty * theta
        root = np.sqrt((fraction * p * (1 - p)).astype(np.float64))[:, None] * extended.astype(np.float64)
        hessian = root.T @ root + np.diag(penalty.astype(np.float64))
        return cast(Any, scipy.linalg.lstsq(hessian, gradient.astype(np.float64)))[0]

    start = np.zeros(x.shape[1] + 1, np.longdouble)
    return newton_with_line_search(lambda theta: exact_value(problem, theta), direction, start)


def random_like(seed: int, *shape: int, dtype=DTYPE) -> jax.Array:
    """Return normal numbers of a shape, the same in every dtype up to rounding."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32), dtype)


def scores_of(heads: Heads) -> np.ndarray:
    """Return the scores of heads, which must have scores."""
    assert heads.scores is not None
    return heads.scores


def assert_same_heads(actual: Any, expected: Any) -> None:
    """Assert that two results of `fit_heads` have the same types, shapes, dtypes and bits, all but the timing."""
    assert type(actual) is type(expected)
    if dataclasses.is_dataclass(actual):
        for field in dataclasses.fields(actual):
            if field.name != "timing":
                assert_same_heads(getattr(actual, field.name), getattr(expected, field.name))
    elif isinstance(actual, np.ndarray):
        assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape)
        if actual.dtype == object:
            assert all(isinstance(status, Status) for status in actual.ravel())
            assert (actual == expected).all()
        else:
            assert actual.tobytes() == expected.tobytes()
    else:
        assert actual == expected


def anonymous_bytes() -> int:
    """Return the anonymous memory of this process. Skip the test if the system does not report it."""
    status = Path("/proc/self/status")
    if not status.exists() or jax.default_backend() != "cpu":
        pytest.skip("needs the memory of the process from Linux, which the device must share")
    return next(
        1024 * int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("RssAnon")
    )


def memory_added(run: Callable[[], Any]) -> tuple[Any, int]:
    """Run a function and return its result and the peak number of bytes that it added to the process.

    Malloc returns pieces of 32 MiB and more to the system at once. Smaller pieces may come from earlier memory.
    """
    gc.collect()
    before, peak, ended = anonymous_bytes(), [0], threading.Event()

    def watch() -> None:
        while not ended.is_set():
            peak[0] = max(peak[0], anonymous_bytes())
            time.sleep(0.005)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = run()
    finally:
        ended.set()
        watcher.join()
    return result, peak[0] - before
