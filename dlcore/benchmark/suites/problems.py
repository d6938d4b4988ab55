"""Problems for fits, as hard as those of embeddings: correlated features, targets of a linear model with noise."""

import numpy as np

FLOAT = np.float32


def correlated(seed: int, rows: int, features: int, condition: float) -> np.ndarray:
    """Return normal rows with correlated columns of unit variance.

    Before the columns are scaled, the singular values fall from 1 to 1/`condition` in random directions.
    """
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(random.standard_normal((features, features)))[0]
    factor = (np.geomspace(1, 1 / condition, features)[:, None] * rotation).astype(FLOAT)
    x = random.standard_normal((rows, features), dtype=FLOAT) @ factor
    return x / x.std(0)


def binary(seed: int, rows: int, features: int, condition: float) -> tuple[np.ndarray, np.ndarray]:
    """Return features, and labels of a logistic model whose logits have a standard deviation of 2."""
    x, random = correlated(seed, rows, features, condition), np.random.default_rng(seed + 1)
    logits = _logits(random, x, ())
    return x, (logits + random.logistic(size=rows) > 0).astype(np.int64)


def multiclass(
    seed: int, rows: int, features: int, condition: float, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return features, and labels of a softmax model with logits as in `binary`; every class has a row."""
    x, random = correlated(seed, rows, features, condition), np.random.default_rng(seed + 1)
    logits = _logits(random, x, (classes,))
    label = (logits + random.gumbel(size=logits.shape)).argmax(1)
    label[:classes] = np.arange(classes)
    return x, label.astype(np.int64)


def embeddings(
    seed: int, rows: int, features: int, classes: int, signal: float = 0.35
) -> tuple[np.ndarray, np.ndarray]:
    """Return rows like frozen embeddings and their labels; every class has a row.

    Each row is the mean of its class plus normal noise. Column j, counted from 1, is then divided by √j.

    Args:
      seed: of the random numbers.
      rows: the number of rows, at least `classes`.
      features: the number of columns.
      classes: the number of classes.
      signal: the standard deviation of the means of the classes, in units of that of the noise.
        The means of two classes are signal·√(2·features) standard deviations of the noise apart.
        With a thousand columns, 0.35 separates them, and with 0.05 every eighth row is nearer to the wrong mean.
    """
    random = np.random.default_rng(seed)
    label = random.integers(classes, size=rows)
    label[:classes] = np.arange(classes)
    means = FLOAT(signal) * random.standard_normal((classes, features), dtype=FLOAT)
    x = random.standard_normal((rows, features), dtype=FLOAT)
    x += means[label]
    x /= np.sqrt(np.arange(1, features + 1, dtype=FLOAT))
    return x, label.astype(np.int64)


def _logits(random: np.random.Generator, x: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    logits = x @ random.standard_normal((x.shape[1], *shape), dtype=FLOAT)
    logits *= 2 / logits.std()
    return logits


def regression(
    seed: int, rows: int, features: int, condition: float, targets: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return features, and targets of a linear model with noise as large as the signal."""
    x, random = correlated(seed, rows, features, condition), np.random.default_rng(seed + 1)
    y = x @ random.standard_normal((features, targets), dtype=FLOAT)
    return x, y + y.std() * random.standard_normal(y.shape, dtype=FLOAT)
