"""Does a function's derivative belong to it? The check that a wrong factor, sign or entry does not pass."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import host_checks
from dlcore._core.array_checks import with_constants

DIRECTIONS = 4
"""How many random directions are tried."""

FIRST_STEP = 0.03
"""Of the difference quotients, in units of the size of x."""

SHRINK = 1.4
"""By how much each step is smaller than the one before."""

QUOTIENTS = 12
"""How many quotients are extrapolated to the step 0."""


class GradientCheck(NamedTuple):
    """What `check_gradient` found.

    Attributes:
      passed: whether every error is at most the tolerance.
      forward_error: the largest relative error of forward-mode directional derivatives.
      reverse_error: that of reverse mode. nan of a mode that the function lacks: one with a while_loop has no
        reverse mode, one with a custom_vjp no forward mode.
      tolerance: that was applied, `tol` or what the difference quotients themselves leave open.
    """

    passed: bool
    forward_error: float
    reverse_error: float
    tolerance: float


@with_constants
def check_gradient(f: Callable[..., Any], x: Any, *, tol: float = 1e-6, seed: int = 0) -> GradientCheck:
    r"""Compare the derivatives that JAX has for a function with difference quotients.

    With random $u$ in the space of f(x) and $v$ in that of x, both modes must give the slope at 0 of
    $\varphi(t) = u \cdot f(x + t v)$: forward $u \cdot (J v)$, reverse $(J^\top u) \cdot v$

    In float64, whatever the dtypes; contracting with $u$ and $v$ keeps the tolerance apart from the size, and
    makes a wrong sign, factor or entry visible that a comparison entry by entry in float32 would pass. The slope
    is found by extrapolating central differences to the step 0, along four directions.

    Args:
      f: a function of an array, or of a tree of arrays, to an array or a tree of arrays. It must compute in
        the dtype of its argument, which is float64 here.
      x: where to check: NumPy or JAX arrays, numbers, or a tree of them; finite. Not 0-sized.
      tol: the largest relative error allowed. An error is relative to the size of the slope and of the
        gradient's typical contraction, ‖Jᵀu‖·‖v‖/√size, whichever is larger.
      seed: of the random directions.

    Returns:
      A `GradientCheck`. A function that is not smooth within 3 % of x fails, or passes with a larger tolerance
      if the quotients do not settle to `tol`.

    Raises:
      TypeError: if `f` is not a function, or x or f(x) holds something other than real numbers.
      ValueError: if x is empty or not finite, f(x) is not finite, `tol` is not positive, or f has derivatives in
        neither mode.

    Source: Ridders (1982), Accurate computation of F′(x) and F′(x)F″(x); Baydin et al. (2018), Automatic
    differentiation in machine learning: a survey, section 3.

    >>> check_gradient(lambda x: jnp.sum(jnp.sin(x)), np.linspace(0, 1, 5)).passed
    True
    """
    if not callable(f):
        raise TypeError(f"check_gradient: expected a function, got {type(f).__name__}")
    host_checks.check_number("tol", tol, above=0)
    leaves, tree = jax.tree.flatten(x)
    points = [host_checks.as_host_numbers("x", leaf).astype(np.float64) for leaf in leaves]
    for point in points:
        host_checks.check_finite("x", point)
    size = sum(point.size for point in points)
    if not size:
        raise ValueError("check_gradient: x has no entries")
    random = np.random.default_rng(seed)
    with jax.enable_x64(True):
        x64 = jax.tree.unflatten(tree, [jax.device_put(point) for point in points])
        outputs = jax.tree.leaves(jax.jit(f)(x64))
        if not all(jnp.issubdtype(output.dtype, jnp.floating) for output in outputs):
            raise TypeError(f"check_gradient: expected f(x) real, got {[str(output.dtype) for output in outputs]}")
        if not all(bool(jnp.isfinite(output).all()) for output in outputs):
            raise ValueError("check_gradient: f(x) is not finite")
        u = [random.normal(size=output.shape) for output in outputs]

        def contracted(x: Any) -> Any:
            pairs = zip(jax.tree.leaves(f(x)), u, strict=True)
            return sum((output.astype(jnp.float64) * weight).sum() for output, weight in pairs)

        phi = jax.jit(contracted)
        forward = jax.jit(lambda x, v: jax.jvp(contracted, (x,), (v,))[1])
        cotangents = _cotangents(contracted, x64)
        magnitude = sum(
            float(np.abs(np.asarray(o, np.float64) * w).sum()) for o, w in zip(outputs, u, strict=True)
        )
        errors: dict[str, list[float]] = {"forward": [], "reverse": []}
        tolerance = tol
        for _ in range(DIRECTIONS):
            v = [random.normal(size=point.shape) for point in points]
            along_v = jax.tree.unflatten(tree, v)
            largest = max(np.abs(point).max(initial=0) for point in points)
            step = FIRST_STEP * max(1.0, largest) / max(np.abs(part).max(initial=0) for part in v)

            def moved(t: float, v: list[np.ndarray] = v) -> float:
                return float(
                    phi(jax.tree.unflatten(tree, [p + t * part for p, part in zip(points, v, strict=True)]))
                )

            slope, uncertainty = _slope_at_zero(moved, step)
            found = {"forward": _forward(forward, x64, along_v), "reverse": _inner(cotangents, v)}
            typical = _length(cotangents) * _length(v) / np.sqrt(size) if cotangents else 0.0
            scale = max(abs(slope), typical, np.finfo(np.float64).tiny)
            tolerance = max(tolerance, min(4 * uncertainty / scale, np.sqrt(tol)))
            noise = 8 * np.finfo(np.float64).eps * magnitude / step  # what rounding leaves of a quotient
            for mode, number in found.items():
                if number is not None:
                    error = max(0.0, abs(number - slope) - noise) / scale
                    errors[mode].append(error if np.isfinite(number) else np.inf)
    if not any(errors.values()):
        raise ValueError("check_gradient: f can be differentiated in neither mode")
    worst = {mode: max(of_mode, default=np.nan) for mode, of_mode in errors.items()}
    passed = all(error <= tolerance for of_mode in errors.values() for error in of_mode)
    return GradientCheck(passed, float(worst["forward"]), float(worst["reverse"]), float(tolerance))


def _cotangents(contracted: Callable[[Any], Any], x: Any) -> list[np.ndarray] | None:
    """The gradient's leaves; None of a function that holds a while_loop, which has no reverse mode."""
    try:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(contracted))(x))]
    except ValueError as error:
        if "everse-mode differentiation does not work" in str(error):
            return None
        raise


def _forward(sweep: Callable[[Any, Any], Any], x: Any, v: Any) -> float | None:
    """The directional derivative; None of a function with a custom_vjp, which has no forward mode."""
    try:
        return float(sweep(x, v))
    except TypeError as error:
        if "forward-mode" in str(error):
            return None
        raise


def _inner(one: list[np.ndarray] | None, other: list[np.ndarray]) -> float | None:
    """The inner product of two lists of arrays, None of nothing."""
    return None if one is None else float(sum((a * b).sum() for a, b in zip(one, other, strict=True)))


def _length(vector: list[np.ndarray]) -> float:
    """The Euclidean norm of a list of arrays as one vector."""
    return float(np.sqrt(sum((part * part).sum() for part in vector)))


def _slope_at_zero(phi: Callable[[float], float], step: float) -> tuple[float, float]:
    """φ'(0) by Ridders' extrapolation of central differences, and an estimate of its error.

    The error of a central difference is a series in h², of which each column of the tableau removes a term.
    """
    best, uncertainty = np.nan, np.inf
    row: list[float] = []
    for _ in range(QUOTIENTS):
        new = [(phi(step) - phi(-step)) / (2 * step)]
        factor = SHRINK**2
        for k, above in enumerate(row):
            new.append((new[k] * factor - above) / (factor - 1))
            factor *= SHRINK**2
            change = max(abs(new[-1] - new[-2]), abs(new[-1] - above))
            if change <= uncertainty:
                best, uncertainty = new[-1], change
        row = new
        step /= SHRINK
    return best, uncertainty
