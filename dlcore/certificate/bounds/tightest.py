r"""The smaller of two bounds for each head: duality's, and that of the curvature, there or further down.

Far from the optimum the curvature at a head says nothing of J*. But any place θ⁺ that is lower will do for it:

$J(\theta) - J^* = (J(\theta) - J(\theta^+)) + (J(\theta^+) - J^*)$

with the first difference from two sums over the rows and their errors, the second by the curvature at θ⁺. Such a
place is looked for along Newton's way down; where it is found the bound is tight however far the head is out.
"""

from typing import Any

import numpy as np

from dlcore.certificate.bounds.curvature import AUTOMATIC, MOST, Place, curvature_bound, place_of
from dlcore.certificate.bounds.newton import loss_of, way_down
from dlcore.certificate.data_report.dependent_columns import Combination, combination_of, dependent_bound
from dlcore.certificate.result import Bounds
from dlcore.certificate.rows import Weights

CLOSE = 0.1
"""A place further down serves once what is not known of it is this part of the difference."""


def tightened(
    bounds: Bounds,
    coef: np.ndarray,
    intercept: np.ndarray | None,
    l2: np.ndarray,
    x: Any,
    y: np.ndarray,
    s: Weights,
    scale: np.ndarray | None,
    heads: np.ndarray | None = None,
) -> Bounds:
    """Return the bounds of H heads, or the curvature's where it is smaller.

    Args:
      bounds: by duality.
      coef: shape (H, m) or (H, classes, m).
      intercept: shape (H,) or (H, classes); None for heads without one.
      l2: penalties, shape (H,).
      x: rows, shape (n, m).
      y: classes, shape (n,).
      s: weights of the rows.
      scale: scales of the columns in the penalty, shape (m,), or None.
      heads: indices of the heads whose curvature is asked at their place alone and at moderate cost. All heads are
        asked if omitted, at lower places too.
    """
    size = int(np.prod(coef.shape[1:])) + (0 if intercept is None else int(np.prod(intercept.shape[1:])))
    names = list(bounds.bound)
    asked = range(len(names)) if heads is None else heads.tolist()
    note = f" (no curvature: {size} coefficients are more than {MOST})" if size > MOST else ""
    if heads is not None and len(asked) * len(x) * size**2 > AUTOMATIC:
        note = note or " (no curvature: many products, ask with tight=True)"
    if note:
        return bounds._replace(bound=[name + note if h in asked else name for h, name in enumerate(names)])
    gap, rounding = bounds.gap.copy(), bounds.rounding.copy()
    combinations: dict[int, Combination | None] = {}
    for h in asked:
        name = names[h]
        own = s if len(s.numbers) == 1 else Weights(s.numbers[h : h + 1], s.exponent[h : h + 1])
        place = place_of(coef[h], None if intercept is None else intercept[h], float(l2[h]), scale)
        known = np.inf if name.startswith("none") else gap[h] + rounding[h]
        known = np.inf if np.isnan(known) else known
        nearly, more = curvature_bound(place, x, y, own)
        found = "curvature"
        if heads is None and not nearly < np.inf:
            nearly, more, found = *_from_below(place, x, y, own), "curvature further down"
        if not nearly < np.inf and l2[h] == 0:
            which = 0 if own is s else h
            if which not in combinations:
                combinations[which] = combination_of(x, own, intercept=place.intercept)
            if (combination := combinations[which]) is not None:
                nearly, more = dependent_bound(place, combination, x, y, own)
                found = f"curvature if the rank is {len(combination.independent)}"
        if nearly + more < known:
            gap[h], rounding[h], names[h] = nearly, more, found
    return bounds._replace(gap=gap, rounding=rounding, bound=names)


def _from_below(place: Place, x: Any, y: np.ndarray, s: Weights) -> tuple[float, float]:
    """The bound by way of lower places, and what of it is rounding; infinite where none serves."""
    value, error = loss_of(place, x, y, s)
    best = np.inf, np.inf
    for further, near in way_down(place, x, y, s):
        if not near:
            continue
        nearly, more = curvature_bound(further, x, y, s)
        lower, wrong = loss_of(further, x, y, s)
        descent = max(value - lower, 0.0)
        if descent + nearly + more + error + wrong < sum(best):
            best = descent + nearly, more + error + wrong
        if nearly + more <= CLOSE * descent:
            break
    return best
