"""The settings of the heads of a protocol: loss, penalties, metrics and tolerance."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.heads.data.class_weights import ClassWeightLike
from dlcore.heads.losses import read_loss
from dlcore.heads.scoring.held_out import Scoring, name_of, read_scoring
from dlcore.probing.fits.scoring import check_metric_names

DEFAULT_METRICS = {"softmax": "accuracy", "logistic": "accuracy", "squared": "r2", "poisson": "d2_poisson"}
"""The metric of each loss where none is named."""
Unconverged: TypeAlias = Literal["refuse", "report"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class ProbeSettings:
    """Settings of linear probes, the same for every protocol.

    Attributes:
      loss: "softmax", "logistic", "squared" or "poisson", as `fit_heads` has them.
      C: scikit-learn's C, a number or several; λ = 1/(C·S), S the weight of the rows that train.
      l2: λ, a number or several, in place of C.
      scoring: the score of validation rows or folds that chooses the penalty, larger is better, as `fit_heads` has
        it. None for the first one of the loss. Of equal scores the strongest penalty is chosen.
      metrics: names of metrics of the test rows: see `METRICS`. None for accuracy, R² or D².
      bootstrap: the number of bootstrap resamples of the test rows, for an interval of each metric. 0 for none.
      confidence: the level of the interval.
      fit_intercept: whether heads have an intercept.
      standardize: whether the penalty is of the coefficients of standardised columns.
      class_weight: None, "balanced" or a dictionary, as `fit_heads` has it.
      tol: the relative tolerance of the certified gap, as `fit_heads` has it.
      max_steps: the most passes over the rows for one head. None for the default of `fit_heads`.
      unconverged: "refuse" raises an error if a head is not converged. "report" shows its status in the table.

    >>> ProbeSettings(C=[0.1, 1.0]).penalty
    ('C', array([0.1, 1. ]))
    """

    loss: str = "softmax"
    C: npt.ArrayLike | None = None
    l2: npt.ArrayLike | None = None
    scoring: Scoring | None = None
    metrics: Sequence[str] | None = None
    bootstrap: int = 0
    confidence: float = 0.95
    fit_intercept: bool = True
    standardize: bool = False
    class_weight: ClassWeightLike | None = None
    tol: float = 1e-6
    max_steps: int | None = None
    unconverged: Unconverged = "refuse"

    def __post_init__(self) -> None:
        loss = read_loss(self.loss)
        given = [name for name in ("C", "l2") if getattr(self, name) is not None]
        if len(given) != 1:
            raise TypeError(f"settings: expected one of C and l2, got {' and '.join(given) or 'neither'}")
        name = given[0]
        values = np.atleast_1d(host_checks.as_numpy(name, getattr(self, name))).astype(np.float64)
        if values.ndim != 1 or not values.size:
            raise ValueError(f"{name}: expected a number or a list of at least one, got shape {values.shape}")
        unique, counts = np.unique(values, return_counts=True)
        if counts.max() > 1:
            raise ValueError(f"{name}: expected each value once, got {unique[counts.argmax()]:g} twice")
        if name == "C" and "C" not in loss.penalties:
            raise TypeError(f"C: expected None for loss {self.loss!r}, which takes l2")
        read_scoring(self.scoring, loss)
        names = DEFAULT_METRICS[self.loss] if self.metrics is None else self.metrics
        names = (names,) if isinstance(names, str) else tuple(names)
        check_metric_names(names, self.loss)
        host_checks.check_count("bootstrap", self.bootstrap, minimum=0)
        check_confidence(self.confidence)
        if self.unconverged not in ("refuse", "report"):
            raise ValueError(f"unconverged: expected 'refuse' or 'report', got {self.unconverged!r}")
        object.__setattr__(self, name, tuple(values.tolist()))
        object.__setattr__(self, "metrics", names)

    @property
    def penalty(self) -> tuple[str, np.ndarray]:
        """The name of the penalty, "C" or "l2", and its values."""
        name = "l2" if self.C is None else "C"
        return name, np.atleast_1d(np.asarray(getattr(self, name), np.float64))

    @property
    def metric_names(self) -> tuple[str, ...]:
        """The names of the metrics of test rows."""
        return tuple(self.metrics or ())

    def for_record(self) -> Mapping[str, object]:
        """Return the settings as values of a record."""
        name, values = self.penalty
        loss = read_loss(self.loss)
        entries = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return entries | {name: values, "scoring": name_of(read_scoring(self.scoring, loss))}


def check_confidence(confidence: float) -> None:
    """Raise unless a level of confidence lies in (0, 1)."""
    host_checks.check_number("confidence", confidence, above=0)
    if confidence >= 1:
        raise ValueError(f"confidence: expected a number between 0 and 1, got {confidence!r}")
