"""Checks of the losses and their first and second derivatives against an exact table."""

from collections.abc import Callable

import jax
import numpy as np

from dlcore import losses
from dlcore._core.types import Array
from dlcore.verification.check import Check, Exact, Results
from dlcore.verification.loss_table import loss_tables

RESULTS = ("value", "first derivative", "second derivative")
BOUNDS = (4.0, 6.0, 8.0)
"""The bounds of the three results, in units in the last place.

The largest known errors on a CPU are 3.1, 4.6 and 6.3. The search had every float32 logit and probability, eager
and jitted, and millions of points in float64 (decision 0029).
"""

CLASSES = 3
SOFT = "(soft)"
"""The suffix of the results of the softmax cross-entropy for probabilities in place of a class."""

NUMBERS = (
    *("squared_error", "absolute_error", "huber", "half_poisson_deviance"),
    *("sigmoid", "sigmoid_cross_entropy", "binary_cross_entropy"),
)
"""The functions of numbers; those of logits have derivatives in three variables."""


def checks(dtype: np.dtype) -> list[Check]:
    """Return checks of each loss, of the sigmoid and of the softmax."""

    def soft(logits: Array, label: Array) -> Array:
        return losses.softmax_cross_entropy(logits, soft_labels(logits, label))

    return [
        *(_check(name, dtype) for name in (*NUMBERS, "softmax", "softmax_cross_entropy")),
        _check("softmax_cross_entropy", dtype, soft, SOFT),
    ]


def soft_labels(logits: Array, label: Array) -> Array:
    """Return the probabilities that put all mass on one class."""
    return jax.nn.one_hot(label, CLASSES, dtype=logits.dtype)


def with_derivatives(f: Callable[..., Array]) -> Callable[..., Results]:
    """Return a function of numbers with its first two derivatives in the first argument."""

    def results(*point: Array) -> Results:
        first = jax.grad(f)
        return dict(zip(RESULTS, (f(*point), first(*point), jax.grad(first)(*point)), strict=True))

    return results


def with_jacobians(f: Callable[..., Array], suffix: str = "") -> Callable[..., Results]:
    """Return a function of logits, and possibly of a label, with its first two derivatives in the logits."""

    def results(z: Array, *label: Array) -> Results:
        first = jax.jacrev(f)
        values = f(z, *label), first(z, *label), jax.jacfwd(first)(z, *label)
        return dict(zip(_names(suffix), values, strict=True))

    return results


def _names(suffix: str) -> list[str]:
    return [f"{result} {suffix}".strip() for result in RESULTS]


def _check(name: str, dtype: np.dtype, f: Callable[..., Array] | None = None, suffix: str = "") -> Check:
    """Return the check of a function of the table; `f` replaces the public function with this name."""
    table = loss_tables()[name].representable(dtype)

    def public(*args: Array) -> Array:
        return getattr(losses, name)(*args)

    if name in NUMBERS:
        function, shapes, unit = with_derivatives(public), [(), (), ()], "ulp"
        inputs = tuple(table.inputs.T.astype(dtype))
    else:
        function, unit = with_jacobians(f or public, suffix), "spread·ulp"
        output = (CLASSES,) if name == "softmax" else ()
        shapes = [(*output, *(CLASSES,) * order) for order in range(3)]
        logits, labels = table.inputs[:, :CLASSES], table.inputs.T[CLASSES:]
        inputs = (logits.astype(dtype), *labels.astype(np.int32))
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

    def exact(order: int) -> Exact:
        columns = slice(ends[order], ends[order + 1])
        value, rest, scale = (array[:, columns].reshape(-1, *shapes[order]) for array in table[1:])
        return Exact(value, BOUNDS[order], scale, rest, unit)

    def expected(*_: np.ndarray) -> dict[str, Exact]:
        return {result: exact(order) for order, result in enumerate(_names(suffix))}

    return Check(f"losses.{name}", function, expected, inputs)
