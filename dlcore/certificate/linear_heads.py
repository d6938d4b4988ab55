"""Linear heads as plain numbers: the public `LinearHeads`, and the checked arrays for the bounds."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks


class HeadsLike(Protocol):
    """Anything with the attributes of `LinearHeads`; `scale` and `feature_names` are optional."""

    @property
    def coef(self) -> npt.ArrayLike:
        """Return the coefficients."""
        ...

    @property
    def intercept(self) -> npt.ArrayLike | None:
        """Return the intercepts."""
        ...

    @property
    def l2(self) -> npt.ArrayLike:
        """Return the penalties."""
        ...

    @property
    def loss(self) -> str:
        """Return the name of the loss."""
        ...


class LinearHeads(NamedTuple):
    r"""One linear head, or several on the same data, as plain numbers; `certify` checks them.

    Attributes:
      coef: coefficients, shape (m,) for one head, (models, m) for several. With the loss "softmax" the shape is
        (classes, m) or (models, classes, m). With the loss "squared" and y of shape (n, targets) it is (targets,
        m) or (models, targets, m), and each target is a problem by itself.
      intercept: the shape of `coef` without its last axis, or a number; None for heads without an intercept.
      l2: the penalty λ of each fit: a number, shape (models,), or a number for each problem. It is 1/(C·S) for
        scikit-learn's C and 2·alpha/S for its Ridge, where S is the sum of the weights.
      loss: "logistic", the mean cross-entropy of a sigmoid; "softmax", that of a softmax; "squared", the mean of
        (ŷ − y)².
      scale: σ above 0, shape (m,). The penalty is $\frac\lambda2\sum_j(\sigma_jw_j)^2$, that of the coefficients
        of columns divided by σ, such as standardised columns. None penalises the coefficients as they are.
    """

    coef: npt.ArrayLike
    intercept: npt.ArrayLike | None
    l2: npt.ArrayLike
    loss: str = "logistic"
    scale: npt.ArrayLike | None = None

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
        rows = host_checks.as_numpy_or_sparse("x", x)
        host_checks.check_matrix("x", rows)
        host_checks.check_finite("x", rows)
        coef = np.asarray(self.coef, np.float64)
        if rows.shape[1] != coef.shape[-1]:
            raise ValueError(f"x: expected {coef.shape[-1]} columns, got {rows.shape[1]}")
        intercept = np.zeros(coef.shape[:-1]) if self.intercept is None else np.asarray(self.intercept, np.float64)
        return coef @ rows[:].astype(np.float64).T + np.broadcast_to(intercept, coef.shape[:-1])[..., None]


class HeadArrays(NamedTuple):
    """Checked heads in float64, flattened to H heads.

    Attributes:
      coef: shape (H, m), for the softmax (H, classes, m).
      intercept: shape (H,), for the softmax (H, classes), or None.
      l2: shape (H,).
      scale: σ, shape (m,), or None.
      models: the number of models, 0 where `coef` came without that axis.
      shape: the shape of results: (), (models,), (targets,) or (models, targets).
    """

    coef: np.ndarray
    intercept: np.ndarray | None
    l2: np.ndarray
    scale: np.ndarray | None = None
    models: int = 0
    shape: tuple[int, ...] = ()

    def head(self, h: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the coefficients and the intercept of a head."""
        return self.coef[h], None if self.intercept is None else self.intercept[h]


def read_heads(heads: HeadsLike, features: int, targets: int | None) -> HeadArrays:
    """Check heads and flatten them.

    Args:
      heads: the heads as given.
      features: the number of columns of x.
      targets: the number of targets, where y has that axis.

    Raises:
      ValueError: if a shape does not fit, or a number is not finite or negative where it must not be.
      TypeError: if something is not an array of real numbers.
    """
    is_softmax = heads.loss == "softmax"
    coef = host_checks.as_numpy("heads.coef", heads.coef).astype(np.float64)
    inner = "classes" if is_softmax else str(targets) if targets else None
    rank = 1 if inner is None else 2
    fits = coef.ndim in (rank, rank + 1) and coef.shape[-1] == features and 0 not in coef.shape
    fits = fits and (is_softmax or targets is None or coef.shape[-2] == targets)
    if not fits:
        several = f"heads, {features}" if inner is None else f"models, {inner}, {features}"
        single = f"{features}," if inner is None else f"{inner}, {features}"
        raise ValueError(f"heads.coef: expected shape ({single}) or ({several}), got {coef.shape}")
    if is_softmax and coef.shape[-2] < 2:
        raise ValueError(f"heads.coef: expected at least two classes, got shape {coef.shape}")
    host_checks.check_finite("heads.coef", coef)

    models = coef.shape[:1] if coef.ndim > rank else ()
    shape = models if is_softmax else coef.shape[:-1]
    l2 = host_checks.as_penalties("heads.l2", heads.l2)
    if l2.shape not in {(), models, shape}:
        expected = " or ".join(str(s) for s in dict.fromkeys((models or (1,), shape or (1,))))
        raise ValueError(f"heads.l2: expected a number or shape {expected}, got {l2.shape}")
    if l2.shape == models and shape != models:
        l2 = l2[..., None]
    flat_shape = (-1, *coef.shape[-2:]) if is_softmax else (-1, features)
    return HeadArrays(
        coef.reshape(flat_shape),
        _read_intercept(heads, coef.shape[:-1], flat_shape[:-1]),
        np.broadcast_to(l2, shape).reshape(-1),
        _read_scale(heads, features),
        sum(models),
        shape,
    )


def _read_intercept(heads: HeadsLike, shape: tuple[int, ...], flat_shape: tuple[int, ...]) -> np.ndarray | None:
    """Check the intercepts of heads, shape `shape`, and flatten them; None where heads have none."""
    if heads.intercept is None or not getattr(heads, "fit_intercept", True):
        return None
    intercept = host_checks.as_numpy("heads.intercept", heads.intercept).astype(np.float64)
    if intercept.shape not in ((), shape):
        raise ValueError(f"heads.intercept: expected a number or shape {shape or (1,)}, got {intercept.shape}")
    host_checks.check_finite("heads.intercept", intercept)
    return np.broadcast_to(intercept, shape).reshape(flat_shape)


def _read_scale(heads: HeadsLike, features: int) -> np.ndarray | None:
    """Check the scale of heads, shape (m,); None where heads have none."""
    scale = getattr(heads, "scale", None)
    if scale is None:
        return None
    scale = host_checks.as_numpy("heads.scale", scale).astype(np.float64)
    if scale.shape != (features,):
        raise ValueError(f"heads.scale: expected shape ({features},), got {scale.shape}")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"heads.scale: expected finite numbers above 0, got {scale}")
    return scale


def read_weights(weights: npt.ArrayLike | None, rows: int, models: int) -> np.ndarray:
    """Check the weights of the rows.

    Args:
      weights: shape (n,) or (models, n); None weighs every row 1.
      rows: n.
      models: the number of models, 0 where heads have no such axis.

    Returns:
      Shape (1, n), or (models, n) where each model has its own set.
    """
    if weights is None:
        return np.broadcast_to(np.float64(1), (1, rows))
    values = host_checks.as_numpy("weights", weights)
    if values.ndim != 2 or not models:
        host_checks.check_weights(values, rows)
        return values[None]
    if values.shape != (models, rows):
        raise ValueError(
            f"weights: expected shape ({rows},), one per row of x, or ({models}, {rows}), got {values.shape}"
        )
    host_checks.check_finite("weights", values)
    for of_model in values:
        host_checks.check_weights(of_model, rows)
    return values
