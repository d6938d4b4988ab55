r"""The preconditioner of L-BFGS: the inverse Hessian at the constant prediction, for a simple covariance.

At the constant prediction the Hessian of a logistic head is $\pi(1-\pi)C + \lambda I$. That of a softmax head is
$(\mathrm{diag}(\pi) - \pi\pi^\top) \otimes C + \lambda I$. C is the covariance of the features and π the fraction
of each class. Where C is diagonal, or diagonal in a basis that all heads share, both are inverted by divisions.
"""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dlcore._core.threads import map_on_threads, runs_of
from dlcore._core.types import AnyArray
from dlcore.certificate.rows import HostTable, take_rows
from dlcore.heads.data.centering import Centering
from dlcore.heads.data.column_scales import CONSTANT
from dlcore.heads.passes.products import product

FULL = 1024
"""The number of columns up to which all eigenvectors are computed."""
RANK = 256
"""The number of leading eigenvectors of a wider table."""
ITERATIONS = 3
"""The number of subspace iterations for the leading eigenvectors."""
FACTORED = 16
"""Multiplications of the QR factorisations of all iterations, in units of m·q² for q eigenvectors."""
ALL_NUMBERS = 2**26
"""The most entries of rows that variances are computed from."""
SAMPLE_NUMBERS = 2**21
"""The most entries of the sample of rows that eigenvectors are computed from."""
FEWEST_ROWS = 1024
"""The fewest rows that variances are computed from, if the table has as many."""
BLOCK_NUMBERS = 2**19
"""Entries of the rows that a thread centers at a time. Smaller blocks make threads wait for the interpreter."""
LEAST_NUMBERS, MOST_THREADS = 2**20, 4
"""The least work of a thread, in entries of rows, and the most threads. Each has a block in memory."""
SMALLEST_SQUARE, LARGEST_SQUARE = 1e-30, 1e30
"""The means of squares between which float32 computes them well."""
LEAST_VARIANCE = 1e-3
"""The part of a mean square that is variance, below which float32 has too few digits for the difference."""
ALWAYS = 256
"""The number of columns up to which eigenvectors are always computed: they are cheap beside the passes."""
CHEAP = 2**31
"""Multiplications up to which computing eigenvectors takes negligible time."""
WORTH = 300
"""Multiplications that eigenvectors save, for each entry of x and each head."""
CORRELATED = 0.4
"""Excess of m·‖R‖²/tr(R)² above which eigenvectors are worth their computation."""
LEADING, PROBES = 16, 8
"""Leading directions that are removed before ‖R‖² is estimated, and random vectors of the estimate."""


class Preconditioner(NamedTuple):
    """Preconditioner as a covariance of the features: V·diag(d)·Vᵀ + tail·(I − VVᵀ).

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
    most = SAMPLE_NUMBERS // columns
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
    values, rotation = np.linalg.eigh((half.T @ half).astype(np.float64))
    values = np.maximum(values, 0) / exact**2
    tail = np.maximum(np.asarray(variances.sum() - values.sum()), 0) / (columns - RANK)
    return Preconditioner((basis @ rotation.astype(np.float32)), values, tail, mean)


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
    """Return the indices of rows with a weight, evenly spaced if there are very many."""
    weighted = np.flatnonzero(sample_weight)
    return weighted[:: -(-len(weighted) * columns // max(ALL_NUMBERS, FEWEST_ROWS * columns))]


def _moments(
    x: HostTable, sample_weight: np.ndarray, chosen: np.ndarray, centering: Centering
) -> tuple[np.ndarray, ...]:
    """Return mean and variance of each column about the centre, over the chosen rows, and whether it is constant.

    The variance of a constant column is rounding. The square of the column's centre replaces it.
    """
    weight = sample_weight[chosen] / sample_weight[chosen].sum()
    mean, square = _mean_and_square(x, weight, chosen, centering)
    mean *= np.asarray(centering.has_intercept)
    variance = np.maximum(square - mean**2, 0)
    offset = np.asarray(centering.centre * (1 if centering.unit is None else centering.unit))
    is_constant = variance <= (CONSTANT * offset) ** 2
    return mean, np.where(is_constant, offset**2, variance), is_constant


def _mean_and_square(
    x: HostTable, weight: np.ndarray, chosen: np.ndarray, centering: Centering
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted means of the columns about the centre, and of their squares, over the chosen rows.

    Rows that float32 holds are squared in float32. They are squared again in float64 if a square leaves the range
    of float32, or if the mean is most of a square.
    """
    step = max(1, BLOCK_NUMBERS // x.shape[1])
    blocks = [slice(start, start + step) for start in range(0, len(chosen), step)]

    def sums_of(some: Sequence[slice], dtype: type[np.floating]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return the weighted sums of rows, and of their squares, for each block."""
        sums = []
        for block in some:
            rows, s = _centred_rows(x, chosen[block], centering, dtype), weight[block].astype(dtype)
            first = s @ rows
            rows *= rows
            sums.append((first.astype(np.float64), (s @ rows).astype(np.float64)))
        return sums

    shares = runs_of(blocks, min(MOST_THREADS, len(chosen) * x.shape[1] // LEAST_NUMBERS))
    for dtype in (np.float32, np.float64):
        if dtype == np.float32 and not np.can_cast(x.dtype, np.float32):
            continue
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            found = map_on_threads(functools.partial(sums_of, dtype=dtype), shares)
        # The sums of blocks are added in the order of the rows, so that no number depends on the cores.
        mean, square = np.array([both for some in found for both in some]).sum(0)
        is_in_range = (square > SMALLEST_SQUARE) & (square < LARGEST_SQUARE)
        is_far = square - mean**2 < LEAST_VARIANCE * square  # the centre of a sample is far from the weighted rows
        if (is_in_range & ~is_far | (square == 0) & (mean == 0)).all():
            break
    return mean, square


def _centred_rows(
    x: HostTable, chosen: np.ndarray, centering: Centering, dtype: type[np.floating] = np.float64
) -> np.ndarray:
    """Return rows by ascending indices, minus the centre and in its units."""
    rows = take_rows(x, chosen).astype(dtype)
    rows -= np.asarray(centering.centre).astype(dtype)
    if centering.unit is not None:
        rows *= np.asarray(centering.unit).astype(dtype)
    return rows


def _is_correlated(rows: np.ndarray, weight: np.ndarray) -> bool:
    r"""Return whether many directions of the correlation matrix R are far from eigenvalue 1.

    ‖R‖² is tr(R)²/m if columns are uncorrelated, and larger by tr(R)²·Σwᵢ² in a sample. A few leading directions
    are removed first, because L-BFGS learns them in as many steps. ‖Rv‖² for random signs v estimates ‖R‖².
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

    The factor of λ for each column is near 1 and left out. The result is 0 for an absent class.

    Args:
      preconditioner: the covariance of the features.
      vector: a gradient for each head, shape (B, K, m + 1). For a softmax the sum over the classes is 0.
      spread: curvature at the constant prediction, for K > 1 the fraction π of each class, shape (B, K).
      l2: λ, shape (B,).
      has_intercept: 1 or 0.
      xp: the module of the arrays, `jax.numpy` or `numpy`.

    Notes:
      In coordinates about the mean μ the intercept is independent: w·x + b = w·(x − μ) + (b + w·μ).
      For an eigenvalue d the Hessian over the classes is diag(dπ + λ) − d·ππᵀ.
      The Sherman–Morrison formula inverts this Hessian.
    """
    basis, values, tail, mean = preconditioner
    present, outputs = spread > 0, spread.shape[1]
    spread, is_present = xp.where(present, spread, 1)[..., None], present[..., None]
    # At λ = 0 rounding alone bounds the curvature from below, and that of constant features has no bound.
    least = l2[:, None, None] + spread * float(xp.finfo(xp.float32).eps) * values.max()
    least = xp.maximum(least, float(xp.finfo(xp.float32).tiny))

    def inverted(centered: AnyArray, variances: AnyArray | np.float64) -> AnyArray:
        curvature = spread * variances + least
        step = centered / curvature
        if outputs == 1:
            return step
        weights = xp.where(is_present, spread / curvature, 0)
        rest = (xp.where(is_present, spread, 0) * least / curvature).sum(1, keepdims=True)
        mixed = xp.where(is_present, spread * step, 0).sum(1, keepdims=True)
        return step + weights * variances * mixed / rest

    if outputs > 1:  # The component common to all classes is rounding, which 1/λ would amplify.
        vector = _project(vector, is_present, xp)
    centered = vector[..., :-1] - vector[..., -1:] * mean[None, None]
    if basis is None:
        coef = inverted(centered, values[None, None])
    else:
        heads, _, columns = centered.shape
        along = product(centered.reshape(-1, columns).astype(xp.float32), basis, xp).astype(vector.dtype)
        along = along.reshape(heads, outputs, -1)
        beyond = inverted(centered, tail[None, None, None])
        along = inverted(along, values[None, None]) - inverted(along, tail[None, None, None])
        known = product(along.reshape(heads * outputs, -1).astype(xp.float32), basis.T, xp)
        coef = beyond + known.astype(vector.dtype).reshape(centered.shape)
    intercept = vector[..., -1] / spread[..., 0] - (coef * mean[None, None]).sum(-1)
    step = xp.concatenate([coef, has_intercept * intercept[..., None]], axis=-1)
    return _project(step, is_present, xp) if outputs > 1 else xp.where(is_present, step, 0)


def _project(vector: AnyArray, is_present: AnyArray, xp: ModuleType) -> AnyArray:
    """Return the vectors with a mean of 0 over the present classes, and 0 for absent classes."""
    known = xp.where(is_present, vector, 0)
    count = is_present.sum(1, keepdims=True, dtype=vector.dtype)
    return xp.where(is_present, known - known.sum(1, keepdims=True) / count, 0)
