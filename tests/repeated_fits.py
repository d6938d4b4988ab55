"""A script of test_repeatability.py: it fits models of all kinds and prints the bits as one line."""

import hashlib
import json
import sys
from typing import Any

import jax
import numpy as np

from dlcore import Objective, descent, fit, fit_heads, sweep
from dlcore.losses import sigmoid_cross_entropy
from dlcore.models import logistic, mlp

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
HASHED = "a text whose hash is that of the process"
RNG = np.random.default_rng(0)
X = RNG.normal(size=(300, 5)).astype(np.dtype(jax.numpy.result_type(float)))
SCORE = X @ RNG.normal(size=(5, 3)) + RNG.gumbel(size=(300, 3))
LABELS = {"logistic": SCORE.argmax(1) == 0, "softmax": SCORE.argmax(1), "squared": SCORE[:, 0]}
Y = LABELS["logistic"].astype(X.dtype)


def bits(tree: Any) -> str:
    """Return a checksum of the bits of a tree, and of the words of arrays of objects."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        digest.update(str(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return digest.hexdigest()


def heads_bits(loss: str) -> str:
    """Return the bits of all results of `fit_heads`."""
    result = fit_heads(X, LABELS[loss], loss=loss, l2=np.geomspace(1e-6, 1, 12), folds=3)
    certificate = result.certificate
    return bits(
        (
            result.coef,
            result.intercept,
            result.status,
            result.steps,
            result.scores,
            result.fold_gap,
            certificate.gap,
        )
    )


def sweep_bits() -> str:
    """Return the bits of a sweep over rates and seeds of a network."""
    objective, key = Objective(mlp((5, 4, 1)), sigmoid_cross_entropy, 1e-3), jax.random.key(3)
    settings = {"rate": np.geomspace(0.01, 0.5, 6), "seed": np.arange(6)}
    result = sweep(
        objective,
        (X, Y),
        lambda setting: descent.adam(setting["rate"]),
        settings,
        key=key,
        slots=4,
        max_steps=60,
        record=True,
    )
    return bits((result.params, result.value, result.steps, result.history.value))


def fit_bits(batch_size: int | None) -> str:
    """Return the bits of a fit on all rows, or on shuffled batches."""
    objective, rule = Objective(logistic, sigmoid_cross_entropy, 1e-2), descent.momentum(0.1)
    result = fit(objective, (X, Y), rule, key=jax.random.key(5), batch_size=batch_size, max_steps=100)
    return bits((result.params, result.value, result.history.value, result.history.gradient_norm))


def all_bits() -> dict[str, str]:
    """Return the bits of all fits by name."""
    runs = {f"heads, {loss}": heads_bits(loss) for loss in LABELS}
    return runs | {"sweep": sweep_bits(), "fit": fit_bits(None), "fit on batches": fit_bits(50)}


if __name__ == "__main__":
    json.dump({"hash": hash(HASHED), "digests": all_bits()}, sys.stdout)
