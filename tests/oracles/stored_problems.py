"""The problems whose optima are stored, each with what computes its optimum."""

from typing import NamedTuple

import numpy as np
from helpers import Problem, exact_value, exactly, newton, random_problem
from oracles.certificate_problems import STRENGTHS, hard_objective, heads_objective, random_objective, unpenalised
from oracles.head_oracle import Objective, computed_optimum
from oracles.head_problems import asked_of, heads_problem
from oracles.stored_optima import Optimum


class Stored(NamedTuple):
    """A problem, and whether the place of its optimum is stored with J."""

    problem: Objective | Problem
    placed: bool


def stored_problems() -> dict[str, Stored]:
    """All of them, by name."""
    found = {}
    for seed in range(42):
        for asked in asked_of(heads_problem(seed)):
            if asked.bounded:
                found[asked.name(seed)] = Stored(asked.objective, placed=False)
    for seed in range(60):
        if seed % 3 < 2:
            name, objective = heads_objective(seed, np.random.default_rng(seed))
            found[name] = Stored(objective, placed=True)
    for seed in range(20):
        found[f"random {seed}"] = Stored(
            random_objective(seed, float(STRENGTHS[seed % len(STRENGTHS)])), placed=True
        )
        found[f"hard {seed}"] = Stored(hard_objective(seed)[1], placed=True)
        exists, objective = unpenalised(seed)
        if exists:
            found[f"unpenalised {seed}"] = Stored(objective, placed=True)
    for seed in range(70):
        found[f"random problem {seed}"] = Stored(random_problem(seed), placed=True)
    for seed in range(20):
        problem = random_problem(seed)
        found[f"random problem {seed}, moved"] = Stored(problem._replace(x=problem.x + 20), placed=True)
    return found


def computed(stored: Stored) -> Optimum:
    """Compute what is stored of a problem."""
    problem = stored.problem
    if isinstance(problem, Problem):
        theta = newton(problem)
        value = exact_value(problem, theta)
        return Optimum(theta, exactly(value), exactly(value * np.finfo(np.longdouble).eps))
    theta, least = computed_optimum(problem)
    return Optimum(theta if stored.placed else np.empty(0, np.longdouble), *least)
