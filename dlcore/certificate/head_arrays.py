"""Input of the bounds: linear heads as checked arrays in float64, and the weights of the rows."""

from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks


class HeadsLike(Protocol):
    """Anything with the attributes of `LinearHeads`. All but the four below are optional."""

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


class HeadArrays(NamedTuple):
    """Checked heads in float64, flattened to H heads.

    Attributes:
      coef: shape (H, m), for the softmax (H, classes, m).
      intercept: shape (H,), for the softmax (H, classes), or None.
      l2: shape (H,).
      scale: σ, shape (m,), or None.
      models: the number of models, 0 if the given `coef` has no such axis.
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


def read_heads(heads: HeadsLike, features: int, targets: int | None, *, has_classes: bool) -> HeadArrays:
    """Check heads and flatten them.

    Args:
      heads: the heads as given.
      features: the number of columns of x.
      targets: the number of targets, or None if y has no such axis.
      has_classes: whether the coefficients of a head have an axis of classes.

    Raises:
      ValueError: if a shape does not fit, a number is not finite, a penalty is negative, or a scale is not
        positive.
      TypeError: if an attribute is not an array of real numbers.
    """
    coef = host_checks.as_numpy("heads.coef", heads.coef).astype(np.float64)
    inner = "classes" if has_classes else str(targets) if targets else None
    rank = 1 if inner is None else 2
    fits = coef.ndim in (rank, rank + 1) and coef.shape[-1] == features and 0 not in coef.shape
    fits = fits and (has_classes or targets is None or coef.shape[-2] == targets)
    if not fits:
        several = f"heads, {features}" if inner is None else f"models, {inner}, {features}"
        single = f"{features}," if inner is None else f"{inner}, {features}"
        raise ValueError(f"heads.coef: expected shape ({single}) or ({several}), got {coef.shape}")
    if has_classes and coef.shape[-2] < 2:
        raise ValueError(f"heads.coef: expected at least two classes, got shape {coef.shape}")
    host_checks.check_finite("heads.coef", coef)

    models = coef.shape[:1] if coef.ndim > rank else ()
    shape = models if has_classes else coef.shape[:-1]
    l2 = host_checks.as_penalties("heads.l2", heads.l2)
    if l2.shape not in {(), models, shape}:
        expected = " or ".join(str(s) for s in dict.fromkeys((models or (1,), shape or (1,))))
        raise ValueError(f"heads.l2: expected a number or shape {expected}, got {l2.shape}")
    if l2.shape == models and shape != models:
        l2 = l2[..., None]
    flat_shape = (-1, *coef.shape[-2:]) if has_classes else (-1, features)
    return HeadArrays(
        coef.reshape(flat_shape),
        _read_intercept(heads, coef.shape[:-1], flat_shape[:-1]),
        np.broadcast_to(l2, shape).reshape(-1),
        _read_scale(heads, features),
        sum(models),
        shape,
    )


def _read_intercept(heads: HeadsLike, shape: tuple[int, ...], flat_shape: tuple[int, ...]) -> np.ndarray | None:
    """Check the intercepts of heads, shape `shape`, and flatten them. Return None if the heads have none."""
    if heads.intercept is None or not getattr(heads, "fit_intercept", True):
        return None
    intercept = host_checks.as_numpy("heads.intercept", heads.intercept).astype(np.float64)
    if intercept.shape not in ((), shape):
        raise ValueError(f"heads.intercept: expected a number or shape {shape or (1,)}, got {intercept.shape}")
    host_checks.check_finite("heads.intercept", intercept)
    return np.broadcast_to(intercept, shape).reshape(flat_shape)


def _read_scale(heads: HeadsLike, features: int) -> np.ndarray | None:
    """Check the scale of heads, shape (m,). Return None if the heads have none."""
    scale = getattr(heads, "scale", None)
    if scale is None:
        return None
    scale = host_checks.as_numpy("heads.scale", scale).astype(np.float64)
    if scale.shape != (features,):
        raise ValueError(f"heads.scale: expected shape ({features},), got {scale.shape}")
    if not (np.isfinite(scale) & (scale > 0)).all():
        raise ValueError(f"heads.scale: expected finite numbers above 0, got {scale}")
    return scale


def multiply_class_weight(
    heads: HeadsLike, labels: np.ndarray, weights: np.ndarray, count: int, *, is_soft: bool
) -> np.ndarray:
    """Multiply the weight of each row by the weight of its class.

    Return the weights as given if the heads have no class weights.

    Args:
      heads: the heads as given.
      labels: class indices that have been checked, shape (n,).
      weights: shape (models, n).
      count: the number of classes, 0 if the loss has none.
      is_soft: whether the labels are probabilities.

    Raises:
      ValueError: if there are no classes or the labels are soft, or the class weights are not one number above 0
        for each class.
    """
    given = getattr(heads, "class_weight", None)
    if given is None:
        return weights
    if not count:
        raise ValueError(f"heads.class_weight: expected None for loss {heads.loss!r}, which has no classes")
    if is_soft:
        raise ValueError(
            "heads.class_weight: expected None with soft labels, whose rows belong to several classes"
        )
    factors = host_checks.as_numpy("heads.class_weight", given).astype(np.float64)
    if factors.shape != (count,):
        raise ValueError(f"heads.class_weight: expected shape ({count},), got {factors.shape}")
    host_checks.check_number("heads.class_weight", factors, above=0)
    with np.errstate(over="ignore"):
        products = weights * factors[labels.astype(np.intp)]
    for of_model in products:
        host_checks.check_weights(of_model, len(labels))
    return products


def read_weights(weights: npt.ArrayLike | None, rows: int, models: int) -> np.ndarray:
    """Check the weights of the rows.

    Args:
      weights: shape (n,) or (models, n). None gives every row the weight 1.
      rows: n.
      models: the number of models, 0 if the heads have no such axis.

    Returns:
      The weights, shape (1, n), or (models, n) if each model has a set of weights.
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
