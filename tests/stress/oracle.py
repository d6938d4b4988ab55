"""Trial of `fit_heads`: is every head as near its optimum as it says?

Problems are random, with all losses, with and without an intercept and folds. Hard problems are included:
condition 1e8, duplicate and constant columns, offsets of 1e6, weights over six decades, classes with one row,
separable rows, more columns than rows. J* comes from an oracle that shares no code with the library: damped Newton
with gradients in extended precision, for the squared loss orthogonalisation in 60 digits. J is compared in 40
digits. No certified gap may be below the true gap, and a converged head must be within the tolerance.

Command: scripts/bench oracle [--problems 200] [--first 0]
Takes: about seven minutes.
"""

import dataclasses
import time
import warnings
from collections import Counter
from collections.abc import Callable

import tyro
from oracles.head_problems import KINDS, LOSSES, heads_problem
from oracles.head_trial import TOL, Verdict, verdicts_of

from dlcore import GridEdgeWarning, Status
from dlcore.cli import console


@dataclasses.dataclass
class Options:
    """The problems."""

    problems: int = 200
    """The number of problems; any 30 in a row hold every kind of every loss."""
    first: int = 0
    """The seed of the first problem."""


def main(options: Options) -> None:
    """Run the trial; print a table by kind and loss, the heads that are not converged, and a line of JSON."""
    clock = time.perf_counter()
    warnings.simplefilter("ignore", GridEdgeWarning)  # the grids are random
    found: dict[tuple[str, str], list[Verdict]] = {(loss, kind): [] for loss in LOSSES for kind in KINDS}
    short = []
    for seed in range(options.first, options.first + options.problems):
        problem = heads_problem(seed)
        verdicts = verdicts_of(problem, seed)
        found[problem.loss, problem.kind] += verdicts
        short += [(seed, problem, verdict) for verdict in verdicts if is_short(verdict)]
    every = [verdict for verdicts in found.values() for verdict in verdicts]
    header = ["loss", "kind", "heads", "converged", "others", "gap / true", "true / allowed", "oracle's error"]
    table = [[*key, *line_of(verdicts)] for key, verdicts in found.items() if verdicts]
    notes = [
        f"seed {seed}, {problem.loss}, {problem.kind}, fit {v.fit}, l2 {v.l2:.1e}: {v.status}, certified gap "
        f"{v.gap:.1e}, true {v.true:.1e}, allowed {v.allowed:.1e}"
        for seed, problem, v in short
    ]
    console.print_table("fit_heads against an oracle", header, table, notes)
    wrong = {
        "gaps below the true one": sum(not v.covered for v in every),
        "converged and not": sum(v.status == Status.CONVERGED and not v.meets for v in every),
        "claims without penalty": sum(not v.honest for v in every),
    }
    console.print_result(
        {
            "benchmark": "oracle",
            "problems": options.problems,
            "first": options.first,
            "heads": len(every),
            "tol": TOL,
            "penalised": counts(every, lambda v: v.l2 > 0),
            "unpenalised": counts(every, lambda v: v.l2 == 0),
            "wrong": wrong,
            "oracle's error": max((v.error / v.allowed for v in every if v.l2 > 0), default=0.0),
            "seconds": round(time.perf_counter() - clock, 1),
        }
    )
    if any(wrong.values()):
        raise SystemExit("scripts/bench oracle: " + ", ".join(f"{count} {name}" for name, count in wrong.items()))


def is_short(verdict: Verdict) -> bool:
    """Return whether a head has an optimum and is not proven to be there."""
    return verdict.l2 > 0 and verdict.status != Status.CONVERGED


def counts(verdicts: list[Verdict], chosen: Callable[[Verdict], bool]) -> dict[str, int]:
    """Count how often each status stands."""
    return dict(Counter(str(v.status) for v in verdicts if chosen(v)).most_common())


def line_of(verdicts: list[Verdict]) -> list[str]:
    """Return the cells of the table for one kind."""
    others = counts(verdicts, lambda v: v.status != Status.CONVERGED)
    proven = [v for v in verdicts if v.status == Status.CONVERGED]
    ratios = [v.gap / v.true for v in proven if v.true > 0]
    return [
        str(len(verdicts)),
        str(len(proven)),
        ", ".join(f"{count} {name}" for name, count in others.items()),
        f"{min(ratios):.3g} and up" if ratios else "",
        f"{max(v.true / v.allowed for v in proven):.1e}" if proven else "",
        f"{max(v.error / v.allowed for v in proven):.0e}" if proven else "",
    ]


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
