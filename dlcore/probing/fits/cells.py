"""The cells of a result: a row for each fitted head, with its status and certified gap."""

import functools
import warnings
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from dlcore.certificate import LinearHeads
from dlcore.heads import GridEdgeWarning, Heads
from dlcore.heads.scoring.best_penalty import best_of
from dlcore.probing.bootstrap import percentile_interval, resample_values
from dlcore.probing.data.rows import CheckedRows
from dlcore.probing.fits.scoring import measure, predictions
from dlcore.probing.fits.settings import ProbeSettings
from dlcore.probing.table import ProbeTable, table_of

Labels = Mapping[str, object]
"""Columns that say which fit a cell is of, such as the seed."""


class Choice(NamedTuple):
    """The penalties that validation rows or folds choose.

    Attributes:
      best: the index among the penalties, of several targets one for each, shape (targets,).
      at_edge: whether one is the first or last of at least three.
    """

    best: int | np.ndarray
    at_edge: bool


def choose(heads: Heads, *, one_penalty: bool = False) -> Choice:
    """Return the penalties with the best mean score, the strongest of equals.

    Args:
      heads: with scores of validation rows or folds, or of a single penalty.
      one_penalty: whether all targets have the penalty with the best mean over targets.
    """
    several = heads.status.ndim == 2
    if heads.scores is None:
        return Choice(np.zeros(len(heads.status), np.intp) if several else 0, False)
    best = heads.best
    if several and one_penalty:
        best = np.full(len(heads.status), best_of(heads.scores.mean(0), heads.l2))
    chosen = heads.l2[np.atleast_1d(best)]
    edges = (heads.l2.min(), heads.l2.max())
    at_edge = len(heads.l2) > 2 and bool((np.isin(chosen, edges) & (chosen > 0)).any())
    return Choice(best, at_edge)


class _Final(NamedTuple):
    """Chosen heads, one for each target, that the test rows score.

    Attributes:
      rows: their rows in the table.
      heads: the heads.
      summary: the row of all targets together, or None.
      test: the rows that score them, or None.
    """

    rows: Sequence[int]
    heads: Sequence[LinearHeads]
    summary: int | None
    test: CheckedRows | None


class Cells:
    """Builder of a table of cells.

    Attributes:
      test: the rows that score the final heads that are added next, or None.
    """

    def __init__(
        self, settings: ProbeSettings, test: CheckedRows | None, classes: np.ndarray | None, *, seed: int = 0
    ) -> None:
        """Begin without rows.

        Args:
          settings: of the heads.
          test: the test rows, scored at the end by `table`.
          classes: the labels of class numbers.
          seed: of the bootstrap.
        """
        self.test, self._settings, self._classes, self._seed = test, settings, classes, seed
        self._rows: list[dict[str, object]] = []
        self._heads: dict[int, LinearHeads] = {}
        self._finals: list[_Final] = []
        self._edges = self._choices = 0
        self._seconds: dict[str, float] = {}

    def add(
        self,
        heads: Heads,
        labels: Labels,
        *,
        chosen: Choice | None = None,
        values: np.ndarray | None = None,
        is_final: bool = False,
        keep: bool = False,
    ) -> None:
        """Add a row for each head of a fit.

        Args:
          heads: the heads of all rows of the fit.
          labels: the columns of the fit.
          chosen: the penalties that are chosen.
          values: C or l2 of the heads, in place of those of the settings.
          is_final: whether the chosen heads are scored on the test rows.
          keep: whether all heads are kept, not only the final ones.
        """
        self._add_seconds(heads)
        several = heads.status.ndim == 2
        name, own = self._settings.penalty
        penalties = own if values is None else values
        status, gap, steps = (np.atleast_2d(part) for part in (heads.status, heads.certificate.gap, heads.steps))
        scores = None if heads.scores is None else heads.scores.mean(-2).reshape(status.shape)
        best = None if chosen is None else np.broadcast_to(chosen.best, len(status))
        if chosen is not None and heads.scores is not None:
            self._choices += 1
            self._edges += chosen.at_edge
        finals = []
        for target, k in np.ndindex(status.shape):
            is_chosen = best is not None and bool(best[target] == k)
            if is_chosen and is_final:
                finals.append(len(self._rows))
            if keep or (is_chosen and is_final):
                self._heads[len(self._rows)] = self._head(heads, (target, k) if several else (k,))
            row: dict[str, object] = dict(labels)
            row |= {"target": target} if several else {}
            row |= {"C": float(penalties[k])} if name == "C" else {}
            row |= {
                "l2": float(heads.l2[k]),
                "score": None if scores is None else float(scores[target, k]),
                "chosen": is_chosen,
                "status": str(status[target, k]),
                "gap": float(gap[target, k]),
                "steps": int(steps[target, k]),
            }
            self._rows.append(row)
        if finals:
            self._finish(labels, finals, several=several)

    def add_folds(self, heads: Heads, labels: Labels, fold_column: str = "fold") -> None:
        """Add a row for each head of each fold."""
        name, penalties = self._settings.penalty
        several = heads.status.ndim == 2
        status, gap = (part if several else part[None] for part in (heads.fold_status, heads.fold_gap))
        scores = None if heads.scores is None else heads.scores.reshape(status.shape)
        for target, fold, k in np.ndindex(status.shape):
            row: dict[str, object] = dict(labels) | {fold_column: fold}
            row |= {"target": target} if several else {}
            row |= {"C": float(penalties[k])} if name == "C" else {}
            row |= {
                "l2": None if name == "C" else float(heads.l2[k]),
                "score": None if scores is None else float(scores[target, fold, k]),
                "chosen": False,
                "status": str(status[target, fold, k]),
                "gap": float(gap[target, fold, k]),
                "steps": None,
            }
            self._rows.append(row)

    def add_picked(self, fits: Sequence[Heads], labels: Labels, values: np.ndarray) -> None:
        """Add the final heads of several targets, each of the fit of its penalty.

        Args:
          fits: a fit of all targets for each target, with one penalty.
          labels: the columns of the fit.
          values: C or l2 of each target, shape (targets,).
        """
        name, finals = self._settings.penalty[0], []
        for heads in {id(heads): heads for heads in fits}.values():
            self._add_seconds(heads)
        for target, heads in enumerate(fits):
            finals.append(len(self._rows))
            self._heads[len(self._rows)] = self._head(heads, (target, 0))
            row: dict[str, object] = dict(labels) | {"target": target}
            row |= {"C": float(values[target])} if name == "C" else {}
            row |= {
                "l2": float(heads.l2[0]),
                "score": None,
                "chosen": True,
                "status": str(heads.status[target, 0]),
                "gap": float(heads.certificate.gap[target, 0]),
                "steps": int(heads.steps[target, 0]),
            }
            self._rows.append(row)
        self._finish(labels, finals, several=True)

    def _add_seconds(self, heads: Heads) -> None:
        """Add the time of a fit."""
        if heads.timing is not None:
            for part in ("compile", "run", "certify"):
                self._seconds[part] = self._seconds.get(part, 0.0) + getattr(heads.timing, part)

    def _finish(self, labels: Labels, finals: Sequence[int], *, several: bool) -> None:
        """Remember final heads. Several targets have a row for all together."""
        summary = None
        if several:
            rows = [self._rows[row] for row in finals]
            worst = max(rows, key=lambda row: (row["status"] != "converged", row["gap"]))
            summary = len(self._rows)
            self._rows.append(
                dict(labels) | {"target": -1, "chosen": True, "status": worst["status"], "gap": worst["gap"]}
            )
        self._finals.append(_Final(finals, [self._heads[row] for row in finals], summary, self.test))

    def _head(self, heads: Heads, index: tuple[int, ...]) -> LinearHeads:
        intercept = heads.intercept[index] if heads.fit_intercept else None
        l2 = float(heads.l2[index[-1]])
        return LinearHeads(heads.coef[index], intercept, l2, heads.loss, heads.scale, self._classes)

    def _score(self) -> None:
        """Write the metrics of the test rows into the rows of the final heads.

        Heads of one test set are measured together.
        """
        tests = {id(final.test): final.test for final in self._finals if final.test is not None}
        for key, test in tests.items():
            finals = [final for final in self._finals if id(final.test) == key]
            found = iter(predictions([head for final in finals for head in final.heads], test.x))
            for final in finals:
                each = [next(found) for _ in final.heads]
                if final.summary is None:
                    self._measure(final.rows[0], test, test.y, each[0])
                    continue
                for row, y, prediction in zip(final.rows, test.y.T, each, strict=True):
                    self._measure(row, test, y, prediction)
                self._measure(final.summary, test, test.y, np.stack(each, axis=1))

    def _measure(self, row: int, test: CheckedRows, y: np.ndarray, prediction: np.ndarray) -> None:
        for name in self._settings.metric_names:
            self._rows[row][f"test_{name}"] = measure(name, y, prediction)
            if self._settings.bootstrap:
                values = resample_values(
                    functools.partial(measure, name),
                    y,
                    prediction,
                    self._settings.bootstrap,
                    self._seed,
                    test.groups,
                )
                interval = percentile_interval(values, self._settings.confidence)
                self._rows[row] |= {f"test_{name}_low": interval.low, f"test_{name}_high": interval.high}

    def table(self, record: Mapping[str, object], *, stacklevel: int = 2) -> ProbeTable:
        """Score the final heads on the test rows and return the table.

        Args:
          record: the record of the result.
          stacklevel: of warnings, seen from the caller.

        Warns:
          GridEdgeWarning: if a chosen penalty is the first or last of its grid.
        """
        self._score()
        if self._edges:
            warnings.warn(
                f"{self._settings.penalty[0]}: {self._edges} of {self._choices} choices are at the edge of the "
                "grid; extend it",
                GridEdgeWarning,
                stacklevel=stacklevel + 1,
            )
        record = dict(record) | {"choices_at_edge": self._edges}
        return ProbeTable(table_of(self._rows), record, self._heads, self._seconds)
