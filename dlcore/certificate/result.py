"""Heads as plain numbers, read and checked, and the certificate that says what is known of them."""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.certificate.data_report.report import DataReport
from dlcore.certificate.display import card_of, json_of, rows_of

LOSSES = ("logistic", "softmax", "squared")


class LinearHeads(NamedTuple):
    r"""One linear head, or several on the same data, as plain numbers; `certify` refuses what is wrong with them.

    Attributes:
      coef: shape (m,) for one head, (models, m) for several; with the loss "softmax" (classes, m) or
        (models, classes, m); with the loss "squared" and y of shape (n, targets) (targets, m) or
        (models, targets, m), each target a problem of its own.
      intercept: the shape of `coef` without its last axis, or a number; None for heads without one.
      l2: the strength λ that each was fitted with: a number, shape (models,), or one for each problem;
        1/(C·S) for scikit-learn's C, 2·alpha/S for its Ridge, S the sum of the weights.
      loss: "logistic", the mean cross-entropy of a sigmoid; "softmax", that of a softmax; "squared", the mean of
        (ŷ − y)².
      scale: shape (m,), σ above 0: the penalty is $\frac\lambda2\sum_j(\sigma_jw_j)^2$, that of the weights of
        columns divided by σ, such as standardised ones; None penalises the weights as they are.
    """

    coef: Any
    intercept: Any
    l2: Any
    loss: str = "logistic"
    scale: Any = None

    def predict(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the labels, or with the squared loss the numbers, that each head predicts.

        Args:
          x: shape (n, m), real numbers.

        Returns:
          Shape (n,) for one head, (models, n) for several: class indices, of logistic heads 0 and 1.

        Raises:
          ValueError: if x has other columns than the heads.

        >>> print(LinearHeads([1.0, -1.0], 0.0, 0.1).predict([[2.0, 1.0], [1.0, 2.0]]))
        [1 0]
        """
        logits = self._logits(x)
        if self.loss == "squared":
            return logits
        return logits.argmax(-2) if self.loss == "softmax" else (logits > 0).astype(np.int64)

    def predict_proba(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the probabilities of all classes, shape (n, classes) or (models, n, classes).

        Args:
          x: shape (n, m), real numbers.

        Raises:
          ValueError: if x has other columns than the heads, or the loss is "squared".
        """
        if self.loss == "squared":
            raise ValueError("predict_proba: expected heads with loss 'logistic' or 'softmax', got 'squared'")
        logits = self._logits(x)
        if self.loss == "logistic":
            logits = np.stack([np.zeros_like(logits), logits], axis=-2)
        powers = np.exp(logits - logits.max(-2, keepdims=True))
        return (powers / powers.sum(-2, keepdims=True)).swapaxes(-1, -2)

    def _logits(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the outputs of the heads, the axis of rows last."""
        rows = host_checks.as_host_rows("x", x)
        host_checks.check_matrix("x", rows)
        host_checks.check_finite("x", rows)
        coef = np.asarray(self.coef, np.float64)
        if rows.shape[1] != coef.shape[-1]:
            raise ValueError(f"x: expected {coef.shape[-1]} columns, got {rows.shape[1]}")
        intercept = np.zeros(coef.shape[:-1]) if self.intercept is None else np.asarray(self.intercept, np.float64)
        return coef @ rows[:].astype(np.float64).T + np.broadcast_to(intercept, coef.shape[:-1])[..., None]


@dataclasses.dataclass(frozen=True)
class Certificate:
    """Certificate of heads, in float64; numbers for one problem, arrays for several.

    The arrays have the shape (models,), (targets,) or (models, targets). `str` of it is a short card.

    Attributes:
      value: J at the coefficients as given.
      gradient_norm: ‖∇J‖ there, the intercept's component included.
      gap: an upper bound on J − J*, rounding included; infinity where no bound is known.
      rounding: the part of `gap` that accounts for the rounding of this computation itself.
      bound: the name of the bound, "duality", "curvature", "curvature further down", "curvature if the rank is …",
        "exact", "exact if the rank is …", or "none" with the reason; a tuple of them for several problems, flat in
        the order of `gap`.
      dtype: of this computation.
      precision: of its products.
      device: what ran it.
      heads_device: what the heads were fitted on, where they know.
      report: on the data, where it was asked for.
      null_value: J₀, the objective of the best constant prediction; without an intercept that of coefficients 0.
      improvement: E = max(J₀ − J, (λ/2)‖σw‖²), the difference less its rounding and at least 0.
    """

    value: Any
    gradient_norm: Any
    gap: Any
    rounding: Any
    bound: str | tuple[str, ...]
    dtype: str = "float64"
    precision: str = "float64"
    device: str = "NumPy on the host"
    heads_device: str | None = None
    report: DataReport | None = None
    null_value: Any = np.nan
    improvement: Any = np.nan

    def __str__(self) -> str:
        return card_of(self)

    def rows(self) -> list[dict[str, Any]]:
        """One dictionary for each head: head (its index), value, gradient_norm, gap, rounding, bound."""
        return rows_of(self)

    def gap_tol(self, tol: float) -> Any:
        r"""Return the largest gap at which heads count as converged, in the shape of `gap`.

        $\mathrm{tol}\cdot\min(\max(J, 10^{-3}J_0), E)$ with E the `improvement`. A gap within it proves
        $J - J^* \le \mathrm{tol}\,(J_0 - J^*)$ or $\|\sigma(w - w^*)\| \le \sqrt{\mathrm{tol}}\,\|\sigma w\|$,
        however strong the penalty is. A head that improves nothing, E = 0, is converged where its gap is rounding
        alone, no more than twice the `rounding`, and within tol·max(J, 10⁻³J₀) all the same.

        Args:
          tol: relative, ≥ 0.

        >>> from dlcore import LinearHeads, certify
        >>> x, y = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 0, 1])
        >>> certificate = certify(LinearHeads(coef=[0.2], intercept=-0.1, l2=1.0), x, y)
        >>> print(f"{certificate.null_value:.4f} {certificate.improvement:.4f} {certificate.gap_tol(0.01):.1e}")
        0.6931 0.0238 2.4e-04
        """
        size = np.maximum(self.value, 1e-3 * self.null_value)
        limit = tol * np.minimum(size, self.improvement)
        limit = np.where(
            np.equal(self.improvement, 0), np.minimum(2 * np.asarray(self.rounding), tol * size), limit
        )
        limit = np.where(np.isfinite(limit), limit, 0.0)
        return limit if np.shape(self.gap) else float(limit)

    def to_json(self) -> str:
        """All of it as JSON; what is not finite is null, and `bound` says why."""
        return json_of(self)


class Bounds(NamedTuple):
    """Bounds of H heads: arrays (H,), and H names; the bound on J − J* is gap + rounding.

    The last two are J₀ and E, as `Certificate` has them.
    """

    value: np.ndarray
    gradient_norm: np.ndarray
    gap: np.ndarray
    rounding: np.ndarray
    bound: list[str]
    null_value: np.ndarray
    improvement: np.ndarray


class Numbers(NamedTuple):
    """Heads in float64, one after another.

    Attributes:
      coef: shape (H, m), for the softmax (H, classes, m).
      intercept: shape (H,), (H, classes), or None.
      l2: shape (H,).
      models: how many, 0 where `coef` came without that axis.
      shape: of what is answered: (), (models,), (targets,) or (models, targets).
      scale: shape (m,), or None.
    """

    coef: np.ndarray
    intercept: np.ndarray | None
    l2: np.ndarray
    models: int
    shape: tuple[int, ...]
    scale: np.ndarray | None


def read_heads(heads: Any, features: int, targets: int | None) -> Numbers:
    """The numbers of heads for data of so many features, and of so many targets where y has that axis."""
    coef = host_checks.as_host_numbers("heads.coef", heads.coef).astype(np.float64)
    inner = "classes" if heads.loss == "softmax" else str(targets) if targets else None
    rank = 1 if inner is None else 2
    fits = coef.ndim in (rank, rank + 1) and coef.shape[-1] == features and 0 not in coef.shape
    fits = fits and (heads.loss == "softmax" or targets is None or coef.shape[-2] == targets)
    if not fits:
        many = f"heads, {features}" if inner is None else f"models, {inner}, {features}"
        alone = f"{features}," if inner is None else f"{inner}, {features}"
        raise ValueError(f"heads.coef: expected shape ({alone}) or ({many}), got {coef.shape}")
    if heads.loss == "softmax" and coef.shape[-2] < 2:
        raise ValueError(f"heads.coef: expected at least two classes, got shape {coef.shape}")
    host_checks.check_finite("heads.coef", coef)

    several = coef.shape[:-1]  # one number for each of these
    models = coef.shape[:1] if coef.ndim > rank else ()
    shape = models if heads.loss == "softmax" else several
    l2 = host_checks.as_strengths("heads.l2", heads.l2)
    if l2.shape not in {(), models, shape}:
        expected = " or ".join(str(s) for s in dict.fromkeys((models or (1,), shape or (1,))))
        raise ValueError(f"heads.l2: expected a number or shape {expected}, got {l2.shape}")
    if l2.shape == models and shape != models:
        l2 = l2[..., None]
    l2 = np.broadcast_to(l2, shape).reshape(-1)

    intercept = None
    if heads.intercept is not None and getattr(heads, "fit_intercept", True):
        intercept = host_checks.as_host_numbers("heads.intercept", heads.intercept).astype(np.float64)
        if intercept.shape not in ((), several):
            raise ValueError(
                f"heads.intercept: expected a number or shape {several or (1,)}, got {intercept.shape}"
            )
        host_checks.check_finite("heads.intercept", intercept)
        intercept = np.broadcast_to(intercept, several)
        intercept = intercept.reshape(-1, *coef.shape[-2:-1]) if heads.loss == "softmax" else intercept.reshape(-1)
    flat = coef.reshape(-1, *coef.shape[-2:]) if heads.loss == "softmax" else coef.reshape(-1, features)
    return Numbers(flat, intercept, l2, sum(models), shape, _read_scale(heads, features))


def _read_scale(heads: Any, features: int) -> np.ndarray | None:
    """That of heads which have one."""
    if getattr(heads, "scale", None) is None:
        return None
    scale = host_checks.as_host_numbers("heads.scale", heads.scale).astype(np.float64)
    if scale.shape != (features,):
        raise ValueError(f"heads.scale: expected shape ({features},), got {scale.shape}")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"heads.scale: expected finite numbers above 0, got {scale}")
    return scale


def read_weights(weights: Any, rows: int, numbers: Numbers) -> np.ndarray:
    """Shape (1, n), or (models, n) where each model has its own."""
    if weights is None:
        return np.broadcast_to(np.float64(1), (1, rows))
    s = host_checks.as_host_numbers("weights", weights)
    if s.ndim != 2 or not numbers.models:
        host_checks.check_weights(s, rows)
        return s[None]
    if s.shape != (numbers.models, rows):
        raise ValueError(
            f"weights: expected shape ({rows},), one per row of x, or ({numbers.models}, {rows}), got {s.shape}"
        )
    host_checks.check_finite("weights", s)
    for of_model in s:
        host_checks.check_weights(of_model, rows)
    return s
