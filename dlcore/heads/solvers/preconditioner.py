r"""The preconditioner of L-BFGS: the inverse Hessian at the constant prediction, for a simple covariance.

At the constant prediction the Hessian of a logistic head is $\pi(1-\pi)C + \lambda I$. That of a softmax head is
$(\mathrm{diag}(\pi) - \pi\pi^\top) \otimes C + \lambda I$. C is the covariance of the features and π the fraction
of each class. Where C is diagonal, or diagonal in a basis that all heads share, both are inverted by divisions.
"""

from types import ModuleType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dlcore._core.threads import map_on_threads, runs_of
from dlcore._core.types import AnyArray
from dlcore.certificate.rows import HostTable
from dlcore.heads.data.centering import Centering
from dlcore.heads.passes.products import product

FULL = 1024
"""The number of columns up to which all eigenvectors are computed."""
RANK = 256
"""The number of leading eigenvectors of a wider table."""
ITERATIONS = 3
"""Subspace iterations that find them."""
FACTORED = 16
"""Products of the QR factorisations of all iterations, in units of m·q² for q eigenvectors."""
ALL_NUMBERS, SAMPLE_NUMBERS, SAMPLE_PRODUCTS = 2**26, 2**21, 2**34
"""The most numbers that variances are computed from, those of a sample, and the products of its covariance."""
FEWEST_ROWS = 1024
"""Rows that variances are computed from at least."""
BLOCK_NUMBERS = 2**17
"""Numbers of the rows that are in float64 at a time."""
LEAST_NUMBERS = 2**20
"""Numbers of rows that a core has at least."""
CONSTANT = 2.0**-40
"""A deviation below this part of the mean is rounding: the column is constant."""
ALWAYS = 256
"""The number of columns up to which eigenvectors cost nothing beside the passes."""
CHEAP = 2**31
"""Products of a computation of eigenvectors that nobody notices."""
WORTH = 300
"""Products for each number of x and each head that eigenvectors save."""
CORRELATED = 0.4
"""Excess of m·‖R‖²/tr(R)² above which eigenvectors are worth their computation."""
LEADING, PROBES = 16, 8
"""Directions that are removed before, and random vectors that estimate ‖R‖²."""


class Preconditioner(NamedTuple):
    """Covariance of the features: V·diag(d)·Vᵀ + tail·(I − VVᵀ).

    Attributes:
      basis: V, shape (m, q), float32; None for the identity.
      variances: d, shape (q,).
      tail: mean of the eigenvalues beyond V.
      mean: mean of the features about the centre, shape (m,); 0 without an intercept.
    """

    basis: AnyArray | None
    variances: AnyArray
    tail: AnyArray
    mean: AnyArray


def precondition(x: HostTable, sample_weight: np.ndarray, centering: Centering, heads: int) -> Preconditioner:
    """Return the preconditioner from a sample of the rows, computed on the host.

    Above `ALWAYS` columns, eigenvectors are used only if columns are correlated and the heads many. Above 4,096
    columns they are never used. The leading eigenvectors of a table of more than `FULL` columns come from subspace
    iteration.

    Args:
      x: shape (n, m), NumPy or sparse rows.
      sample_weight: shape (n,).
      centering: the centering of the rows.
      heads: the number of heads times logits that the preconditioner serves.
    """
    n, columns = x.shape
    weighted = _weighted_rows(sample_weight, columns)
    mean, variances, is_constant = _moments(x, sample_weight, weighted, centering)
    diagonal = Preconditioner(None, variances, np.zeros(()), mean)
    most = min(SAMPLE_NUMBERS, SAMPLE_PRODUCTS // columns) // columns
    cost = 10 * columns**3 if columns <= FULL else 8 * min(n, most) * columns * RANK + FACTORED * columns * RANK**2
    is_worth = columns <= ALWAYS or cost < max(CHEAP, WORTH * heads * n * columns)
    if not is_worth or most < 2 * RANK:
        return diagonal
    chosen = weighted[:: -(-len(weighted) // most)]
    weight = sample_weight[chosen] / sample_weight[chosen].sum()
    exact = np.ldexp(1.0, -int(np.frexp(np.sqrt(variances.max()))[1]))  # no product of float32 leaves its range
    rows = np.empty((len(chosen), columns), np.float32)
    step = max(1, BLOCK_NUMBERS // columns)
    for start in range(0, len(chosen), step):
        part = slice(start, start + step)
        rows[part] = (_centred_rows(x, chosen[part], centering) - mean) * (exact * np.sqrt(weight[part]))[:, None]
    if columns > ALWAYS and not _is_correlated(rows, weight):
        return diagonal
    if columns <= FULL:
        covariance = (rows.T @ rows).astype(np.float64) / exact**2
        np.fill_diagonal(covariance, np.where(is_constant, variances, np.diagonal(covariance)))
        values, basis = np.linalg.eigh(covariance)
        values = np.maximum(values, 0)
        return Preconditioner(basis.astype(np.float32), values, values.max(), mean)
    start = np.random.default_rng(0).standard_normal((columns, RANK)).astype(np.float32)
    basis = np.linalg.qr(start)[0]
    for _ in range(ITERATIONS):
        basis = np.linalg.qr(rows.T @ (rows @ basis))[0]
    half = rows @ basis
    values, turned = np.linalg.eigh((half.T @ half).astype(np.float64))
    values = np.maximum(values, 0) / exact**2
    tail = np.maximum(np.asarray(variances.sum() - values.sum()), 0) / (columns - RANK)
    return Preconditioner((basis @ turned.astype(np.float32)), values, tail, mean)


def diagonal_preconditioner(x: HostTable, sample_weight: np.ndarray, centering: Centering) -> Preconditioner:
    """Return the preconditioner of columns that are known to be uncorrelated.

    Args:
      x: shape (n, m).
      sample_weight: shape (n,).
      centering: the centering of the rows.
    """
    mean, variances, _ = _moments(x, sample_weight, _weighted_rows(sample_weight, x.shape[1]), centering)
    return Preconditioner(None, variances, np.zeros(()), mean)


def _weighted_rows(sample_weight: np.ndarray, columns: int) -> np.ndarray:
    """Return the numbers of rows with a weight, evenly spaced where there are very many."""
    weighted = np.flatnonzero(sample_weight)
    return weighted[:: -(-len(weighted) * columns // max(ALL_NUMBERS, FEWEST_ROWS * columns))]


def _moments(
    x: HostTable, sample_weight: np.ndarray, chosen: np.ndarray, centering: Centering
) -> tuple[np.ndarray, ...]:
    """Return mean and variance of each column about the centre, over the chosen rows, and whether it is constant.

    The variance of a constant column is rounding, and is replaced by the square of its centre.
    """
    weight = sample_weight[chosen] / sample_weight[chosen].sum()
    step = max(1, BLOCK_NUMBERS // x.shape[1])
    blocks = [slice(start, start + step) for start in range(0, len(chosen), step)]

    def sums_of(some: list[slice]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the weighted sums of rows, and of their squares, for each block."""
        sums = []
        for block in some:
            rows, s = _centred_rows(x, chosen[block], centering), weight[block]
            first = s @ rows
            rows *= rows
            sums.append((first, s @ rows))
        return sums

    shares = runs_of(blocks, len(chosen) * x.shape[1] // LEAST_NUMBERS)
    # The sums of blocks are added in the order of the rows, so that no number depends on the cores.
    sums = np.array([both for some in map_on_threads(sums_of, shares) for both in some])
    mean, square = sums.sum(0)
    mean *= np.asarray(centering.has_intercept)
    variance = np.maximum(square - mean**2, 0)
    offset = np.asarray(centering.centre * (1 if centering.unit is None else centering.unit))
    is_constant = variance <= (CONSTANT * offset) ** 2
    return mean, np.where(is_constant, offset**2, variance), is_constant


def _centred_rows(x: HostTable, chosen: np.ndarray, centering: Centering) -> np.ndarray:
    """Return rows of these numbers about the centre, in float64."""
    consecutive = len(chosen) and chosen[-1] - chosen[0] + 1 == len(chosen)
    rows = x[chosen[0] : chosen[-1] + 1] if consecutive else x[chosen]
    rows = rows.astype(np.float64)
    rows -= centering.centre
    if centering.unit is not None:
        rows *= centering.unit
    return rows


def _is_correlated(rows: np.ndarray, weight: np.ndarray) -> bool:
    r"""Return whether many directions of the correlation matrix R are far from eigenvalue 1.

    ‖R‖² is tr(R)²/m where columns are uncorrelated, and more by tr(R)²·Σwᵢ² in a sample. A few leading directions
    are removed before, because L-BFGS learns them in as many steps. ‖Rv‖² for random signs v estimates ‖R‖².
    """
    random = np.random.default_rng(0)
    squares = np.einsum("ij,ij->j", rows, rows)
    varies = squares > 0
    scaled = (rows[:, varies] / np.sqrt(squares[varies])).astype(np.float32)
    columns = scaled.shape[1]
    if columns <= LEADING:
        return False
    start = random.standard_normal((columns, LEADING)).astype(np.float32)
    leading = np.linalg.qr(scaled.T @ (scaled @ start))[0]

    def without_leading(vectors: np.ndarray) -> np.ndarray:
        return vectors - leading @ (leading.T @ vectors)

    probes = without_leading(random.choice(np.array([-1, 1], np.float32), (columns, PROBES)))
    norm = (without_leading(scaled.T @ (scaled @ probes)).astype(np.float64) ** 2).sum() / PROBES
    trace = (scaled.astype(np.float64) ** 2).sum() - ((scaled @ leading).astype(np.float64) ** 2).sum()
    return bool(columns * norm > (1 + columns * (weight**2).sum() + CORRELATED) * trace**2)


def apply_inverse(
    preconditioner: Preconditioner,
    vector: AnyArray,
    spread: AnyArray,
    l2: AnyArray,
    has_intercept: AnyArray | np.float64,
    xp: ModuleType = jnp,
) -> AnyArray:
    r"""Return the inverse Hessian at the constant prediction times a vector for each head.

    The factor of λ for each column is near 1, and left out. Coefficients of an absent class stay 0.

    Args:
      preconditioner: the covariance of the features.
      vector: a gradient for each head, shape (B, K, m + 1). The sum over classes of a softmax's is 0.
      spread: curvature at the constant prediction, for K > 1 the fraction π of each class, shape (B, K).
      l2: λ, shape (B,).
      has_intercept: 1 or 0.
      xp: the module of the arrays, `jax.numpy` or `numpy`.

    Notes:
      In coordinates about the mean μ the intercept stands apart: w·x + b = w·(x − μ) + (b + w·μ).
      For an eigenvalue d the Hessian over the classes is diag(dπ + λ) − d·ππᵀ.
      The Sherman–Morrison formula inverts it.
    """
    basis, values, tail, mean = preconditioner
    present, outputs = spread > 0, spread.shape[1]
    spread = xp.where(present, spread, 1)[..., None]
    # At λ = 0 rounding alone bounds the curvature from below, and that of constant features has no bound.
    least = l2[:, None, None] + spread * float(xp.finfo(xp.float32).eps) * values.max()
    least = xp.maximum(least, float(xp.finfo(xp.float32).tiny))

    def inverted(slope: AnyArray, variances: AnyArray | np.float64) -> AnyArray:
        curvature = spread * variances + least
        step = slope / curvature
        if outputs == 1:
            return step
        weights = xp.where(present[..., None], spread / curvature, 0)
        rest = (xp.where(present[..., None], spread, 0) * least / curvature).sum(1, keepdims=True)
        mixed = xp.where(present[..., None], spread * step, 0).sum(1, keepdims=True)
        return step + weights * variances * mixed / rest

    there = present[..., None]
    if outputs > 1:  # rounding in the direction of all classes together would be multiplied by 1/λ
        vector = _project(vector, there, xp)
    slope = vector[..., :-1] - vector[..., -1:] * mean[None, None]
    if basis is None:
        coef = inverted(slope, values[None, None])
    else:
        heads, _, columns = slope.shape
        along = product(slope.reshape(-1, columns).astype(xp.float32), basis, xp).astype(vector.dtype)
        along = along.reshape(heads, outputs, -1)
        beyond = inverted(slope, tail[None, None, None])
        along = inverted(along, values[None, None]) - inverted(along, tail[None, None, None])
        known = product(along.reshape(heads * outputs, -1).astype(xp.float32), basis.T, xp)
        coef = beyond + known.astype(vector.dtype).reshape(slope.shape)
    intercept = vector[..., -1] / spread[..., 0] - (coef * mean[None, None]).sum(-1)
    step = xp.concatenate([coef, has_intercept * intercept[..., None]], axis=-1)
    return _project(step, there, xp) if outputs > 1 else xp.where(there, step, 0)


def _project(vector: AnyArray, there: AnyArray, xp: ModuleType) -> AnyArray:
    """Return the vectors with a mean of 0 over the classes that are there, and 0 for the others."""
    known = xp.where(there, vector, 0)
    count = there.sum(1, keepdims=True, dtype=vector.dtype)
    return xp.where(there, known - known.sum(1, keepdims=True) / count, 0)
