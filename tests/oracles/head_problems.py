"""Random problems for `fit_heads`, hard ones included, in few shapes so that few programs are compiled."""

from typing import Any, NamedTuple

import numpy as np
from oracles.head_oracle import Objective
from same_bits import conditioned, single

LOSSES = ("logistic", "softmax", "squared")
KINDS = (
    "plain",
    "weights over 6 decades",
    "condition 1e8",
    "duplicate columns",
    "separable",
    "one example of a class",
    "wide",
    "constant columns",
    "offset 1e6",
    "one-hot columns",
)
TALL, WIDE = (120, 9), (12, 20)
CLASSES = (3, 12)


class HeadsProblem(NamedTuple):
    """The arguments of `fit_heads`, and the name of what makes them hard."""

    kind: str
    loss: str
    x: np.ndarray
    y: np.ndarray
    s: np.ndarray
    l2: np.ndarray
    train: np.ndarray | None
    intercept: bool

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the arguments of `fit_heads` after x and y."""
        return {
            "loss": self.loss,
            "l2": self.l2,
            "folds": self.train,
            "sample_weight": self.s,
            "fit_intercept": self.intercept,
        }


class HeadCase(NamedTuple):
    """One head of a problem: its fit, 0 for all rows, the rows of the fit, the index of its penalty, and J."""

    fit: int
    rows: np.ndarray
    strength: int
    objective: Objective

    def name(self, seed: int) -> str:
        """Name the stored optimum of this head."""
        return f"heads {seed}, fit {self.fit}, l2 {self.strength}"

    @property
    def has_optimum(self) -> bool:
        """Return whether an optimum is known to exist."""
        return self.objective.loss == "squared" or self.objective.l2 > 0


def head_cases(problem: HeadsProblem) -> list[HeadCase]:
    """Return the heads of a problem: the fit on all rows and each fold, for every penalty."""
    train = [np.ones(len(problem.x)), *([] if problem.train is None else problem.train)]
    cases = []
    for fit, weights in enumerate(train):
        rows = (weights > 0) & (problem.s > 0)
        x, y, s = problem.x[rows], problem.y[rows], problem.s[rows]
        for k, l2 in enumerate(problem.l2):
            objective = Objective(problem.loss, x, y, s, float(l2), problem.intercept)
            cases.append(HeadCase(fit, rows, k, objective))
    return cases


def heads_problem(seed: int, classes_of_softmax: int | None = None) -> HeadsProblem:
    """Return a problem: losses and kinds in turn. Any 30 seeds in a row hold every kind of every loss."""
    rng = np.random.default_rng(seed)
    loss, kind = LOSSES[seed % 3], KINDS[seed // 3 % len(KINDS)]
    chosen = classes_of_softmax or CLASSES[(seed // 3 + seed // 30) % len(CLASSES)]
    classes = chosen if loss == "softmax" else 2
    n, m = WIDE if kind == "wide" else TALL
    x = _features(kind, rng, n, m)  # the same bits on every machine, as are y, s and l2
    score = _spread(x) @ rng.normal(size=(m, classes)) * rng.uniform(0.3, 3)
    noise = 0 if kind == "separable" else 1
    if loss == "squared":
        y = single(score[:, 0] + noise * rng.normal(size=n) + 1)
    else:
        y = _labels(kind, score + noise * rng.gumbel(size=score.shape), rng)
    s = single(10 ** rng.uniform(-3, 3, n)) if kind.startswith("weights") else np.ones(n)
    l2 = single(10 ** rng.uniform(-8, 2, 3))
    if rng.random() < 0.3:
        l2[1] = 0
    train = _folds(y, rng) if rng.random() < 0.4 and kind not in ("one example of a class", "wide") else None
    return HeadsProblem(kind, loss, x, y, s, l2, train, bool(rng.random() < 0.7))


def _features(kind: str, rng: np.random.Generator, n: int, m: int) -> np.ndarray:
    x = single(rng.normal(size=(n, m)))
    if kind == "condition 1e8":
        x = conditioned(rng, x, 1e8, bits=9)[0]
    if kind == "duplicate columns":
        x = np.round(x * 2**20) / 2**20  # what depends on others does so exactly
        x[:, 3:6], x[:, 8] = x[:, :3], x[:, 0] - x[:, 1]
    if kind == "constant columns":
        x[:, 2], x[:, 5], x[:, 7] = 0, 1, -1000.1
    if kind == "offset 1e6":
        x += 1e6 * rng.choice([-1, 0.7, 1], m)
    if kind == "one-hot columns":  # they add up to a constant
        x[:, :6] = np.eye(6)[rng.integers(0, 6, n)]
    return x


def _spread(x: np.ndarray) -> np.ndarray:
    """Return centered columns, those that vary of one scale: whatever x is, the labels follow it."""
    centred = x - x.mean(0)
    size = np.sqrt((centred**2).mean(0))
    return centred / np.where(size > 0, size, 1)


def _labels(kind: str, score: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the class of the largest score; every class has a row."""
    n, classes = score.shape
    y = score.argmax(1)
    if kind == "one example of a class":
        y[:] = 0
        y[rng.permutation(n)[: classes - 1]] = range(1, classes)
    elif kind == "separable":  # a class that is nobody's best is left out
        y = np.unique(y, return_inverse=True)[1]
    if kind not in ("separable", "one example of a class"):
        y[:classes] = range(classes)
    return y


def _folds(y: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return 0/1 weights of two folds; the first row of every class trains both."""
    train = rng.random((2, len(y))) < 0.7
    train[:, np.unique(y, return_index=True)[1] if y.dtype.kind == "i" else 0] = True
    return train.astype(np.float64)
