"""One linear head with what a file of it keeps: names, labels, penalty and certificate."""

import dataclasses
import importlib.metadata

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.certificate import LinearHeads
from dlcore.certificate.losses import certified_loss
from dlcore.heads import Heads

PACKAGES = ("dlcore-jax", "jax", "jaxlib", "numpy")
"""Packages whose versions a model keeps."""


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class Model:
    """One linear head. `certify` takes it as it is. Two objects are equal if they are the same object.

    Attributes:
      coef: coefficients, shape (m,), for the loss "softmax" (classes, m), float64.
      intercept: a number, for the loss "softmax" shape (classes,), float64; None without an intercept.
      l2: the penalty λ.
      loss: "logistic", "softmax", "squared" or "poisson".
      scale: σ, shape (m,), where the penalty is that of standardised columns, else None.
      classes_: the labels of the classes, sorted, shape (classes,); None for numbers.
      feature_names: the names of the m columns, or None.
      gap: the certified bound on J − J*, or None if it is not known.
      status: how the fit has ended, such as "converged", or None if it is not known.
      versions: versions of the packages that made the model, by name.
      class_weight: weights of the classes, shape (classes,), which multiply those of the rows in the objective;
        None if the classes have none.
    """

    coef: np.ndarray
    intercept: np.ndarray | None
    l2: float
    loss: str
    scale: np.ndarray | None = None
    classes_: np.ndarray | None = None
    feature_names: tuple[str, ...] | None = None
    gap: float | None = None
    status: str | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    class_weight: np.ndarray | None = None

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.coef.shape))
        gap = "" if self.gap is None else f", gap {self.gap:.2g}"
        status = "" if self.status is None else f", {self.status}"
        return f"Model({self.loss}, {shape}, l2 {self.l2:.4g}{status}{gap})"

    @property
    def head(self) -> LinearHeads:
        """The head as plain numbers."""
        return LinearHeads(
            self.coef,
            self.intercept,
            self.l2,
            self.loss,
            self.scale,
            self.classes_,
            self.feature_names,
            self.class_weight,
        )

    def predict(self, x: npt.ArrayLike) -> np.ndarray:
        """Return labels, numbers or rates, shape (n,).

        Args:
          x: shape (n, m), real numbers. Columns with names are those of the model, in any order.
        """
        return self.head.predict(x)

    def predict_proba(self, x: npt.ArrayLike) -> np.ndarray:
        """Return the probabilities of all classes, shape (n, classes), of a head of classes."""
        return self.head.predict_proba(x)


def model_of(heads: Heads, index: int | None = None, *, feature_names: tuple[str, ...] | None = None) -> Model:
    """Return one head of `fit_heads` as a model.

    Args:
      heads: heads of one target.
      index: the index of the penalty. None takes the best one, or the only one.
      feature_names: names of the columns; None takes those of the heads.

    Returns:
      The model, with the certified gap and the status of the head.

    Raises:
      ValueError: if the heads have several targets, or `index` is None and there are several penalties without
        scores.

    Source: `fit_heads`.

    >>> from dlcore import fit_heads
    >>> heads = fit_heads(np.arange(4.0)[:, None], [0.0, 1.0, 2.0, 3.0], loss="squared", l2=0.0)
    >>> print(model_of(heads).coef.round(6), model_of(heads).status)
    [1.] converged
    """
    if heads.status.ndim != 1:
        raise ValueError(f"heads: expected heads of one target, got {len(heads.status)}")
    if index is None:
        index = 0 if len(heads.l2) == 1 else heads.best
        if index is None:
            raise ValueError(
                f"heads: expected one l2, or scores that choose one of {len(heads.l2)}; pass folds to fit_heads"
            )
    index = host_checks.check_count("index", index, minimum=0, maximum=len(heads.l2) - 1)
    gap = float(heads.certificate.gap[index])
    return Model(
        coef=heads.coef[index].copy(),
        intercept=np.asarray(heads.intercept[index]).copy() if heads.fit_intercept else None,
        l2=float(heads.l2[index]),
        loss=heads.loss,
        scale=heads.scale,
        classes_=heads.classes_,
        feature_names=heads.feature_names if feature_names is None else feature_names,
        gap=gap if np.isfinite(gap) else None,
        status=str(heads.status[index]),
        versions={name: importlib.metadata.version(name) for name in PACKAGES},
    )


def check_model(model: Model, where: str) -> Model:
    """Return a model whose parts agree, or raise a `ValueError` that begins with `where`.

    Args:
      model: the model, with coefficients of any real dtype.
      where: the beginning of the message, such as the path of its file.
    """
    try:
        coef = host_checks.as_numpy("coef", model.coef).astype(np.float64)
        loss = certified_loss("loss", model.loss)
        axes = 2 if loss.has_classes else 1
        if coef.ndim != axes or 0 in coef.shape or (axes == 2 and len(coef) < 2):
            shape = "(classes, m) with two classes or more" if axes == 2 else "(m,)"
            raise ValueError(f"coef: expected shape {shape}, got {coef.shape}")
        host_checks.check_finite("coef", coef)
        intercept = model.intercept
        if intercept is not None:
            intercept = host_checks.as_numpy("intercept", intercept).astype(np.float64)
            if intercept.shape != coef.shape[:-1]:
                raise ValueError(f"intercept: expected shape {coef.shape[:-1]}, got {intercept.shape}")
            host_checks.check_finite("intercept", intercept)
        penalty = host_checks.as_penalties("l2", model.l2)
        scale = None if model.scale is None else _check_positive("scale", model.scale, coef.shape[-1])
        labels = model.classes_
        count = coef.shape[0] if axes == 2 else 2
        if labels is not None and np.shape(labels) != (count,):
            raise ValueError(f"classes_: expected {count} labels, got shape {np.shape(labels)}")
        names = model.feature_names
        if names is not None and len(names) != coef.shape[-1]:
            raise ValueError(f"feature_names: expected {coef.shape[-1]} names, got {len(names)}")
        class_weight = model.class_weight
        if class_weight is not None:
            if loss.check_labels_and_count_logits is None:
                raise ValueError(f"class_weight: expected None for loss {model.loss!r}, which has no classes")
            class_weight = _check_positive("class_weight", class_weight, count)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: {error}") from None
    return dataclasses.replace(
        model, coef=coef, intercept=intercept, l2=float(penalty), scale=scale, class_weight=class_weight
    )


def _check_positive(name: str, array: npt.ArrayLike, size: int) -> np.ndarray:
    values = host_checks.as_numpy(name, array).astype(np.float64)
    if values.shape != (size,):
        raise ValueError(f"{name}: expected shape ({size},), got {values.shape}")
    host_checks.check_number(name, values, above=0)
    return values
