"""The result of `certify`: the certificate of one head or of several."""

import dataclasses
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from dlcore.certificate.display import (
    HeadRow,
    certificate_card,
    certificate_html,
    certificate_json,
    certificate_repr,
    certificate_rows,
    equal_fields,
)

if TYPE_CHECKING:
    from dlcore.certificate.data_report.report import DataReport

NO_DUALITY = "none: the duality bound needs"
"""Prefix of `bound` for heads with l2 = 0 that have only the duality bound."""


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Certificate:
    """Certificate of heads, in float64, with numbers for one problem and arrays for several.

    The arrays have the shape (models,), (targets,) or (models, targets). `str` returns a short card. Certificates
    are equal if all their fields are, array by array. nan equals nan. The hash is that of `bound`.

    Attributes:
      value: J at the coefficients as given.
      gradient_norm: ‖∇J‖ at the coefficients, the intercept's component included.
      gap: an upper bound on J − J*, rounding included, or infinity if no bound is known.
      rounding: the part of `gap` that bounds the rounding errors of this computation.
      bound: the name of the bound, or a tuple of names for several problems, flat in the order of `gap`. Names are
        "duality", "curvature", "curvature further down", "curvature if the rank is …", "exact",
        "exact if the rank is …", and "none" with the reason. If the curvature was not computed because of its
        cost, the name ends in "(no curvature: …)".
      dtype: the dtype of this computation.
      precision: the precision of its products.
      device: the device of this computation.
      heads_device: the device that the heads were fitted on, or None if it is not known.
      report: the report on the data, if it was requested.
      null_value: J₀, the objective of the best constant prediction. Without an intercept, it is the
        objective of coefficients 0.
      improvement: E = max(J₀ − J, (λ/2)‖σw‖²), with the rounding of J₀ − J subtracted from the difference.
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
    report: "DataReport | None" = None
    null_value: Any = np.nan
    improvement: Any = np.nan

    def __str__(self) -> str:
        return certificate_card(self)

    def __repr__(self) -> str:
        return certificate_repr(self)

    def _repr_html_(self) -> str:
        """Return a small table for notebooks."""
        return certificate_html(self)

    def __eq__(self, other: object) -> bool:
        return equal_fields(self, other) if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.bound)

    def rows(self) -> list[HeadRow]:
        """Return a dictionary for each head: head (its index), value, gradient_norm, gap, rounding, bound."""
        return certificate_rows(self)

    def gap_tol(self, tol: float) -> Any:
        r"""Return the largest gap at which heads count as converged, in the shape of `gap`.

        It is $\mathrm{tol}\cdot\min(\max(J, 10^{-3}J_0), E)$ with E the `improvement`. A gap within it proves
        $J - J^* \le \mathrm{tol}\,(J_0 - J^*)$ or $\|\sigma(w - w^*)\| \le \sqrt{\mathrm{tol}}\,\|\sigma w\|$,
        however strong the penalty is.

        E = 0 means that no improvement beyond rounding is proven. A head with E = 0 counts as converged if
        gap ≤ 2·`rounding` and gap ≤ tol·max(J, 10⁻³J₀). The first condition means that the computed gap does not
        exceed its error.

        Args:
          tol: relative tolerance, ≥ 0.

        >>> from dlcore import LinearHeads, certify
        >>> x, y = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 0, 1])
        >>> certificate = certify(LinearHeads(coef=[0.2], intercept=-0.1, l2=1.0), x, y)
        >>> print(f"{certificate.null_value:.4f} {certificate.improvement:.4f} {certificate.gap_tol(0.01):.1e}")
        0.6931 0.0238 2.4e-04
        """
        value_scale = np.maximum(self.value, 1e-3 * self.null_value)
        limit = tol * np.minimum(value_scale, self.improvement)
        rounding_limit = np.minimum(2 * np.asarray(self.rounding), tol * value_scale)
        limit = np.where(np.equal(self.improvement, 0), rounding_limit, limit)
        limit = np.where(np.isfinite(limit), limit, 0.0)
        return limit if np.shape(self.gap) else float(limit)

    def to_json(self) -> str:
        """Return the certificate as JSON. Numbers that are not finite are null, and `bound` says why.

        The JSON omits `null_value` and `improvement`.
        """
        return certificate_json(self)


class Bounds(NamedTuple):
    """Bounds of H heads: arrays of shape (H,), and H names. The bound on J − J* is gap + rounding.

    `null_value` and `improvement` are those of `Certificate`.
    """

    value: np.ndarray
    gradient_norm: np.ndarray
    gap: np.ndarray
    rounding: np.ndarray
    bound: list[str]
    null_value: np.ndarray
    improvement: np.ndarray


NO_INTERCEPT = "a class without weight has no finite intercept"
"""The reason why heads with an intercept have no optimum."""


def duality_names(l2: np.ndarray, lacks_optimal_intercept: np.ndarray, reason: str = NO_INTERCEPT) -> list[str]:
    """Return the name of the bound of each head, or the reason why there is none.

    Args:
      l2: shape (H,).
      lacks_optimal_intercept: whether no intercept is optimal, for instance because a class has no weight, shape
        (H,).
      reason: why such a head has no optimum.
    """
    return [
        f"{NO_DUALITY} l2 > 0" if penalty == 0 else f"none: {reason}" if absent else "duality"
        for penalty, absent in zip(l2, lacks_optimal_intercept, strict=True)
    ]


def certificate_from_bounds(bounds: Bounds, shape: tuple[int, ...]) -> Certificate:
    """Return the certificate in the shape of the heads.

    If no bound is known, the gap is infinite, and the name of the bound gives the reason.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        gap = bounds.gap + bounds.rounding
    names = [
        name if name.startswith("none") or np.isfinite(number) else "none: overflow"
        for number, name in zip(gap, bounds.bound, strict=True)
    ]
    gap = np.where([name.startswith("none") for name in names], np.inf, gap)
    value, gradient_norm, gap, rounding, null_value, improvement = (
        array.reshape(shape) if shape else float(array[0])
        for array in (
            bounds.value,
            bounds.gradient_norm,
            gap,
            bounds.rounding,
            bounds.null_value,
            bounds.improvement,
        )
    )
    name = tuple(names) if shape else names[0]
    return Certificate(value, gradient_norm, gap, rounding, name, null_value=null_value, improvement=improvement)
