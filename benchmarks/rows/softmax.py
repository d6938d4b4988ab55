"""Softmax heads of MNIST's 10,000 test images, each shifted by seeded steps to make 60,000."""

import inspect
import os
from pathlib import Path
from typing import Any

import numpy as np

from dlcore import LinearHeads, certify, fit_heads
from rows.contest import Peer, against_solvers, entropy, relative


def strengths(quick: bool, repeats: int) -> dict[str, Any]:
    """10 classes, 60,000 × 784, 10 strengths; a peer goes from the strongest down, each from the one before."""
    if "softmax" not in str(inspect.signature(fit_heads)) and "softmax" not in (fit_heads.__doc__ or ""):
        return {"skipped": "fit_heads has no softmax heads"}
    path = Path(os.environ.get("DLCORE_DATA", "")) / "mnist_t10k.npz"
    if "DLCORE_DATA" not in os.environ or not path.exists():
        return {"skipped": "there is no $DLCORE_DATA/mnist_t10k.npz"}
    with np.load(path) as file:
        x, y = shifted(file["X"], file["y"].astype(np.int64), 6)
    if quick:
        x, y = np.ascontiguousarray(x[:400, 300:340]), y[:400]
    l2 = np.geomspace(1, 1e-4, 3 if quick else 10)
    start = entropy(y)

    def solve(dtype: str, tol: float) -> LinearHeads:
        from sklearn.linear_model import LogisticRegression

        rows = x.astype(dtype, copy=False)
        model: Any = LogisticRegression(solver="lbfgs", tol=tol, max_iter=20_000, warm_start=True)
        found = []
        for strength in l2:
            model.set_params(C=1 / (strength * len(x))).fit(rows, y)
            found.append((model.coef_.copy(), model.intercept_.copy()))
        coef, intercept = zip(*found, strict=True)
        return LinearHeads(np.array(coef), np.array(intercept), l2, "softmax")

    peers = {"lbfgs": Peer(solve, lambda heads: relative(certify(heads, x, y), start))}
    result = against_solvers(
        lambda: fit_heads(x, y, loss="softmax", l2=l2),
        lambda heads: relative(heads.certificate, start),
        peers,
        min(repeats, 1),
    )
    return {"shape": list(x.shape), "models": len(l2), **result}


def shifted(images: np.ndarray, y: np.ndarray, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """The images and `copies` - 1 times the same, each moved by up to 2 pixels either way; float32 from 0 to 1."""
    rng = np.random.default_rng(0)
    square = images.reshape(-1, 28, 28).astype(np.float32) / 255
    parts = [square]
    for _ in range(copies - 1):
        padded = np.pad(square, ((0, 0), (2, 2), (2, 2)))
        down, right = rng.integers(0, 5, (2, len(square), 1, 1))
        every = np.arange(len(square))[:, None, None]
        parts.append(padded[every, down + np.arange(28)[None, :, None], right + np.arange(28)[None, None, :]])
    return np.concatenate(parts).reshape(-1, 784), np.tile(y, copies)
