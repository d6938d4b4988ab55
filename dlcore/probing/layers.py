"""Probes of many layers and positions: the same protocol on features of one shape."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.probing.data.leakage import Duplicates
from dlcore.probing.data.provenance import rows_digest
from dlcore.probing.data.rows import CheckedRows, Rows, read_rows
from dlcore.probing.data.splits import Split, read_indices
from dlcore.probing.fits.cells import Cells
from dlcore.probing.fits.problem import Problem, problem_of_split
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.selection import add_selection, check_chooser
from dlcore.probing.table import ProbeTable

LayerName = str | int | tuple[str | int, str | int]
"""The name of a layer, or of a layer and a position."""


def probe_layers(
    layers: Iterable[tuple[LayerName, npt.ArrayLike]],
    y: npt.ArrayLike,
    settings: ProbeSettings,
    *,
    split: Split,
    groups: npt.ArrayLike | None = None,
    refit: bool = True,
    one_penalty: bool = False,
    seed: int = 0,
    duplicates: Duplicates = "refuse",
) -> ProbeTable:
    """Fit probes of each layer and position, with the same rows, labels and penalties.

    The features are read one layer at a time, and only one is held. All have one shape, so that no program is
    compiled after the first layer.

    Args:
      layers: pairs of a name and features of shape (n, m). A name is a string, an integer, or a pair of a layer
        and a position.
      y: labels or targets, shape (n,) or (n, targets).
      settings: of the heads. Several penalties need validation rows.
      split: the row numbers of the sets, which have none in common.
      groups: the group of each row, shape (n,), or None. No group is in two sets.
      refit: whether the final heads are fitted on training and validation rows.
      one_penalty: whether all targets have the same penalty.
      seed: of the bootstrap.
      duplicates: "refuse" or "report" for rows of two sets that are equal in features and label.

    Returns:
      A table as that of `select_penalty`, with the column `layer`, and `position` where names are pairs. The
      record has the digest of the rows of each layer.

    Raises:
      ValueError: if a layer has another shape than the first, or its name occurs twice, or there is no layer.
      LeakageError: if a row or a group is in two sets.
      UnconvergedError: if a head is not converged, unless the settings report it.

    Warns:
      GridEdgeWarning: if a chosen penalty is the first or last of its grid.

    Source: Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes.

    >>> rng = np.random.default_rng(0)
    >>> features = ((k, rng.normal(size=(40, 3)).astype(np.float32)) for k in range(2))
    >>> split = Split(train=np.arange(30), test=np.arange(30, 40))
    >>> table = probe_layers(features, np.arange(40) % 2, ProbeSettings(C=1.0), split=split)
    >>> print(table["layer"], table["status"])
    [0 1] ['converged' 'converged']
    """
    check_chooser(settings, has_chooser=split.validation is not None)
    seed = host_checks.check_count("seed", seed, minimum=0)
    shape, names, digests = None, [], {}
    cells: Cells | None = None
    problem: Problem | None = None
    device = ""
    for name, features in layers:
        labels = _labels(name)
        where = ", ".join(f"{key} = {value}" for key, value in labels.items())
        if labels in names:
            raise ValueError(f"layers: expected each name once, got {where} twice")
        if names and labels.keys() != names[0].keys():
            raise ValueError(f"layers: expected names of one kind, got {names[0]} and {labels}")
        names.append(labels)
        rows = _read(features, y, groups, where)
        if shape is not None and (rows.x.shape, rows.x.dtype) != shape:
            raise ValueError(
                f"layers: expected features of {shape[0]} and {shape[1]}, as the first layer has, got "
                f"{rows.x.shape} and {rows.x.dtype} at {where}"
            )
        shape = rows.x.shape, rows.x.dtype
        index = {
            part: read_indices(f"split.{part}", numbers, len(rows.x))
            for part, numbers in split._asdict().items()
            if numbers is not None
        }
        numbered = rows._replace(ids=np.arange(len(rows.x)))
        problem = problem_of_split(numbered, index, settings, duplicates)
        is_first = cells is None
        if cells is None:
            cells = Cells(settings, problem.test, problem.classes, seed=seed)
        cells.test = problem.test
        device = add_selection(
            cells, problem, settings, labels, refit=refit, one_penalty=one_penalty, keep=False, warm_up=is_first
        )
        digests[where] = rows_digest(rows)
    if cells is None or problem is None:
        raise ValueError("layers: expected at least one pair of a name and features, got none")
    arguments = {"refit": refit, "one_penalty": one_penalty, "seed": seed, "duplicates": duplicates}
    record = problem.record("probe_layers", settings, device=device, arguments=arguments, sha256_of_layers=digests)
    return cells.table(record)


def _labels(name: LayerName) -> dict[str, str | int]:
    """Return the columns of a name."""
    parts = name if isinstance(name, tuple) else (name,)
    if len(parts) not in (1, 2) or not all(isinstance(part, str | int | np.integer) for part in parts):
        raise TypeError(f"layers: expected a string, an integer or a pair of them as a name, got {name!r}")
    return dict(zip(("layer", "position"), parts, strict=False))


def _read(features: npt.ArrayLike, y: npt.ArrayLike, groups: npt.ArrayLike | None, where: str) -> CheckedRows:
    try:
        return read_rows("layer", Rows(features, y, None, groups))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}: {error}") from error
