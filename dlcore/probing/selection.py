"""Choice of the penalty on validation rows or in folds, and the score of the chosen heads on test rows."""

import numpy as np

from dlcore._core import host_checks
from dlcore.probing.data.leakage import Duplicates
from dlcore.probing.data.rows import RowsLike
from dlcore.probing.data.splits import shuffled_folds
from dlcore.probing.fits.cells import Cells, Choice, Labels, choose
from dlcore.probing.fits.problem import Problem, read_problem
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.fits.subset_fits import Folds, SubsetFits
from dlcore.probing.table import ProbeTable


def select_penalty(
    train: RowsLike,
    settings: ProbeSettings,
    *,
    validation: RowsLike | None = None,
    folds: int | None = None,
    test: RowsLike | None = None,
    refit: bool = True,
    one_penalty: bool = False,
    seed: int = 0,
    duplicates: Duplicates = "refuse",
) -> ProbeTable:
    """Fit heads of every penalty, choose one, and score the chosen head on test rows.

    Validation rows or folds of the training rows choose. The test rows are read at the end, and score the chosen
    heads only. With validation rows and `refit`, the chosen penalty is fitted again on training and validation
    rows together. With folds, the heads of all training rows are the final ones.

    Args:
      train: `Rows`, or (x, y). Folds keep its groups together.
      settings: of the heads. Several penalties need validation rows or folds.
      validation: the rows that choose the penalty.
      folds: the number of shuffled folds that choose it, stratified by class.
      test: the rows that score the chosen heads, at the end.
      refit: whether the final heads are fitted on training and validation rows.
      one_penalty: whether all targets have the same penalty. Each target has its own otherwise.
      seed: of the folds and of the bootstrap.
      duplicates: "refuse" or "report" for rows of two sets that are equal in features and label.

    Returns:
      A table with a row for each fitted head: stage, rows, target, C or l2, score, chosen, status, gap, steps, and
      for final heads the metrics of the test rows. Several targets have a row of all together, with the target −1.
      `heads` has every head that is not of a fold.

    Raises:
      ValueError: if several penalties have nothing that chooses, or validation and folds are both given.
      LeakageError: if two sets have a row or a group in common, or validation and test rows are the same.
      UnconvergedError: if a head is not converged, unless the settings report it.

    Warns:
      GridEdgeWarning: if the chosen penalty is the first or last of the grid.

    Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, sections 7.2 and 7.10.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(90, 2)).astype(np.float32)
    >>> y = (x[:, 0] + rng.normal(size=90) > 0).astype(int)
    >>> sets = [(x[part], y[part]) for part in (slice(50), slice(50, 70), slice(70, 90))]
    >>> settings = ProbeSettings(C=[1e-3, 0.1, 1.0, 1e3])
    >>> table = select_penalty(sets[0], settings, validation=sets[1], test=sets[2])
    >>> print(table["stage"], table["C"][-1] == table.select(stage="sweep", chosen=True)["C"][0])
    ['sweep' 'sweep' 'sweep' 'sweep' 'refit'] True
    """
    problem = read_problem(train, validation, test, settings, duplicates)
    if validation is not None and folds is not None:
        raise ValueError("folds: expected None where there are validation rows; one of the two chooses")
    check_chooser(settings, has_chooser=validation is not None or folds is not None)
    pairs = None
    if folds is not None:
        pairs = fold_masks(shuffled_folds(problem.train.y, folds, seed, problem.train.groups))
    arguments = {
        "folds": folds,
        "refit": refit,
        "one_penalty": one_penalty,
        "seed": seed,
        "duplicates": duplicates,
    }
    cells = Cells(settings, problem.test, problem.classes, seed=host_checks.check_count("seed", seed, minimum=0))
    device = add_selection(cells, problem, settings, {}, pairs, refit=refit, one_penalty=one_penalty)
    return cells.table(problem.record("select_penalty", settings, device=device, arguments=arguments))


def add_selection(
    cells: Cells,
    problem: Problem,
    settings: ProbeSettings,
    labels: Labels,
    folds: Folds | None = None,
    *,
    refit: bool = True,
    one_penalty: bool = False,
    keep: bool = True,
    warm_up: bool = False,
) -> str:
    """Add the cells of a sweep, of its folds and of the final heads. Return the device.

    Args:
      cells: the table that is built.
      problem: the sets of rows.
      settings: of the heads.
      labels: columns that name this sweep.
      folds: masks of pairs of training rows, or None.
      refit: whether the final heads are fitted on training and validation rows.
      one_penalty: whether all targets have the same penalty.
      keep: whether the heads of all penalties are kept.
      warm_up: whether the programs of hard heads are compiled too, for later calls with the same shapes.
    """
    train, validation = problem.train, problem.validation
    x, y, refit = train.x, train.y, refit and validation is not None
    if refit and validation is not None:
        x, y = np.concatenate([x, validation.x]), np.concatenate([y, validation.y])
    rows = np.arange(len(train.x))
    fits = SubsetFits(x, y, settings, classes=problem.classes, sizes=[len(rows), len(x)])
    name = ", ".join(f"{key} = {value}" for key, value in labels.items())
    if warm_up:
        fits.warm_up(rows, len(settings.penalty[1]), problem.scored)
        if refit:
            fits.warm_up(np.arange(len(x)), 1)
    heads = fits.fit(rows, label=name or "sweep", validation=problem.scored, folds=folds)
    chosen = choose(heads, one_penalty=one_penalty)
    stage = dict(labels) | {"stage": "sweep", "rows": len(rows)}
    if folds is not None:
        cells.add_folds(heads, dict(labels) | {"stage": "fold", "rows": len(rows)})
        stage |= {"fold": -1}
    cells.add(heads, stage, chosen=chosen, is_final=not refit, keep=keep)
    if refit:
        stage = dict(labels) | {"stage": "refit", "rows": len(x)}
        _add_refit(cells, fits, settings, chosen, stage, name=f"{name or 'sweep'}, refit", size=len(x))
    return fits.device


def _add_refit(
    cells: Cells, fits: SubsetFits, settings: ProbeSettings, chosen: Choice, stage: Labels, *, name: str, size: int
) -> None:
    """Add the heads of the chosen penalties, fitted on all rows."""
    rows, penalties = np.arange(size), settings.penalty[1]
    index = np.unique(np.atleast_1d(chosen.best))
    if len(index) == 1:
        value = penalties[index]
        heads = fits.fit(rows, label=name, values=value)
        cells.add(heads, stage, chosen=choose(heads), values=value, is_final=True)
        return
    together = {int(k): fits.fit(rows, label=name, values=penalties[[k]]) for k in index}
    picked = np.asarray(chosen.best)
    cells.add_picked([together[int(k)] for k in picked], stage, penalties[picked])


def check_chooser(settings: ProbeSettings, *, has_chooser: bool) -> None:
    """Raise if there are several penalties and nothing that chooses one."""
    name, values = settings.penalty
    if len(values) > 1 and not has_chooser:
        raise ValueError(
            f"{name}: expected one value where neither validation rows nor folds choose, got {len(values)}; "
            "the test rows never choose"
        )


def fold_masks(fold_of_row: np.ndarray, rows: np.ndarray | None = None) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of masks, the rows that train and the rows that are scored.

    Args:
      fold_of_row: the fold of each row, shape (n,).
      rows: a mask of the rows that take part, shape (n,). None for all.
    """
    part = np.ones(len(fold_of_row), bool) if rows is None else rows
    folds = np.unique(fold_of_row[part])
    return [(part & (fold_of_row != fold), part & (fold_of_row == fold)) for fold in folds]
