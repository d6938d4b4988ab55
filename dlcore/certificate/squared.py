r"""The exact gap of heads with squared loss.

J is a parabola: with its gradient g and Hessian H at any place, $J - J^* = \frac12 g^\top H^+ g$. Columns are
centred first, which takes the intercept out: with the residuals ρ = ŷ − y,
$A = \frac2S X_c^\top\mathrm{diag}(s)X_c$ and
$h = \frac2S X_c^\top(s\circ\rho) + \lambda w$,

$J - J^* = \bar\rho^2 + \frac12 h^\top(A + \lambda I)^+ h$

One eigendecomposition of A serves every head with these weights, whatever its l2 and target.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.heads import Bounds
from dlcore.certificate.rows import (
    UNIT,
    Weights,
    head_slices,
    lengths,
    rounding_over,
    row_slices,
    weights_of,
)


class _Sums(NamedTuple):
    """Sums over rows of one set of weights, for H heads, divided by Σ s; x stands for the centred rows.

    Attributes:
      value: Σ s·ρ², (H,).
      mean: Σ s·ρ, (H,).
      slope: Σ s·ρ·x, (H, m).
      size: Σ s·|ρ|, (H,): what the rounding of the mean is measured by.
      wobble: Σ s·δ², (H,), of bounds δ on the rounding of ρ.
      gram: Σ s·x·xᵀ, (m, m).
      squares: Σ s·x², (m,), before what the shift left of the mean was taken off: what `gram` rounds by.
      shift: what was subtracted from every row, (m,).
    """

    value: np.ndarray
    mean: np.ndarray
    slope: np.ndarray
    size: np.ndarray
    wobble: np.ndarray
    gram: np.ndarray
    squares: np.ndarray
    shift: np.ndarray


class _Spectrum(NamedTuple):
    """DAD = VΛVᵀ with powers of two, or 0, on the diagonal of D, off by at most `error`.

    `length` is the root of the sum of the squares of all numbers that DAD is made of.
    """

    values: np.ndarray
    vectors: np.ndarray
    scale: np.ndarray
    error: float
    length: float


def squared_bounds(
    coef: np.ndarray, intercept: np.ndarray | None, l2: np.ndarray, x: np.ndarray, y: np.ndarray, s: Weights
) -> Bounds:
    """J, ‖∇J‖, the gap and its rounding term of H heads; y is (n, targets), head h has target h mod targets."""
    answers = np.zeros((4, len(coef)))
    bound = np.full(len(coef), "", dtype=object)
    model = np.arange(len(coef)) // y.shape[1] if len(s.numbers) > 1 else np.zeros(len(coef), int)
    for numbers, exponent, of_set in _distinct(s, model):
        bias = None if intercept is None else intercept[of_set]
        target = np.flatnonzero(of_set) % y.shape[1]
        sums = _sums(coef[of_set], bias, x, y, Weights(numbers, exponent), target)
        answers[:, of_set], bound[of_set] = _bounds(coef[of_set], bias is not None, l2[of_set], x, sums)
    value, gradient_norm, gap, rounding = answers
    return Bounds(value, gradient_norm, gap, rounding, list(bound))


def _distinct(s: Weights, model: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Each set of weights once, with the heads that have it."""
    kept: list[tuple[int, list[int]]] = []
    for k, numbers in enumerate(s.numbers):
        for first, models in kept:
            if np.array_equal(s.numbers[first], numbers):
                models.append(k)
                break
        else:
            kept.append((k, [k]))
    return [(s.numbers[k : k + 1], s.exponent[k : k + 1], np.isin(model, models)) for k, models in kept]


def _sums(
    coef: np.ndarray, bias: np.ndarray | None, x: np.ndarray, y: np.ndarray, s: Weights, target: np.ndarray
) -> _Sums:
    heads, features = coef.shape
    blocks, everyone = row_slices(x, heads), slice(None)
    total, shift, squares = 0.0, np.zeros(features), np.zeros(features)
    for block in blocks:
        scale = weights_of(s, everyone, block)[0]
        total += scale.sum()
        rows = x[block].astype(np.float64)
        shift += scale @ rows
        squares += scale @ (rows * rows)
    squares /= total
    shift /= total
    # About the spread of each column, to bound Σ|w||x| by the lengths of w and x in such units: any would do.
    spread = np.sqrt(np.maximum(squares - shift**2, 1e-20 * squares))
    units = np.where(spread > 0, spread, 1)
    if bias is None:
        shift[:] = 0
    level = coef @ shift + (0 if bias is None else bias)
    reach_of_level = np.abs(coef) @ np.abs(shift) + np.abs(level)
    reach_of_head = np.linalg.norm(coef * units, axis=1)
    value, mean, size, wobble = np.zeros((4, heads))
    slope, gram = np.zeros((heads, features)), np.zeros((features, features))
    centre = np.zeros(features)
    for block in blocks:
        scale = weights_of(s, everyone, block)[0] / total
        rows = x[block].astype(np.float64) - shift
        length = lengths(rows / units)
        heavy = scale[:, None] * rows
        gram += heavy.T @ rows
        centre += scale @ rows
        for h in head_slices(heads, len(rows)):
            aim = y[block].astype(np.float64)[:, target[h]].T
            rest = coef[h] @ rows.T
            rest += level[h, None]
            rest -= aim
            # a product of m terms, a level of m + 1 more, two sums, and the rounding of the centred row
            reach = reach_of_head[h, None] * length + reach_of_level[h, None] + np.abs(aim)
            wobble[h] += (scale * ((features + 6) * UNIT * reach) ** 2).sum(-1)
            weighed = scale * rest
            value[h] += (weighed * rest).sum(-1)
            mean[h] += weighed.sum(-1)
            slope[h] += weighed @ rows
            np.abs(weighed, out=weighed)
            size[h] += weighed.sum(-1)
    squares = np.diag(gram).copy()
    if bias is not None:  # the shift is the mean up to rounding; what is left of the mean goes too
        slope -= mean[:, None] * centre
        gram -= np.outer(centre, centre)
    return _Sums(value, mean, slope, size, wobble, gram, squares, shift)


def _bounds(
    coef: np.ndarray, centred: bool, l2: np.ndarray, x: np.ndarray, sums: _Sums
) -> tuple[np.ndarray, list[str]]:
    """(value, gradient_norm, gap, rounding) as rows, and names."""
    penalty = l2[:, None] * coef
    mean = sums.mean if centred else np.zeros(len(coef))
    half = sums.slope + penalty / 2  # h / 2
    weight_norm = np.linalg.norm(coef, axis=1)
    value = sums.value + l2 / 2 * weight_norm**2
    gradient = 2 * (sums.slope + (mean[:, None] * sums.shift if centred else 0)) + penalty
    gradient_norm = np.hypot(np.linalg.norm(gradient, axis=1), 2 * mean)
    with np.errstate(over="ignore", invalid="ignore"):
        if not (np.isfinite(sums.gram).all() and np.isfinite(half).all()):
            nothing = np.full(len(coef), np.nan)
            return np.stack([value, gradient_norm, nothing, nothing]), ["none: overflow"] * len(coef)

    # Rounding of ρ by δ moves √gap by at most √(Σsδ²/S), as the gap is a squared distance between predictions and
    # more; rounding of h by ε moves it by ε/√(2μ), μ the least curvature.
    unit, product = rounding_over(row_slices(x, len(coef)))
    drift = np.sqrt(sums.wobble) + unit * sums.size * centred

    gap, bent = np.zeros((2, len(coef)))
    names = np.full(len(coef), "exact", dtype=object)
    for of_kind, scaled in ((l2 > 0, False), (l2 == 0, True)):
        if of_kind.any():
            relative = 2 * (product + 3 * unit)
            spectrum = _spectrum(2 * sums.gram, 2 * sums.squares, relative, scaled)
            # Σ s|ρ||x| ≤ √Σsρ² √Σsx², for h twice that, for the part of the mean as much again
            slack = 2 * relative * np.sqrt(sums.value) * spectrum.length + unit * l2 * weight_norm
            part = _quadratic(spectrum, 2 * half[of_kind], l2[of_kind], slack[of_kind])
            gap[of_kind], bent[of_kind], names[of_kind] = part
    root = np.sqrt(mean**2 + gap)
    error = drift + bent + unit * root
    rounding = error * (2 * root + error)
    return np.stack([value, gradient_norm, root**2, rounding]), list(names)


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
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    r"""½hᵀ(A + λI)⁺h, how far the root of it may be below the true one, and the name of the bound.

    Let η be the error of A. Where λ > 4η every eigenvalue of A + λI is at least Λ + λ − η. Else the eigenvectors
    are split in C, with Λ above 4(η + η²/λ), and U. In U the curvature is at least λ; in C, whatever U does, at
    least Λ + λ − η − η²/λ (the Schur complement of U), and $\|u + v\| \le \|u\| + \|v\|$ in the norm of
    $(A + λI)^{-1}$.

    At λ = 0, U is taken as the null space: if A has the rank |C|, then its range is a graph over C, and
    $h^\top A^+h = h_C^\top A_{CC}^{-1}h_C$ for the true h, which is in that range. That A has no more rank cannot
    be seen in float64, but h can refute it: in U it must vanish but for rounding.
    """
    projected = (h * spectrum.scale) @ spectrum.vectors
    # turning h into the basis of the eigenvectors rounds too
    slack = slack + 10 * h.shape[1] * UNIT * np.linalg.norm(h * spectrum.scale, axis=1)
    eta = spectrum.error
    root, bent, names = np.zeros(len(h)), np.zeros(len(h)), []
    for k, (row, penalty, loose) in enumerate(zip(projected, l2, slack, strict=True)):
        extra = eta**2 / penalty if 0 < penalty <= 4 * eta else 0.0
        certain = spectrum.values > 4 * (eta + extra) if penalty <= 4 * eta else np.full(len(row), True)
        curvature = spectrum.values[certain] + penalty - eta - extra
        inside, outside = row[certain], np.linalg.norm(row[~certain])
        least = curvature.min(initial=np.inf)
        root[k] = np.sqrt((inside**2 / (spectrum.values[certain] + penalty)).sum() / 2)
        above = np.sqrt((inside**2 / curvature).sum() / 2) - root[k]
        rank, name = int(certain.sum()), "exact"
        if penalty > 0:
            bent[k] = max(above, 0) + loose / np.sqrt(2 * (max(penalty, least) if rank == len(row) else penalty))
            if rank < len(row):
                bent[k] += outside / np.sqrt(2 * penalty)
        else:
            bent[k] = max(above, 0) + (loose / np.sqrt(2 * least) if rank else 0)
            if rank < len(row):
                name = f"exact if the rank is {rank}"
                tolerance = 2 * loose + (eta / least * np.linalg.norm(inside) if rank else 0)
                if outside > tolerance:
                    bent[k], name = np.inf, f"none: of {len(row)} columns only {rank} are independent in float64"
        names.append(name)
    return root**2, bent, names
