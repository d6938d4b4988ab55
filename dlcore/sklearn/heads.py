"""Calls of `fit_heads` by the estimators: strengths from C and alpha, certificates and warnings."""

import contextlib
import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dlcore._core.status import Status
from dlcore.certificate import Certificate, LinearHeads, certify
from dlcore.devices import DeviceName, find_device
from dlcore.heads import GridEdgeWarning, Heads, fit_heads
from dlcore.heads.files import proof_arrays
from dlcore.heads.fit_heads import MAX_STEPS
from dlcore.heads.result import FoldHeads
from dlcore.heads.solve_heads import fit_with_folds
from dlcore.sklearn.polish import is_small, polish
from dlcore.sklearn.types import Features

MAX_GAP, MIN_GAP = 1e-6, 1e-12
"""The loosest and the tightest relative gap that an estimator asks for."""
EXACT = "the ridge solver"
"""The name of the solver of the squared loss, which takes one pass."""
CONVERGED = (Status.CONVERGED, Status.CLASS_ABSENT)
OUT_OF_STEPS = {
    "newton-cholesky": "Newton solver did not converge after {steps} iterations",
    "sag": "The max_iter was reached which means the coef_ did not converge",
    "saga": "The max_iter was reached which means the coef_ did not converge",
}
"""The beginning of scikit-learn's warning, by solver."""


Index: TypeAlias = int | np.integer | slice | tuple[int | np.integer | slice | np.ndarray, ...]
"""Indices of one of several heads, or of some of them."""


class FitSettings(NamedTuple):
    """Settings of an estimator that every one of its fits shares.

    Attributes:
      fit_intercept: whether the intercept is fitted.
      device: the name of the platform, or None for JAX's default device.
      tol: tolerance as scikit-learn has it, that of a gradient.
      max_iter: the most passes over all rows; None for the default of `fit_heads`.
      solver: the name of scikit-learn's solver, for messages.
      verbose: whether the progress is printed.
    """

    fit_intercept: bool
    device: DeviceName | None
    tol: float = 1e-4
    max_iter: int | None = None
    solver: str = EXACT
    verbose: bool = False

    @property
    def gap(self) -> float:
        """The certified relative gap: the square of `tol`, for a gap is quadratic in the gradient."""
        return float(np.clip(self.tol**2, MIN_GAP, MAX_GAP))


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


def on_device(name: DeviceName | None) -> contextlib.AbstractContextManager[object]:
    """Return a context in which programs run on the first device of a platform."""
    return contextlib.nullcontext() if name is None else jax.default_device(find_device(name))


def fit_squared(
    X: Features,
    Y: np.ndarray,
    alphas: np.ndarray,
    weight: np.ndarray,
    settings: FitSettings,
    left_out: Callable[[np.ndarray, np.ndarray, np.ndarray], float] | None = None,
) -> Heads:
    """Return ridge heads of every alpha for every column of Y, (n, targets): λ = 2·alpha/S.

    Args:
      X: shape (n, m), NumPy or sparse.
      Y: shape (n, targets).
      alphas: shape (L,).
      weight: shape (n,).
      settings: those of the estimator.
      left_out: a function that is given every row's prediction by the other rows, strength by strength.
    """
    with on_device(settings.device), warnings.catch_warnings():
        warnings.simplefilter("ignore", GridEdgeWarning)
        heads = fit_heads(
            X,
            Y,
            loss="squared",
            l2=2 * np.asarray(alphas, np.float64) / weight.sum(),
            sample_weight=weight,
            fit_intercept=settings.fit_intercept,
            progress=settings.verbose,
            folds=None if left_out is None else "leave-one-out",
            scoring=left_out,
        )
    warn_of_gaps(heads.certificate, heads.status, heads.steps, settings, squared_rounding(Y, weight))
    return heads


def fit_squared_folds(
    X: Features,
    Y: np.ndarray,
    alphas: np.ndarray,
    weight: np.ndarray,
    trains: Sequence[np.ndarray],
    settings: FitSettings,
) -> tuple[Heads, list[Heads | FoldHeads]]:
    """Return ridge heads of all rows and of each fold, in one call where no row trains a fold twice.

    The heads of folds are checked, and those of all rows are not.

    Args:
      X: shape (n, m), NumPy or sparse.
      Y: shape (n, targets).
      alphas: shape (L,).
      weight: shape (n,).
      trains: how often each row trains each fold, shape (n,).
      settings: those of the estimator.
    """
    together = np.array([(train <= 1).all() and (weight * train > 0).any() for train in trains], bool)
    masks = np.reshape(
        [train > 0 for train, is_shared in zip(trains, together, strict=True) if is_shared], (-1, len(Y))
    )
    with np.errstate(over="ignore"):
        l2 = 2 * alphas / np.concatenate([[weight.sum()], masks @ weight])[:, None]
    with on_device(settings.device):
        heads, found = fit_with_folds(
            X,
            Y,
            loss="squared",
            l2=l2,
            train=masks,
            sample_weight=weight,
            fit_intercept=settings.fit_intercept,
            max_steps=MAX_STEPS,
            progress=settings.verbose,
        )
    shared, folds = iter(found), []
    for train, is_shared in zip(trains, together, strict=True):
        if not is_shared:
            folds.append(fit_squared(X, Y, alphas, weight * train, settings))
            continue
        fold = next(shared)
        floor = squared_rounding(Y, weight * train)
        warn_of_gaps(fold.certificate, fold.status, fold.steps, settings, floor)
        folds.append(fold)
    return heads, folds


def _masks(trains: Sequence[np.ndarray], together: np.ndarray) -> np.ndarray:
    """Return which rows train the folds that are `together`, booleans, shape (folds, n)."""
    return np.stack(trains)[together] > 0


def squared_rounding(Y: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Return a gap of each target that is nothing but rounding, shape (targets, 1)."""
    return (np.finfo(np.float64).eps * (weight @ Y.astype(np.float64) ** 2 / weight.sum()))[:, None]


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
    masks = _masks(trains, together)
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
        coef, intercept = _polished(data, (coef, intercept), l2, done, settings)
        heads = LinearHeads(coef, intercept if settings.fit_intercept else None, l2, loss)
        certificate = dataclasses.replace(certify(heads, X, labels, weight), heads_device=certificate.heads_device)
    if loss == "softmax":  # the probabilities do not depend on a number that is added to all intercepts
        intercept = intercept - intercept.mean(-1, keepdims=True)
        return ClassHeads(coef, intercept, steps, certificate)
    return ClassHeads(coef[:, None], intercept[:, None], steps, certificate)


def _polished(
    data: tuple[Features, np.ndarray, np.ndarray],
    heads: tuple[np.ndarray, np.ndarray],
    l2: np.ndarray,
    done: np.ndarray,
    settings: FitSettings,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients and intercepts of heads, those that are `done` with all their digits."""
    (X, labels, weight), (coef, intercept) = data, (heads[0].copy(), heads[1].copy())
    dense = (X if isinstance(X, np.ndarray) else X.toarray()).astype(np.float64)
    rows = np.column_stack([dense, np.ones(len(labels))]) if settings.fit_intercept else dense
    penalised = np.arange(rows.shape[1]) < dense.shape[1]
    for head in np.flatnonzero(done):
        theta = np.column_stack([np.atleast_2d(coef[head]), np.atleast_1d(intercept[head])])
        is_binary = len(theta) == 1
        # Two classes are a softmax of ∓z/2. Its penalty is twice that of z.
        theta = np.concatenate([-theta, theta]) / 2 if is_binary else theta
        penalty = l2[head] * penalised * (2 if is_binary else 1)
        found = polish(rows, labels, weight / weight.sum(), penalty, theta[:, : rows.shape[1]])
        found = found[1:] - found[:1] if is_binary else found
        coef[head] = found[:, : dense.shape[1]]
        if settings.fit_intercept:
            intercept[head] = found[:, -1] if not is_binary else found[0, -1]
    return coef, intercept


def is_converged(certificate: Certificate, status: np.ndarray, floor: np.ndarray | float = 0.0) -> np.ndarray:
    """Return which heads have converged, or are at the floor of rounding with a gap of at most `MAX_GAP`.

    Args:
      certificate: of the heads.
      status: of the heads, in the shape of the gap.
      floor: a gap that is nothing but rounding.
    """
    near = np.asarray(certificate.gap) <= np.maximum(certificate.gap_tol(MAX_GAP), floor)
    return np.isin(status.astype(str), CONVERGED) | (near & (status != Status.OUT_OF_STEPS))


def warn_of_gaps(
    certificate: Certificate,
    status: np.ndarray,
    steps: np.ndarray,
    settings: FitSettings,
    floor: np.ndarray | float = 0.0,
) -> None:
    """Warn with scikit-learn's `ConvergenceWarning` of the worst head that has not converged."""
    short = np.flatnonzero(~is_converged(certificate, status, floor))
    if not len(short):
        return
    gaps = np.ravel(certificate.gap)
    worst = short[gaps[short].argmax()]
    solver, ended = settings.solver, np.ravel(status)[worst]
    is_out = ended == Status.OUT_OF_STEPS
    begin = OUT_OF_STEPS.get(solver) if is_out else None
    begin = begin or f"{solver} failed to converge after {{steps}} iteration(s)"
    if solver == EXACT:
        begin = "The least-squares solution is not proven to be the best"
    cure = "Increase the number of iterations (max_iter) or scale the data." if is_out else ""
    if ended in (Status.SEPARABLE, Status.QUASI_SEPARABLE):
        cure = "Without a penalty the objective has no minimum; use a finite C."
    elif not np.isfinite(gaps[worst]):
        cause = str(np.ravel(np.asarray(certificate.bound))[worst]).removeprefix("none: ")
        cure = f"No gap is certified: {cause}. " + ("Drop columns, or use a penalty." if solver == EXACT else cure)
    warnings.warn(
        f"{begin.format(steps=np.ravel(steps)[worst])}: {ended}, {len(short)} of {len(gaps)} heads are above "
        f"their tolerance, the largest certified gap is {gaps[worst]:.1e}. {cure}".rstrip(),
        ConvergenceWarning,
        stacklevel=5,
    )


def certificate_at(certificate: Certificate, where: Index, device: str | None = None) -> Certificate:
    """Return the certificate of some heads of several: numbers where `where` is the index of one."""
    parts = {name: array[where] for name, array in proof_arrays(certificate).items()}
    bound = parts.pop("bound")
    names = str(bound) if np.ndim(bound) == 0 else tuple(map(str, bound.ravel()))
    numbers = {name: float(part) if np.ndim(part) == 0 else part for name, part in parts.items()}
    device = certificate.heads_device if device is None else device
    return dataclasses.replace(certificate, **numbers, bound=names, heads_device=device)
