"""Heads of many subsets of one table of rows, with few shapes, so that few programs are compiled."""

import dataclasses
import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from dlcore._core.labels import codes_of
from dlcore._core.status import Status
from dlcore.devices import aligned_empty
from dlcore.heads import GridEdgeWarning, Heads, fit_heads
from dlcore.heads.losses import read_loss
from dlcore.probing.fits.settings import ProbeSettings

MAX_SHAPES = 3
"""The most numbers of rows for which programs are compiled, that of the whole table included."""

Folds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Pairs of masks: the rows that train and the rows that are scored, shape (n,)."""


class UnconvergedError(ValueError):
    """Error of a protocol of which a head has not converged.

    >>> issubclass(UnconvergedError, ValueError)
    True
    """


def padded_sizes(sizes: Iterable[int], rows: int, shapes: int = MAX_SHAPES) -> dict[int, int]:
    """Return the number of rows to which each subset is padded.

    A subset of more than half of the rows has the whole table, with weights. The padded sizes of the others are
    chosen among their sizes so that the sum over the sizes is least.

    Args:
      sizes: the numbers of rows of the subsets.
      rows: the number of rows of the table.
      shapes: the most different numbers of rows in the result.

    >>> padded_sizes([10, 50, 100, 500, 1000], rows=1000)
    {10: 100, 50: 100, 100: 100, 500: 500, 1000: 1000}
    """
    known = sorted(set(sizes))
    small = [size for size in known if 2 * size <= rows]
    padded = dict.fromkeys(known, rows)
    if not small:
        return padded
    free = min(len(small), shapes - (len(small) < len(known)), max(1, shapes)) - 1

    def choice(tops: tuple[int, ...]) -> list[int]:
        return [min(top for top in (*tops, small[-1]) if top >= size) for size in small]

    best = min((choice(tops) for tops in itertools.combinations(small[:-1], max(0, free))), key=sum)
    return padded | dict(zip(small, best, strict=True))


class SubsetFits:
    """Fits of heads on subsets of a table of rows.

    Attributes:
      settings: the settings of the heads.
      classes: the labels that the class numbers stand for, or None.
      device: the device of the last fit.
    """

    def __init__(
        self,
        x: np.ndarray,
        y: np.ndarray,
        settings: ProbeSettings,
        *,
        classes: np.ndarray | None,
        sizes: Iterable[int],
    ) -> None:
        """Keep an aligned copy of the rows.

        Args:
          x: shape (n, m).
          y: class numbers or targets, shape (n,) or (n, targets).
          settings: of the heads.
          classes: the labels of the class numbers.
          sizes: the numbers of rows of the subsets that may be padded. A subset of another size has the whole
            table, with weights.
        """
        self.settings, self.classes, self.device = settings, classes, ""
        self._x, self._y = aligned(x), y
        self._padded = padded_sizes(sizes, len(x))
        weights = settings.class_weight
        if isinstance(weights, Mapping) and classes is not None:
            weights = dict(
                zip(codes_of("class_weight", list(weights), classes).tolist(), weights.values(), strict=True)
            )
        self._class_weight = weights

    def fit(
        self,
        rows: np.ndarray,
        *,
        label: str,
        values: np.ndarray | None = None,
        validation: tuple[np.ndarray, np.ndarray] | None = None,
        folds: Folds | None = None,
    ) -> Heads:
        """Return the heads of every penalty on a subset.

        Args:
          rows: row numbers, shape (k,).
          label: the name of the fit in messages.
          values: the penalties, in place of those of the settings.
          validation: rows that score the heads, (x, class numbers or targets).
          folds: masks over the whole table of pairs of rows that train and that score. The subset then has more
            than half of the rows.

        Raises:
          ValueError: if `fit_heads` refuses the subset; the message begins with `label`.
          UnconvergedError: if a head has not converged and the settings refuse that.
        """
        name, own = self.settings.penalty
        penalties = own if values is None else values
        try:
            heads = self._fit_heads(rows, {name: penalties}, self.settings, validation, folds)
        except ValueError as error:
            raise ValueError(f"{label}: {error}") from error
        self.device = heads.device
        if self.settings.unconverged == "refuse":
            _check_converged(heads, name, penalties, label)
        return heads

    def warm_up(
        self, rows: np.ndarray, count: int, validation: tuple[np.ndarray, np.ndarray] | None = None
    ) -> None:
        """Compile the programs that only hard heads need, for later fits of the same shapes.

        Penalties far above the squared length of every row leave float32 no digits, so that float64 programs run.
        Weak penalties and a tolerance out of reach in four steps run those of float32 and of Newton's method.

        Args:
          rows: row numbers of the fit.
          count: the number of penalties.
          validation: the rows that score the heads.
        """
        if read_loss(self.settings.loss).is_exact:
            return
        largest = float(np.abs(self._x).max())
        strong = 1e3 * self._x.shape[1] * (largest**2 + len(self._x)) * np.arange(1.0, 1.0 + count)
        settings = dataclasses.replace(self.settings, tol=1e-15, max_steps=4)
        for penalties in (strong, 1e-12 * strong):
            self._fit_heads(rows, {"l2": penalties}, settings, validation, None)

    def _fit_heads(
        self,
        rows: np.ndarray,
        penalties: Mapping[str, np.ndarray],
        settings: ProbeSettings,
        validation: tuple[np.ndarray, np.ndarray] | None,
        folds: Folds | None,
    ) -> Heads:
        x, y, weight = self._gather(rows)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", GridEdgeWarning)
            return fit_heads(
                x,
                y,
                loss=settings.loss,
                C=penalties.get("C"),
                l2=penalties.get("l2"),
                folds=None if folds is None else list(folds),
                scoring=settings.scoring,
                sample_weight=weight,
                class_weight=self._class_weight,
                validation=validation,
                fit_intercept=settings.fit_intercept,
                standardize=settings.standardize,
                tol=settings.tol,
                max_steps=settings.max_steps,
            )

    def _gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return x, y and weights of a subset, padded with rows of weight 0."""
        count = len(rows)
        size = self._padded.get(count, len(self._x))
        if size == len(self._x):
            if count == size:
                return self._x, self._y, None
            weight = np.zeros(size)
            weight[rows] = 1
            return self._x, self._y, weight
        x = aligned_empty((size, self._x.shape[1]), self._x.dtype)
        x[:count], x[count:] = self._x[rows], self._x[rows[0]]
        y = np.concatenate([self._y[rows], np.repeat(self._y[rows[:1]], size - count, axis=0)])
        return x, y, (np.arange(size) < count).astype(np.float64)


def _check_converged(heads: Heads, name: str, values: np.ndarray, label: str) -> None:
    """Raise an error that names the first head that has not converged."""
    for kind, statuses in (("", heads.status), (" of a fold", heads.fold_status)):
        failed = np.argwhere(~np.isin(statuses.astype(str), (Status.CONVERGED, Status.CLASS_ABSENT)))
        if len(failed):
            index = tuple(failed[0])
            raise UnconvergedError(
                f"{label}: the head{kind} of {name} = {values[index[-1]]:g} is not converged: {statuses[index]}; "
                f"change tol, max_steps or {name}, or set unconverged='report'"
            )


def aligned(x: np.ndarray) -> np.ndarray:
    """Return a copy of rows at an address at which a device on the host reads them in place."""
    copy = aligned_empty(x.shape, x.dtype)
    copy[...] = x
    return copy
