"""Settings that all fits of an estimator share, and scikit-learn's warning of heads that have not converged."""

import contextlib
import dataclasses
import warnings
from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import jax
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from dlcore._core.status import Status
from dlcore.certificate import Certificate
from dlcore.devices import DeviceName, find_device
from dlcore.heads.files import certificate_arrays

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


def on_device(name: DeviceName | None) -> contextlib.AbstractContextManager[object]:
    """Return a context in which programs run on the first device of a platform."""
    return contextlib.nullcontext() if name is None else jax.default_device(find_device(name))


def masks_of(trains: Sequence[np.ndarray], together: np.ndarray) -> np.ndarray:
    """Return which rows train the folds that are `together`, booleans, shape (folds, n)."""
    return np.stack(trains)[together] > 0


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
    parts = {name: array[where] for name, array in certificate_arrays(certificate).items()}
    bound = parts.pop("bound")
    names = str(bound) if np.ndim(bound) == 0 else tuple(map(str, bound.ravel()))
    numbers = {name: float(part) if np.ndim(part) == 0 else part for name, part in parts.items()}
    device = certificate.heads_device if device is None else device
    return dataclasses.replace(certificate, **numbers, bound=names, heads_device=device)
