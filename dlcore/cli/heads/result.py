"""The result of `dlcore fit`: the model, the sweep, the held-out metrics and the times, as one document."""

import dataclasses
import time
from typing import Any

import numpy as np

from dlcore._core.status import Status
from dlcore.certificate import DataReport
from dlcore.certificate.display import Plain, to_plain
from dlcore.cli.heads.class_weight import class_weight_json, total_weight
from dlcore.cli.heads.intervals import Interval
from dlcore.data import Dataset
from dlcore.export import Model
from dlcore.heads import Heads

CLASSIFIERS = ("logistic", "softmax")


@dataclasses.dataclass
class Clock:
    """Seconds of parts of a command, by name."""

    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    last: float = dataclasses.field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        """Count the time since the last lap under a name."""
        now = time.perf_counter()
        self.seconds[name], self.last = now - self.last, now


@dataclasses.dataclass(frozen=True)
class FitResult:
    """All that `dlcore fit` has found.

    Attributes:
      train: the rows that train.
      held: the rows held out, or None.
      heads: the sweep.
      index: the index of the chosen penalty.
      model: the head of this penalty.
      metrics: metrics of the rows held out, with intervals, by name; empty without such rows.
      report: the report on the training data, or None if nothing is written.
      seconds: times of the parts of the command.
      warnings: warnings of the fit.
      device: the device, in words.
    """

    train: Dataset
    held: Dataset | None
    heads: Heads
    index: int
    model: Model
    metrics: dict[str, Interval]
    report: DataReport | None
    seconds: dict[str, float]
    warnings: list[str]
    device: str

    @property
    def converged(self) -> bool:
        """The certification of the chosen head: whether its gap is within the tolerance."""
        return self.heads.status[self.index] == Status.CONVERGED

    @property
    def total_weight(self) -> float:
        """The sum of the weights of the rows that train, multiplied by those of their classes."""
        return total_weight(self.model.class_weight, self.train)

    def c_of(self, l2: float) -> float | None:
        """Return scikit-learn's C of a penalty of a classifier; None at 0 and for other losses."""
        return 1 / (l2 * self.total_weight) if l2 and self.model.loss in CLASSIFIERS else None

    def worst_gap(self) -> float:
        """Return the largest certified gap of all heads and folds."""
        gaps = np.concatenate([np.ravel(self.heads.certificate.gap), self.heads.fold_gap.ravel()])
        return float(gaps.max())

    def statuses(self) -> dict[str, int]:
        """Return the number of heads of each status, of all rows and of the folds."""
        found = np.concatenate([self.heads.status.ravel(), self.heads.fold_status.ravel()]).astype(str)
        names, counts = np.unique(found, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))

    def tied(self) -> list[float]:
        """Return the penalties within one standard error of the best."""
        ties = self.heads.ties
        return [] if ties is None else self.heads.l2[ties].tolist()

    def rows(self) -> list[dict[str, Any]]:
        """Return a dictionary for each penalty of the sweep."""
        heads, ties = self.heads, self.heads.ties
        rows = []
        for k, l2 in enumerate(heads.l2.tolist()):
            row = {
                "l2": l2,
                "C": self.c_of(l2),
                "value": float(heads.value[k]),
                "gap": float(heads.certificate.gap[k]),
                "status": str(heads.status[k]),
                "steps": int(heads.steps[k]),
                "best": k == self.index,
                "tied": None if ties is None else bool(ties[k]),
                "mean_score": None if heads.scores is None else float(heads.scores[:, k].mean()),
            }
            for fold, scores in enumerate([] if heads.scores is None else heads.scores):
                row[f"score_{fold}"] = float(scores[k])
            for fold, gaps in enumerate(heads.fold_gap):
                row[f"fold_gap_{fold}"] = float(gaps[k])
            rows.append(row)
        return rows

    def to_json(self) -> dict[str, Any]:
        """Return the result as values of JSON. Numbers that are not finite are None."""
        heads, model, certificate = self.heads, self.model, self.heads.certificate
        chosen = {
            "l2": model.l2,
            "C": self.c_of(model.l2),
            "value": float(heads.value[self.index]),
            "gap": float(certificate.gap[self.index]),
            "bound": certificate.bound[self.index],
            "gap_tol": float(np.ravel(certificate.gap_tol(1.0))[self.index]),
            "status": model.status,
            "tied_l2": self.tied(),
        }
        if heads.scores is not None:
            chosen["mean_score"] = float(heads.scores[:, self.index].mean())
            chosen["fold_scores"] = heads.scores[:, self.index].tolist()
        content = {
            "data": {
                "source": self.train.source,
                "train_rows": len(self.train),
                "held_out_rows": 0 if self.held is None else len(self.held),
                "dropped_rows": len(self.train.dropped),
                "features": len(self.train.names),
                "dtype": str(self.train.features.dtype),
            },
            "loss": model.loss,
            "class_weight": class_weight_json(model),
            "scoring": heads.scoring if heads.scores is not None else None,
            "chosen": chosen,
            "held_out": {name: dataclasses.asdict(interval) for name, interval in self.metrics.items()},
            "heads": {"statuses": self.statuses(), "worst_gap": self.worst_gap()},
            "seconds": self.seconds,
            "device": self.device,
            "warnings": self.warnings,
            "versions": model.versions,
            "data_report": None if self.report is None else _without_direction(self.report.to_dict()),
        }
        plain = to_plain(content)
        assert isinstance(plain, dict)
        return plain


def _without_direction(report: dict[str, Plain]) -> dict[str, Plain]:
    """Return a report without the direction that separates the classes, which may be long."""
    return {name: value for name, value in report.items() if not name.startswith("direction")}
