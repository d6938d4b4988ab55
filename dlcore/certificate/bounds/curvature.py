r"""A bound on J − J* from the curvature at the coefficients: tight near the optimum, and valid at l2 = 0.

**The bound.** Let $f$ be J, $\theta$ the coefficients with the intercepts, g the gradient at $\theta$, and
$M \preceq \nabla^2 f(\theta)$ positive definite. Let $\varphi(t) = f(\theta + td)$. A row of weight s, whose
logits move by $t\,u$, adds $s\,\varphi_i$ to φ. Here $\varphi_i''$ is the variance of u under the row's
probabilities at t, and $\varphi_i'''$ is the third central moment of u, with
$|\mathrm E(u - \bar u)^3| \le (\max u - \min u)\,\mathrm E(u - \bar u)^2$. For the sigmoid the logits are 0 and z.
For counts they are 0 and z too, with $\varphi_i'' = u^2e^{z + tu}$ and $\varphi_i''' = u\,\varphi_i''$. The
third derivative of the penalty is 0. Let $\rho = \max_i(\max u_i - \min u_i)$. Then $|\varphi'''| \le
\rho\varphi''$, hence $\varphi''(t) \ge \varphi''(0)e^{-\rho t}$, and integrated twice

$f(\theta + d) \ge f(\theta) + g\cdot d + \varphi''(0)\,\frac{e^{-\rho} + \rho - 1}{\rho^2}$

Let $h = \|d\|_M$, $\nu = \|g\|_{M^{-1}}$ and $r = \max_i\max_{k\ne l}\|x_i\otimes(e_k - e_l)\|_{M^{-1}}$. Then
$g\cdot d \ge -\nu h$, $\varphi''(0) \ge h^2$ and $\rho \le rh$. The fraction decreases in ρ. So for every d

$f(\theta) - f(\theta + d) \le \nu h - \frac{e^{-rh} + rh - 1}{r^2}$

The largest value of the right side over h ≥ 0, where $a = r\nu < 1$, is at $rh = -\ln(1 - a)$:

$J - J^* \le \frac{a + (1 - a)\ln(1 - a)}{r^2} = \nu^2\left(\frac12 + \frac a6 + \frac{a^2}{12} + \dots\right)$

For a < 1 the right side of the inequality for d tends to −∞ as h grows, so f grows without limit. Then a minimum
exists, and no direction separates the classes. The bound increases in ν and in r, so upper bounds on ν and r are
enough.

An equal shift of the coefficients of all classes does not change a softmax. With the mean $\bar\theta$ over the K
classes, $f(\theta) = \hat f(\theta) + \frac{K\lambda}2\|\sigma\bar\theta\|^2$. Here $\hat f$ penalizes
$\theta - \bar\theta$ in place of $\theta$. $\hat f$ and f have the same minimum value. So the bound is that of
$\hat f$ plus the second term, which is rounding for heads whose classes sum to 0. $\hat f$ is flat along equal
shifts of all classes. So a quadratic penalty on the change of the class sums is added. It is 0 at θ and makes A
invertible. It changes neither the gradient of $\hat f$, nor its minimum, nor third derivatives.

**The computation.** Any square matrix W gives other coordinates η, $\theta = W^\top\eta$. Rows become
$\xi = W(x\otimes e_k)$, and the Hessian becomes $A = W\nabla^2fW^\top$. The stored W is exact by definition, so it
has no errors. If the smallest eigenvalue of A is at least μ > 0, then W is invertible and $M = \mu I$ is valid.
The first W scales the columns. Each pass over the rows computes A. The eigenvectors of A give a W for which A is
nearer to I. `dlcore.certificate.rounding.curvature` bounds the errors of A, g and r in these coordinates.

The bound uses no other property of the loss. `RowLoss` has the functions of the loss that a pass over the rows
needs.

Source: Bach (2010), Self-concordant analysis for logistic regression, Proposition 1; Sun and Tran-Dinh (2019),
Generalized self-concordant functions. The constant of the softmax is that of the third moment above.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.bounds.row_losses import CLASS_LOSS, RowLoss
from dlcore.certificate.rounding.base import err_eigenvalue
from dlcore.certificate.rounding.curvature import (
    CurvatureErrors,
    abs_class_sum,
    err_row_logits,
    err_transformed,
    largest_distance,
)
from dlcore.certificate.rows import BLOCK_BYTES, RowTable, TrainingData, row_norms, slices_of

MAX_COEFS = 2000
"""Maximum number of coefficients of a head. A matrix of size coefficients² is summed over all rows."""
MAX_PRODUCTS = 5 * 10**10
"""Maximum number of multiplications of a pass for all heads that need the curvature, without `tight`."""
PASSES = 5
GIVE_UP_PASS = 2
"""Index of the third pass. It is the last if A is not positive definite after two transformations."""
EIGENVALUE_TOL = 0.05
"""W is good enough if the eigenvalues of A differ from 1 by at most this much."""


class HeadParams(NamedTuple):
    """Coefficients of a head and its penalty.

    Attributes:
      coef: shape (K, D), with the intercepts as the last column if there are any. K is 1 for one logit.
      penalty: λσ² of each column, 0 for an intercept, shape (D,).
      is_shift_invariant: whether an equal shift of this column in all classes changes no probability, shape (D,).
      has_intercept: whether the last column is an intercept.
      row_loss: the loss of a row.
    """

    coef: np.ndarray
    penalty: np.ndarray
    is_shift_invariant: np.ndarray
    has_intercept: bool
    row_loss: RowLoss = CLASS_LOSS


class GapBound(NamedTuple):
    """A bound on J − J*, split into the computed number and its rounding. Both are infinite without a bound."""

    gap: float
    rounding: float

    @property
    def total(self) -> float:
        """Return the bound."""
        return self.gap + self.rounding


class _Spectrum(NamedTuple):
    """The result of a pass over the rows: the spectrum of A, g, and bounds on r, μ and the error of g."""

    values: np.ndarray
    vectors: np.ndarray
    grad: np.ndarray
    radius: float
    smallest: float
    err_grad: float


def head_params(
    coef: np.ndarray,
    intercept: np.ndarray | None,
    l2: float,
    scale: np.ndarray | None,
    row_loss: RowLoss = CLASS_LOSS,
) -> HeadParams:
    """Return the parameters of a head.

    Args:
      coef: shape (m,) for one logit, (K, m) for the softmax.
      intercept: a number or shape (K,), or None.
      l2: λ.
      scale: σ, shape (m,), or None.
      row_loss: the loss of a row.
    """
    weight = np.atleast_2d(coef)
    penalty = l2 * (np.ones(weight.shape[1]) if scale is None else scale) ** 2
    if intercept is not None:
        weight = np.column_stack([weight, np.atleast_1d(intercept)])
        penalty = np.append(penalty, 0)
    is_shift_invariant = np.full(weight.shape[1], coef.ndim == 2)
    return HeadParams(weight, penalty, is_shift_invariant, intercept is not None, row_loss)


def curvature_bound(params: HeadParams, data: TrainingData) -> GapBound:
    """Return the bound at the coefficients, for rows with one set of weights."""
    with np.errstate(all="ignore"):
        spectrum = _best_spectrum(params, data)
    if spectrum is None:
        return GapBound(np.inf, np.inf)
    root = np.sqrt(spectrum.smallest)
    decrement, radius = float(np.linalg.norm(spectrum.grad)) / root, spectrum.radius / root
    excess = _penalty_of_mean(params)
    gap, bound = (
        _bound_from_decrement(nu, radius) + excess for nu in (decrement, decrement + spectrum.err_grad / root)
    )
    return GapBound(gap, bound - gap) if np.isfinite(bound) else GapBound(np.inf, np.inf)


def _penalty_of_mean(params: HeadParams) -> float:
    """Return (Kλ/2)‖σθ̄‖² of a softmax, rounded up."""
    classes = len(params.coef)
    if classes == 1:
        return 0.0
    return float(params.penalty @ abs_class_sum(params.coef) ** 2) / (2 * classes) * (1 + 1e-9)


def _bound_from_decrement(nu: float, r: float) -> float:
    """Return (a + (1 − a)ln(1 − a))/r² with a = rν, rounded up, or infinity if a ≥ 1."""
    a = r * nu * (1 + 1e-12)
    if not a < 1:
        return np.inf
    if a < 0.05:  # the rest of the series is less than a⁴/30 plus its geometric continuation
        factor = 1 / 2 + a / 6 + a**2 / 12 + a**3 / 20 + a**4 / 30 / (1 - a)
    else:
        factor = (a + (1 - a) * np.log1p(-a)) / a**2
    return float(nu**2 * factor * (1 + 1e-11))


def _best_spectrum(params: HeadParams, data: TrainingData) -> _Spectrum | None:
    """Return the pass with the best coordinates, or None if A is not provably positive definite."""
    scale = _column_scale(params, data)
    transform = _initial_transform(params, scale)
    best = None
    for index in range(PASSES):
        spectrum = _pass(params, data, transform, scale)
        if spectrum is None or (index == GIVE_UP_PASS and best is None and not spectrum.smallest > 0):
            break
        if spectrum.smallest > 0 and (best is None or spectrum.smallest > best.smallest):
            best = spectrum
        if spectrum.smallest > 1 - EIGENVALUE_TOL and spectrum.values[-1] < 1 + EIGENVALUE_TOL:
            return spectrum
        transform = _inverse_root(spectrum).T @ transform
    return best


def newton_step(
    params: HeadParams, data: TrainingData, transform: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray, bool]:
    """Return Newton's step, the W for the next step, and whether a < 1 apart from rounding.

    The step is None if a number overflows.

    Args:
      params: the coefficients.
      data: rows with one set of weights.
      transform: W of the step before, or None.
    """
    scale = _column_scale(params, data)
    transform = _initial_transform(params, scale) if transform is None else transform
    spectrum = _pass(params, data, transform, scale)
    if spectrum is None:
        return None, transform, False
    transform = _inverse_root(spectrum).T @ transform
    spectrum = _pass(params, data, transform, scale)  # A is about I now
    if spectrum is None:
        return None, transform, False
    root = _inverse_root(spectrum)
    decrement = root.T @ spectrum.grad
    step = -(transform.T @ (root @ decrement)).reshape(params.coef.shape)
    return step, root.T @ transform, bool(spectrum.radius * np.linalg.norm(decrement) < 1)


def _inverse_root(spectrum: _Spectrum) -> np.ndarray:
    """Return VΛ^(−½). Eigenvalues below their error are replaced by the error."""
    floor = err_eigenvalue(len(spectrum.values), spectrum.values[-1])
    return spectrum.vectors / np.sqrt(np.maximum(spectrum.values, floor))


def _initial_transform(params: HeadParams, scale: np.ndarray) -> np.ndarray:
    """Return the first W: each column divided by its scale."""
    return np.diag(1 / np.tile(scale, len(params.coef)))


def _column_scale(params: HeadParams, data: TrainingData) -> np.ndarray:
    """Return about the root mean square of each column, with its penalty. Any positive numbers are valid."""
    squares, total = np.zeros(data.x.shape[1]), 0.0
    for block in row_blocks(data.x, params):
        weight = data.weights.block(block)[0]
        squares, total = squares + weight @ np.square(data.x[block].astype(np.float64)), total + weight.sum()
    squares = np.append(squares / total, 1) if params.has_intercept else squares / total
    scale = np.sqrt(squares + params.penalty)
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1)


def _pass(params: HeadParams, data: TrainingData, transform: np.ndarray, scale: np.ndarray) -> _Spectrum | None:
    """Return A, g, r and their errors in the coordinates of W, or None if a number overflows."""
    coef, size = params.coef, params.coef.size
    classes, width = coef.shape
    w = transform.reshape(size, classes, width)
    column_norms = np.sqrt(np.square(w).sum(0))  # ‖W_{·a}‖, by class
    blocks = row_blocks(data.x, params)
    total = sum(float(data.weights.block(block).sum()) for block in blocks)
    coef_norm = row_norms(coef[:, : data.x.shape[1]]).max()
    intercept = np.abs(coef[:, -1]).max() * params.has_intercept
    a, grad, radius = np.zeros((size, size)), np.zeros(size), 0.0
    errors = CurvatureErrors.of_blocks(blocks, classes, size)
    for block in blocks:
        weight = data.weights.block(block)[0] / total
        positive = weight > 0
        if not positive.any():
            continue
        weight, rows = weight[positive], data.x[block][positive].astype(np.float64)
        err_logits = err_row_logits(width, row_norms(rows) * coef_norm + intercept)
        if params.has_intercept:
            rows = np.column_stack([rows, np.ones(len(rows))])
        terms = params.row_loss.terms(coef, rows, data.y[block][positive], w)
        err_xi = err_transformed(size, np.abs(rows) @ column_norms.max(0), terms.largest)
        stacked = (terms.factors * np.sqrt(weight)[:, None, None]).reshape(-1, size)
        a += stacked.T @ stacked
        grad += weight @ terms.slope
        radius = max(radius, float((_row_radius(terms.xi, terms.largest) + 2 * err_xi).max()))
        residual = None if terms.residual is None else weight * terms.residual
        errors.add_rows(weight * terms.error_weight, terms.largest, err_xi, err_logits, residual)
    # The penalty, and the penalty on the change of the class sums.
    flat = w.reshape(size, -1)
    penalty = np.tile(params.penalty, classes)
    scaled = flat * np.sqrt(penalty)
    a += scaled @ scaled.T
    class_sums = (w.sum(1) * scale)[:, params.is_shift_invariant]
    a += class_sums @ class_sums.T
    centered = coef - coef.mean(0) if classes > 1 else coef
    grad += flat @ (penalty * centered.ravel())
    magnitude = np.abs(coef) + np.abs(coef.mean(0)) if classes > 1 else np.abs(coef)
    reach = float(column_norms.ravel() @ (penalty * magnitude.ravel()))
    trace = np.trace(scaled @ scaled.T)
    class_sum_terms = float(np.sum((scale * column_norms.sum(0))[params.is_shift_invariant] ** 2))
    errors.add_penalty(class_sum_terms, trace, reach, float(np.linalg.norm(grad)))
    finite = np.isfinite(errors.err_grad + errors.err_factor + radius)
    if not (np.isfinite(a).all() and np.isfinite(grad).all() and finite):
        return None
    values, vectors = np.linalg.eigh(a)
    return _Spectrum(values, vectors, grad, radius, errors.smallest_eigenvalue(a, values), errors.err_grad)


def _row_radius(xi: np.ndarray, largest: np.ndarray) -> np.ndarray:
    """Bound the largest distance between two ξ of a row, shape (n,). The ξ of the true class is 0."""
    squares = np.einsum("nkd,nkd->nk", xi, xi)
    if xi.shape[1] == 1:
        return largest_distance(squares.max(1), xi.shape[2], None)
    pairs = squares[:, :, None] + squares[:, None, :] - 2 * np.matmul(xi, xi.transpose(0, 2, 1))
    return largest_distance(pairs.max((1, 2)), xi.shape[2], largest)


def row_blocks(x: RowTable, params: HeadParams) -> list[slice]:
    """Return blocks of rows whose ξ of all classes take at most `BLOCK_BYTES`."""
    return slices_of(len(x), max(1, BLOCK_BYTES // (8 * (len(params.coef) + 1) * params.coef.size)))
