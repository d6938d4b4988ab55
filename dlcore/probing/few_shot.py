"""Few-shot probes and label efficiency: heads on nested random subsets of the training rows."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dlcore._core import host_checks
from dlcore.heads.losses import read_loss
from dlcore.probing.data.leakage import Duplicates
from dlcore.probing.data.rows import RowsLike
from dlcore.probing.data.subsets import few_shot_rows, group_equal, read_seeds, stratified_rows
from dlcore.probing.fits.cells import Cells, choose
from dlcore.probing.fits.problem import Problem, read_problem
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.fits.subset_fits import SubsetFits
from dlcore.probing.selection import check_chooser
from dlcore.probing.table import ProbeTable


def few_shot(
    train: RowsLike,
    settings: ProbeSettings,
    *,
    shots: int | Sequence[int],
    seeds: int | Iterable[int] = 0,
    validation: RowsLike | None = None,
    test: RowsLike | None = None,
    refit: bool = False,
    duplicates: Duplicates = "refuse",
) -> ProbeTable:
    """Fit probes on k random rows of each class, for several k and seeds.

    The subset of fewer shots lies within that of more shots of the same seed. A subset depends on the labels, k
    and its seed alone. Equal subsets of several seeds are fitted once, and the column `seeds` names all of them.
    Small subsets are gathered and padded to few sizes with rows of weight 0, so that few programs are compiled.

    Args:
      train: `Rows`, or (x, y), with labels of shape (n,).
      settings: of the heads. Several penalties need validation rows.
      shots: k, a number or several, each at most the number of rows of the smallest class.
      seeds: a seed or several, each once.
      validation: the rows that choose the penalty of each subset.
      test: the rows that score the chosen heads, at the end.
      refit: whether the chosen penalty is fitted again on the subset and the validation rows together.
      duplicates: "refuse" or "report" for rows of two sets that are equal in features and label.

    Returns:
      A table with a row for each fitted head: shots, seed, seeds, stage, rows, C or l2, score, chosen, status,
      gap, steps, and for final heads the metrics of the test rows.

    Raises:
      ValueError: if k is more than the rows of a class, a seed occurs twice, or shapes or labels do not fit.
      LeakageError: if two sets have a row or a group in common.
      UnconvergedError: if a head is not converged, unless the settings report it.

    Warns:
      GridEdgeWarning: if a chosen penalty is the first or last of its grid.

    Source: Siméoni et al. (2025), DINOv3, appendix on linear evaluation; Vinyals et al. (2016).

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 3)).astype(np.float32)
    >>> y = (x[:, 0] > 0).astype(int)
    >>> table = few_shot((x[:40], y[:40]), ProbeSettings(C=1.0), shots=[2, 4], seeds=[0, 1], test=(x[40:], y[40:]))
    >>> table.mean("test_accuracy", by="shots")["count"]
    array([2, 2])
    """
    problem = read_problem(train, validation, test, settings, duplicates)
    if not read_loss(settings.loss).is_classifier or problem.train.y.ndim != 1:
        raise ValueError(
            "shots: expected labels of shape (n,), one class for each row; label_efficiency takes others"
        )
    counts = _read_list("shots", shots)
    numbers = read_seeds(seeds)
    subsets = [
        _Subset({"shots": k}, seed, few_shot_rows(problem.train.y, k, seed)) for k in counts for seed in numbers
    ]
    arguments = {"shots": counts, "seeds": numbers, "refit": refit, "duplicates": duplicates}
    return _fit_subsets("few_shot", problem, settings, subsets, arguments)


def label_efficiency(
    train: RowsLike,
    settings: ProbeSettings,
    *,
    fractions: float | Sequence[float] = (0.01, 0.1, 1.0),
    seeds: int | Iterable[int] = 0,
    validation: RowsLike | None = None,
    test: RowsLike | None = None,
    refit: bool = False,
    duplicates: Duplicates = "refuse",
) -> ProbeTable:
    """Fit probes on random fractions of the training rows, for several fractions and seeds.

    Labels of one task are stratified, and each class has at least one row. The subset of a smaller fraction lies
    within that of a larger fraction of the same seed. A fraction of 1 has one subset for all seeds, which is
    fitted once. Subsets of more than half of the rows are weights of 0 and 1 on the whole table.

    Args:
      train: `Rows`, or (x, y).
      settings: of the heads. Several penalties need validation rows.
      fractions: numbers above 0 and at most 1. A subset has round(fraction · n) rows.
      seeds: a seed or several, each once.
      validation: the rows that choose the penalty of each subset.
      test: the rows that score the chosen heads, at the end.
      refit: whether the chosen penalty is fitted again on the subset and the validation rows together.
      duplicates: "refuse" or "report" for rows of two sets that are equal in features and label.

    Returns:
      A table as that of `few_shot`, with the column `fraction` in place of `shots`.

    Raises:
      ValueError: if a fraction has fewer rows than there are classes, a seed occurs twice, or shapes do not fit.
      LeakageError: if two sets have a row or a group in common.
      UnconvergedError: if a head is not converged, unless the settings report it.

    Warns:
      GridEdgeWarning: if a chosen penalty is the first or last of its grid.

    Source: Hénaff et al. (2020), Data-efficient image recognition with contrastive predictive coding.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 3)).astype(np.float32)
    >>> y = (x[:, 0] > 0).astype(int)
    >>> table = label_efficiency((x, y), ProbeSettings(C=1.0), fractions=[0.5, 1.0], seeds=[0, 1])
    >>> print(table["rows"], table["seeds"])
    [30 30 60] ['0' '1' '0,1']
    """
    problem = read_problem(train, validation, test, settings, duplicates)
    rows = len(problem.train.x)
    shares = [float(share) for share in np.atleast_1d(np.asarray(fractions, np.float64))]
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"fractions: expected numbers above 0 and at most 1, got {share:g}")
    _check_once("fractions", shares)
    numbers = read_seeds(seeds)
    subsets = []
    for share in shares:
        count = max(1, round(share * rows))
        for seed in numbers:
            try:
                subset = stratified_rows(problem.train.y, count, seed)
            except ValueError as error:
                raise ValueError(f"fractions: {share:g} of {rows} rows: {error}") from error
            subsets.append(_Subset({"fraction": share}, seed, subset))
    arguments = {"fractions": shares, "seeds": numbers, "refit": refit, "duplicates": duplicates}
    return _fit_subsets("label_efficiency", problem, settings, subsets, arguments)


class _Subset(NamedTuple):
    """A subset of the training rows: its size as a column, its seed and its row numbers."""

    size: Mapping[str, object]
    seed: int
    rows: np.ndarray


def _fit_subsets(
    protocol: str,
    problem: Problem,
    settings: ProbeSettings,
    subsets: Sequence[_Subset],
    arguments: Mapping[str, object],
) -> ProbeTable:
    """Fit each different subset once, choose its penalty, and score the chosen heads."""
    validation, refit = problem.validation, bool(arguments["refit"])
    check_chooser(settings, has_chooser=validation is not None)
    if refit and validation is None:
        raise ValueError("refit: expected False where there are no validation rows to add, got True")
    x, y = problem.train.x, problem.train.y
    extra = np.empty(0, np.int64)
    if refit and validation is not None:
        extra = len(x) + np.arange(len(validation.x))
        x, y = np.concatenate([x, validation.x]), np.concatenate([y, validation.y])
    sizes = {len(subset.rows) for subset in subsets}
    sizes |= {size + len(extra) for size in sizes}
    fits = SubsetFits(x, y, settings, classes=problem.classes, sizes=sizes)
    cells = Cells(settings, problem.test, problem.classes, seed=subsets[0].seed)
    equal = []
    for together in _distinct(subsets):
        first, seeds = together[0], [subset.seed for subset in together]
        labels = {**first.size, "seed": first.seed, "seeds": ",".join(map(str, seeds))}
        name = ", ".join(f"{key} = {value}" for key, value in {**first.size, "seed": first.seed}.items())
        equal += [labels] if len(together) > 1 else []
        heads = fits.fit(first.rows, label=name, validation=problem.scored)
        chosen = choose(heads)
        labels |= {"stage": "sweep", "rows": len(first.rows)}
        cells.add(heads, labels, chosen=chosen, is_final=not refit)
        if refit:
            rows = np.concatenate([first.rows, extra])
            value = settings.penalty[1][[int(chosen.best)]]
            again = fits.fit(rows, label=f"{name}, refit", values=value)
            labels |= {"stage": "refit", "rows": len(rows)}
            cells.add(again, labels, chosen=choose(again), values=value, is_final=True)
    record = problem.record(protocol, settings, device=fits.device, arguments=arguments, equal_subsets=equal)
    return cells.table(record, stacklevel=3)


def _distinct(subsets: Sequence[_Subset]) -> list[list[_Subset]]:
    """Return the subsets, equal ones of one size together."""
    found = []
    sizes = [tuple(subset.size.items()) for subset in subsets]
    for size in dict.fromkeys(sizes):
        of_size = [subset for subset, other in zip(subsets, sizes, strict=True) if other == size]
        found += [[of_size[k] for k in group] for group in group_equal([subset.rows for subset in of_size])]
    return found


def _read_list(name: str, given: int | Sequence[int]) -> list[int]:
    values = [host_checks.check_count(name, value) for value in np.atleast_1d(np.asarray(given)).tolist()]
    _check_once(name, values)
    return values


def _check_once(name: str, values: Sequence[float]) -> None:
    if not values:
        raise ValueError(f"{name}: expected at least one, got none")
    if len(set(values)) < len(values):
        raise ValueError(f"{name}: expected each once, got {list(values)}")
