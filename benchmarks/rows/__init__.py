"""The rows of the engine's benchmark, by name: each a function of (quick, repeats) to what is printed of it."""

from collections.abc import Callable
from typing import Any

from rows import growth, heads, objective, ridge, softmax, sweep

ROWS: dict[str, Callable[[bool, int], dict[str, Any]]] = {
    "one-model": objective.one_model,
    "128-models": objective.many_models,
    "one-fit": heads.one_fit,
    "100-strengths": heads.strengths,
    "folds": heads.folds,
    "softmax": softmax.strengths,
    "ridge": ridge.grid,
    "sweep": sweep.rates,
    "growth": growth.lines,
}
