"""The sets of rows of a protocol, checked together."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from dlcore._core.labels import codes_of, read_labels
from dlcore.heads.losses import read_loss
from dlcore.probing.data.leakage import Duplicates, check_apart
from dlcore.probing.data.provenance import make_record
from dlcore.probing.data.rows import CheckedRows, RowsLike, check_same_form, read_rows
from dlcore.probing.fits.settings import ProbeSettings


class Problem(NamedTuple):
    """Sets of rows that have nothing in common. Labels are class numbers.

    Attributes:
      train: the rows that train.
      validation: the rows that choose the penalty, or None.
      test: the rows that are scored at the end, or None.
      classes: the labels of the class numbers, shape (classes,); None for numbers.
      common: the numbers of equal rows and of equal features, for each pair of sets.
      given: the sets as they were given, for their digests.
    """

    train: CheckedRows
    validation: CheckedRows | None
    test: CheckedRows | None
    classes: np.ndarray | None
    common: Mapping[str, Mapping[str, int]]
    given: tuple[CheckedRows, ...]

    @property
    def scored(self) -> tuple[np.ndarray, np.ndarray] | None:
        """The validation rows as `fit_heads` takes them, or None."""
        return None if self.validation is None else (self.validation.x, self.validation.y)

    def record(
        self,
        protocol: str,
        settings: ProbeSettings,
        *,
        device: str,
        arguments: Mapping[str, object],
        **details: object,
    ) -> Mapping[str, object]:
        """Return the record of a result."""
        options = dict(settings.for_record()) | dict(arguments)
        absent = self._classes_absent_in_test()
        return make_record(
            protocol,
            options,
            self.given,
            device,
            common_rows=self.common,
            classes_absent_in_test=absent,
            **details,
        )

    def _classes_absent_in_test(self) -> list[object]:
        if self.classes is None or self.test is None or self.test.y.ndim != 1:
            return []
        return np.delete(self.classes, np.unique(self.test.y)).tolist()


def read_problem(
    train: RowsLike,
    validation: RowsLike | None,
    test: RowsLike | None,
    settings: ProbeSettings,
    duplicates: Duplicates = "refuse",
) -> Problem:
    """Return checked sets of rows.

    Raises:
      TypeError: if a set is no `Rows`, or an array has no numbers.
      ValueError: if shapes or labels do not fit.
      LeakageError: if two sets have a row or a group in common.
    """
    given = {"train": train, "validation": validation, "test": test}
    parts = [read_rows(name, rows) for name, rows in given.items() if rows is not None]
    for part in parts[1:]:
        check_same_form(part, parts[0])
    common = check_apart(parts, duplicates)
    return _encoded(parts, settings, common)


def _encoded(
    parts: list[CheckedRows], settings: ProbeSettings, common: Mapping[str, Mapping[str, int]]
) -> Problem:
    """Return the problem of checked sets, with class numbers."""
    loss, classes = read_loss(settings.loss), None
    if loss.is_classifier:
        classes = read_labels("train y", parts[0].y)[1]
        encoded = [part._replace(y=codes_of(f"{part.name} y", part.y, classes)) for part in parts]
    else:
        encoded = [part._replace(y=part.y.astype(np.float64)) for part in parts]
    sets = {part.name: part for part in encoded}
    return Problem(sets["train"], sets.get("validation"), sets.get("test"), classes, common, tuple(parts))


def problem_of_split(
    rows: CheckedRows, index: Mapping[str, np.ndarray], settings: ProbeSettings, duplicates: Duplicates
) -> Problem:
    """Return the problem of sets of one table, given by row numbers that have none in common."""
    parts = [rows.take(numbers, name) for name, numbers in index.items()]
    return _encoded(parts, settings, check_apart(parts, duplicates))
