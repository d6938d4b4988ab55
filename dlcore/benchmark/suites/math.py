"""The suite `math`: products, solutions, norms and losses, one call each."""

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import linalg, losses
from dlcore._core.types import HIGHEST
from dlcore.benchmark.accuracy import near
from dlcore.benchmark.case import Family, Peer, Work
from dlcore.reference import losses as exact_losses

ENTRIES = tuple(4**k for k in range(5, 13))
"""1,024 to 16.8 million numbers."""
SIDES = tuple(2**k for k in range(5, 12))
"""Rows and columns of a square matrix: 32 to 2,048."""
CLASSES = 16
EPS = float(np.finfo(np.float32).eps)

FLOAT = np.float32


def families() -> Iterator[Family]:
    """All of the suite, from the cheapest a number."""
    yield Family("linalg.vecdot", "math", ENTRIES, _vecdot)
    yield Family("linalg.vector_norm", "math", ENTRIES, _norm)
    for name, peers in ELEMENTWISE.items():
        yield Family(f"losses.{name}", "math", ENTRIES, _elementwise(name, peers))
    yield Family("losses.softmax", "math", tuple(n // CLASSES for n in ENTRIES), _softmax, "rows")
    yield Family(
        "losses.softmax_cross_entropy", "math", tuple(n // CLASSES for n in ENTRIES), _cross_entropy, "rows"
    )
    yield Family("linalg.matvec", "math", SIDES, _matvec, "rows and columns")
    yield Family("linalg.matmul", "math", SIDES, _matmul, "rows and columns")
    yield Family("linalg.solve", "math", SIDES[:-1], _solve, "rows and columns")


def _vecdot(n: int) -> Work:
    a, b = _normal(n, n), _normal(n + 1, n)
    return Work(
        f"{n:,}",
        linalg.vecdot,
        (a, b),
        near(lambda a, b: np.asarray(a @ b), 64 * EPS * n**0.5),
        {"numpy": np.dot, "torch": lambda torch, a, b: torch.dot(a, b), "jax": _exact(jnp.dot)},
        2 * n,
        8 * n,
    )


def _norm(n: int) -> Work:
    x = _normal(n, n)
    return Work(
        f"{n:,}",
        linalg.vector_norm,
        (x,),
        near(lambda x: np.asarray(np.linalg.norm(x)), 64 * EPS),
        {"numpy": np.linalg.norm, "torch": lambda torch, x: torch.linalg.vector_norm(x), "jax": jnp.linalg.norm},
        2 * n,
        4 * n,
    )


def _np_sigmoid_cross_entropy(z: Any, y: Any) -> Any:
    return np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))


def _np_huber(p: Any, y: Any) -> Any:
    size = np.abs(p - y)
    return np.where(size <= 1, size * size / 2, size - FLOAT(0.5))


def _exact(product: Peer) -> Peer:
    """JAX's own, with the precision of float32 on every device."""
    return functools.partial(product, precision=HIGHEST)


def _torch_loss(name: str) -> Peer:
    return lambda torch, p, y: getattr(torch.nn.functional, name)(p, y, reduction="none")


ELEMENTWISE: dict[str, dict[str, Peer]] = {
    "squared_error": {
        "numpy": lambda p, y: np.square(p - y),
        "torch": _torch_loss("mse_loss"),
        "jax": optax.squared_error,
    },
    "absolute_error": {
        "numpy": lambda p, y: np.abs(p - y),
        "torch": _torch_loss("l1_loss"),
        "jax": lambda p, y: jnp.abs(p - y),
    },
    "huber": {"numpy": _np_huber, "torch": _torch_loss("huber_loss"), "jax": optax.huber_loss},
    "sigmoid_cross_entropy": {
        "numpy": _np_sigmoid_cross_entropy,
        "torch": _torch_loss("binary_cross_entropy_with_logits"),
        "jax": optax.sigmoid_binary_cross_entropy,
    },
}
"""Losses of one number and one target, and how others write them."""


def _elementwise(name: str, peers: dict[str, Peer]) -> Callable[[int], Work]:
    def make(n: int) -> Work:
        prediction, target = _normal(n, n), (_normal(n + 1, n) > 0).astype(FLOAT)
        return Work(
            f"{n:,}",
            jax.vmap(getattr(losses, name)),
            (prediction, target),
            near(getattr(exact_losses, name), 8 * EPS),
            peers,
            2 * n,
            12 * n,
        )

    return make


def _softmax(rows: int) -> Work:
    z = _normal(rows, rows, CLASSES)
    return Work(
        f"{rows:,} × {CLASSES}",
        jax.vmap(losses.softmax),
        (z,),
        near(_np_softmax, 16 * EPS),
        {"numpy": _np_softmax, "torch": lambda torch, z: torch.softmax(z, 1), "jax": jax.vmap(jax.nn.softmax)},
        4 * z.size,
        8 * z.size,
    )


def _np_softmax(z: Any) -> Any:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _cross_entropy(rows: int) -> Work:
    z, label = _normal(rows, rows, CLASSES), np.arange(rows, dtype=np.int32) % CLASSES
    return Work(
        f"{rows:,} × {CLASSES}",
        jax.vmap(losses.softmax_cross_entropy),
        (z, label),
        near(_np_cross_entropy, 16 * EPS),
        {
            "numpy": _np_cross_entropy,
            "torch": lambda torch, z, y: torch.nn.functional.cross_entropy(z, y, reduction="none"),
            "jax": jax.vmap(optax.softmax_cross_entropy_with_integer_labels),
        },
        3 * z.size,
        4 * z.size,
    )


def _np_cross_entropy(z: Any, label: Any) -> Any:
    most = z.max(1)
    return np.log(np.exp(z - most[:, None]).sum(1)) + most - z[np.arange(len(z)), label]


def _matvec(n: int) -> Work:
    a, x = _normal(n, n, n), _normal(n + 1, n)
    return Work(
        f"{n:,} × {n:,}",
        linalg.matmul,
        (a, x),
        near(np.matmul, 16 * EPS * n**0.5),
        {"numpy": np.matmul, "torch": lambda torch, a, x: a @ x, "jax": _exact(jnp.matmul)},
        2 * n * n,
        4 * n * n,
    )


def _matmul(n: int) -> Work:
    a, b = _normal(n, n, n), _normal(n + 1, n, n)
    return Work(
        f"{n:,} × {n:,}",
        linalg.matmul,
        (a, b),
        near(np.matmul, 16 * EPS * n**0.5),
        {"numpy": np.matmul, "torch": lambda torch, a, b: a @ b, "jax": _exact(jnp.matmul)},
        2 * n**3,
        12 * n * n,
    )


def _solve(n: int) -> Work:
    a, b = _normal(n, n, n) + FLOAT(2 * n**0.5) * np.eye(n, dtype=FLOAT), _normal(n + 1, n)
    return Work(
        f"{n:,} × {n:,}",
        linalg.solve,
        (a, b),
        near(np.linalg.solve, 64 * EPS * n**0.5),
        {
            "numpy": np.linalg.solve,
            "torch": lambda torch, a, b: torch.linalg.solve(a, b),
            "jax": jnp.linalg.solve,
        },
        2 * n**3 / 3,
        4 * n * n,
        counted=False,
    )


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=FLOAT)
