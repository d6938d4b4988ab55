"""Losses with their first and second derivatives, against the table."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from dlcore import losses
from dlcore._core.types import Array
from dlcore.verification.check import Check, Exact
from dlcore.verification.loss_table import Table, tables

RESULTS = ("value", "first derivative", "second derivative")
BOUNDS = (4.0, 6.0, 8.0)
"""Units in the last place of the three.

The largest errors known on a CPU are 3.1, 4.6 and 6.3, in a search of every float32 logit and probability, eager
and jitted, and of millions in float64 (decision 0029).
"""

CLASSES = 3
SOFT = "(soft)"
"""What follows the results of the softmax's loss where it is given probabilities in place of a class."""


def checks(dtype: np.dtype) -> list[Check]:
    """One for each loss, the sigmoid and the softmax."""

    def soft(logits: Array, label: Array) -> Array:
        return losses.softmax_cross_entropy(logits, soft_labels(logits, label))

    return [
        _scalar("squared_error", lambda *a: losses.squared_error(*a), dtype),
        _scalar("absolute_error", lambda *a: losses.absolute_error(*a), dtype),
        _scalar("huber", lambda *a: losses.huber(*a), dtype),
        _scalar("sigmoid", lambda z: losses.sigmoid(z), dtype),
        _scalar("sigmoid_cross_entropy", lambda *a: losses.sigmoid_cross_entropy(*a), dtype),
        _scalar("binary_cross_entropy", lambda *a: losses.binary_cross_entropy(*a), dtype),
        _vector("softmax", lambda z: losses.softmax(z), dtype),
        _vector("softmax_cross_entropy", lambda z, label: losses.softmax_cross_entropy(z, label), dtype),
        _vector("softmax_cross_entropy", soft, dtype, SOFT),
    ]


def soft_labels(logits: Array, label: Array) -> Array:
    """All of the probability on one class."""
    return jax.nn.one_hot(label, CLASSES, dtype=logits.dtype)


def with_derivatives(f: Callable[..., Array]) -> Callable[..., dict[str, Array]]:
    """A function of numbers with its first two derivatives in the first of them."""

    def all_of(*point: Array) -> dict[str, Array]:
        first = jax.grad(f)
        return dict(zip(RESULTS, (f(*point), first(*point), jax.grad(first)(*point)), strict=True))

    return all_of


def with_jacobians(f: Callable[..., Array], suffix: str = "") -> Callable[..., dict[str, Array]]:
    """A function of logits, and perhaps of a label, with its first two derivatives in the logits."""

    def all_of(z: Array, *label: Array) -> dict[str, Array]:
        first = jax.jacrev(f)
        found = (f(z, *label), first(z, *label), jax.jacfwd(first)(z, *label))
        return dict(zip(_named(suffix), found, strict=True))

    return all_of


def _named(suffix: str) -> list[str]:
    return [f"{result} {suffix}".strip() for result in RESULTS]


def _scalar(name: str, f: Callable[..., Array], dtype: np.dtype) -> Check:
    """Of a function of numbers, the derivatives in the first."""
    table = tables()[name].held_by(dtype)

    def twin(*_: np.ndarray) -> dict[str, Exact]:
        return {result: _exact(table, slice(k, k + 1), (), BOUNDS[k]) for k, result in enumerate(RESULTS)}

    return Check(f"losses.{name}", with_derivatives(f), twin, tuple(table.inputs.T.astype(dtype)))


def _vector(name: str, f: Callable[..., Array], dtype: np.dtype, suffix: str = "") -> Check:
    """Of a function of three logits, and of a label if the table has one, the derivatives in the logits."""
    table = tables()[name].held_by(dtype)
    logits, labels = table.inputs[:, :3].astype(dtype), table.inputs[:, 3:].astype(np.int32)
    of_one = (3,) if name == "softmax" else ()

    named = _named(suffix)
    shapes = [(*of_one, *(3,) * order) for order in range(3)]
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])

    def twin(*_: Any) -> dict[str, Exact]:
        return {
            named[k]: _exact(table, slice(ends[k], ends[k + 1]), shapes[k], BOUNDS[k], "spread·ulp")
            for k in range(3)
        }

    inputs = (logits, labels[:, 0]) if labels.shape[1] else (logits,)
    return Check(f"losses.{name}", with_jacobians(f, suffix), twin, inputs)


def _exact(table: Table, columns: slice, shape: tuple[int, ...], bound: float, unit: str = "ulp") -> Exact:
    value, rest, scale = (part[:, columns].reshape(-1, *shape) for part in (table.value, table.rest, table.scale))
    return Exact(value, bound, scale, rest, unit)
