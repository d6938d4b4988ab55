"""Results of `fit`: the fitted model, its history, and the progress that the callback takes."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from dlcore._core.array_checks import is_traced
from dlcore._core.html import escape
from dlcore._core.status import Status
from dlcore._core.types import Array, Params
from dlcore.certificate import Certificate


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class History:
    """J and ‖∇J‖ at every evaluation of J, the start included.

    Without minibatches every step is an evaluation, and entry k belongs to the parameters after k updates. With
    `batch_size` the evaluations are at the start of every epoch and at the end, and entry k belongs to the
    parameters after k epochs. The last entry belongs to the final parameters. Two histories are equal if they are
    the same object.

    Attributes:
      value: J, shape (steps + 1,), or (epochs + 1,).
      gradient_norm: ‖∇J‖, of the same shape.
      recorded: the results of `record`, stacked on a leading axis, or None without `record`.
    """

    value: np.ndarray
    gradient_norm: np.ndarray
    recorded: Any = None

    def __repr__(self) -> str:
        recorded = "" if self.recorded is None else ", recorded"
        return f"History(value and gradient_norm of shape {np.shape(self.value)}{recorded})"


class Progress(NamedTuple):
    """Progress of a fit, as the callback takes it.

    Attributes:
      step: number of updates so far.
      max_steps: maximum number of updates.
      value: J at its last evaluation. The evaluation is at most one update old, and with `batch_size` at most one
        epoch.
      gradient_norm: ‖∇J‖ at the same parameters.
      params: the parameters after `step` updates.
    """

    step: int
    max_steps: int
    value: float
    gradient_norm: float
    params: Params


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Fit:
    """One fitted model, with the reason why the fit stopped. Two fits are equal if they are the same object.

    Attributes:
      params: the parameters after the last update.
      value: J at `params`, a scalar array.
      gradient_norm: ‖∇J‖ at `params`, a scalar array.
      steps: number of updates.
      status: the reason why the fit stopped.
      history: J and ‖∇J‖ at every evaluation of J.
      message: the status as a sentence, with the remedy.
      certificate: a float64 bound on J − J* at `params`, or None if the fit diverged or `stop` is "flat".
    """

    params: Params
    value: Array
    gradient_norm: Array
    steps: int
    status: Status
    history: History
    message: str
    certificate: Certificate | None = None

    def __repr__(self) -> str:
        gap = "" if self.certificate is None else f", gap ≤ {short(self.certificate.gap, 2)}"
        return f"Fit({self.status}, {count_of(self.steps, 'step')}, value={short(self.value)}{gap})"

    def _repr_html_(self) -> str:
        """Return the fit as a small HTML table for notebooks."""
        rows = [("status", self.status), ("steps", self.steps), ("value", short(self.value))]
        rows.append(("gradient norm", short(self.gradient_norm)))
        if self.certificate is not None:
            rows.append(("gap at most", short(self.certificate.gap, 2)))
        return html_table("Fit", (), [*rows, ("message", self.message)])


def short(number: Any, digits: int = 4) -> str:
    """Return a number with a few digits. An integer has all its digits, and a traced number is "traced"."""
    if is_traced(number):
        return "traced"
    return str(number) if isinstance(number, int | np.integer) else f"{float(number):.{digits}g}"


def count_of(count: int, noun: str) -> str:
    """Return a count with its noun in the singular or the plural."""
    return f"{count} {noun}" + "s" * (count != 1)


def html_table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return an HTML table. Its headers have a scope, for screen readers. All text is escaped.

    Args:
      caption: the caption of the table.
      columns: the names of the columns, or () for a table without a header.
      rows: the cells of each row. The first cell is the header of its row.
    """
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns)
    body = []
    for header, *cells in rows:
        data = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
        body.append(f'<tr><th scope="row">{escape(str(header))}</th>{data}</tr>')
    head = f"<thead><tr>{head}</tr></thead>" if columns else ""
    return f"<table><caption>{escape(caption)}</caption>{head}<tbody>{''.join(body)}</tbody></table>"
