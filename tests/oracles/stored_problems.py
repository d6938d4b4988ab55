"""The problems whose optima are stored, each with the code that computes its optimum."""

from typing import NamedTuple

import numpy as np
from helpers import Problem, exact_value, newton, random_problem, to_mpmath
from oracles.certificate_problems import STRENGTHS, hard_objective, heads_objective, random_objective, unpenalised
from oracles.head_oracle import Objective, computed_optimum
from oracles.head_problems import head_cases, heads_problem
from oracles.stored_optima import Optimum


class Stored(NamedTuple):
    """A problem, and whether its optimum is stored with J."""

    problem: Objective | Problem
    placed: bool


def stored_problems() -> dict[str, Stored]:
    """Return all problems, by name."""
    problems = {}
    for seed in range(42):
        for case in head_cases(heads_problem(seed)):
            if case.has_optimum:
                problems[case.name(seed)] = Stored(case.objective, placed=False)
    for seed in range(60):
        if seed % 3 < 2:
            name, objective = heads_objective(seed, np.random.default_rng(seed))
            problems[name] = Stored(objective, placed=True)
    for seed in range(20):
        problems[f"random {seed}"] = Stored(
            random_objective(seed, float(STRENGTHS[seed % len(STRENGTHS)])), placed=True
        )
        problems[f"hard {seed}"] = Stored(hard_objective(seed)[1], placed=True)
        exists, objective = unpenalised(seed)
        if exists:
            problems[f"unpenalised {seed}"] = Stored(objective, placed=True)
    for seed in range(70):
        problems[f"random problem {seed}"] = Stored(random_problem(seed), placed=True)
    for seed in range(20):
        problem = random_problem(seed)
        problems[f"random problem {seed}, moved"] = Stored(problem._replace(x=problem.x + 20), placed=True)
    return problems


def computed(stored: Stored) -> Optimum:
    """Compute the optimum of a problem."""
    problem = stored.problem
    if isinstance(problem, Problem):
        theta = newton(problem)
        value = exact_value(problem, theta)
        return Optimum(theta, to_mpmath(value), to_mpmath(value * np.finfo(np.longdouble).eps))
    theta, least = computed_optimum(problem)
    return Optimum(theta if stored.placed else np.empty(0, np.longdouble), *least)
