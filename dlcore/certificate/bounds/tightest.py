r"""The smallest bound for each head: by duality, or by curvature at the head or at a point of lower J.

Far from the optimum the curvature at a head θ gives no bound. But a point θ⁺ of lower J may give a bound:

$J(\theta) - J^* = (J(\theta) - J(\theta^+)) + (J(\theta^+) - J^*)$

The first difference comes from two sums over the rows and their errors, the second from the curvature at θ⁺. θ⁺
is a point on the path of Newton's method from θ. If θ⁺ is found, the bound is tight however far the head is from
the optimum.

At λ = 0 with linearly dependent columns, these bounds do not exist. `dependent_columns.py` then uses the curvature
of independent columns.
"""

import numpy as np

from dlcore.certificate.bounds.curvature import (
    MAX_COEFS,
    MAX_PRODUCTS,
    GapBound,
    HeadParams,
    curvature_bound,
    head_params,
)
from dlcore.certificate.bounds.row_losses import RowLoss
from dlcore.certificate.bounds.soft_labels import err_copies, with_labels
from dlcore.certificate.dependent_columns import Combination, dependent_bound, find_combination
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.newton import newton_path, value_and_error
from dlcore.certificate.result import Bounds
from dlcore.certificate.rows import TrainingData

GOOD_ENOUGH_FRACTION = 0.1
"""A point of lower J is good enough if its bound is at most this fraction of the decrease of J."""


def best_bound(
    bounds: Bounds,
    heads: HeadArrays,
    data: TrainingData,
    row_loss: RowLoss,
    selected: np.ndarray | None = None,
) -> Bounds:
    """Return the smaller bound of each of H heads: the given bound, or the best bound by curvature.

    Args:
      bounds: bounds by duality.
      heads: H heads.
      data: rows with their classes or counts.
      row_loss: the loss of a row.
      selected: indices of heads whose curvature is computed, at the head only, and only if a pass takes at most
        `MAX_PRODUCTS` multiplications. None selects all heads, without that limit, and also tries points of lower
        J. In both cases linearly dependent columns are tried at λ = 0.
    """
    coef, intercept = heads.coef, heads.intercept
    size = int(np.prod(coef.shape[1:])) + (0 if intercept is None else int(np.prod(intercept.shape[1:])))
    names = list(bounds.bound)
    indices = range(len(names)) if selected is None else selected.tolist()
    note = f" (no curvature: {size} coefficients are more than {MAX_COEFS})" if size > MAX_COEFS else ""
    copies = data.y.shape[1] if data.y.ndim == 2 else 0  # of each row, with soft labels
    if selected is not None and len(indices) * len(data.x) * max(1, copies) * size**2 > MAX_PRODUCTS:
        note = note or " (no curvature: many products, ask with tight=True)"
    if note:
        return bounds._replace(bound=[name + note if h in indices else name for h, name in enumerate(names)])
    gap, rounding = bounds.gap.copy(), bounds.rounding.copy()
    combinations: dict[int, Combination | None] = {}
    for h in indices:
        head_data = with_labels(data.of_head(h))
        params = head_params(*heads.head(h), float(heads.l2[h]), heads.scale, row_loss)
        by_duality = np.inf if names[h].startswith("none") else gap[h] + rounding[h]
        by_duality = np.inf if np.isnan(by_duality) else by_duality
        bound, name = curvature_bound(params, head_data), "curvature"
        if selected is None and not bound.gap < np.inf:
            bound, name = _bound_via_lower_point(params, head_data), "curvature further down"
        if not bound.gap < np.inf and heads.l2[h] == 0:
            weight_set = 0 if data.weights.is_shared else h
            if weight_set not in combinations:
                combinations[weight_set] = find_combination(head_data, has_intercept=params.has_intercept)
            if (combination := combinations[weight_set]) is not None:
                bound = dependent_bound(params, combination, head_data)
                name = f"curvature if the rank is {len(combination.independent)}"
        if copies:
            bound = bound._replace(rounding=bound.rounding + err_copies(float(bounds.value[h]), copies))
        if bound.total < by_duality:
            gap[h], rounding[h], names[h] = bound.gap, bound.rounding, name
    return bounds._replace(gap=gap, rounding=rounding, bound=names)


def _bound_via_lower_point(params: HeadParams, data: TrainingData) -> GapBound:
    """Return the best bound by way of points of lower J, or infinity if no point gives a bound."""
    value, err = value_and_error(params, data)
    best = GapBound(np.inf, np.inf)
    for lower, seems_bounded in newton_path(params, data):
        if not seems_bounded:
            continue
        bound = curvature_bound(lower, data)
        lower_value, lower_err = value_and_error(lower, data)
        descent = max(value - lower_value, 0.0)
        if descent + bound.gap + bound.rounding + err + lower_err < best.total:
            best = GapBound(descent + bound.gap, bound.rounding + err + lower_err)
        if bound.total <= GOOD_ENOUGH_FRACTION * descent:
            break
    return best
