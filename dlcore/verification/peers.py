"""What JAX, optax and NumPy have for the same numbers, measured on the same points by the same oracle."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy import special

from dlcore._core.types import Array
from dlcore.verification.check import Check, Peer
from dlcore.verification.checks.linalg import MATRIX_NORMS, VECTOR_NORMS
from dlcore.verification.checks.losses import CLASSES, SOFT, soft_labels, with_derivatives, with_jacobians


def peers_of(check: Check, dtype: np.dtype) -> tuple[Peer, ...]:
    """The functions of others that should give what this check's function gives, or some of its results.

    None of linear algebra in float64: there NumPy's own functions are the oracle. None of NumPy's in bfloat16: it
    would answer in another dtype.
    """
    judge = dtype == np.float64 and check.name.startswith("linalg.")
    found = () if judge else PEERS.get(check.name, ())
    return tuple(peer for peer in found if dtype != jnp.bfloat16 or peer.name != "NumPy")


def _of_number(name: str, f: Callable[..., Array]) -> Peer:
    return Peer(name, with_derivatives(f))


def _of_logits(name: str, f: Callable[..., Array], suffix: str = "") -> Peer:
    return Peer(name, with_jacobians(f, suffix))


def _jax(f: Callable[..., Any]) -> Peer:
    return Peer("jax.numpy", lambda *a: {"": f(*a)})


def _numpy(f: Callable[..., Any]) -> Peer:
    return Peer("NumPy", lambda *a: {"": f(*a)}, traced=False)


def _binary_cross_entropy(p: Array, t: Array) -> Array:
    return -special.xlogy(t, p) - special.xlog1py(1 - t, -p)


def _soft(logits: Array, label: Array) -> Array:
    return optax.softmax_cross_entropy(logits, soft_labels(logits, label))


def _log_softmax(logits: Array, label: Array) -> Array:
    return -(jax.nn.log_softmax(logits) * jax.nn.one_hot(label, CLASSES, dtype=logits.dtype)).sum()


def _logsumexp(logits: Array, label: Array) -> Array:
    return special.logsumexp(logits) - logits[label]


def _sigmoid(z: np.ndarray) -> dict[str, Any]:
    with np.errstate(over="ignore"):
        return {"value": 1 / (1 + np.exp(-z))}


def _lstsq(module: Any) -> Callable[..., dict[str, Any]]:
    def of(a: Any, b: Any) -> dict[str, Any]:
        x, _, rank, _ = module.linalg.lstsq(a, b, rcond=None)
        return {"solution": x, "rank": rank}

    return of


def _lstsq_of_each(a: np.ndarray, b: np.ndarray) -> dict[str, Any]:
    found = [_lstsq(np)(*pair) for pair in zip(a, b, strict=True)]
    return {name: np.stack([one[name] for one in found]) for name in found[0]}


def _condition(module: Any) -> Callable[..., dict[str, Any]]:
    return lambda a: {"cond": module.linalg.cond(a), "rank": module.linalg.matrix_rank(a)}


def _norms(norm: Callable[..., Any], orders: tuple[Any, ...]) -> Callable[..., dict[str, Any]]:
    return lambda array: {str(order): norm(array, order) for order in orders}


def _vectors(x: np.ndarray, order: float) -> np.ndarray:
    with np.errstate(over="ignore", under="ignore"):
        return np.linalg.norm(x, order, axis=-1)


def _solve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.linalg.solve(a, b[..., None])[..., 0]


PEERS: dict[str, tuple[Peer, ...]] = {
    "linalg.matmul": (_jax(jnp.matmul), _numpy(np.matmul)),
    "linalg.vecdot": (_jax(jnp.vecdot), _numpy(lambda x, y: np.einsum("ij,ij->i", x, y))),
    "linalg.trace": (_jax(jnp.trace), _numpy(lambda a: np.trace(a, axis1=-2, axis2=-1))),
    "linalg.vector_norm": (
        Peer("jax.numpy", _norms(lambda x, order: jnp.linalg.norm(x, order), VECTOR_NORMS)),
        Peer("NumPy", _norms(_vectors, VECTOR_NORMS), traced=False),
    ),
    "linalg.matrix_norm": (
        Peer("jax.numpy", _norms(lambda a, order: jnp.linalg.norm(a, order), MATRIX_NORMS)),
        Peer(
            "NumPy", _norms(lambda a, order: np.linalg.norm(a, order, axis=(-2, -1)), MATRIX_NORMS), traced=False
        ),
    ),
    "linalg.spectral_norm": (
        _jax(lambda a: jnp.linalg.norm(a, 2)),
        _numpy(lambda a: np.linalg.norm(a, 2, axis=(-2, -1))),
    ),
    "linalg.solve": (_jax(jnp.linalg.solve), _numpy(_solve)),
    "linalg.inv": (_jax(jnp.linalg.inv), _numpy(np.linalg.inv)),
    "linalg.pinv": (_jax(jnp.linalg.pinv), _numpy(np.linalg.pinv)),
    "linalg.lstsq": (Peer("jax.numpy", _lstsq(jnp)), Peer("NumPy", _lstsq_of_each, traced=False)),
    "linalg.cond": (Peer("jax.numpy", _condition(jnp)), Peer("NumPy", _condition(np), traced=False)),
    "losses.squared_error": (_of_number("optax", optax.squared_error),),
    "losses.huber": (_of_number("optax", lambda p, t, delta: optax.huber_loss(p, t, delta=delta)),),
    "losses.sigmoid": (_of_number("jax.nn", jax.nn.sigmoid), Peer("NumPy", _sigmoid, traced=False)),
    "losses.sigmoid_cross_entropy": (_of_number("optax", optax.sigmoid_binary_cross_entropy),),
    "losses.binary_cross_entropy": (_of_number("jax.scipy", _binary_cross_entropy),),
    "losses.softmax": (_of_logits("jax.nn", jax.nn.softmax),),
    "losses.softmax_cross_entropy": (
        _of_logits("optax", optax.softmax_cross_entropy_with_integer_labels),
        _of_logits("jax.nn log_softmax", _log_softmax),
        _of_logits("jax.scipy logsumexp", _logsumexp),
        _of_logits("optax", _soft, SOFT),
    ),
}
"""By the name of the check."""
