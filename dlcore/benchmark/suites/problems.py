"""Problems for fits, as hard as embeddings are: correlated columns, labels of a model with noise."""

from typing import Any

import numpy as np

FLOAT = np.float32


def correlated(seed: int, rows: int, features: int, condition: float) -> np.ndarray:
    """Normal rows with correlated columns: singular values fall from 1 by `condition`, in random directions."""
    random = np.random.default_rng(seed)
    turn = np.linalg.qr(random.standard_normal((features, features)))[0]
    spread = (np.geomspace(1, 1 / condition, features)[:, None] * turn).astype(FLOAT)
    x = random.standard_normal((rows, features), dtype=FLOAT) @ spread
    return x / x.std(0)


def two_classes(seed: int, x: np.ndarray) -> np.ndarray:
    """Labels of a logistic model of x whose logits are of size 2."""
    random = np.random.default_rng(seed)
    logits = x @ random.standard_normal(x.shape[1], dtype=FLOAT)
    logits *= 2 / logits.std()
    return (logits + random.logistic(size=len(x)) > 0).astype(np.int64)


def many_classes(seed: int, x: np.ndarray, classes: int) -> np.ndarray:
    """Labels of a softmax model of x whose logits are of size 2; every class is there."""
    random = np.random.default_rng(seed)
    logits = x @ random.standard_normal((x.shape[1], classes), dtype=FLOAT)
    logits *= 2 / logits.std()
    label = (logits + random.gumbel(size=logits.shape)).argmax(1)
    label[:classes] = np.arange(classes)
    return label.astype(np.int64)


def targets(seed: int, x: np.ndarray, count: int) -> np.ndarray:
    """Numbers of a linear model of x, with noise as large as the signal."""
    random = np.random.default_rng(seed)
    y = x @ random.standard_normal((x.shape[1], count), dtype=FLOAT)
    return y + y.std() * random.standard_normal(y.shape, dtype=FLOAT)


def relative(certificate: Any) -> float:
    """Return the worst gap, relative to what `Certificate.gap_tol` takes a share of."""
    return float(np.max(certificate.gap / certificate.gap_tol(1.0)))
