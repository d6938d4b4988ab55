"""Trial of certified gaps: how far they are above the true gap, with `tight` and without.

Problems are random or hard: separable, collinear, condition 1e12, weights over nine decades, one-hot columns,
fewer rows than columns, a class with one row, offsets of 1e6. l2 is from 1e-8 to 1e6, and 0. One problem has 1,000
classes. J of the heads is above the optimum by about 1e-2, 1e-6 and 1e-11 of itself. The true gap comes from the
tests' oracle in 40 digits. No certified gap may be below it, and no gap may be finite where there is no minimum.

Command: scripts/bench certificate [--problems 500] [--hard 60] [--unpenalised 20]
Takes: about five minutes.
"""

import dataclasses
import time
from typing import NamedTuple

import numpy as np
import scipy.optimize
import tyro
from oracles.certificate_problems import STRENGTHS, hard_objective, random_objective, unpenalised
from oracles.certified_points import points_above
from oracles.head_oracle import Objective

from dlcore import LinearHeads, certify
from dlcore.cli import console


@dataclasses.dataclass
class Options:
    """The problems."""

    problems: int = 500
    """The number of random problems."""
    first: int = 0
    """The seed of the first random problem."""
    hard: int = 60
    """The number of hard problems."""
    unpenalised: int = 20
    """The number of problems at l2 = 0; half of them are separable."""


class PointResult(NamedTuple):
    """A point: the true gap, the gaps of duality and of `tight` with its name, and whether they are above it."""

    family: str
    l2: float
    share: float
    true: float
    plain: float
    tight: float
    bound: str
    covered: bool


def main(options: Options) -> None:
    """Run the trial; print a table by l2, a table by family, and a line of JSON."""
    clock = time.perf_counter()
    random = [
        results
        for seed in range(options.first, options.first + options.problems)
        for results in evaluate_points(
            "random", random_objective(seed, float(STRENGTHS[seed % len(STRENGTHS)])), np.random.default_rng(seed)
        )
    ]
    hard = [
        results
        for seed in range(options.hard)
        for results in evaluate_points(*hard_objective(seed), np.random.default_rng(seed))
    ]
    without, wrong = [], 0
    for seed in range(options.unpenalised):
        exists, objective = unpenalised(seed)
        if exists:
            without += evaluate_points("overlapping, l2 0", objective, np.random.default_rng(seed))
        else:
            wrong += finite_gaps(objective, np.random.default_rng(seed))
    many = many_classes()
    every = random + hard + without + many
    header = ["", "places", "duality: median", "worst", "tight: median", "worst", "by curvature"]
    console.print_table(
        "certified gap / true gap, random problems, by l2 and by the share of J that is true",
        header,
        [
            line_of(f"{l2:.0e}, {share:.0e}", [s for s in random if s.l2 == l2 and s.share == share])
            for l2 in STRENGTHS
            for share in sorted({s.share for s in random}, reverse=True)
        ],
        [],
    )
    kinds = list(dict.fromkeys(s.family for s in hard + without + many))
    console.print_table(
        "hard problems, l2 1e-8 to 1e6",
        header,
        [line_of(kind, [s for s in hard + without + many if s.family == kind]) for kind in kinds],
        [],
    )
    below = sum(not s.covered for s in every)
    console.print_result(
        {
            "benchmark": "certificate",
            "places": len(every),
            "below": below,
            "least ratio": min((s.tight / s.true for s in every), default=None),
            "finite without a minimum": wrong,
            "duality": summary([s.plain / s.true for s in random]),
            "tight": summary([s.tight / s.true for s in random]),
            "hard duality": summary([s.plain / s.true for s in hard]),
            "hard tight": summary([s.tight / s.true for s in hard]),
            "seconds": round(time.perf_counter() - clock, 1),
        }
    )
    if below or wrong:
        raise SystemExit(f"scripts/bench certificate: {below} gaps below the true one, {wrong} without a minimum")


def evaluate_points(family: str, objective: Objective, rng: np.random.Generator) -> list[PointResult]:
    """Return both certificates at each point of a problem."""
    found = []
    for point in points_above(objective, rng):
        plain, tight = point.certificate(tight=False), point.certificate(tight=True)
        covered = bool(point.true <= tight.gap <= plain.gap)
        found.append(
            PointResult(
                family,
                objective.l2,
                point.shift,
                float(point.true),
                plain.gap,
                tight.gap,
                str(tight.bound),
                covered,
            )
        )
    return found


def finite_gaps(objective: Objective, rng: np.random.Generator) -> int:
    """Return the number of finite gaps at points of a problem without a minimum."""
    classes, m = objective.outputs, objective.x.shape[1]
    shape, bias = ((m,), ()) if objective.loss == "logistic" else ((classes, m), (classes,))
    count = 0
    for size in (0, 0.1, 1, 10, 100):
        heads = LinearHeads(size * rng.normal(size=shape), size * rng.normal(size=bias), 0.0, objective.loss)
        count += bool(np.isfinite(certify(heads, objective.x, objective.y, tight=True).gap))
    return count


def many_classes(classes: int = 1000, l2: float = 1e-4) -> list[PointResult]:
    """Return points of a problem too large for the curvature and for the oracle; L-BFGS finds J*."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * classes, 2))
    y = np.tile(np.arange(classes), 2)
    index = np.arange(len(y))

    def value(theta: np.ndarray) -> tuple[float, np.ndarray]:
        weight = theta.reshape(classes, 3)
        z = x @ weight[:, :2].T + weight[:, 2]
        z -= z.max(1, keepdims=True)
        total = np.exp(z).sum(1, keepdims=True)
        p = np.exp(z) / total
        loss = (np.log(total[:, 0]) - z[index, y]).mean() + l2 / 2 * (weight[:, :2] ** 2).sum()
        p[index, y] -= 1
        p /= len(y)
        return loss, np.column_stack([p.T @ x + l2 * weight[:, :2], p.sum(0)]).ravel()

    best = scipy.optimize.minimize(value, np.zeros(3 * classes), jac=True, method="L-BFGS-B", tol=1e-14)
    found = []
    for size in (1.0, 1e-2):
        theta = best.x + size * rng.normal(size=best.x.shape)
        weight = theta.reshape(classes, 3)
        heads = LinearHeads(weight[:, :2], weight[:, 2], l2, "softmax")
        plain, tight = certify(heads, x, y), certify(heads, x, y, tight=True)
        true = value(theta)[0] - best.fun
        found.append(
            PointResult(
                f"{classes} classes", l2, size, true, plain.gap, tight.gap, str(tight.bound), tight.gap >= true
            )
        )
    return found


def line_of(name: str, results: list[PointResult]) -> list[str]:
    """Return a line of the table: ratios of some points."""
    plain, tight = (summary([gap / s.true for s, gap in pairs]) for pairs in (
        [(s, s.plain) for s in results], [(s, s.tight) for s in results],
    ))  # fmt: skip
    numbers = ["" if part is None else f"{part:.3g}" for pair in (plain, tight) for part in pair.values()]
    share = f"{np.mean([s.bound == 'curvature' for s in results]):.0%}" if results else ""
    return [name, str(len(results)), *numbers, share]


def summary(ratios: list[float]) -> dict[str, float | None]:
    """Return the median and the largest ratio, None where there is none or it is infinite."""
    pair = (
        {"median": float(np.median(ratios)), "worst": max(ratios)} if ratios else {"median": None, "worst": None}
    )
    return {name: part if part is not None and np.isfinite(part) else None for name, part in pair.items()}


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
