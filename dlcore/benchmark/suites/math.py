"""Suite `math`: products, solves, norms and losses, one call each."""

import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlcore import linalg, losses
from dlcore._core.types import HIGHEST
from dlcore.benchmark.accuracy import close_to_reference
from dlcore.benchmark.case import Case, CaseFamily, Inputs, Peer
from dlcore.reference import losses as reference_losses

ENTRIES = tuple(4**k for k in range(5, 13))
"""1,024 to 16.8 million numbers."""
SIDES = tuple(2**k for k in range(5, 12))
"""Rows and columns of a square matrix: 32 to 2,048."""
CLASSES = 16
ROWS = tuple(n // CLASSES for n in ENTRIES)
FLOAT = np.float32
EPS = float(np.finfo(FLOAT).eps)


def families() -> Iterator[CaseFamily]:
    """Return the suite, from the cheapest function per number."""
    yield CaseFamily("linalg.vecdot", "math", ENTRIES, _vecdot)
    yield CaseFamily("linalg.vector_norm", "math", ENTRIES, _vector_norm)
    for name in ELEMENTWISE:
        yield CaseFamily(f"losses.{name}", "math", ENTRIES, functools.partial(_elementwise, name))
    yield CaseFamily("losses.softmax", "math", ROWS, _softmax, "rows")
    yield CaseFamily("losses.softmax_cross_entropy", "math", ROWS, _cross_entropy, "rows")
    yield CaseFamily("linalg.matvec", "math", SIDES, functools.partial(_matmul, 1), "rows and columns")
    yield CaseFamily("linalg.matmul", "math", SIDES, functools.partial(_matmul, 2), "rows and columns")
    yield CaseFamily("linalg.solve", "math", SIDES[:-1], _solve, "rows and columns")


def _case(
    function: Callable[..., object],
    inputs: Inputs,
    peers: dict[str, Peer],
    *,
    ulps: float,
    operations: float,
    traffic: float,
    reference: Callable[..., object] | None = None,
) -> Case:
    """Return a case in which NumPy's function is the reference, unless there is another."""
    checker = close_to_reference(reference or peers["numpy"], ulps * EPS)
    shape = " × ".join(f"{n:,}" for n in inputs[0].shape)
    return Case(shape, inputs, checker, operations, traffic, function=function, peers=peers)


def _peers(numpy: Peer, torch: Peer, jax: Peer) -> dict[str, Peer]:
    return {"numpy": numpy, "torch": torch, "jax": jax}


def _vecdot(n: int) -> Case:
    peers = _peers(np.dot, lambda torch, a, b: torch.dot(a, b), _highest(jnp.dot))
    inputs = _normal(n, n), _normal(n + 1, n)
    return _case(linalg.vecdot, inputs, peers, ulps=64 * n**0.5, operations=2 * n, traffic=8 * n)


def _vector_norm(n: int) -> Case:
    peers = _peers(np.linalg.norm, lambda torch, x: torch.linalg.vector_norm(x), jnp.linalg.norm)
    return _case(linalg.vector_norm, (_normal(n, n),), peers, ulps=64, operations=2 * n, traffic=4 * n)


def _np_sigmoid_cross_entropy(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))


def _np_huber(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    error = np.abs(p - y)
    return np.where(error <= 1, error * error / 2, error - FLOAT(0.5))


def _highest(product: Callable[..., object]) -> Peer:
    """Return a product of JAX in the precision of float32, on every device."""
    return functools.partial(product, precision=HIGHEST)


def _torch_loss(name: str) -> Peer:
    return lambda torch, p, y: getattr(torch.nn.functional, name)(p, y, reduction="none")


ELEMENTWISE = {
    "squared_error": _peers(lambda p, y: np.square(p - y), _torch_loss("mse_loss"), optax.squared_error),
    "absolute_error": _peers(lambda p, y: np.abs(p - y), _torch_loss("l1_loss"), lambda p, y: jnp.abs(p - y)),
    "huber": _peers(_np_huber, _torch_loss("huber_loss"), optax.huber_loss),
    "sigmoid_cross_entropy": _peers(
        _np_sigmoid_cross_entropy,
        _torch_loss("binary_cross_entropy_with_logits"),
        optax.sigmoid_binary_cross_entropy,
    ),
}
"""Losses of one prediction and one target, in other libraries."""


def _elementwise(name: str, n: int) -> Case:
    return _case(
        jax.vmap(getattr(losses, name)),
        (_normal(n, n), (_normal(n + 1, n) > 0).astype(FLOAT)),
        ELEMENTWISE[name],
        ulps=8,
        operations=2 * n,
        traffic=12 * n,
        reference=getattr(reference_losses, name),
    )


def _softmax(rows: int) -> Case:
    z = _normal(rows, rows, CLASSES)
    peers = _peers(_np_softmax, lambda torch, z: torch.softmax(z, 1), jax.vmap(jax.nn.softmax))
    return _case(jax.vmap(losses.softmax), (z,), peers, ulps=16, operations=4 * z.size, traffic=8 * z.size)


def _np_softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def _cross_entropy(rows: int) -> Case:
    z, label = _normal(rows, rows, CLASSES), np.arange(rows, dtype=np.int32) % CLASSES
    peers = _peers(
        _np_cross_entropy,
        _torch_loss("cross_entropy"),
        jax.vmap(optax.softmax_cross_entropy_with_integer_labels),
    )
    function = jax.vmap(losses.softmax_cross_entropy)
    return _case(function, (z, label), peers, ulps=16, operations=3 * z.size, traffic=4 * z.size)


def _np_cross_entropy(z: np.ndarray, label: np.ndarray) -> np.ndarray:
    largest = z.max(1)
    return np.log(np.exp(z - largest[:, None]).sum(1)) + largest - z[np.arange(len(z)), label]


def _matmul(ndim: int, n: int) -> Case:
    """Return the product of a square matrix with a vector or a matrix."""
    a, b = _normal(n, n, n), _normal(n + 1, *(n,) * ndim)
    peers = _peers(np.matmul, lambda torch, a, b: a @ b, _highest(jnp.matmul))
    traffic = 4 * n * n if ndim == 1 else 12 * n * n
    return _case(linalg.matmul, (a, b), peers, ulps=16 * n**0.5, operations=2 * n * b.size, traffic=traffic)


def _solve(n: int) -> Case:
    a = _normal(n, n, n) + FLOAT(2 * n**0.5) * np.eye(n, dtype=FLOAT)
    peers = _peers(np.linalg.solve, lambda torch, a, b: torch.linalg.solve(a, b), jnp.linalg.solve)
    operations, traffic = 2 * n**3 / 3, 4 * n * n
    inputs = a, _normal(n + 1, n)
    case = _case(linalg.solve, inputs, peers, ulps=64 * n**0.5, operations=operations, traffic=traffic)
    return case._replace(xla_counts=False)


def _normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, dtype=FLOAT)
