"""Run by test_repeatability.py, in a process of its own too: fits everything and prints the bits as one line."""

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
    """The same for the same bits alone; of arrays of objects for the same words."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.asarray(leaf)
        digest.update(str(array.tolist()).encode() if array.dtype == object else array.tobytes())
    return digest.hexdigest()


def heads(loss: str) -> str:
    """Everything that `fit_heads` hands back."""
    found = fit_heads(X, LABELS[loss], loss=loss, l2=np.geomspace(1e-6, 1, 12), folds=3)
    proof = found.certificate
    return bits((found.coef, found.intercept, found.status, found.steps, found.scores, found.fold_gap, proof.gap))


def swept() -> str:
    """A sweep over rates and seeds of a network."""
    objective, key = Objective(mlp((5, 4, 1)), sigmoid_cross_entropy, 1e-3), jax.random.key(3)
    settings = {"rate": np.geomspace(0.01, 0.5, 6), "seed": np.arange(6)}
    found = sweep(
        objective,
        (X, Y),
        lambda setting: descent.adam(setting["rate"]),
        settings,
        key=key,
        slots=4,
        max_steps=60,
        record=True,
    )
    return bits((found.params, found.value, found.steps, found.history.value))


def fitted(batch_size: int | None) -> str:
    """A fit on all rows, or on shuffled batches."""
    objective, rule = Objective(logistic, sigmoid_cross_entropy, 1e-2), descent.momentum(0.1)
    found = fit(objective, (X, Y), rule, key=jax.random.key(5), batch_size=batch_size, max_steps=100)
    return bits((found.params, found.value, found.history.value, found.history.gradient_norm))


def everything() -> dict[str, str]:
    """By name."""
    runs = {f"heads, {loss}": heads(loss) for loss in LABELS}
    return runs | {"sweep": swept(), "fit": fitted(None), "fit on batches": fitted(50)}


if __name__ == "__main__":
    json.dump({"hash": hash(HASHED), "digests": everything()}, sys.stdout)
