"""Control tasks: probes of random labels, and the selectivity of a probe."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore.probing.data.leakage import Duplicates
from dlcore.probing.data.rows import CheckedRows, RowsLike, read_names
from dlcore.probing.data.subsets import read_seeds
from dlcore.probing.fits.cells import Cells
from dlcore.probing.fits.problem import Problem, read_problem
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.selection import add_selection, check_chooser
from dlcore.probing.table import ProbeTable


class Types(NamedTuple):
    """The type of each row, such as its word, for each set.

    Attributes:
      train: shape (n,), integers or strings.
      validation: the same for the validation rows, or None.
      test: the same for the test rows, or None.

    >>> Types(["a", "b"], test=["a"]).test
    ['a']
    """

    train: npt.ArrayLike
    validation: npt.ArrayLike | None = None
    test: npt.ArrayLike | None = None


def control_labels(y: npt.ArrayLike, seed: int, types: npt.ArrayLike | None = None) -> np.ndarray:
    """Return the labels of a control task.

    Args:
      y: labels, shape (n,).
      seed: of the random labels.
      types: the type of each row, shape (n,). Rows of one type have one label, which is drawn from the labels of
        all rows. None shuffles the labels.

    Returns:
      Labels, shape (n,).

    Raises:
      ValueError: if shapes do not fit.

    Source: Hewitt and Liang (2019), Designing and interpreting probes with control tasks, section 2.

    >>> labels = control_labels([0, 1, 0, 1], seed=0, types=["a", "a", "b", "b"])
    >>> bool(labels[0] == labels[1] and labels[2] == labels[3])
    True
    """
    labels = np.asarray(y)
    rng = np.random.default_rng(seed)
    if types is None:
        return rng.permutation(labels)
    _, type_of_row = np.unique(read_names("types", types, len(labels)), return_inverse=True)
    return rng.choice(labels, int(type_of_row.max()) + 1)[type_of_row]


def control_task(
    train: RowsLike,
    settings: ProbeSettings,
    *,
    test: RowsLike,
    validation: RowsLike | None = None,
    types: Types | None = None,
    seeds: int | Iterable[int] = 0,
    refit: bool = True,
    duplicates: Duplicates = "refuse",
) -> ProbeTable:
    """Fit probes of the labels and of control tasks, and return the selectivity.

    A control task has random labels on the same rows. With `types`, rows of one type have one random label in all
    sets, so that a probe can learn them only by recognising the type. The selectivity is the metric on the labels
    minus the metric on the control task.

    Args:
      train: `Rows`, or (x, y), with labels of shape (n,).
      settings: of the heads. Several penalties need validation rows.
      test: the rows that score the chosen heads, at the end.
      validation: the rows that choose the penalty.
      types: the type of each row of each set. None shuffles the labels of each set.
      seeds: a seed or several, each once: one control task for each.
      refit: whether the final heads are fitted on training and validation rows.
      duplicates: "refuse" or "report" for rows of two sets that are equal in features and label.

    Returns:
      A table as that of `select_penalty`. `task` is "labels" or "control", and `seed` is that of the control
      task, −1 for the labels. Final heads of control tasks have a `selectivity` for each metric.

    Raises:
      ValueError: if y is not of shape (n,), types do not fit, or a control task has one class only.
      LeakageError: if two sets have a row or a group in common.
      UnconvergedError: if a head is not converged, unless the settings report it.

    Warns:
      GridEdgeWarning: if a chosen penalty is the first or last of its grid.

    Source: Hewitt and Liang (2019), Designing and interpreting probes with control tasks.

    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(80, 3)).astype(np.float32)
    >>> y = (x[:, 0] > 0).astype(int)
    >>> table = control_task((x[:60], y[:60]), ProbeSettings(C=1.0), test=(x[60:], y[60:]))
    >>> bool(table["selectivity_accuracy"][-1] > 0.2)
    True
    """
    problem = read_problem(train, validation, test, settings, duplicates)
    check_chooser(settings, has_chooser=validation is not None)
    numbers = read_seeds(seeds)
    if problem.classes is None or problem.train.y.ndim != 1:
        raise ValueError("train y: expected labels of shape (n,) for a control task")
    parts = {part.name: part for part in (problem.train, problem.validation, problem.test) if part is not None}
    names = None if types is None else _read_types(types, parts)
    cells = Cells(settings, problem.test, problem.classes, seed=numbers[0])
    controls = {seed: _control_problem(problem, parts, names, seed) for seed in numbers}
    device = add_selection(cells, problem, settings, {"task": "labels", "seed": -1}, refit=refit, keep=False)
    for seed, control in controls.items():
        cells.test = control.test
        add_selection(cells, control, settings, {"task": "control", "seed": seed}, refit=refit, keep=False)
    arguments = {"seeds": numbers, "types": types is not None, "refit": refit, "duplicates": duplicates}
    return _with_selectivity(
        cells.table(problem.record("control_task", settings, device=device, arguments=arguments))
    )


def _read_types(types: Types, parts: Mapping[str, CheckedRows]) -> np.ndarray:
    """Return the types of the rows of all sets, one after another."""
    given = types._asdict()
    for name in parts:
        if given[name] is None:
            raise ValueError(f"types.{name}: expected a type for each of {len(parts[name].x)} rows, got None")
    return np.concatenate([read_names(f"types.{name}", given[name], len(part.x)) for name, part in parts.items()])


def _control_problem(
    problem: Problem, parts: Mapping[str, CheckedRows], names: np.ndarray | None, seed: int
) -> Problem:
    """Return the problem with the labels of a control task."""
    if names is None:
        labels = [control_labels(part.y, seed) for part in parts.values()]
    else:
        ends = np.cumsum([len(part.y) for part in parts.values()])
        rng = np.random.default_rng(seed)
        kinds, type_of_row = np.unique(names, return_inverse=True)
        # Labels come from the training rows: those of the test rows may not reach a probe.
        labels = np.split(rng.choice(problem.train.y, len(kinds))[type_of_row], ends[:-1])
    sets = {name: part._replace(y=y) for (name, part), y in zip(parts.items(), labels, strict=True)}
    present = np.unique(sets["train"].y)
    assert problem.classes is not None
    if len(present) < len(problem.classes):
        raise ValueError(
            f"seeds: the control task of seed {seed} has {len(present)} of {len(problem.classes)} classes in "
            "its training rows; there are too few types, or take another seed"
        )
    return problem._replace(train=sets["train"], validation=sets.get("validation"), test=sets.get("test"))


def _with_selectivity(table: ProbeTable) -> ProbeTable:
    """Return the table with the difference of each metric from that of the labels."""
    columns = dict(table.columns)
    for name in [name for name in columns if name.startswith("test_") and not name.endswith(("_low", "_high"))]:
        values = columns[name]
        reference = values[(columns["task"] == "labels") & ~np.isnan(values)][0]
        selectivity = np.where(columns["task"] == "control", reference - values, np.nan)
        columns[f"selectivity_{name.removeprefix('test_')}"] = selectivity
    return ProbeTable(columns, table.record, table.heads)
