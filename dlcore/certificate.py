"""How far a linear head is from its optimum: a bound that shares no code with what made the head.

NumPy in float64 alone. The head may come from this library or from any other.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from dlcore import _checks

BLOCK_BYTES = 2**23
"""Size of a block of rows in float64: the data is read in place, at most this much of it, and a few
times as much of what is computed from it, is held at once."""

UNIT = np.finfo(np.float64).eps / 2
"""The unit roundoff u of float64: a result of one operation is off by at most u of itself."""

PAIRWISE = 64
"""A sum of n < 2⁴⁰ terms by `numpy.sum`, pairwise over runs of 128, is off by at most this many u·Σ|terms|."""


class LinearHeads(NamedTuple):
    """One linear head, or several on the same data, as plain numbers.

    Attributes:
      coef: shape (m,) for one head, (heads, m) for several.
      intercept: a number, or shape (heads,); None for heads without one.
      l2: the strength λ that each was fitted with, a number or shape (heads,).
      loss: "logistic", the mean cross-entropy of a sigmoid.
    """

    coef: Any
    intercept: Any
    l2: Any
    loss: str = "logistic"


@dataclasses.dataclass(frozen=True)
class Certificate:
    """What is known of heads, in float64; numbers for one head, arrays (heads,) for several.

    Attributes:
      value: J at the coefficients as given.
      gradient_norm: ‖∇J‖ there, the intercept's component included.
      gap: an upper bound on J − J*, rounding included; infinity where no bound is known.
      rounding: the part of `gap` that accounts for the rounding of this computation itself.
      bound: the name of the bound, "duality", or "none" with the reason; a tuple of them for several heads.
      dtype: of the computation.
    """

    value: Any
    gradient_norm: Any
    gap: Any
    rounding: Any
    bound: str | tuple[str, ...]
    dtype: str = "float64"


class _Sums(NamedTuple):
    """Sums over the rows of one class, for K heads; r is the probability given to the other class.

    Attributes:
      loss: Σ s·ℓ, (K,).
      mass: Σ s·r, (K,).
      slope: Σ s·r·x, (K, m).
      magnitude: Σ s·r·‖x‖, (K,): what the rounding of the slope is measured by.
    """

    loss: np.ndarray
    mass: np.ndarray
    slope: np.ndarray
    magnitude: np.ndarray


def certify(heads: Any, x: Any, y: Any, weights: Any = None) -> Certificate:
    r"""An upper bound on how far heads are above the minimum of their objective.

    For $J(w, b) = \frac1S\sum_i s_i\ell_i + \frac\lambda2\|w\|^2$ with the cross-entropy of
    $p_i = \sigma(w^\top x_i + b)$, every $q \in [0,1]^n$ with $\sum_i s_i(q_i - y_i) = 0$ gives a lower bound on
    $J^*$ by Fenchel duality, and with it

    $J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
    + \frac{1}{2\lambda}\left\|\frac1S X^\top(s\circ(q - y)) + \lambda w\right\|^2$

    Here q is p with the residuals of the heavier class shrunk until both classes weigh the same: no solve for
    the intercept, no difference of large numbers. Without an intercept q = p and the first term is 0.

    The float64 gap is an upper bound too: the norm is increased by a bound on its rounding error, and
    $|\sum_i s_i(q_i - y_i)|/S$, which is not exactly 0, is multiplied by a bound on $|b| + |b^*|$.

    Args:
      heads: anything with the attributes of `LinearHeads`.
      x: shape (n, m), any real dtype, NumPy or anything NumPy reads; read block by block, never copied whole.
      y: shape (n,), labels 0 and 1.
      weights: shape (n,), s; None weighs every row 1.

    Returns:
      A `Certificate`. At λ = 0 the gap is infinite: this bound needs a penalty.

    Raises:
      ValueError: if shapes do not fit, a value is not finite, labels are not 0 and 1, or the loss is unknown.
      TypeError: if something is not an array of real numbers.

    Source: Boyd and Vandenberghe, Convex Optimization, section 5.5.1 (the gap); Yu, Huang and Lin (2011), Dual
    coordinate descent methods for logistic regression (the dual).

    >>> x, y = np.array([[-1.0], [0.0], [1.0], [2.0]]), np.array([0, 1, 0, 1])
    >>> certificate = certify(LinearHeads(coef=[0.0], intercept=0.0, l2=0.5), x, y)
    >>> print(round(certificate.value, 4), round(certificate.gap, 4), certificate.bound)
    0.6931 0.0625 duality
    """
    if heads.loss != "logistic":
        raise ValueError(f"heads.loss: expected 'logistic', got {heads.loss!r}")
    x = _checks.as_host_numbers("x", x)
    y = _checks.as_host_numbers("y", y)
    _checks.check_matrix("x", x)
    _checks.check_rows(x=x, y=y)
    s = np.ones(len(x)) if weights is None else _checks.as_host_numbers("weights", weights).astype(np.float64)
    _checks.check_weights(s, len(x))
    _checks.check_finite("x", x)
    _checks.check_finite("y", y)
    _checks.check_binary_labels(y, None if weights is None else s)
    coef, intercept, l2 = _coefficients(heads, x.shape[1])

    # J does not change with the scale of the weights; a power of two keeps them exact and far from the
    # ends of the exponent's range.
    s = np.ldexp(s, -int(np.frexp(s.max())[1]))
    with np.errstate(over="ignore", invalid="ignore"):
        value, gradient_norm, duality, rounding = _gap(coef, intercept, l2, x, y, s)
    gap = duality + rounding
    unbounded = (l2 == 0) | ~np.isfinite(gap)
    gap = np.where(unbounded, np.inf, gap)
    bound = [
        "none: the duality bound needs l2 > 0" if penalty == 0 else "none: overflow" if wide else "duality"
        for penalty, wide in zip(l2, unbounded, strict=True)
    ]
    single = np.ndim(heads.coef) == 1
    value, gradient_norm, gap, rounding = (_shaped(v, single) for v in (value, gradient_norm, gap, rounding))
    return Certificate(value, gradient_norm, gap, rounding, bound[0] if single else tuple(bound))


def _gap(
    coef: np.ndarray,
    intercept: np.ndarray | None,
    l2: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    s: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """J, ‖∇J‖, the bound and its rounding term of K heads."""
    bias = np.zeros(len(coef)) if intercept is None else intercept
    total = s.sum()
    sides = [_sums(coef, bias, x, y, s, label) for label in (0, 1)]
    negative, positive = sides

    # Σ s(p - y) is the mass of class 0 minus that of class 1; shrink the heavier one by c.
    lighter = np.minimum(negative.mass, positive.mass)
    if intercept is None:
        shrink = [np.ones(len(coef))] * 2
    else:
        shrink = [np.divide(lighter, side.mass, out=np.ones(len(coef)), where=side.mass > 0) for side in sides]
    divergence = sum(_divergence(coef, bias, x, y, s, label, c) for label, c in enumerate(shrink) if (c < 1).any())
    repaired = (shrink[0][:, None] * negative.slope - shrink[1][:, None] * positive.slope) / total
    distance = np.linalg.norm(repaired + l2[:, None] * coef, axis=1)

    # Any q whose residuals sum to zero gives a bound, so the q of the computer may be taken as it is. What
    # rounds: the sums over rows (by `unit`), the logits in the divergence, and that sum to zero.
    unit = (PAIRWISE + len(x) // _rows_per_block(x, len(coef))) * UNIT
    weight_norm = np.linalg.norm(coef, axis=1)
    mass = (negative.mass + positive.mass) / total
    magnitude = (negative.magnitude + positive.magnitude) / total
    blur = (len(x) * UNIT + unit) * magnitude + unit * l2 * weight_norm
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        duality = divergence / total + distance**2 / (2 * l2)
        rounding = unit * duality + blur * (2 * distance + blur) / (2 * l2)
        longest = _longest_row(x, y, s)
        logit = (coef.shape[1] + 2) * UNIT  # a logit is off by this of ‖x‖‖w‖ + |b|
        rounding += (logit * (longest * weight_norm + abs(bias))) ** 2 / 8
        if intercept is not None:
            taken = 1 - np.minimum(*shrink)  # the share of a probability that the repair took, |p - q| / r
            rounding += taken * (unit * mass + logit * (magnitude * weight_norm + mass * abs(bias)))
            residual = abs(shrink[0] * negative.mass - shrink[1] * positive.mass) / total + unit * mass
            rounding += residual * (abs(bias) + _largest_intercept(longest, y, s, l2))

    value = (negative.loss + positive.loss) / total + l2 / 2 * weight_norm**2
    gradient = (negative.slope - positive.slope) / total + l2[:, None] * coef
    slope_of_bias = (negative.mass - positive.mass) / total if intercept is not None else np.zeros(len(coef))
    return value, np.hypot(np.linalg.norm(gradient, axis=1), slope_of_bias), duality, rounding


def _sums(coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, s: np.ndarray, label: int) -> _Sums:
    """The sums over the rows of one class."""
    heads, features = coef.shape
    sums = _Sums(np.zeros(heads), np.zeros(heads), np.zeros((heads, features)), np.zeros(heads))
    for rows, scale in _blocks(x, y, s, label, heads):
        margin = _margin(coef, bias, rows, label)
        wrong = scale * _sigmoid(-margin)
        sums.loss[:] += (scale * np.logaddexp(0, -margin)).sum(-1)
        sums.mass[:] += wrong.sum(-1)
        sums.slope[:] += wrong @ rows
        sums.magnitude[:] += wrong @ np.linalg.norm(rows, axis=1)
    return sums


def _divergence(
    coef: np.ndarray, bias: np.ndarray, x: np.ndarray, y: np.ndarray, s: np.ndarray, label: int, c: np.ndarray
) -> np.ndarray:
    r"""Σ s·KL(q‖p) over the rows of one class, whose probability r of the other class is shrunk to c·r.

    $\mathrm{KL} = cr\ln c + (1 - cr)\ln\frac{1 - cr}{1 - r}$, and with the margin t, $r/(1-r) = e^{-t}$, so that
    the last logarithm is $\ln(1 + (1-c)e^{-t})$.
    """
    total = np.zeros(len(c))
    with np.errstate(divide="ignore"):
        log_c, log_rest = np.where(c > 0, np.log(c), 0.0)[:, None], np.log1p(-c)[:, None]  # 0 ln 0 is 0
    for rows, scale in _blocks(x, y, s, label, len(c)):
        margin = _margin(coef, bias, rows, label)
        kept = c[:, None] * _sigmoid(-margin)
        terms = kept * log_c + (1 - kept) * np.logaddexp(0, log_rest - margin)
        total += (scale * np.maximum(terms, 0)).sum(-1)  # by rounding alone below 0
    return total


def _blocks(
    x: np.ndarray, y: np.ndarray, s: np.ndarray, label: int, heads: int = 1
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """The rows of one class with positive weight in float64, with their weights, a block at a time."""
    step = _rows_per_block(x, heads)
    for start in range(0, len(x), step):
        stop = start + step
        chosen = (y[start:stop] == label) & (s[start:stop] > 0)
        if chosen.any():
            yield x[start:stop][chosen].astype(np.float64), s[start:stop][chosen]


def _rows_per_block(x: np.ndarray, heads: int) -> int:
    """So many that neither they nor their logits exceed the size of a block."""
    return max(1, BLOCK_BYTES // (8 * max(x.shape[1], heads)))


def _margin(coef: np.ndarray, bias: np.ndarray, rows: np.ndarray, label: int) -> np.ndarray:
    """(K, n): the logit, with the sign that makes it positive where the example is right."""
    return (2 * label - 1) * (coef @ rows.T + bias[:, None])


def _sigmoid(z: np.ndarray) -> np.ndarray:
    """1/(1 + e^(-z)) without overflow."""
    tail = np.exp(-np.abs(z))
    return np.where(z >= 0, 1.0, tail) / (1 + tail)


def _longest_row(x: np.ndarray, y: np.ndarray, s: np.ndarray) -> float:
    """The largest ‖x‖ among the rows of positive weight."""
    return max(
        float(np.linalg.norm(rows, axis=1).max()) for label in (0, 1) for rows, _ in _blocks(x, y, s, label)
    )


def _largest_intercept(longest: float, y: np.ndarray, s: np.ndarray, l2: np.ndarray) -> np.ndarray:
    r"""A bound on |b*|.

    At the optimum the mean of p is the share π of class 1: some logit is at least and some at most that of π,
    $|b^*| \le |\mathrm{logit}\,\pi| + \max_i\|x_i\|\,\|w^*\|$, and $\frac\lambda2\|w^*\|^2 \le J_0$, the objective
    of the best intercept alone, which is the entropy of π.
    """
    ones, zeros = float(s[y == 1].sum()), float(s[y == 0].sum())
    entropy = -sum(share * math.log(share) for share in (ones / (ones + zeros), zeros / (ones + zeros)))
    return abs(math.log(ones) - math.log(zeros)) + longest * np.sqrt(2 * entropy / l2)


def _coefficients(heads: Any, features: int) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """coef (K, m), intercept (K,) or None, l2 (K,), in float64."""
    coef = _checks.as_host_numbers("heads.coef", heads.coef).astype(np.float64)
    if coef.ndim not in (1, 2) or coef.shape[-1] != features:
        raise ValueError(f"heads.coef: expected shape ({features},) or (heads, {features}), got {coef.shape}")
    _checks.check_finite("heads.coef", coef)
    coef = np.atleast_2d(coef)

    def of_each(name: str, numbers: Any) -> np.ndarray:
        array = _checks.as_host_numbers(name, numbers).astype(np.float64)
        if array.shape not in ((), (len(coef),)):
            raise ValueError(f"{name}: expected a number or shape ({len(coef)},), got {array.shape}")
        _checks.check_finite(name, array)
        return np.broadcast_to(array, len(coef))

    l2 = of_each("heads.l2", heads.l2)
    _checks.check_number("heads.l2", l2, least=0)
    return coef, None if heads.intercept is None else of_each("heads.intercept", heads.intercept), l2


def _shaped(numbers: np.ndarray, single: bool) -> Any:
    """A Python number for one head, the array for several."""
    return float(numbers[0]) if single else numbers
