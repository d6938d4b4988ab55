"""Result of `sweep`: one model for each setting."""

import collections
import dataclasses
from typing import NamedTuple

import numpy as np

from dlcore._core.status import Status
from dlcore.fitting.result import Fit, count_of, html_table, short

MAX_ROWS = 20
"""Maximum number of settings in the HTML table."""


class SweepProgress(NamedTuple):
    """Progress of a sweep, as the callback takes it.

    Attributes:
      finished: number of finished models.
      settings: number of settings.
      steps: number of steps of each slot. A model that waited in the queue has made fewer.
    """

    finished: int
    settings: int
    steps: int


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Sweep(Fit):
    """The fitted models of all settings, along a leading axis. Two sweeps are equal if they are the same object.

    Attributes:
      params: the parameters, with a leading axis (settings,).
      value: J of each model, shape (settings,).
      gradient_norm: ‖∇J‖ of each model, shape (settings,).
      steps: number of updates of each model, a NumPy array of shape (settings,).
      status: the reason why each model stopped, a NumPy array of `Status`.
      history: J and ‖∇J‖ at every step, shape (settings, most steps + 1), or (settings, 0) without `record`.
      message: the status of each model as a sentence.
      certificate: None.
      settings: the numbers of the settings by name, each of shape (settings,).
    """

    steps: np.ndarray  # pyright: ignore[reportIncompatibleVariableOverride]
    status: np.ndarray  # pyright: ignore[reportIncompatibleVariableOverride]
    message: tuple[str, ...]  # pyright: ignore[reportIncompatibleVariableOverride]
    settings: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"Sweep({self._summary()})"

    def _repr_html_(self) -> str:
        """Return the settings and their results as an HTML table for notebooks, at most `MAX_ROWS` of them."""
        values = np.asarray(self.value)
        columns = ("setting", *self.settings, "status", "steps", "value")
        rows: list[tuple[object, ...]] = [
            (i, *self._numbers(i).values(), self.status[i], self.steps[i], short(values[i]))
            for i in range(min(len(values), MAX_ROWS))
        ]
        if len(values) > MAX_ROWS:
            rows.append((f"{len(values) - MAX_ROWS} more", *[""] * (len(columns) - 1)))
        return html_table(f"Sweep of {self._summary()}", columns, rows)

    def _summary(self) -> str:
        """Return the numbers of models by status, and the lowest value with its setting."""
        counts = collections.Counter(map(str, self.status)).most_common()
        text = ", ".join(f"{count} {status}" for status, count in counts)
        values = np.asarray(self.value)
        values = np.where(np.isfinite(values) & (self.status != Status.DIVERGED), values, np.nan)
        if not np.isnan(values).all():
            best = int(np.nanargmin(values))
            setting = ", ".join(f"{name}={number}" for name, number in self._numbers(best).items())
            text += f", best value {short(values[best])}" + (f" at {setting}" if setting else "")
        return f"{count_of(len(values), 'setting')}: {text}"

    def _numbers(self, index: int) -> dict[str, str]:
        """Return the numbers of a setting by name, with a few digits."""
        return {name: short(numbers[index]) for name, numbers in self.settings.items()}
