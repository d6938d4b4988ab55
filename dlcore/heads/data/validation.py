"""A validation set: fixed rows that score the heads, which are fitted on all training rows."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from dlcore._core import host_checks
from dlcore._core.labels import codes_of, labels_as_numpy
from dlcore._core.soft_labels import check_soft_labels
from dlcore.certificate.rows import DataLike, HostTable
from dlcore.heads.data.device_rows import share_with_jax
from dlcore.heads.data.sample_weight import read_weights
from dlcore.heads.losses import HeadLoss


class Validation(NamedTuple):
    """Validation set on the host.

    Attributes:
      x: shape (v, m).
      y: shape (v,) or (v, targets), as the training y.
      weight: shape (v,), float64, divided by `unit`.
      unit: a power of two.
    """

    x: HostTable
    y: np.ndarray
    weight: np.ndarray
    unit: float


def read_validation(
    given: Sequence[DataLike], x: HostTable, y: np.ndarray, loss: HeadLoss, classes: np.ndarray | None = None
) -> Validation:
    """Return the checked validation set, whose columns and targets match the training data.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, or y holds a class unknown to training.
      TypeError: if `given` is no such tuple, or something is not an array of real numbers.
    """
    if not isinstance(given, tuple | list) or len(given) not in (2, 3):
        kind = type(given).__name__
        got = f"a {kind} of {len(given)}" if isinstance(given, tuple | list) else kind
        raise TypeError(f"validation: expected (x, y) or (x, y, weights), got {got}")
    rows = host_checks.as_numpy_or_sparse("validation x", share_with_jax(given[0]))
    labels = cast("npt.ArrayLike", given[1])
    name = "validation y"
    target = host_checks.as_numpy(name, labels) if classes is None else labels_as_numpy(name, labels)
    host_checks.check_matrix("validation x", rows)
    if rows.shape[1] != x.shape[1]:
        raise ValueError(f"validation x: expected {x.shape[1]} columns, as x has, got {rows.shape[1]}")
    host_checks.check_same_length(**{"validation x": rows, "validation y": target})
    if target.shape[1:] != y.shape[1:]:
        expected = ("v", *map(str, y.shape[1:]))
        raise ValueError(f"validation y: expected shape ({', '.join(expected)}), as y has, got {target.shape}")
    target = target if classes is None else codes_of(name, target, classes)
    host_checks.check_finite("validation x", rows)
    host_checks.check_finite("validation y", target)
    if loss.is_soft:
        target = check_soft_labels("validation y", target, has_classes=loss.has_classes)
    if loss.needs_positive and (target < 0).any():
        raise ValueError(f"validation y: expected counts or rates of at least 0, got {float(target.min()):g}")
    if not loss.is_exact:
        target = target.astype(np.float64)
    weights = cast("npt.ArrayLike", given[2]) if len(given) == 3 else np.ones(len(rows))
    return Validation(rows, target, *read_weights("validation weights", weights, len(rows)))
