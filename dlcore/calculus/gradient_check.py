"""A check of derivatives against difference quotients, which a wrong factor, sign or entry does not pass."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core import host_checks
from dlcore._core.array_checks import allow_constant_transfers
from dlcore._core.types import Array, ArrayTree

Arrays = list[np.ndarray]
"""The leaves of a tree."""

N_DIRECTIONS = 4
"""The number of random directions."""

FIRST_STEP = 0.03
"""The first step of the difference quotients, relative to the size of x."""

STEP_RATIO = 1.4
"""The ratio of each step to the next smaller step."""

N_QUOTIENTS = 12
"""The number of quotients that are extrapolated to the step 0."""


class GradientCheck(NamedTuple):
    """Result of `check_gradient`.

    Attributes:
      passed: whether every error is at most the tolerance.
      forward_error: the largest relative error of forward-mode directional derivatives. nan if the function has no
        forward mode, as with a custom_vjp.
      reverse_error: the largest relative error of reverse mode. nan if the function has no reverse mode, as with a
        while_loop.
      tolerance: the tolerance that was applied: `tol`, or the uncertainty of the difference quotients.
    """

    passed: bool
    forward_error: float
    reverse_error: float
    tolerance: float


@allow_constant_transfers
def check_gradient(
    f: Callable[..., ArrayTree], x: "ArrayTree | float", *, tol: float = 1e-6, seed: int = 0
) -> GradientCheck:
    r"""Compare the derivatives of a function by JAX with difference quotients.

    For random $u$ in the space of f(x) and $v$ in that of x, both modes must give the derivative at 0 of
    $\varphi(t) = u \cdot f(x + t v)$: forward $u \cdot (J v)$, reverse $(J^\top u) \cdot v$

    Args:
      f: a function of an array or a tree of arrays to an array or a tree of arrays. It must compute in the dtype
        of its argument, which is float64 here.
      x: the point of the check: NumPy or JAX arrays, numbers, or a tree of them; finite, with at least one entry.
      tol: the largest relative error allowed. An error is relative to the size of the derivative or of the
        gradient's typical contraction ‖Jᵀu‖·‖v‖/√size, whichever is larger.
      seed: the seed of the random directions.

    Returns:
      A `GradientCheck`. A function that is not smooth within 3 % of x fails, or passes with a larger tolerance if
      the quotients do not converge to `tol`.

    Raises:
      TypeError: if `f` is not a function, or x or f(x) holds something other than real numbers.
      ValueError: if x is empty or not finite, f(x) is not finite, `tol` is not positive, or f has derivatives in
        neither mode.

    Notes:
      The check computes in float64, whatever the dtypes. Because of the contraction with $u$ and $v$ the tolerance
      does not depend on the size. A wrong sign, factor or entry becomes visible that a comparison entry by entry
      in float32 would pass. Central differences are extrapolated to the step 0, along four directions.

    Source: Ridders (1982), Accurate computation of F′(x) and F′(x)F″(x); Baydin et al. (2018), Automatic
    differentiation in machine learning: a survey, section 3.

    >>> check_gradient(lambda x: jnp.sum(jnp.sin(x)), np.linspace(0, 1, 5)).passed
    True
    """
    if not callable(f):
        raise TypeError(f"check_gradient: expected a function, got {type(f).__name__}")
    host_checks.check_number("tol", tol, above=0)
    leaves, structure = jax.tree.flatten(x)
    points = [host_checks.as_numpy("x", leaf).astype(np.float64) for leaf in leaves]
    for point in points:
        host_checks.check_finite("x", point)
    size = sum(point.size for point in points)
    if not size:
        raise ValueError("check_gradient: x has no entries")
    random = np.random.default_rng(seed)
    with jax.enable_x64(True):
        x64 = jax.tree.unflatten(structure, [jax.device_put(point) for point in points])
        outputs = jax.tree.leaves(jax.jit(f)(x64))
        _check_outputs(outputs)
        u = [random.normal(size=output.shape) for output in outputs]

        def contraction(x: ArrayTree) -> Array:
            pairs = zip(jax.tree.leaves(f(x)), u, strict=True)
            return cast("Array", sum((output.astype(jnp.float64) * weight).sum() for output, weight in pairs))

        phi = jax.jit(contraction)
        jvp = jax.jit(lambda x, v: jax.jvp(contraction, (x,), (v,))[1])
        gradient = _gradient(contraction, x64)
        magnitude = sum(
            float(np.abs(np.asarray(o, np.float64) * w).sum()) for o, w in zip(outputs, u, strict=True)
        )
        errors: dict[str, list[float]] = {"forward": [], "reverse": []}
        tolerance = tol
        for _ in range(N_DIRECTIONS):
            v = [random.normal(size=point.shape) for point in points]
            v_tree = jax.tree.unflatten(structure, v)
            largest = max(np.abs(point).max(initial=0) for point in points)
            step = FIRST_STEP * max(1.0, largest) / max(np.abs(part).max(initial=0) for part in v)

            def phi_along(t: float, v: Arrays = v) -> float:
                moved = [p + t * part for p, part in zip(points, v, strict=True)]
                return float(phi(jax.tree.unflatten(structure, moved)))

            slope, uncertainty = _slope_at_zero(phi_along, step)
            derivatives = {"forward": _forward(jvp, x64, v_tree), "reverse": _inner_product(gradient, v)}
            typical = _norm(gradient) * _norm(v) / np.sqrt(size) if gradient else 0.0
            scale = max(abs(slope), typical, np.finfo(np.float64).tiny)
            tolerance = max(tolerance, min(4 * uncertainty / scale, np.sqrt(tol)))
            noise = 8 * np.finfo(np.float64).eps * magnitude / step  # the rounding error of a quotient
            for mode, derivative in derivatives.items():
                if derivative is not None:
                    error = max(0.0, abs(derivative - slope) - noise) / scale
                    errors[mode].append(error if np.isfinite(derivative) else np.inf)
    if not any(errors.values()):
        raise ValueError("check_gradient: f can be differentiated in neither mode")
    largest_error = {mode: max(mode_errors, default=np.nan) for mode, mode_errors in errors.items()}
    passed = all(error <= tolerance for mode_errors in errors.values() for error in mode_errors)
    forward_error, reverse_error = float(largest_error["forward"]), float(largest_error["reverse"])
    return GradientCheck(passed, forward_error, reverse_error, float(tolerance))


def _check_outputs(outputs: list[Array]) -> None:
    """Raise unless the entries of f(x) are real and finite."""
    if not all(jnp.issubdtype(output.dtype, jnp.floating) for output in outputs):
        raise TypeError(f"check_gradient: expected f(x) real, got {[str(output.dtype) for output in outputs]}")
    if not all(bool(jnp.isfinite(output).all()) for output in outputs):
        raise ValueError("check_gradient: f(x) is not finite")


def _gradient(contraction: Callable[[ArrayTree], Array], x: ArrayTree) -> Arrays | None:
    """Return the leaves of the gradient, or None if the function has no reverse mode."""
    try:
        return [np.asarray(leaf) for leaf in jax.tree.leaves(jax.jit(jax.grad(contraction))(x))]
    except ValueError as error:
        if "everse-mode differentiation does not work" in str(error):
            return None
        raise


def _forward(jvp: Callable[[ArrayTree, ArrayTree], Array], x: ArrayTree, v: ArrayTree) -> float | None:
    """Return the directional derivative, or None if the function has no forward mode."""
    try:
        return float(jvp(x, v))
    except TypeError as error:
        if "forward-mode" in str(error):
            return None
        raise


def _inner_product(x: Arrays | None, y: Arrays) -> float | None:
    """Return the inner product of two lists of arrays, or None if the first is None."""
    return None if x is None else float(sum((a * b).sum() for a, b in zip(x, y, strict=True)))


def _norm(vector: Arrays) -> float:
    """Return the Euclidean norm of a list of arrays as one vector."""
    return float(np.sqrt(sum((part * part).sum() for part in vector)))


def _slope_at_zero(phi: Callable[[float], float], step: float) -> tuple[float, float]:
    """Return φ'(0) by Ridders' extrapolation of central differences, and an estimate of its error.

    The error of a central difference is a series in h². Each column of the tableau removes a term of it.
    """
    best, uncertainty = np.nan, np.inf
    row: list[float] = []
    for _ in range(N_QUOTIENTS):
        new_row = [(phi(step) - phi(-step)) / (2 * step)]
        factor = STEP_RATIO**2
        for k, above in enumerate(row):
            new_row.append((new_row[k] * factor - above) / (factor - 1))
            factor *= STEP_RATIO**2
            change = max(abs(new_row[-1] - new_row[-2]), abs(new_row[-1] - above))
            if change <= uncertainty:
                best, uncertainty = new_row[-1], change
        row = new_row
        step /= STEP_RATIO
    return best, uncertainty
