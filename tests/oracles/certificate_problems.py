"""Problems for the trial of certificates: random problems, and families that are hard for a bound."""

from collections.abc import Callable

import numpy as np
from oracles.head_oracle import Objective
from oracles.head_problems import head_cases, heads_problem
from same_bits import conditioned, single

STRENGTHS = np.array([float(f"1e{power}") for power in range(-8, 7)])  # powers by NumPy depend on the processor


def heads_objective(seed: int, rng: np.random.Generator) -> tuple[str, Objective]:
    """Return one penalty of a random problem of `fit_heads`, after the name of its stored optimum."""
    cases = [case for case in head_cases(heads_problem(seed)) if case.fit == 0 and case.objective.l2 > 0]
    chosen = cases[int(rng.integers(len(cases)))]
    return chosen.name(seed), chosen.objective


def random_objective(seed: int, l2: float) -> Objective:
    """Return a logistic or softmax problem: Gaussian rows, noisy labels, weights in every third problem."""
    rng = np.random.default_rng([seed, 0])
    n, m = int(rng.integers(30, 90)), int(rng.integers(1, 8))
    classes = 2 if seed % 3 else int(rng.integers(3, 5))
    x = single(rng.normal(size=(n, m)) * 10 ** rng.uniform(-1, 1, m))
    s = single(10 ** rng.uniform(-1, 1, n)) if seed % 3 == 1 else np.ones(n)
    return _labelled(rng, x, x / x.std(0), s, classes, l2, noise=float(rng.uniform(0.3, 3)))


def _labelled(
    rng: np.random.Generator,
    x: np.ndarray,
    plain: np.ndarray,
    s: np.ndarray,
    classes: int,
    l2: float,
    *,
    noise: float = 1.0,
) -> Objective:
    score = plain @ rng.normal(size=(plain.shape[1], classes)) + noise * rng.gumbel(size=(len(x), classes))
    y = score.argmax(1)
    if noise:
        y[:classes] = range(classes)
    else:
        y = np.unique(y, return_inverse=True)[1]
    loss = "softmax" if classes > 2 else "logistic"
    return Objective(loss, x, y, s, l2, bool(rng.random() < 0.7))


def _separable(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x = single(rng.normal(size=(60, 4)))
    return _labelled(rng, x, x, np.ones(60), classes, l2, noise=0.0)


def _collinear(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x = np.round(rng.normal(size=(60, 6)) * 2**20) / 2**20
    x[:, 3], x[:, 4], x[:, 5] = x[:, 0], x[:, 0] - x[:, 1], x[:, 2] * 4
    return _labelled(rng, x, x, np.ones(60), classes, l2)


def _conditioned(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x, plain = conditioned(rng, rng.normal(size=(60, 5)), 1e12, bits=3)
    return _labelled(rng, x, plain, np.ones(60), classes, l2)


def _weighted(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x = single(rng.normal(size=(60, 4)))
    return _labelled(rng, x, x, single(10 ** rng.uniform(-4.5, 4.5, 60)), classes, l2)


def _one_hot(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x = np.eye(6)[rng.integers(0, 6, 60)]
    return _labelled(rng, x, x, np.ones(60), classes, l2)


def _wide(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x = single(rng.normal(size=(10, 16)))
    return _labelled(rng, x, x, np.ones(10), classes, l2)


def _one_row(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    found = _labelled(rng, x := single(rng.normal(size=(60, 4))), x, np.ones(60), classes, l2)
    y = np.zeros(60, int)
    y[: classes - 1] = range(1, classes)
    return found._replace(y=y)


def _far(rng: np.random.Generator, l2: float, classes: int) -> Objective:
    x = single(rng.normal(size=(60, 4)))
    return _labelled(rng, x + 1e6 * rng.choice([-1, 0.7], 4), x, np.ones(60), classes, l2)


FAMILIES: dict[str, Callable[[np.random.Generator, float, int], Objective]] = {
    "separable": _separable,
    "collinear": _collinear,
    "condition 1e12": _conditioned,
    "weights over 9 decades": _weighted,
    "one-hot columns": _one_hot,
    "n < m": _wide,
    "a class with one row": _one_row,
    "offset 1e6": _far,
}


def hard_objective(seed: int) -> tuple[str, Objective]:
    """Return a family and a problem: families in turn, penalties in turn for each."""
    family = list(FAMILIES)[seed % len(FAMILIES)]
    rng = np.random.default_rng([seed, 1])
    turn = seed // len(FAMILIES)
    l2 = float(STRENGTHS[(2 * turn + seed) % len(STRENGTHS)])
    return family, FAMILIES[family](rng, l2, 2 if turn % 2 == 0 else 3)


def unpenalised(seed: int) -> tuple[bool, Objective]:
    """Return whether a minimum exists, and a problem at l2 = 0: noisy labels of many rows, or separable rows."""
    rng = np.random.default_rng([seed, 2])
    x = single(rng.normal(size=(120, 3)))
    exists = seed % 2 == 0
    found = _labelled(rng, x, x, np.ones(120), 2 + seed // 2 % 2, 0.0, noise=2.0 if exists else 0.0)
    return exists, found
