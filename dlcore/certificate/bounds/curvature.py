r"""A bound on J − J* from the curvature at the place itself: tight near the optimum, and valid at l2 = 0.

**The bound.** Let $f$ be J, $\theta$ the place with the gradient g, and $M \preceq \nabla^2 f(\theta)$ positive
definite. Along $\varphi(t) = f(\theta + td)$ a row whose logits move by $t\,u$ adds $s\,\varphi_i$ with
$\varphi_i''$ the variance of u under the row's probabilities (at t) and $\varphi_i'''$ its third central moment:
$|\mathrm E(u - \bar u)^3| \le (\max u - \min u)\,\mathrm E(u - \bar u)^2$. For the sigmoid the logits are 0
and z. The penalty has no third derivative. So with $\rho = \max_i(\max u_i - \min u_i)$:
$|\varphi'''| \le \rho\varphi''$, hence $\varphi''(t) \ge \varphi''(0)e^{-\rho t}$, and twice integrated

$f(\theta + d) \ge f(\theta) + g\cdot d + \varphi''(0)\,\frac{e^{-\rho} + \rho - 1}{\rho^2}$

Let $h = \|d\|_M$, $\nu = \|g\|_{M^{-1}}$ and $r = \max_i\max_{k\ne l}\|x_i\otimes(e_k - e_l)\|_{M^{-1}}$. Then
$g\cdot d \ge -\nu h$, $\varphi''(0) \ge h^2$ and $\rho \le rh$; the fraction decreases in ρ. So for every d

$f(\theta) - f(\theta + d) \le \nu h - \frac{e^{-rh} + rh - 1}{r^2}$

whose largest value over h ≥ 0, where $a = r\nu < 1$, is at $rh = -\ln(1 - a)$:

$J - J^* \le \frac{a + (1 - a)\ln(1 - a)}{r^2} = \nu^2\left(\frac12 + \frac a6 + \frac{a^2}{12} + \dots\right)$

The right side above grows without end in h where a < 1: then a minimum exists, and no direction separates the
classes. It increases in ν and in r, so bounds on them from above will do.

A softmax does not change where the coefficients of all classes move by the same. With the mean $\bar\theta$ over
the K classes, $f(\theta) = \hat f(\theta) + \frac{K\lambda}2\|\sigma\bar\theta\|^2$, where $\hat f$ has the
penalty of $\theta - \bar\theta$ and the same minimum. The bound is that of $\hat f$ and the second term, which is
rounding for heads that are centred. Sums over classes are held where they are by a penalty on how far they move:
that changes neither the gradient of $\hat f$ nor its minimum, nor third derivatives.

**The computation.** Any square matrix W gives other coordinates, $\theta = W^\top\eta$: rows become
$\xi = W(x\otimes e_k)$, the Hessian $A = W\nabla^2fW^\top$. W is taken as it is stored, so its own errors do not
matter. If the least eigenvalue of A is at least μ > 0, then W is invertible and $M = \mu I$ serves. W starts as a
scaling of the columns; each pass over the rows makes A, and from its eigenvectors a W for which A is nearer to I.
In such coordinates everything is of size 1, and the errors are measured there (u the unit roundoff, all rows of
probabilities $p$, r that of all classes but the right one, ξ less that of the right class):

1. ξ as a product is off by $e_i = (D + 4)u\sum_a\|W_{\cdot a}\||x_{ia}|$, and a difference of two by twice that
   and u of itself;
2. probabilities are off by factors $e^{\pm2\varepsilon}$, ε the error of a logit, those of differences and of the
   exponential included. As $\mathrm{diag}(p) - pp^\top = \frac12\sum_{kl}p_kp_l(e_k - e_l)(e_k - e_l)^\top$, the
   true Hessian is at least $e^{-4\varepsilon}$ times the one of the computed p;
3. A is $B^\top B$ of the stacked terms. Errors E of B move $\sqrt\mu$ by at most $\|E\|_F$; a row's part of it is
   at most $\sqrt{s\,r}$ times the error of its ξ and the rounding of its few operations, because a variance is no
   more than the mean square from the right class. The product itself is off by `unit` times the trace of A, its
   eigenvalues by 10·D·u of the largest (LAPACK Users' Guide, section 4.7.1);
4. g is off by at most $\sum s\,r\,$(2ε + `unit`)$\max\|\xi\|$ and the errors of ξ, and those of λw.

Source: Bach (2010), Self-concordant analysis for logistic regression, Proposition 1; Sun and Tran-Dinh (2019),
Generalized self-concordant functions; the constant of the softmax is that of the third moment above.
"""

from typing import Any, NamedTuple

import numpy as np

from dlcore.certificate.rows import BLOCK_BYTES, UNIT, Weights, lengths, weights_of

MOST = 2000
"""So many coefficients may a head have: matrices of their square are made, over all rows."""
AUTOMATIC = 5 * 10**10
"""Up to so many multiplications in a pass, curvature is asked without the caller's word."""
PASSES = 5
HOPELESS = 2
"""The index of the third pass: a matrix that is not positive definite there, whitened twice, will not be."""
NEAR = 0.05
"""W is good enough where the eigenvalues of A are this near to 1."""


class Place(NamedTuple):
    """One head: coef (K, D), its last column the intercept if there is one; K is 1 for a sigmoid.

    `penalty` is (D,), 0 for an intercept; `free` are the columns whose sums over classes change nothing.
    """

    coef: np.ndarray
    penalty: np.ndarray
    free: np.ndarray
    intercept: bool


class _Pass(NamedTuple):
    """What one pass over the rows finds: the spectrum of A, g, and bounds on r, μ and the error of g."""

    values: np.ndarray
    vectors: np.ndarray
    slope: np.ndarray
    radius: float
    least: float
    error: float


def place_of(coef: np.ndarray, intercept: Any, l2: float, scale: np.ndarray | None) -> Place:
    """Of a head with `coef` (m,) for the sigmoid, (K, m) for the softmax."""
    several = coef.ndim == 2
    weight = np.atleast_2d(coef)
    unit = np.ones(weight.shape[1]) if scale is None else scale
    penalty = l2 * unit**2
    if intercept is not None:
        weight = np.column_stack([weight, np.atleast_1d(intercept)])
        penalty = np.append(penalty, 0)
    return Place(weight, penalty, np.full(weight.shape[1], several), intercept is not None)


def curvature_bound(place: Place, x: Any, y: np.ndarray, s: Weights) -> tuple[float, float]:
    """The bound without what rounds, and that; infinite where it does not hold. `s` has one set of weights."""
    with np.errstate(all="ignore"):
        found = _whitened(place, x, y, s)
    if found is None:
        return np.inf, np.inf
    root = np.sqrt(found.least)
    slope, radius = float(np.linalg.norm(found.slope)) / root, found.radius / root
    excess = _penalty_of_mean(place)
    nearly, bound = (_largest(nu, radius) + excess for nu in (slope, slope + found.error / root))
    return (nearly, bound - nearly) if np.isfinite(bound) else (np.inf, np.inf)


def _penalty_of_mean(place: Place) -> float:
    """Return (Kλ/2)‖σθ̄‖² of a softmax, rounded up."""
    classes = len(place.coef)
    if classes == 1:
        return 0.0
    sums = np.abs(place.coef.sum(0)) + classes * UNIT * np.abs(place.coef).sum(0)
    return float(place.penalty @ sums**2) / (2 * classes) * (1 + 1e-9)


def _largest(nu: float, r: float) -> float:
    """The bound, with more than what its own formula rounds; infinity where a ≥ 1."""
    a = r * nu * (1 + 1e-12)
    if not a < 1:
        return np.inf
    if a < 0.05:  # the rest of the series is less than a⁴/30 and what a geometric one adds
        share = 1 / 2 + a / 6 + a**2 / 12 + a**3 / 20 + a**4 / 30 / (1 - a)
    else:
        share = (a + (1 - a) * np.log1p(-a)) / a**2
    return float(nu**2 * share * (1 + 1e-11))


def _whitened(place: Place, x: Any, y: np.ndarray, s: Weights) -> _Pass | None:
    """The pass whose coordinates serve best; None where A is not provably positive definite."""
    size = place.coef.size
    sizes = _column_sizes(place, x, s)
    w = np.diag(1 / np.tile(sizes, len(place.coef)))
    best = None
    for passes in range(PASSES):
        seen = _pass(place, x, y, s, w, sizes)
        if seen is None or (passes == HOPELESS and best is None and not seen.least > 0):
            break
        if seen.least > 0 and (best is None or seen.least > best.least):
            best = seen
        if seen.least > 1 - NEAR and seen.values[-1] < 1 + NEAR:
            return seen
        kept = np.maximum(seen.values, 10 * size * UNIT * seen.values[-1])
        w = (seen.vectors / np.sqrt(kept)).T @ w
    return best


def newton_step(
    place: Place, x: Any, y: np.ndarray, s: Weights, w: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray, bool]:
    """Newton's step, None where something overflows; the W for the next one; whether a < 1, but for rounding."""
    sizes = _column_sizes(place, x, s)
    w = np.diag(1 / np.tile(sizes, len(place.coef))) if w is None else w
    seen = _pass(place, x, y, s, w, sizes)
    if seen is None:
        return None, w, False
    root = seen.vectors / np.sqrt(np.maximum(seen.values, 10 * len(seen.values) * UNIT * seen.values[-1]))
    w = root.T @ w
    seen = _pass(place, x, y, s, w, sizes)  # about I now
    if seen is None:
        return None, w, False
    root = seen.vectors / np.sqrt(np.maximum(seen.values, 10 * len(seen.values) * UNIT * seen.values[-1]))
    decrement = root.T @ seen.slope
    step = -(w.T @ (root @ decrement)).reshape(place.coef.shape)
    return step, root.T @ w, bool(seen.radius * np.linalg.norm(decrement) < 1)


def _column_sizes(place: Place, x: Any, s: Weights) -> np.ndarray:
    """About the root mean square of each column, or what the penalty makes of it: any numbers above 0 would do."""
    squares, total = np.zeros(x.shape[1]), 0.0
    for block in row_blocks(x, place):
        share = weights_of(s, slice(None), block)[0]
        squares, total = squares + share @ np.square(x[block].astype(np.float64)), total + share.sum()
    squares = np.append(squares / total, 1) if place.intercept else squares / total
    sizes = np.sqrt(squares + place.penalty)
    return np.where(np.isfinite(sizes) & (sizes > 0), sizes, 1)


def _pass(place: Place, x: Any, y: np.ndarray, s: Weights, w: np.ndarray, sizes: np.ndarray) -> _Pass | None:
    """A, g, r and their errors in the coordinates of W; None where something overflows."""
    coef, size = place.coef, place.coef.size
    classes, width = coef.shape
    w = w.reshape(size, classes, width)
    columns = np.sqrt(np.square(w).sum(0))  # ‖W_{·a}‖, by class
    blocks = row_blocks(x, place)
    total = sum(float(weights_of(s, slice(None), block).sum()) for block in blocks)
    longest = (blocks[0].stop - blocks[0].start) * (classes + 1)
    unit = (longest + len(blocks) + size + 2 * classes + 40) * UNIT
    product = (size + 4) * UNIT
    norm, bias = lengths(coef[:, : x.shape[1]]).max(), np.abs(coef[:, -1]).max() * place.intercept
    a, slope = np.zeros((size, size)), np.zeros(size)
    radius = doubt = wrong = blur = 0.0
    for block in blocks:
        share = weights_of(s, slice(None), block)[0] / total
        chosen = share > 0
        if not chosen.any():
            continue
        share, rows = share[chosen], x[block][chosen].astype(np.float64)
        off = 2 * ((width + 8) * UNIT * (lengths(rows) * norm + bias) + 6 * UNIT)
        if place.intercept:
            rows = np.column_stack([rows, np.ones(len(rows))])
        p, right, xi, largest = _terms(coef, rows, y[block][chosen].astype(np.intp), w)
        far = product * (np.abs(rows) @ columns.max(0))  # e, the largest over classes
        far = 2 * far + 4 * UNIT * largest
        mean = np.matmul(p[:, None, :], xi)  # less that of the right class, whose ξ is 0 here
        parts = np.concatenate(
            [np.sqrt(p)[:, :, None] * (xi - mean), np.sqrt(right)[:, None, None] * mean], axis=1
        )
        parts *= np.sqrt(share)[:, None, None]
        flat = parts.reshape(-1, size)
        a += flat.T @ flat
        slope += share @ mean[:, 0]
        mass = share * p.sum(1)
        radius = max(radius, float((_spread(xi, largest) + 2 * far).max()))
        wrong += float(mass @ (2 * far + (2 * classes + 20) * UNIT * largest) ** 2)
        blur += float(mass @ ((2 * off + unit) * largest + far))
        doubt = max(doubt, float(off.max()))
    # The penalty, and what holds the sums of classes where they are.
    flat = w.reshape(size, -1)
    every = np.tile(place.penalty, classes)
    penal = flat * np.sqrt(every)
    a += penal @ penal.T
    held = (w.sum(1) * sizes)[:, place.free]
    a += held @ held.T
    centred = coef - coef.mean(0) if classes > 1 else coef
    slope += flat @ (every * centred.ravel())
    wrong += float(
        (2 * (classes + 4) * UNIT) ** 2 * place.free.sum() + (2 * UNIT) ** 2 * np.trace(penal @ penal.T)
    )
    blur += product * float(columns.ravel() @ np.abs(every * coef.ravel())) + unit * float(np.linalg.norm(slope))
    if not (np.isfinite(a).all() and np.isfinite(slope).all() and np.isfinite(blur + wrong + radius)):
        return None
    values, vectors = np.linalg.eigh(a)
    least = values[0] - unit * np.trace(a) - 10 * size * UNIT * values[-1]
    root = np.sqrt(max(least, 0)) - np.sqrt(wrong)
    least = max(root, 0) ** 2 * (1 - 4 * doubt - 10 * UNIT)
    return _Pass(values, vectors, slope, radius, float(least), blur)


def _terms(
    coef: np.ndarray, rows: np.ndarray, label: np.ndarray, w: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """p of the other classes (n, K) with 0 for the right one, its own p, ξ less its own (n, K, D), max‖ξ‖."""
    logits = rows @ coef.T
    xi = np.stack([rows @ w[:, k].T for k in range(w.shape[1])], axis=1)
    largest = np.sqrt(np.einsum("nkd,nkd->nk", xi, xi)).max(1)
    if len(coef) == 1:  # the classes 0 and 1 have the logits 0 and z
        sign = 1.0 - 2 * label[:, None]
        tail = np.exp(-np.abs(logits))
        other = np.where(sign * logits < 0, tail, 1) / (1 + tail)
        return other, (np.where(sign * logits < 0, 1, tail) / (1 + tail))[:, 0], sign[:, :, None] * xi, largest
    index = np.arange(len(rows))
    powers = np.exp(logits - logits.max(1, keepdims=True))
    powers /= powers.sum(1, keepdims=True)
    right = powers[index, label].copy()
    powers[index, label] = 0
    xi -= xi[index, label][:, None, :]
    return powers, right, xi, 2 * largest


def _spread(xi: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """The largest distance between two ξ of a row, that of the right class being 0, (n,)."""
    own = np.einsum("nkd,nkd->nk", xi, xi)
    squares = own.max(1)
    if xi.shape[1] > 1:
        pairs = own[:, :, None] + own[:, None, :] - 2 * np.matmul(xi, xi.transpose(0, 2, 1))
        squares = pairs.max((1, 2)) + 8 * (xi.shape[2] + 4) * UNIT * largest**2
    return np.sqrt(squares) * (1 + (xi.shape[2] + 4) * UNIT)


def row_blocks(x: Any, place: Place) -> list[slice]:
    """Return blocks of rows whose ξ of all classes take no more than a block."""
    step = max(1, BLOCK_BYTES // (8 * (len(place.coef) + 1) * place.coef.size))
    return [slice(start, min(start + step, len(x))) for start in range(0, len(x), step)]
