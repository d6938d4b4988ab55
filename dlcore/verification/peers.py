"""Equivalent functions of JAX, optax and NumPy, measured on the same points against the same reference."""

from collections.abc import Callable, Iterable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy import special

from dlcore._core.types import Array, ArrayLike
from dlcore.verification.check import Check, Peer, Results
from dlcore.verification.checks.linalg import MATRIX_NORMS, VECTOR_NORMS
from dlcore.verification.checks.losses import CLASSES, SOFT, soft_labels, with_derivatives, with_jacobians


def peers_of(check: Check, dtype: np.dtype) -> tuple[Peer, ...]:
    """Return the equivalent functions of other libraries for a check.

    Linear algebra in float64 has none, because NumPy's functions are the reference. NumPy's functions are excluded
    in bfloat16, because they return another dtype.
    """
    if dtype == np.float64 and check.name.startswith("linalg."):
        return ()
    return tuple(p for p in PEERS.get(check.name, ()) if dtype != jnp.bfloat16 or p.name != "NumPy")


def _jax(f: Callable[..., Array]) -> Peer:
    return Peer("jax.numpy", lambda *args: {"": f(*args)})


def _numpy(f: Callable[..., ArrayLike]) -> Peer:
    return Peer("NumPy", lambda *args: {"": f(*args)}, traced=False)


def _loss(name: str, f: Callable[..., Array]) -> tuple[Peer]:
    return (Peer(name, with_derivatives(f)),)


def _binary_cross_entropy(p: Array, t: Array) -> Array:
    return -special.xlogy(t, p) - special.xlog1py(1 - t, -p)


def _half_poisson_deviance(z: Array, t: Array) -> Array:
    return jnp.exp(z) - t * z - t + special.xlogy(t, t)


def _soft(logits: Array, label: Array) -> Array:
    return optax.softmax_cross_entropy(logits, soft_labels(logits, label))


def _log_softmax(logits: Array, label: Array) -> Array:
    return -(jax.nn.log_softmax(logits) * jax.nn.one_hot(label, CLASSES, dtype=logits.dtype)).sum()


def _logsumexp(logits: Array, label: Array) -> Array:
    return special.logsumexp(logits) - logits[label]


def _sigmoid(z: np.ndarray) -> Results:
    with np.errstate(over="ignore"):
        return {"value": 1 / (1 + np.exp(-z))}


def _lstsq(module: ModuleType) -> Callable[..., dict[str, ArrayLike]]:
    def solve(a: Array | np.ndarray, b: Array | np.ndarray) -> dict[str, ArrayLike]:
        x, _, rank, _ = module.linalg.lstsq(a, b, rcond=None)
        return {"solution": x, "rank": rank}

    return solve


def _lstsq_batch(a: np.ndarray, b: np.ndarray) -> Results:
    solutions = [_lstsq(np)(*pair) for pair in zip(a, b, strict=True)]
    return {name: np.stack([solution[name] for solution in solutions]) for name in solutions[0]}


def _condition(module: ModuleType) -> Callable[..., Results]:
    return lambda a: {"cond": module.linalg.cond(a), "rank": module.linalg.matrix_rank(a)}


def _norms(norm: Callable[..., ArrayLike], orders: Iterable[object]) -> Callable[..., Results]:
    return lambda array: {str(order): norm(array, order) for order in orders}


def _vector_norm(x: np.ndarray, order: float) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.linalg.norm(x, order, axis=-1)


def _matrix_norm(a: np.ndarray, order: float) -> np.ndarray:
    return np.linalg.norm(a, order, axis=(-2, -1))


PEERS: dict[str, tuple[Peer, ...]] = {
    "linalg.matmul": (_jax(jnp.matmul), _numpy(np.matmul)),
    "linalg.vecdot": (_jax(jnp.vecdot), _numpy(lambda x, y: np.einsum("ij,ij->i", x, y))),
    "linalg.trace": (_jax(jnp.trace), _numpy(lambda a: np.trace(a, axis1=-2, axis2=-1))),
    "linalg.vector_norm": (
        Peer("jax.numpy", _norms(jnp.linalg.norm, VECTOR_NORMS)),
        Peer("NumPy", _norms(_vector_norm, VECTOR_NORMS), traced=False),
    ),
    "linalg.matrix_norm": (
        Peer("jax.numpy", _norms(jnp.linalg.norm, MATRIX_NORMS)),
        Peer("NumPy", _norms(_matrix_norm, MATRIX_NORMS), traced=False),
    ),
    "linalg.spectral_norm": (_jax(lambda a: jnp.linalg.norm(a, 2)), _numpy(lambda a: _matrix_norm(a, 2))),
    "linalg.solve": (_jax(jnp.linalg.solve), _numpy(lambda a, b: np.linalg.solve(a, b[..., None])[..., 0])),
    "linalg.inv": (_jax(jnp.linalg.inv), _numpy(np.linalg.inv)),
    "linalg.pinv": (_jax(jnp.linalg.pinv), _numpy(np.linalg.pinv)),
    "linalg.lstsq": (Peer("jax.numpy", _lstsq(jnp)), Peer("NumPy", _lstsq_batch, traced=False)),
    "linalg.cond": (Peer("jax.numpy", _condition(jnp)), Peer("NumPy", _condition(np), traced=False)),
    "losses.squared_error": _loss("optax", optax.squared_error),
    "losses.huber": _loss("optax", lambda p, t, delta: optax.huber_loss(p, t, delta=delta)),
    "losses.half_poisson_deviance": _loss("jax.scipy", _half_poisson_deviance),
    "losses.sigmoid": (*_loss("jax.nn", jax.nn.sigmoid), Peer("NumPy", _sigmoid, traced=False)),
    "losses.sigmoid_cross_entropy": _loss("optax", optax.sigmoid_binary_cross_entropy),
    "losses.binary_cross_entropy": _loss("jax.scipy", _binary_cross_entropy),
    "losses.softmax": (Peer("jax.nn", with_jacobians(jax.nn.softmax)),),
    "losses.softmax_cross_entropy": (
        Peer("optax", with_jacobians(optax.softmax_cross_entropy_with_integer_labels)),
        Peer("jax.nn log_softmax", with_jacobians(_log_softmax)),
        Peer("jax.scipy logsumexp", with_jacobians(_logsumexp)),
        Peer("optax", with_jacobians(_soft, SOFT)),
    ),
}
"""The peers by the name of the check."""
