"""The choices of a call of `fit_heads`, checked."""

from collections.abc import Mapping
from typing import NamedTuple

from dlcore.heads.losses import HeadLoss
from dlcore.heads.scoring.held_out import Scoring, name_of


class FitOptions(NamedTuple):
    """Options of a call beside the data.

    Attributes:
      scoring: the name of a metric, or a function.
      left_out: whether each row is predicted by a fit on the remaining rows.
      fit_intercept: whether the intercept is fitted.
      tol: the relative gap of a converged head.
      max_steps: the most passes over all rows for one head.
      keep_folds: whether the heads of the folds are returned.
    """

    scoring: Scoring
    left_out: bool
    fit_intercept: bool
    tol: float
    max_steps: int
    keep_folds: bool = False

    def problem(self, loss: HeadLoss) -> Mapping[str, object]:
        """Return the options that the stages depend on.

        A ridge stage includes the scores, so that `scoring` counts for ridge only.
        """
        choices = {name: getattr(self, name) for name in ("left_out", "fit_intercept", "tol", "max_steps")}
        return {"loss": loss.name} | choices | ({"scoring": name_of(self.scoring)} if loss.is_exact else {})
