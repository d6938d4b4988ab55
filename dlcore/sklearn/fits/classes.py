"""Heads of classes for every C, of all rows and of folds."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from dlcore._core.status import Status
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.heads import fit_heads
from dlcore.heads.fit_heads import MAX_STEPS
from dlcore.heads.result import FoldHeads
from dlcore.heads.solve_heads import fit_with_folds
from dlcore.sklearn.fits.polish import is_small, polish_heads
from dlcore.sklearn.fits.settings import FitSettings, certificate_at, masks_of, on_device, warn_of_gaps
from dlcore.sklearn.types import Features


class ClassHeads(NamedTuple):
    """Heads of classes, for each of L strengths; K is 1 for two classes.

    Attributes:
      coef: shape (L, K, m).
      intercept: shape (L, K), −∞ where a class has no row. Of two classes without a row of one it is ±∞.
      steps: passes over the rows, shape (L,).
      certificate: of the L heads; None where only one class has rows.
    """

    coef: np.ndarray
    intercept: np.ndarray
    steps: np.ndarray
    certificate: Certificate | None


def fit_classes(
    X: Features, labels: np.ndarray, n_classes: int, Cs: np.ndarray, weight: np.ndarray, settings: FitSettings
) -> ClassHeads:
    """Return heads of the cross-entropy for every C: λ = 1/(C·S), 0 for C = ∞.

    A class without weight has the probability 0: its coefficients are 0 and its intercept −∞.

    Raises:
      ValueError: if a class has no weight and no intercept is fitted.
    """
    present = np.bincount(labels, weight, n_classes) > 0
    outputs, n_features = (1 if n_classes == 2 else n_classes), X.shape[1]
    if not present.all() and not settings.fit_intercept:
        raise ValueError("fit_intercept: expected True where a class has no row of positive weight, got False")
    coef, intercept = np.zeros((len(Cs), outputs, n_features)), np.zeros((len(Cs), outputs))
    if not present.all():
        intercept[:, ~present[-outputs:]] = -np.inf
    if present.sum() == 1:
        if n_classes == 2:
            intercept[:] = np.inf if present[1] else -np.inf
        return ClassHeads(coef, intercept, np.zeros(len(Cs), np.int64), None)
    rows = np.flatnonzero(weight > 0) if not present.all() else slice(None)
    numbers = np.cumsum(present) - 1
    is_binary = present.sum() == 2 and n_classes == 2
    found = _path(
        X[rows], numbers[labels[rows]], "logistic" if is_binary else "softmax", Cs, weight[rows], settings
    )
    coef[:, present[-outputs:]] = found.coef
    intercept[:, present[-outputs:]] = found.intercept
    return found._replace(coef=coef, intercept=intercept)


def fit_class_folds(
    X: Features,
    labels: np.ndarray,
    n_classes: int,
    Cs: np.ndarray,
    weight: np.ndarray,
    trains: Sequence[np.ndarray],
    settings: FitSettings,
) -> tuple[Callable[[int], ClassHeads], list[ClassHeads]]:
    """Return a function that gives the head of all rows for the C at an index, and the heads of each fold.

    Folds that train every class, and no row twice, are one call with all rows.

    Args:
      X: shape (n, m), NumPy or sparse.
      labels: the number of the class of each row, shape (n,).
      n_classes: the number of classes.
      Cs: shape (L,).
      weight: shape (n,).
      trains: how often each row trains each fold, shape (n,).
      settings: those of the estimator.
    """

    def has_all_classes(weights: np.ndarray) -> bool:
        return bool((np.bincount(labels, weights, n_classes) > 0).all())

    together = np.array([(train <= 1).all() and has_all_classes(weight * train) for train in trains], bool)
    if not has_all_classes(weight) or settings.max_iter == 0 or not together.any():

        def separate(index: int) -> ClassHeads:
            return fit_classes(X, labels, n_classes, Cs[index : index + 1], weight, settings)

        return separate, [fit_classes(X, labels, n_classes, Cs, weight * train, settings) for train in trains]
    masks = masks_of(trains, together)
    with np.errstate(divide="ignore", over="ignore"):
        l2 = 1 / (np.asarray(Cs, np.float64) * np.concatenate([[weight.sum()], masks @ weight])[:, None])
    loss = "logistic" if n_classes == 2 else "softmax"
    with on_device(settings.device):
        heads, found = fit_with_folds(
            X,
            labels,
            loss=loss,
            l2=l2,
            train=masks,
            sample_weight=weight,
            fit_intercept=settings.fit_intercept,
            tol=settings.gap,
            max_steps=MAX_STEPS if settings.max_iter is None else settings.max_iter,
            progress=settings.verbose,
        )
    shared, folds = iter(zip(found, l2[1:], strict=True)), []
    for train, is_shared in zip(trains, together, strict=True):
        if is_shared:
            fold, strengths = next(shared)
            folds.append(_finished((X, labels, weight * train), fold, loss, strengths, settings))
        else:
            folds.append(fit_classes(X, labels, n_classes, Cs, weight * train, settings))

    def whole(index: int) -> ClassHeads:
        at = slice(index, index + 1)
        certificate = certificate_at(heads.certificate, at)
        head = FoldHeads(heads.coef[at], heads.intercept[at], heads.status[at], heads.steps[at], certificate)
        return _finished((X, labels, weight), head, loss, l2[0, at], settings)

    return whole, folds


def _path(
    X: Features, labels: np.ndarray, loss: str, Cs: np.ndarray, weight: np.ndarray, settings: FitSettings
) -> ClassHeads:
    """Return the heads of classes that all have weight, and warn of those that have not converged."""
    with np.errstate(divide="ignore", over="ignore"):
        l2 = 1 / (np.asarray(Cs, np.float64) * weight.sum())
    if settings.max_iter == 0:
        shape = (len(l2),) if loss == "logistic" else (len(l2), int(labels.max()) + 1)
        coef, intercept = np.zeros((*shape, X.shape[1])), np.zeros(shape)
        certificate = certify(LinearHeads(coef, intercept, l2, loss), X, labels, weight)
        status, steps = np.full(len(l2), Status.OUT_OF_STEPS, object), np.zeros(len(l2), np.int64)
    else:
        with on_device(settings.device):
            heads = fit_heads(
                X,
                labels,
                loss=loss,
                l2=l2,
                sample_weight=weight,
                fit_intercept=settings.fit_intercept,
                tol=settings.gap,
                max_steps=settings.max_iter,
                progress=settings.verbose,
            )
        coef, intercept, steps, status = heads.coef, heads.intercept, heads.steps, heads.status
        certificate = heads.certificate
    found = FoldHeads(coef, intercept, status, steps, certificate)
    return _finished((X, labels, weight), found, loss, l2, settings)


def _finished(
    data: tuple[Features, np.ndarray, np.ndarray],
    found: FoldHeads,
    loss: str,
    l2: np.ndarray,
    settings: FitSettings,
) -> ClassHeads:
    """Warn of heads that have not converged, and return all of them, those of small data with all digits.

    Args:
      data: rows, labels and weights.
      found: the heads of these rows.
      loss: "logistic" or "softmax".
      l2: shape (L,).
      settings: those of the estimator.
    """
    (X, labels, weight), (coef, intercept, status, steps, certificate) = data, found
    warn_of_gaps(certificate, status, steps, settings)
    done = np.array([ended == Status.CONVERGED for ended in status])
    if done.any() and is_small(X.shape[0], (X.shape[1] + 1) * (2 if loss == "logistic" else coef.shape[1])):
        coef, intercept = polish_heads(data, (coef, intercept), l2, done, fit_intercept=settings.fit_intercept)
        heads = LinearHeads(coef, intercept if settings.fit_intercept else None, l2, loss)
        certificate = dataclasses.replace(certify(heads, X, labels, weight), heads_device=certificate.heads_device)
    if loss == "softmax":  # the probabilities do not depend on a number that is added to all intercepts
        intercept = intercept - intercept.mean(-1, keepdims=True)
        return ClassHeads(coef, intercept, steps, certificate)
    return ClassHeads(coef[:, None], intercept[:, None], steps, certificate)
