"""Solve a checked problem, for `fit_heads` and for estimators that need the heads of each fold."""

import contextlib
import dataclasses

import jax
import numpy as np
import numpy.typing as npt

from dlcore.certificate.rows import DataLike
from dlcore.heads.checkpoint import StageCache
from dlcore.heads.data.device_rows import share_with_jax
from dlcore.heads.data.training_data import TrainingData, read_training_data
from dlcore.heads.exact import ridge_heads
from dlcore.heads.iterative import iterative_heads
from dlcore.heads.options import FitOptions
from dlcore.heads.progress import ProgressLike, read_progress
from dlcore.heads.result import FoldHeads, Heads
from dlcore.heads.scoring.held_out import read_scoring
from dlcore.heads.timing import Stopwatch


def solve_heads(
    inputs: TrainingData, x: DataLike, fit_options: FitOptions, stages: StageCache
) -> tuple[Heads, tuple[FoldHeads, ...]]:
    """Return the heads of all rows, with the timing, and the heads of each fold if the options keep them."""
    solve = ridge_heads if inputs.loss.is_exact else iterative_heads
    reporter = stages.reporter
    if reporter is not None:
        reporter.total = inputs.l2.size * inputs.targets
    line = contextlib.nullcontext() if reporter is None else reporter
    with line, jax.enable_x64(True), Stopwatch() as clock, stages:
        heads, folds = solve(inputs, x, fit_options, stages, clock)
    return dataclasses.replace(heads, timing=clock.timing()), folds


def fit_with_folds(
    x: DataLike,
    y: npt.ArrayLike,
    *,
    loss: str,
    l2: np.ndarray,
    train: np.ndarray,
    sample_weight: npt.ArrayLike,
    fit_intercept: bool,
    tol: float = 1e-6,
    max_steps: int,
    progress: ProgressLike = None,
) -> tuple[Heads, tuple[FoldHeads, ...]]:
    """Return heads of all rows and of each fold, over one copy of the rows. Nothing is scored.

    Args:
      x: shape (n, m), as `fit_heads` takes it.
      y: shape (n,) or (n, targets), as `fit_heads` takes it.
      loss: the name of the loss.
      l2: λ of all rows and of each fold, shape (folds + 1, L).
      train: the training rows of each fold, booleans, shape (folds, n). They have rows of every class.
      sample_weight: shape (n,).
      fit_intercept: whether the intercept is fitted.
      tol: the relative gap of a converged head.
      max_steps: the most passes over all rows for one head.
      progress: as `fit_heads` takes it.
    """
    x = share_with_jax(x)
    inputs = read_training_data(
        x,
        y,
        loss=loss,
        penalties={"l2": l2[0], "C": None, "alpha": None},
        folds=None,
        groups=None,
        sample_weight=sample_weight,
        class_weight=None,
        validation=None,
        standardize=False,
        fit_intercept=fit_intercept,
    )
    train = np.concatenate([inputs.train, train])
    inputs = inputs._replace(l2=np.asarray(l2, np.float64), train=train, test=np.zeros_like(train))
    scoring = read_scoring(None, inputs.loss)
    fit_options = FitOptions(scoring, False, fit_intercept, tol, max_steps, keep_folds=True)
    return solve_heads(inputs, x, fit_options, StageCache(None, {}, read_progress(progress)))
