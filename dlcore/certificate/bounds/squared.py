r"""The exact gap of heads with squared loss.

J is a parabola: with its gradient g and Hessian H at any place, $J - J^* = \frac12 g^\top H^+ g$. Columns are
centred first, which takes the intercept out: with the residuals ρ = ŷ − y,
$A = \frac2S X_c^\top\mathrm{diag}(s)X_c$ and
$h = \frac2S X_c^\top(s\circ\rho) + \lambda w$,

$J - J^* = \bar\rho^2 + \frac12 h^\top(A + \lambda I)^+ h$

With a scale σ the penalty is that of σw: h and A are then divided by σ, and σw takes the place of w.
One eigendecomposition of A serves every head with these weights, whatever its l2 and target. Of many heads h and J
come from A too, $h = Aw - c + \lambda w$, without a look at the rows; of few, and where that rounds too much, from
the residuals.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.moments import Moments, RowSums
from dlcore.certificate.result import Bounds
from dlcore.certificate.rows import (
    BLOCK_BYTES,
    UNIT,
    Weights,
    head_slices,
    lengths,
    rounding_over,
    row_slices,
    weights_of,
)

FEW = 8
"""So many heads, or one for so many parts of the columns, are judged by their residuals: no dearer than A."""
VAGUE = 1e-7
"""A head is judged by its residuals where its value rounds by more than this part of it, or its gap by more than
this part of the smaller of J and E."""
NUMBERS = ("value", "gradient_norm", "gap", "rounding", "null_value", "improvement")


class _Heads(NamedTuple):
    """Heads with the same weights of rows: (H, m), (H,) or None, (H,), and the target of each, (H,)."""

    coef: np.ndarray
    bias: np.ndarray | None
    l2: np.ndarray
    target: np.ndarray


class _Place(NamedTuple):
    """What is known of H heads, divided by Σ s, and how far it is off.

    Attributes:
      value: Σ s·ρ², (H,).
      mean: Σ s·ρ, (H,), 0 without an intercept.
      slope: Σ s·ρ·x, (H, m), x centred.
      push: (H,); no component of 2·slope is off by more than this times the root of A's bound `squares` there.
      drift: (H,): how far errors of ρ and the mean move the root of the gap.
      off: (H,): of the value.
    """

    value: np.ndarray
    mean: np.ndarray
    slope: np.ndarray
    push: np.ndarray
    drift: np.ndarray
    off: np.ndarray


class _Spectrum(NamedTuple):
    """DAD = VΛVᵀ with powers of two, or 0, on the diagonal of D, off by at most `error`.

    `length` is the root of the sum of the squares of all numbers that DAD is made of.
    """

    values: np.ndarray
    vectors: np.ndarray
    scale: np.ndarray
    error: float
    length: float


class _Curvature:
    """A of x/σ, about the mean where there is an intercept, and its spectra when they are asked for."""

    def __init__(self, moments: Moments, scale: np.ndarray | None, *, centred: bool) -> None:
        self.scale = scale
        middle = moments.middle[: len(moments.gram)]
        self.gram, self.squares, self.relative = moments.gram, moments.squares[: len(middle)], moments.relative
        if not centred:
            self.gram = self.gram + np.outer(middle, middle)
            self.squares = (np.sqrt(self.squares) + np.abs(middle)) ** 2
        if scale is not None:  # two divisions, and 2u more for the squares
            self.gram, self.squares = self.gram / scale[:, None] / scale, self.squares / scale / scale
            self.relative += 4 * UNIT
        self._spectra: dict[bool, _Spectrum] = {}

    def spectrum(self, scaled: bool) -> _Spectrum:
        """For l2 > 0, and scaled for l2 = 0."""
        if scaled not in self._spectra:
            self._spectra[scaled] = _spectrum(2 * self.gram, 2 * self.squares, self.relative, scaled)
        return self._spectra[scaled]


def squared_bounds(
    coef: np.ndarray,
    intercept: np.ndarray | None,
    l2: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    s: Weights,
    scale: np.ndarray | None = None,
) -> Bounds:
    """J, ‖∇J‖, the gap and its rounding term of H heads; y is (n, targets), head h has target h mod targets."""
    model = np.arange(len(coef)) // y.shape[1] if len(s.numbers) > 1 else np.zeros(len(coef), int)
    first = _first_equal(s.numbers)
    kept, of_model = np.unique(first, return_inverse=True)
    sums = RowSums(x, y, Weights(s.numbers[kept], s.exponent[kept]))
    answers, bound = np.zeros((len(NUMBERS), len(coef))), np.full(len(coef), "", dtype=object)
    for k in range(len(kept)):
        of_set = of_model[model] == k
        bias = None if intercept is None else intercept[of_set]
        found = bounds_of_set(sums, k, sums.of(k), coef[of_set], bias, l2[of_set], scale)
        answers[:, of_set], bound[of_set] = [getattr(found, name) for name in NUMBERS], found.bound
    return Bounds(**dict(zip(NUMBERS, answers, strict=True)), bound=list(bound))


def bounds_of_set(
    sums: RowSums,
    k: int,
    moments: Moments,
    coef: np.ndarray,
    bias: np.ndarray | None,
    l2: np.ndarray,
    scale: np.ndarray | None,
) -> Bounds:
    """Of heads that all have the weights of set k, whose moments these are."""
    heads, features = coef.shape
    whole = _Heads(coef, bias, l2, np.arange(heads) % len(moments.cross))
    if not (np.isfinite(moments.gram).all() and np.isfinite(moments.cross).all()):
        place = _by_rows(sums, k, moments, whole)
        nothing = np.full(heads, np.nan)
        weight = coef if scale is None else coef * scale
        h = 2 * place.slope + l2[:, None] * (weight if scale is None else weight * scale)
        value, norm = _level(moments, l2, weight, place, h)
        return Bounds(value, norm, nothing, nothing, ["none: overflow"] * heads, nothing, nothing)
    curvature = _Curvature(moments, scale, centred=bias is not None)
    if heads <= max(FEW, features // FEW):
        return _judged(moments, curvature, whole, _by_rows(sums, k, moments, whole))
    parts, vague = [], []
    step = max(1, BLOCK_BYTES // (32 * features))  # what is computed of so many heads stays in the cache
    for start in range(0, heads, step):
        some = _some(whole, slice(start, start + step))
        place = _by_moments(moments, some)
        parts.append(bounds := _judged(moments, curvature, some, place))
        scale_of_gap = np.minimum(bounds.value, bounds.improvement)
        vague.append(~((place.off <= VAGUE * bounds.value) & (bounds.rounding <= VAGUE * scale_of_gap)))
    answers = {name: np.concatenate([getattr(part, name) for part in parts]) for name in NUMBERS}
    names = [name for part in parts for name in part.bound]
    again = np.flatnonzero(np.concatenate(vague))
    if len(again):
        some = _some(whole, again)
        bounds = _judged(moments, curvature, some, _by_rows(sums, k, moments, some))
        for name in NUMBERS:
            answers[name][again] = getattr(bounds, name)
        for h, name in zip(again, bounds.bound, strict=True):
            names[h] = name
    return Bounds(**answers, bound=names)


def _some(heads: _Heads, which: slice | np.ndarray) -> _Heads:
    bias = None if heads.bias is None else heads.bias[which]
    return _Heads(heads.coef[which], bias, heads.l2[which], heads.target[which])


def _first_equal(numbers: np.ndarray) -> np.ndarray:
    """For each row of numbers, the first that is equal to it."""
    first: list[int] = []
    for k, row in enumerate(numbers):
        equal = (j for j in dict.fromkeys(first) if np.array_equal(numbers[j], row))
        first.append(next(equal, k))
    return np.array(first)


def _by_moments(moments: Moments, heads: _Heads) -> _Place:
    r"""From G and c, with $\frac1S\sum s\rho^2 = w^\top(Gw - c) - w^\top c + \frac1S\sum sy^2 + \bar\rho^2$."""
    coef, bias, _, target = heads
    features, roots = coef.shape[1], np.sqrt(moments.squares)
    slope, aims = coef @ moments.gram, moments.cross[target]
    slope -= aims
    data = np.einsum("ij,ij->i", coef, slope) - np.einsum("ij,ij->i", coef, aims) + moments.height[target]
    middle, aim = moments.middle[:features], moments.middle[features:][target]
    mean = coef @ middle - aim + (0 if bias is None else bias)
    level = np.abs(coef) @ np.abs(middle) + np.abs(aim) + (0 if bias is None else np.abs(bias))
    # Numbers of G and c are off by `relative` of √squares √squares, products with them as m terms round.
    reach = np.abs(coef) @ roots[:features] + roots[features:][target]
    relative = moments.relative + (features + 6) * UNIT
    drift = (features + 6) * UNIT * level + moments.relative * reach
    off = relative * reach**2 + drift * (2 * np.abs(mean) + drift)
    value, push = np.maximum(data, 0) + mean**2, np.sqrt(2) * relative * reach
    if bias is None:  # about 0, not about the mean: x and its squares grow by the mean, which is off by the drift
        slope += mean[:, None] * middle
        push += np.sqrt(2) * (drift + UNIT * np.abs(mean))
        mean, drift = np.zeros((2, len(coef)))
    return _Place(value, mean, slope, push, drift, off)


def _by_rows(sums: RowSums, k: int, moments: Moments, some: _Heads) -> _Place:
    """From the residuals of every row."""
    x, y = sums.x, sums.y
    s = Weights(sums.s.numbers[k : k + 1], sums.s.exponent[k : k + 1])
    coef, bias, _, target = some
    heads, features = coef.shape
    blocks, everyone = row_slices(x, heads), slice(None)
    total = sum(weights_of(s, everyone, block).sum() for block in blocks)
    middle = moments.middle[:features]
    shift = middle if bias is not None else np.zeros(features)
    # About the size of each column less the shift, to bound Σ|w||x| by the lengths of w and x in such units: any
    # would do.
    spread = np.maximum(np.diag(moments.gram), 1e-20 * moments.squares[:features])
    units = np.sqrt(spread + (middle - shift) ** 2)
    units = np.where((units > 0) & np.isfinite(units), units, 1)
    level = coef @ shift + (0 if bias is None else bias)
    reach_of_level = np.abs(coef) @ np.abs(shift) + np.abs(level)
    reach_of_head = np.linalg.norm(coef * units, axis=1)
    value, mean, size, wobble = np.zeros((4, heads))
    slope, centre = np.zeros((heads, features)), np.zeros(features)
    for block in blocks:
        scale = weights_of(s, everyone, block)[0] / total
        rows = x[block].astype(np.float64) - shift
        length = lengths(rows / units)
        centre += scale @ rows
        for h in head_slices(heads, len(rows)):
            aim = y[block].astype(np.float64)[:, target[h]].T
            rest = coef[h] @ rows.T
            rest -= aim - level[h, None]  # the two large ones first: nearly equal, they leave next to no error
            # a product of m terms, a level of m + 1 more, two sums, and the rounding of the centred row
            reach = reach_of_head[h, None] * length + reach_of_level[h, None] + np.abs(aim)
            wobble[h] += (scale * ((features + 6) * UNIT * reach) ** 2).sum(-1)
            weighed = scale * rest
            value[h] += (weighed * rest).sum(-1)
            mean[h] += weighed.sum(-1)
            slope[h] += weighed @ rows
            np.abs(weighed, out=weighed)
            size[h] += weighed.sum(-1)
    rounding = rounding_over(blocks)
    drift = np.sqrt(wobble)
    if bias is None:
        mean[:] = 0
    else:  # the shift is the mean up to rounding; what is left of the mean goes too
        slope -= mean[:, None] * centre
        drift += rounding.sums * size
    # Σ s|ρ||x| ≤ √Σsρ² √Σsx², for h twice that, for the part of the mean as much again
    push = 4 * (rounding.products + 3 * rounding.sums) * np.sqrt(value)
    off = rounding.products * value + drift * (2 * np.sqrt(value) + drift)
    return _Place(value, mean, slope, push, drift, off)


def _level(
    moments: Moments, l2: np.ndarray, weight: np.ndarray, place: _Place, h: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """J and ‖∇J‖ of the data as given; the mean is 0 without an intercept."""
    norm = np.hypot(lengths(h + 2 * place.mean[:, None] * moments.middle[: h.shape[1]]), 2 * place.mean)
    return place.value + l2 / 2 * np.einsum("ij,ij->i", weight, weight), norm


def _judged(moments: Moments, curvature: _Curvature, heads: _Heads, place: _Place) -> Bounds:
    """The gap from the slope."""
    l2, scale = heads.l2, curvature.scale
    coef, slopes = (heads.coef, place.slope) if scale is None else (heads.coef * scale, place.slope / scale)
    h = 2 * slopes + l2[:, None] * coef
    value, gradient_norm = _level(moments, l2, coef, place, h if scale is None else h * scale)
    # Rounding of ρ by δ moves √gap by at most √(Σsδ²/S), as the gap is a squared distance between predictions and
    # more; rounding of h by ε moves it by ε/√(2μ), μ the least curvature.
    gap, bent = np.zeros((2, len(coef)))
    names = np.full(len(coef), "exact", dtype=object)
    for of_kind, scaled in ((l2 > 0, False), (l2 == 0, True)):
        if not of_kind.any():
            continue
        spectrum = curvature.spectrum(scaled)
        of = slice(None) if of_kind.all() else of_kind
        slope, weight = slopes[of], coef[of]
        if scaled:
            slope = slope * spectrum.scale
        # the additions and the scaling that make h, and its errors
        slack = place.push[of] * spectrum.length + 6 * UNIT * (l2[of] * lengths(weight) + lengths(slope))
        gap[of], bent[of], names[of] = _quadratic(spectrum, 2 * slope if scaled else h[of], l2[of], slack)
    root = np.sqrt(place.mean**2 + gap)
    error = place.drift + bent + moments.rounding.sums * root
    with np.errstate(over="ignore", invalid="ignore"):
        rounding = error * (2 * root + error)
    null_value, off = _null_value(moments, heads)
    improvement = np.maximum(null_value - value - off - place.off, l2 / 2 * np.einsum("ij,ij->i", coef, coef))
    return Bounds(value, gradient_norm, root**2, rounding, list(names), null_value, improvement)


def _null_value(moments: Moments, heads: _Heads) -> tuple[np.ndarray, np.ndarray]:
    """Σ s·y² about the mean, or about 0 without an intercept, and how far it is off: two arrays (H,)."""
    level = moments.middle[moments.gram.shape[0] :]
    height, most = moments.height, moments.squares[moments.gram.shape[0] :]
    if heads.bias is None:
        height, most = height + level**2, (np.sqrt(most) + np.abs(level)) ** 2
    return height[heads.target], (moments.relative * most)[heads.target]


def _spectrum(a: np.ndarray, squares: np.ndarray, relative: float, scaled: bool) -> _Spectrum:
    """The eigendecomposition of A, its columns scaled to lengths in [1, 2) where there is no penalty to respect.

    A column that is constant is nothing but rounding once it is centred: it goes out.
    """
    scale = np.ones(len(a))
    if scaled:
        varies = np.diag(a) > 4 * relative * squares
        exponent = np.frexp(np.sqrt(np.where(varies, np.diag(a), 1)))[1]
        scale = np.where(varies, np.ldexp(1.0, 1 - exponent), 0)
        a = scale[:, None] * a * scale
    values, vectors = np.linalg.eigh(a)
    # Sums of magnitudes |x_j||x_k| make a matrix of norm at most their trace; eigh is off by a few u‖A‖ (LAPACK
    # Users' Guide, section 4.7.1), its eigenvectors by a few u from orthogonal.
    trace = float((scale**2 * squares).sum())
    error = relative * trace + 10 * len(a) * UNIT * float(np.abs(values).max())
    return _Spectrum(values, vectors, scale, error, float(np.sqrt(trace)))


def _quadratic(
    spectrum: _Spectrum, h: np.ndarray, l2: np.ndarray, slack: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""½hᵀ(A + λI)⁺h, how far the root of it may be below the true one, and the name of the bound.

    h is in the scale of the spectrum.

    Let η be the error of A. Where λ > 4η every eigenvalue of A + λI is at least Λ + λ − η. Else the eigenvectors
    are split in C, with Λ above 4(η + η²/λ), and U. In U the curvature is at least λ; in C, whatever U does, at
    least Λ + λ − η − η²/λ (the Schur complement of U), and $\|u + v\| \le \|u\| + \|v\|$ in the norm of
    $(A + λI)^{-1}$.

    At λ = 0, U is taken as the null space: if A has the rank |C|, then its range is a graph over C, and
    $h^\top A^+h = h_C^\top A_{CC}^{-1}h_C$ for the true h, which is in that range. That A has no more rank cannot
    be seen in float64, but h can refute it: in U it must vanish but for rounding.
    """
    # turning h into the basis of the eigenvectors rounds too
    slack = slack + 10 * h.shape[1] * UNIT * lengths(h)
    squares = h @ spectrum.vectors
    np.square(squares, out=squares)
    eta, count = spectrum.error, h.shape[1]
    gap, bent, names = np.zeros(len(h)), np.zeros(len(h)), np.full(len(h), "exact", dtype=object)
    for penalty in np.unique(l2):
        same = np.flatnonzero(l2 == penalty)
        same = slice(same[0], same[-1] + 1) if same[-1] - same[0] + 1 == len(same) else same
        extra = eta * (eta / penalty) if 0 < penalty <= 4 * eta else 0.0
        certain = spectrum.values > 4 * (eta + extra) if penalty <= 4 * eta else np.full(count, True)
        curvature = np.where(certain, spectrum.values + penalty - eta - extra, np.inf)
        exact = np.where(certain, spectrum.values + penalty, np.inf)
        weights = np.stack([1 / exact, 1 / curvature, ~certain, certain], axis=1)
        sums = squares[same] @ weights
        gap[same] = sums[:, 0] / 2
        above = np.maximum(np.sqrt(sums[:, 1] / 2) - np.sqrt(gap[same]), 0)
        outside, inside = np.sqrt(sums[:, 2]), np.sqrt(sums[:, 3])
        least, rank, loose = curvature.min(), int(certain.sum()), slack[same]
        if penalty > 0:
            bent[same] = above + loose / np.sqrt(2 * (max(penalty, least) if rank == count else penalty))
            bent[same] += outside / np.sqrt(2 * penalty)
            continue
        bent[same] = above + (loose / np.sqrt(2 * least) if rank else 0)
        if rank < count:
            refuted = outside > 2 * loose + (eta / least * inside if rank else 0)
            bent[same] = np.where(refuted, np.inf, bent[same])
            none = f"none: of {count} columns only {rank} are independent in float64"
            names[same] = np.where(refuted, none, f"exact if the rank is {rank}")
    return gap, bent, names
