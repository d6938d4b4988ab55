"""Nested cross-validation: the inner folds choose the penalty, and the outer folds score it."""

import numpy as np

from dlcore._core import host_checks
from dlcore.probing.data.rows import RowsLike
from dlcore.probing.data.splits import shuffled_folds
from dlcore.probing.fits.cells import Cells, choose
from dlcore.probing.fits.problem import read_problem
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.fits.subset_fits import SubsetFits
from dlcore.probing.selection import fold_masks
from dlcore.probing.table import ProbeTable


def nested_cross_validation(
    rows: RowsLike,
    settings: ProbeSettings,
    *,
    outer: int = 5,
    inner: int = 5,
    one_penalty: bool = False,
    seed: int = 0,
) -> ProbeTable:
    """Score the whole procedure, with its choice of the penalty, by nested cross-validation.

    Each outer fold is a test set. The inner folds of the other rows choose the penalty, and the head of all of
    these rows scores the outer fold. Both kinds of folds are shuffled and stratified by class. Groups stay
    together. All fits read one copy of the rows, with weights of 0 and 1.

    Args:
      rows: `Rows`, or (x, y).
      settings: of the heads.
      outer: the number of outer folds.
      inner: the number of inner folds.
      one_penalty: whether all targets have the same penalty.
      seed: of the folds: the outer ones have `seed`, the inner ones of outer fold f have `seed + 1 + f`.

    Returns:
      A table with a row for each fitted head. `outer` is the fold that is left out. `inner` is the inner fold, and
      −1 for the heads of all rows outside of the outer fold. The chosen ones have the metrics of the outer fold.

    Raises:
      ValueError: if a class or the groups are fewer than the folds, or shapes do not fit.
      UnconvergedError: if a head is not converged, unless the settings report it.

    Warns:
      GridEdgeWarning: if a chosen penalty is the first or last of its grid.

    Source: Varma and Simon (2006), Bias in error estimation when using cross-validation for model selection.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 2)).astype(np.float32)
    >>> y = (x[:, 0] + rng.normal(size=60) > 0).astype(int)
    >>> table = nested_cross_validation((x, y), ProbeSettings(C=[0.1, 1.0]), outer=3, inner=2)
    >>> table.select(inner=-1, chosen=True).mean("test_accuracy", by="stage")["count"]
    array([3])
    """
    problem = read_problem(rows, None, None, settings)
    data = problem.train
    fold = shuffled_folds(data.y, outer, seed, data.groups)
    fits = SubsetFits(data.x, data.y, settings, classes=problem.classes, sizes=())
    cells = Cells(settings, None, problem.classes, seed=seed)
    for k in range(int(host_checks.check_count("outer", outer))):
        outside = fold != k
        index = np.flatnonzero(outside)
        groups = None if data.groups is None else data.groups[index]
        inner_fold = np.zeros(len(fold), np.intp)
        try:
            inner_fold[index] = shuffled_folds(data.y[index], inner, seed + 1 + k, groups)
        except ValueError as error:
            raise ValueError(f"inner, outer = {k}: {error}") from error
        heads = fits.fit(index, label=f"outer = {k}", folds=fold_masks(inner_fold, outside))
        labels = {"outer": k, "rows": len(index)}
        cells.add_folds(heads, labels | {"stage": "fold"}, "inner")
        cells.test = data.take(np.flatnonzero(~outside), "test")
        chosen = choose(heads, one_penalty=one_penalty)
        cells.add(heads, labels | {"stage": "sweep", "inner": -1}, chosen=chosen, is_final=True)
    arguments = {"outer": outer, "inner": inner, "one_penalty": one_penalty, "seed": seed}
    record = problem.record("nested_cross_validation", settings, device=fits.device, arguments=arguments)
    return cells.table(record)
