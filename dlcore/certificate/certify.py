"""certify: checks what comes in, asks the bound of the loss, and says what came out."""

import dataclasses
from typing import Any, Never

import numpy as np

from dlcore._core import columns, host_checks
from dlcore.certificate.bounds.centering import Centred, far_point, moved_intercept
from dlcore.certificate.bounds.logistic import logistic_bounds
from dlcore.certificate.bounds.softmax import softmax_bounds
from dlcore.certificate.bounds.squared import squared_bounds
from dlcore.certificate.bounds.tightest import tightened
from dlcore.certificate.data_report.inspect import report_on
from dlcore.certificate.data_report.report import DataReport
from dlcore.certificate.data_report.separation import (
    QUASI_SEPARABLE,
    SEPARABLE,
    Separation,
    known_separation,
    separation_of_head,
)
from dlcore.certificate.result import LOSSES, Bounds, Certificate, Numbers, read_heads, read_weights
from dlcore.certificate.rows import Weights, scaled_weights

ROUNDED = 4
"""A gap of up to this many times its own rounding is for another bound to improve, not for the solver."""
NO_DUALITY = "none: the duality bound needs"
UNATTAINED = "none: separable, the infimum 0 is not attained"
QUASI_UNATTAINED = "none: quasi-separable, the infimum is not attained along"
"""Names of bounds of heads without a penalty."""
LISTED = 5
"""Columns of a direction that a name lists."""


def certify(
    heads: Any,
    x: Any,
    y: Any,
    weights: Any = None,
    tight: bool = False,
    report: bool = False,
    **other: Never,
) -> Certificate:
    r"""An upper bound on how far heads are above the minimum of their objective.

    For $J(w, b) = \frac1S\sum_i s_i\ell_i + \frac\lambda2\|w\|^2$ with the cross-entropy of probabilities $p_i$,
    every $q$ of probabilities with $\sum_i s_i(q_i - y_i) = 0$ gives a lower bound on $J^*$ by Fenchel duality,
    and with it

    $J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
    + \frac{1}{2\lambda}\left\|\frac1S X^\top(s\circ(q - y)) + \lambda w\right\|^2$

    Here q is p repaired: with the residuals of the heavier class shrunk until both classes weigh the same, or, of
    more classes, with what over-full ones have too much of given to the others. No solve for the intercept, no
    difference of large numbers. Without an intercept q = p and the first term is 0. With the squared loss the gap
    is $\frac12 g^\top H^+ g$ exactly, g the gradient and H the Hessian. Heads with a scale σ are those of x/σ with
    the weights σw, of which the same holds; what is computed of rows as they are is divided by σ afterwards.

    The float64 gap is an upper bound too: each file of the package `certificate` derives what rounds and adds it.

    Args:
      heads: anything with the attributes of `LinearHeads`.
      x: shape (n, m), any real dtype, NumPy or anything NumPy reads, on disk too, or a sparse table of SciPy's;
        read block by block in float64, never copied whole. Where the heads have `feature_names` and x has names of
        columns, they are the same in the same order.
      y: shape (n,): labels 0 and 1, the numbers 0, 1, … of classes, or with the loss "squared" any real numbers,
        then also (n, targets).
      weights: shape (n,), s; or (models, n), each model's own, such as 0 and 1 for its fold; None weighs
        every row 1.
      tight: whether to ask the curvature too, at the heads or at a place further down, and give the smaller of the
        two bounds, which `dlcore.certificate.bounds.curvature` derives. It takes a few passes over the rows for each
        head, more for one that is far from its optimum, each as many products as its Hessian. It is for heads of
        at most 2,000 coefficients, as `bound` says of others. The squared loss needs none.
      report: whether to say what the data is like too, see `dlcore.certificate.data_report`.
      **other: none; one by the name of another library, such as C, is refused with the name here.

    Returns:
      A `Certificate`. Duality needs a penalty. At λ = 0 the bound of a cross-entropy is that of the curvature,
        asked without `tight` where a pass takes at most 5·10¹⁰ multiplications. Its gap is infinity where the
        curvature is not positive definite, or an intercept has no optimum because a class has no weight. The
        squared loss at λ = 0 has a bound. Where columns are collinear it holds if their rank is the one that
        `bound` then states; no float64 can see more.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not those of classes or all of one, a
        strength or a weight is negative, all weights are 0, a scale is not above 0, the loss is unknown, or x has
        other columns than the heads.
      TypeError: if `heads` lacks a part, something is not an array of real numbers (Python's own, as objects, are
        converted), or `tight` or `report` is not True or False.

    Source: Boyd and Vandenberghe, Convex Optimization, section 5.5.1 (the gap); Yu, Huang and Lin (2011), Dual
    coordinate descent methods for logistic regression (the dual).

    >>> from dlcore import LinearHeads
    >>> x, y = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 0, 1])
    >>> certificate = certify(LinearHeads(coef=[0.0], intercept=0.0, l2=0.5), x, y)
    >>> print(round(certificate.value, 4), round(certificate.gap, 4), certificate.bound)
    0.6931 0.0625 duality
    >>> certificate = certify(LinearHeads(coef=[0.0], intercept=0.0, l2=0.0, loss="squared"), x, y)
    >>> print(round(certificate.value, 4), round(certificate.gap, 4), certificate.bound)
    0.5 0.3 exact
    """
    host_checks.refuse_arguments("certify", other, " of the heads", X="x", sample_weight="weights")
    for name, asked in (("tight", tight), ("report", report)):
        if not isinstance(asked, bool):
            raise TypeError(f"{name}: expected True or False, got {asked!r}")
    return certified(heads, x, y, weights, tight=tight, report=report)


def certified(
    heads: Any,
    x: Any,
    y: Any,
    weights: Any = None,
    *,
    tight: bool = False,
    report: bool = False,
    tol: float | None = None,
    witness: Separation | None = None,
) -> Certificate:
    """Return what `certify` does.

    With `tol`, curvature is asked too where the rounding of duality exceeds `gap_tol(tol)`, and the separation of
    the classes where there is no bound. A `witness` of more rows is tried first.
    """
    missing = [part for part in ("coef", "intercept", "l2", "loss") if not hasattr(heads, part)]
    if missing:
        raise TypeError(
            f"heads: expected LinearHeads(coef, intercept, l2) or what fit_heads returns, got "
            f"{type(heads).__name__} without {', '.join(missing)}"
        )
    if heads.loss not in LOSSES:
        raise ValueError(f"heads.loss: expected 'logistic', 'softmax' or 'squared', got {heads.loss!r}")
    columns.check_feature_names("x", columns.feature_names("x", x), getattr(heads, "feature_names", None))
    x = host_checks.as_host_rows("x", x)
    y = host_checks.as_host_numbers("y", y)
    host_checks.check_matrix("x", x)
    host_checks.check_rows(x=x, y=y)
    if weights is not None:
        weights = host_checks.as_host_numbers("weights", weights)
        if weights.ndim != 2 or np.ndim(heads.coef) < 2:
            host_checks.check_weights(weights, len(x))
    host_checks.check_finite("x", x)
    host_checks.check_finite("y", y)
    positive = None if weights is None else weights.reshape(-1, len(x)).max(0)
    if heads.loss == "logistic":
        host_checks.check_binary_labels(y, positive, "heads with loss='softmax'")
    elif heads.loss == "squared" and y.ndim not in (1, 2):
        raise ValueError(f"y: expected 1-D [n] or 2-D [n, targets], got {y.ndim}-D with shape {y.shape}")
    numbers = read_heads(heads, x.shape[1], y.shape[1] if y.ndim == 2 else None)
    if heads.loss == "softmax":
        _check_labels(y, numbers.coef.shape[1])
    s = scaled_weights(read_weights(weights, len(x), numbers))
    with np.errstate(over="ignore", invalid="ignore"):
        known = {} if tol is None else _known_separations(heads.loss, numbers, x, y, s, witness)
        bounds = _bounds_of(heads.loss, numbers, x, y, s, tight, tol, list(known))
    found = _reported(heads.loss, numbers, x, y, s) if report else None
    if tol is not None or report:
        bounds = bounds._replace(bound=_unattained(bounds, numbers, x, y, s, found, known))
    device = getattr(heads, "device", None)
    about = {"heads_device": None if device is None else str(device), "report": found}
    return dataclasses.replace(certificate_of(bounds, numbers.shape), **about)


def _known_separations(
    loss: str, numbers: Numbers, x: Any, y: np.ndarray, s: Weights, witness: Separation | None
) -> dict[int, Separation]:
    """Return the separations that cost a look at the rows, by the index of the head without a penalty."""
    found = {}
    for h in np.flatnonzero(numbers.l2 == 0).tolist() if loss != "squared" else ():
        known = known_separation(*_head(numbers, h), x, y, _weights_of_head(s, h), witness)
        if known is not None:
            found[h] = known
    return found


def _head(numbers: Numbers, h: int) -> tuple[np.ndarray, Any]:
    """Return coefficients and intercept of one head."""
    return numbers.coef[h], None if numbers.intercept is None else numbers.intercept[h]


def _weights_of_head(s: Weights, h: int) -> Weights:
    """Return the one set of weights of a head."""
    return s if len(s.numbers) == 1 else Weights(s.numbers[h : h + 1], s.exponent[h : h + 1])


def _unattained(
    bounds: Bounds,
    numbers: Numbers,
    x: Any,
    y: np.ndarray,
    s: Weights,
    report: DataReport | None,
    known: dict[int, Separation],
) -> list[str]:
    """Return the names of the bounds, with the separation of the classes where that is why there is none."""
    names = list(bounds.bound)
    for h, name in enumerate(names):
        if numbers.l2[h] > 0 or not name.startswith(NO_DUALITY):
            continue
        if h in known:
            found = known[h]
        elif report is not None:
            found = Separation(str(report.separability), report.direction, report.direction_intercept)
        else:
            found = separation_of_head(*_head(numbers, h), x, y, _weights_of_head(s, h))
        if found.verdict == SEPARABLE:
            names[h] = UNATTAINED
        elif found.verdict == QUASI_SEPARABLE and found.coef is not None:
            names[h] = f"{QUASI_UNATTAINED} {_columns_of(found.coef, found.intercept)}"
    return names


def _columns_of(coef: np.ndarray, intercept: Any) -> str:
    """Return the columns that a direction is made of, in words."""
    columns = [f"column {j}" for j in np.flatnonzero(np.atleast_2d(coef).any(0))]
    parts = columns + (["the intercept"] if np.any(intercept) else [])
    return ", ".join(parts[:LISTED]) + (f" and {len(parts) - LISTED} more" if len(parts) > LISTED else "")


def _reported(loss: str, numbers: Numbers, x: Any, y: np.ndarray, s: Weights) -> DataReport:
    """On the rows that have a weight in any model; the heads themselves may separate the classes."""
    if loss == "squared":
        return report_on(x, y, s, 0, [], fit_intercept=numbers.intercept is not None)
    classes = numbers.coef.shape[1] if loss == "softmax" else 1
    intercept = np.zeros(numbers.coef.shape[:-1]) if numbers.intercept is None else numbers.intercept
    heads = list(zip(numbers.coef, intercept, strict=True))
    return report_on(x, y, s, classes, heads, fit_intercept=numbers.intercept is not None)


def _bounds_of(
    loss: str,
    numbers: Numbers,
    x: Any,
    y: np.ndarray,
    s: Any,
    tight: bool,
    tol: float | None,
    unbounded: list[int],
) -> Bounds:
    coef, intercept, l2, scale = numbers.coef, numbers.intercept, numbers.l2, numbers.scale
    if loss == "squared":
        return squared_bounds(coef, intercept, l2, x, y if y.ndim == 2 else y[:, None], s, scale)
    point = None if intercept is None else far_point(x)
    if intercept is not None and point is not None:
        x, intercept = Centred(x, point), moved_intercept(coef, intercept, point)
    by_duality = logistic_bounds if loss == "logistic" else softmax_bounds
    bounds = by_duality(coef, intercept, l2, x, y, s, scale, point)
    of_heads = coef, intercept, l2, x, y, s, scale
    if tight:
        return tightened(bounds, *of_heads)
    short = l2 == 0
    if tol is not None:
        proof = certificate_of(bounds, l2.shape)
        short |= (proof.gap > proof.gap_tol(tol)) & (proof.gap <= ROUNDED * proof.rounding)
    short[unbounded] = False
    return tightened(bounds, *of_heads, heads=np.flatnonzero(short)) if short.any() else bounds


def certificate_of(bounds: Bounds, shape: tuple[int, ...]) -> Certificate:
    """In the shape of the heads; where no bound is known the gap is infinite and the name says why."""
    with np.errstate(over="ignore", invalid="ignore"):
        gap = bounds.gap + bounds.rounding
    overflow = "none: overflow"
    bound = [
        name if name.startswith("none") or np.isfinite(g) else overflow
        for g, name in zip(gap, bounds.bound, strict=True)
    ]
    gap = np.where([name.startswith("none") for name in bound], np.inf, gap)

    def shaped(numbers: np.ndarray) -> Any:
        return numbers.reshape(shape) if shape else float(numbers[0])

    value, gradient_norm, gap, rounding = map(shaped, (bounds.value, bounds.gradient_norm, gap, bounds.rounding))
    return Certificate(
        value,
        gradient_norm,
        gap,
        rounding,
        tuple(bound) if shape else bound[0],
        null_value=shaped(bounds.null_value),
        improvement=shaped(bounds.improvement),
    )


def _check_labels(y: np.ndarray, classes: int) -> None:
    """`y` holds the numbers of classes of the heads."""
    host_checks.check_rank("y", y, 1, "[n]")
    values = np.unique(y).astype(np.float64)
    wrong = values[(values < 0) | (values >= classes) | (values != np.floor(values))]
    if len(wrong):
        shown = ", ".join(f"{value:g}" for value in wrong[:5]) + (", …" if len(wrong) > 5 else "")
        raise ValueError(
            f"y: expected labels 0 to {classes - 1}, numbers of the {classes} classes of heads.coef, got {shown}"
        )
