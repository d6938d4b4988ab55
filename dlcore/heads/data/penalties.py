"""The strengths of the penalty: one list for all fits, or one for each fold."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore.heads.losses import HeadLoss


def read_penalties(
    given: Mapping[str, npt.ArrayLike | None],
    loss: HeadLoss,
    mass: np.ndarray,
    unit: float,
    *,
    same_for_targets: bool,
) -> np.ndarray:
    """Return the strengths of every fit, shape (folds + 1, L), from the one argument that is given.

    scikit-learn's C and alpha are the same in every fold, and therefore λ·S is.

    Args:
      given: l2, C and alpha, of which one is not None.
      loss: the loss of the heads.
      mass: the sums of the weights of every fit, shape (folds + 1,), divided by `unit`.
      unit: a power of two.
      same_for_targets: whether the sums of the weights are the same for all targets.

    Raises:
      TypeError: if none is given, or several, or one that the loss does not take.
      ValueError: if a number is out of range, or a shape does not fit.
    """
    names = [name for name, value in given.items() if value is not None]
    if not names:
        raise TypeError(f"fit_heads() needs {host_checks.PENALTY_HELP.format(where='')}")
    if len(names) > 1:
        raise TypeError(f"fit_heads() takes one of l2, C and alpha, got {' and '.join(names)}")
    (name,) = names
    if name == "l2":
        return read_strengths(given[name], mass, same_for_targets=same_for_targets)
    if name not in loss.penalties:
        other = " or ".join(("l2", *loss.penalties))
        raise TypeError(f"{name}: expected None for loss {loss.name!r}, which takes {other}")
    values = np.atleast_1d(host_checks.as_numpy(name, given[name])).astype(np.float64)
    if values.ndim > 1 or values.size == 0:
        raise ValueError(f"{name}: expected a number or a list of at least one, got shape {values.shape}")
    if not same_for_targets:
        raise ValueError(f"{name}: expected l2 in its place where class weights differ by target")
    with np.errstate(divide="ignore", over="ignore"):
        strengths = np.stack([loss.penalties[name](values, total * unit) for total in mass])
    if not (np.isfinite(strengths) & (strengths >= 0)).all():
        wrong = values[~(np.isfinite(strengths) & (strengths >= 0)).all(0)]
        least = "above 0" if name == "C" else "of at least 0"
        raise ValueError(f"{name}: expected numbers {least}, got {wrong[0]:g}")
    return strengths


def read_strengths(l2: npt.ArrayLike | None, mass: np.ndarray, *, same_for_targets: bool) -> np.ndarray:
    r"""Return the strengths of every fit, shape (folds + 1, L), those of the fit on all rows first.

    A table (folds, L) gives each fold its strengths. The fit on all rows then has the mean of λ·S over the folds:
    $\lambda_k = \frac1F\sum_f \lambda_{fk}S_f / S$. S is the sum of the weights of all rows, and $S_f$ that of the
    training rows of fold f.

    Args:
      l2: a number, a list, or a table with a row for each fold.
      mass: shape (folds + 1,), S and the S_f.
      same_for_targets: whether the sums of the weights are the same for all targets.

    Raises:
      ValueError: if the shape does not fit, a number is not finite or below 0, or a column of a table has 0 and
        other numbers.
    """
    strengths = np.atleast_1d(host_checks.as_penalties("l2", l2))
    folds = len(mass) - 1
    if strengths.size == 0 or strengths.ndim > 2 or (strengths.ndim == 2 and folds == 0):
        table = f", or of shape ({folds}, l2)" if folds else ""
        raise ValueError(f"l2: expected a number or a list of at least one{table}, got shape {strengths.shape}")
    if strengths.ndim == 1:
        return np.broadcast_to(strengths, (folds + 1, len(strengths)))
    if len(strengths) != folds:
        raise ValueError(f"l2: expected a row for each of {folds} folds, got shape {strengths.shape}")
    if ((strengths == 0).any(0) != (strengths == 0).all(0)).any():
        raise ValueError("l2: expected 0 in every fold or in none, got a column with 0 and other numbers")
    if not same_for_targets:
        raise ValueError("l2: expected a list where class weights differ by target, got a row for each fold")
    whole = (strengths * (mass[1:] / mass[0])[:, None]).mean(0)
    return np.concatenate([whole[None], strengths])
