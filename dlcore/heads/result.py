"""Result of `fit_heads`: heads in float64, each with its certificate."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from dlcore._core import host_checks
from dlcore._core.files import check_path
from dlcore._core.status import Status
from dlcore._core.tables import columns
from dlcore.certificate import Certificate, LinearHeads
from dlcore.certificate.data_report.separation_names import QUASI_UNATTAINED, UNATTAINED
from dlcore.certificate.linear_heads import as_labels
from dlcore.certificate.losses import CERTIFIED_LOSSES
from dlcore.certificate.rows import DataLike
from dlcore.heads import display
from dlcore.heads.data.device_rows import share_with_jax
from dlcore.heads.files import load, save
from dlcore.heads.scoring.best_penalty import within_one_error
from dlcore.heads.scoring.logits import logits_by_block
from dlcore.heads.timing import HeadsTiming


class FoldHeads(NamedTuple):
    """Heads of one fold, in the shapes of `Heads`.

    Attributes:
      coef: shape (l2, m) or (l2, classes, m), with the axis of targets in front where y has one.
      intercept: shape (l2,) or (l2, classes).
      status: shape (l2,).
      steps: shape (l2,), passes over all rows.
      certificate: of the heads.
    """

    coef: np.ndarray
    intercept: np.ndarray
    status: np.ndarray
    steps: np.ndarray
    certificate: Certificate


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Heads:
    """One head for each strength, fitted on all rows, with its certificate and the scores of the folds.

    If y has shape (n, targets), arrays of heads have the axis of targets in front. `l2`, `scale` and `classes_`
    have none. All arrays are NumPy, numbers float64. `heads[0.01]` is the head of the strength 0.01. Two objects
    are equal if they are the same object.

    Attributes:
      coef: shape (l2, m), or (l2, classes, m) of softmax heads, whose sum over the classes is 0.
      intercept: shape (l2,) or (l2, classes), 0 without an intercept.
      l2: shape (l2,).
      loss: "logistic", "softmax", "squared" or "poisson".
      value: shape (l2,), J.
      status: shape (l2,), a `Status` each: converged where gap ≤ tol·min(max(J, 1e-3·J₀), E), see
        `Certificate.gap_tol`.
      certificate: of the heads, arrays of shape (l2,).
      steps: shape (l2,), passes of the solvers over all rows, without steps of the intercepts alone.
      fold_status: shape (folds, l2).
      fold_gap: shape (folds, l2), the certified gap of each fold's fit.
      scores: shape (folds, l2), or (1, l2) for a validation set or leave-one-out. Larger is better. None if
        nothing is scored.
      scoring: the name of the scores: a name that `fit_heads` takes, such as "log_loss" (negative), or the name of
        a function.
      best: the index of the strength with the best mean score, the strongest of equals; None without scores.
      device: where the passes over the rows ran.
      scale: shape (m,), the deviations σ where the penalty is of standardised columns, else None.
      fit_intercept: whether the intercept was fitted.
      feature_names: the m names of the columns of a data frame, else None.
      timing: seconds of the call, and the programs that it compiled. A file does not keep it.
      classes_: the labels of the classes, sorted, which `predict` returns: shape (classes,); None for numbers.
    """

    coef: np.ndarray
    intercept: np.ndarray
    l2: np.ndarray
    loss: str
    value: np.ndarray
    status: np.ndarray
    certificate: Certificate
    steps: np.ndarray
    fold_status: np.ndarray
    fold_gap: np.ndarray
    scores: np.ndarray | None
    scoring: str
    best: Any
    device: str
    scale: np.ndarray | None = None
    fit_intercept: bool = True
    feature_names: tuple[str, ...] | None = None
    timing: HeadsTiming | None = None
    classes_: Any = None

    def __repr__(self) -> str:
        return display.summary(self)

    def _repr_html_(self) -> str:
        return display.table(self)

    @property
    def best_l2(self) -> Any:
        """The strength with the best mean score, of several targets (targets,); None without scores."""
        return None if self.best is None else self.l2[self.best]

    @property
    def best_head(self) -> LinearHeads:
        """The head of the best strength, of several targets the head of each, (targets, m).

        Raises:
          ValueError: if there are no scores to choose by.

        >>> from dlcore import fit_heads
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(40, 1))
        >>> y = (x[:, 0] + rng.normal(size=40) > 0).astype(int)
        >>> heads = fit_heads(x, y, l2=[0.001, 0.1, 10], folds=4)
        >>> print(heads.best_l2, heads.best_head.predict([[-2.0], [2.0]]))
        0.1 [0 1]
        """
        if self.best is None:
            raise ValueError("best_head: expected heads with scores, from folds= or validation=; got none")
        return self._head(self.best)

    def __getitem__(self, l2: float) -> LinearHeads:
        """Return the head whose l2 equals the given one to a relative 1e-9.

        Raises:
          KeyError: if no head has this strength. The message lists the strengths.
          TypeError: if `l2` is not a number.
        """
        host_checks.check_number("l2", l2, minimum=0)
        if np.ndim(l2):
            raise TypeError(f"heads[l2]: expected one number, got an array of shape {np.shape(l2)}")
        (matching,) = np.nonzero(np.isclose(self.l2, float(l2), rtol=1e-9, atol=0))
        if not len(matching):
            strengths = ", ".join(f"{value:.6g}" for value in self.l2[:20])
            raise KeyError(f"l2: no head has the strength {float(l2):.6g}; there are {strengths}")
        return self._head(matching[0])

    __iter__ = None  # l2 is no position

    def _head(self, index: int | np.ndarray) -> LinearHeads:
        """Return the head at an index among the strengths, or at one index for each target."""
        if self.status.ndim == 2:
            where = np.arange(len(self.status)), np.broadcast_to(index, len(self.status))
        else:
            where = (index,)
        intercept = self.intercept[where] if self.fit_intercept else None
        l2 = np.broadcast_to(self.l2, self.status.shape)[where]
        return LinearHeads(
            self.coef[where], intercept, l2, self.loss, self.scale, self.classes_, self.feature_names
        )

    @property
    def ties(self) -> np.ndarray | None:
        r"""Strengths within one standard error of the best, as booleans of shape (l2,).

        None with fewer than two folds. A strength is true if its mean score is at least
        $\bar s_b - \sigma_b/\sqrt F$. b is `best`, F the number of folds and $\sigma_b$ the standard deviation of
        the scores of the best strength (with F − 1).

        Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 7.10.1.
        """
        return None if self.scores is None else within_one_error(self.scores, self.best)

    def predict(self, x: DataLike) -> np.ndarray:
        """Return the labels, numbers or rates of every head: shape (l2, n), NumPy.

        x is read block by block in its dtype. A compiled program multiplies each block in float64.

        Args:
          x: shape (n, m), any real dtype, as `fit_heads` takes it. If the fit and x have column names, the columns
            are taken by name, in any order.

        Raises:
          ValueError: if x has other columns than the heads, or a value is not finite.
          TypeError: if x is not an array of real numbers.

        >>> from dlcore import fit_heads
        >>> heads = fit_heads(np.arange(4.0)[:, None], [0, 0, 1, 1], l2=[0.01, 0.1])
        >>> print(heads.predict([[-1.0], [4.0]]).tolist(), heads.predict_proba([[1.5]]).round(3)[0])
        [[0, 1], [0, 1]] [[0.5 0.5]]
        """
        return as_labels(self._of_rows(x, CERTIFIED_LOSSES[self.loss].predict), self.classes_)

    def predict_proba(self, x: DataLike) -> np.ndarray:
        """Return the probabilities of all classes by every logistic or softmax head: shape (l2, n, classes).

        Args:
          x: as `predict` takes it.

        Raises:
          ValueError: as `predict` does, and if the loss has no classes.
          TypeError: if x is not an array of real numbers.
        """
        predict_proba = CERTIFIED_LOSSES[self.loss].predict_proba
        if predict_proba is None:
            raise ValueError(f"predict_proba: expected heads with loss 'logistic' or 'softmax', got {self.loss!r}")
        return self._of_rows(x, predict_proba)

    def _of_rows(self, x: DataLike, read: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        """Return the result of `read` on the logits of all rows, shape (l2, rows) or (l2, classes, rows).

        Axes of `read` beyond the heads and rows come last.
        """
        order = columns.column_order("x", columns.feature_names("x", x), self.feature_names)
        x = share_with_jax(x)
        rows = host_checks.as_numpy_or_sparse("x", x)
        host_checks.check_matrix("x", rows)
        if rows.shape[1] != self.coef.shape[-1]:
            raise ValueError(f"x: expected {self.coef.shape[-1]} columns, got {rows.shape[1]}")
        host_checks.check_finite("x", rows)
        rows = columns.take_columns(rows, order)
        theta = np.concatenate([self.coef, self.intercept[..., None]], axis=-1)
        heads, found = self.status.shape, None
        with jax.enable_x64(True):
            given = x if isinstance(x, jax.Array) and order is None else rows
            for part, logits in logits_by_block(given, theta.reshape(-1, theta.shape[-1])):
                block = read(logits.reshape(*theta.shape[:-1], -1))
                if found is None:
                    found = np.empty((*heads, len(rows), *block.shape[len(heads) + 1 :]), block.dtype)
                found[(*(slice(None) for _ in heads), part)] = block
        assert found is not None
        return found

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write all attributes but `timing` into one file, a NumPy archive without pickles, which `load` reads.

        Args:
          path: the path of the file, with any name. An existing file is replaced atomically, also if several
            processes write it. The target of a link is replaced; a device or FIFO is written to.

        Raises:
          ValueError: if the folder does not exist, or an attribute does not fit the others.
          OSError: if the file cannot be written. An existing file is unchanged.
          TypeError: if `path` is no path.

        >>> import tempfile
        >>> from dlcore import fit_heads
        >>> heads = fit_heads(np.eye(3), [1.0, 2.0, 3.0], loss="squared", l2=[0.1, 1.0])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     heads.save(f"{folder}/heads.npz")
        ...     again = Heads.load(f"{folder}/heads.npz")
        >>> print(np.array_equal(again.coef, heads.coef), *again.status, *again.certificate.bound)
        True converged converged duality duality
        """
        save(self, check_path("path", path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Heads":
        """Return the heads that `save` has written, to the last bit.

        Checksums of all arrays are compared. Files of the first format have no checksums.

        Raises:
          ValueError: if the file is missing, damaged, of another kind or format, or an entry does not fit. The
            error names the file, and the entry.
          TypeError: if `path` is no path.
        """
        return cls(**load(check_path("path", path)))


NOTHING = 1e-12
"""If the improvement is below this fraction of J, rounding may explain all of it."""


def is_idle(certificate: Certificate, tol: float) -> np.ndarray:
    """Return which heads may differ from the null head by rounding only.

    Such a head is not converged, at least a quarter of its gap is rounding, and its improvement is no more than
    the rounding of J.
    """
    idle = (certificate.gap > certificate.gap_tol(tol)) & (certificate.gap <= 4 * certificate.rounding)
    return idle & (certificate.improvement <= NOTHING * np.maximum(certificate.value, certificate.null_value))


def statuses(
    gap: np.ndarray, allowed: np.ndarray, l2: np.ndarray, bound: np.ndarray, exhausted: np.ndarray
) -> np.ndarray:
    """Return the status of each head. All arguments have one shape.

    A converged certificate overrides every other status.
    """
    ended = np.empty(gap.shape, object)  # np.full would store strings instead of Status objects
    ended[...] = Status.PRECISION_FLOOR
    ended[exhausted] = Status.OUT_OF_STEPS
    unbounded = (l2 == 0) & ~np.isfinite(gap)
    ended[unbounded] = Status.UNPROVEN
    ended[unbounded & (bound == UNATTAINED)] = Status.SEPARABLE
    ended[unbounded & np.char.startswith(bound.astype(str), QUASI_UNATTAINED)] = Status.QUASI_SEPARABLE
    ended[gap <= allowed] = Status.CONVERGED
    return ended
