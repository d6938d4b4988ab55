"""The choices of a call of `fit_heads`, checked."""

from collections.abc import Mapping
from typing import NamedTuple

from dlcore.heads.losses import loss_record
from dlcore.heads.scoring.held_out import Scoring, name_of


class FitOptions(NamedTuple):
    """Options of a call beside the data."""

    loss: str
    scoring: Scoring
    left_out: bool
    fit_intercept: bool
    tol: float
    max_steps: int

    def problem(self) -> Mapping[str, object]:
        """Return what stages depend on: of ridge heads the scores too, which others make at the end."""
        choices = {name: getattr(self, name) for name in ("loss", "left_out", "fit_intercept", "tol", "max_steps")}
        return choices | ({"scoring": name_of(self.scoring)} if loss_record(self.loss).row_loss is None else {})
