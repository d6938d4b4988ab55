r"""Ridge: one factorisation for every strength and target.

With the rows' weights s, their sum S and x, y about their weighted means (where there is an intercept), the
optimum of $\frac1S\sum_i s_i(w^\top x_i + b - y_i)^2 + \frac\lambda2\|w\|^2$ solves $(H + \lambda I)w = c$ with
$H = \frac2S X^\top sX$ and $c = \frac2S X^\top sy$. The eigenvectors of H make every λ a division. If rows are
fewer than columns, the kernel $ZZ^\top = UDU^\top$, $Z = \sqrt{2s/S}\,X$, replaces H. Its nonzero eigenvalues are
those of H, and $w = Z^\top U(D + \lambda)^{-1}U^\top\sqrt{2s/S}\,y$. Standardised columns are divided by their
deviations here, and the coefficients are then divided by the deviations too.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.heads.data.column_scales import CONSTANT, deviation
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.quick_jit import quick_jit
from dlcore.heads.solvers.ridge.gram import GramAccumulator, Products, gram_of
from dlcore.linalg import matmul, outer, vector_norm

EQUILIBRATED = 2.0
"""The scaling mode in which powers of two divide the columns. The others are in `GramAccumulator`."""
FAR_APART = 1e3
"""Columns are equilibrated if their lengths differ by more than this factor.

Squares of the smallest column would lose six digits.
"""
HARMLESS = 1e-6
"""The largest relative change, of predictions, that taking the shortest solution may make."""


class Spectrum(NamedTuple):
    """Spectrum that all strengths share: w(λ) = basis · (values + λ)⁻¹ · projected.

    Attributes:
      values: shape (k,), the eigenvalues of H.
      basis: shape (m, k).
      projected: shape (k, targets).
      middle: shape (m,), the mean that was subtracted from x.
      level: shape (targets,), the mean that was subtracted from y.
      scale: shape (m,), the divisors of the columns. `basis` is of coefficients of the columns as given.
      rows: shape (n, n), U; None if rows are as many as columns. With an intercept the last column is √(s/S), the
        direction of the intercept.
    """

    values: Array
    basis: Array
    projected: Array
    middle: Array
    level: Array
    scale: Array
    rows: Array | None


Parts = list[tuple[Array, Array]]
"""Coefficients and intercepts of pieces of the strengths, from `heads_of`."""


def spectrum_of(inputs: TrainingData, accumulator: GramAccumulator, fit: int, *, equilibrate: bool) -> Spectrum:
    """Return the spectrum of H, or of the kernel if the kernel is smaller.

    Args:
      inputs: the checked arguments.
      accumulator: rows on the device.
      fit: the number of the fit.
      equilibrate: whether powers of two near the lengths of the columns divide them. This requires λ = 0.
    """
    if len(inputs.x) >= inputs.x.shape[1]:
        mode = accumulator.put(np.float64(EQUILIBRATED)) if equilibrate else accumulator.scaling_mode
        return _of_products(accumulator.train_gram(fit), accumulator.has_intercept, mode)
    weight = accumulator.put(np.where(inputs.train[fit], inputs.weight, 0))
    x, y = accumulator.all_on_device()
    return spectrum_of_kernel(x, y, weight, accumulator.has_intercept, accumulator.scaling_mode)


@quick_jit()
def _of_products(sums: Products, has_intercept: Array, scaling_mode: Array) -> Spectrum:
    """Return the spectrum of H from sums of products. Without an intercept the means are added back."""
    added, gram = (1 - has_intercept) * sums.total * sums.middle, gram_of(sums)
    scale = jnp.where(scaling_mode > 0, deviation(jnp.diagonal(gram) / sums.total, sums.middle), 1.0)
    gram = gram + outer(added, sums.middle)
    powers = _powers(jnp.diagonal(gram) / sums.total, sums.middle)
    scale = jnp.where(scaling_mode == EQUILIBRATED, powers, scale)
    gram = gram / scale[:, None] / scale[None]
    cross = (sums.cross + outer(added, sums.level)) / scale[:, None]
    values, vectors = jnp.linalg.eigh(2 / sums.total * gram)
    projected = matmul(vectors.T, 2 / sums.total * cross)
    middle, level = has_intercept * sums.middle, has_intercept * sums.level
    return Spectrum(values, vectors / scale[:, None], projected, middle, level, scale, None)


def _powers(squares: Array, middle: Array) -> Array:
    """Return powers of two near the lengths of the columns, or 1 for all if the lengths are similar.

    Args:
      squares: mean squares about the mean, or about 0 without an intercept, shape (m,).
      middle: the means, shape (m,). A column is constant where the squares are rounding beside them.
    """
    varies = squares > (CONSTANT * middle) ** 2
    length = jnp.sqrt(jnp.where(varies, squares, 1.0))
    most, least = (jnp.where(varies, length, edge) for edge in (0.0, jnp.inf))
    size = jnp.where(varies, length, jnp.where(middle != 0, jnp.abs(middle), 1.0))
    powers = jnp.ldexp(1.0, jnp.frexp(size)[1])
    return jnp.where(most.max() > FAR_APART * least.min(), powers, 1.0)


@quick_jit()
def spectrum_of_kernel(x: Array, y: Array, weight: Array, has_intercept: Array, scaling_mode: Array) -> Spectrum:
    """Return the spectrum from the kernel of the rows, as many eigenvalues as rows."""
    rows, targets, total = x.astype(jnp.float64), y.astype(jnp.float64), weight.sum()
    mean, level = matmul(weight, rows) / total, has_intercept * matmul(weight, targets) / total
    # The mean of a constant column rounds, and the difference would look like a signal; the first row replaces it.
    first = rows[jnp.argmax(weight)]
    is_constant = ((rows == first[None]) | (weight == 0)[:, None]).all(0)
    mean = jnp.where(is_constant, first, mean)
    variance, middle = matmul(weight, (rows - mean[None]) ** 2) / total, has_intercept * mean
    scale = jnp.where(scaling_mode > 0, deviation(variance, mean), 1.0)
    root = jnp.sqrt(2 * weight / total)[:, None]
    z, t = root * (rows - middle[None]) / scale[None], root * (targets - level[None])
    kernel, direction = matmul(z, z.T), jnp.sqrt(weight / total)
    # With an intercept √(s/S) is in the null space. Its eigenvalue is raised above all others, so that it is the
    # last eigenvector.
    size = jnp.sqrt((kernel * kernel).sum())
    above = has_intercept * jnp.where(size > 0, 2 * size, 1.0)
    values, vectors = jnp.linalg.eigh(kernel + above * outer(direction, direction))
    values = jnp.where(size > 0, values, 0.0)  # if the kernel is 0, eigenvalues but the raised one are rounding
    values, basis = values.at[-1].multiply(1 - has_intercept), matmul(z.T, vectors) / scale[:, None]
    return Spectrum(values, basis, matmul(vectors.T, t), middle, level, scale, vectors)


def inverse_of(spectrum: Spectrum, l2: Array) -> Array:
    """Return 1/(values + λ), shape (l2, k), or 0 where both are rounding. The solution is then the shortest."""
    values = jnp.maximum(spectrum.values, 0)
    cutoff = len(values) * jnp.finfo(values.dtype).eps * values.max()
    dropped = (values[None] <= cutoff) & (l2[:, None] <= cutoff)
    return jnp.where(dropped, 0.0, 1 / jnp.where(dropped, 1.0, values[None] + l2[:, None]))


@quick_jit()
def heads_of(spectrum: Spectrum, l2: Array) -> tuple[Array, Array]:
    """Return coefficients (l2, targets, m) and intercepts (l2, targets). At λ = 0 the solution is the shortest."""
    scaled = inverse_of(spectrum, l2)[:, None, :] * spectrum.projected.T[None]
    weight = matmul(scaled.reshape(-1, scaled.shape[-1]), spectrum.basis.T).reshape(*scaled.shape[:2], -1)
    return weight, intercept_of(spectrum, weight)


def intercept_of(spectrum: Spectrum, weight: Array) -> Array:
    """Return the intercepts of coefficients (l2, targets, m), shape (l2, targets)."""
    return spectrum.level[None] - matmul(weight, spectrum.middle)


@quick_jit()
def shortest_of(spectrum: Spectrum, weight: Array) -> Array:
    """Return the shortest solutions for solutions at λ = 0 of equilibrated columns, shape (l2, targets, m).

    A solution that is shortest in equilibrated columns is not shortest in the columns as given. The component in
    the null space is removed. Entries of null vectors of the order of rounding are set to 0 first, because a small
    scale would amplify them. If the removal would change predictions, the solution is kept.
    """
    dropped = inverse_of(spectrum, jnp.zeros(1))[0] == 0
    vectors = jnp.where(dropped[None], spectrum.basis * spectrum.scale[:, None], 0.0)
    noise = 64 * len(spectrum.values) * jnp.finfo(weight.dtype).eps
    null = jnp.where(jnp.abs(vectors) > noise, vectors, 0.0) / spectrum.scale[:, None]
    basis, _ = jnp.linalg.qr(null / jnp.where(dropped, vector_norm(null, axis=0), 1.0)[None])
    basis = jnp.where(dropped[None], basis, 0.0)
    flat = weight.reshape(-1, len(basis))
    taken = matmul(matmul(flat, basis), basis.T)
    seen = jnp.where(dropped[None], 0.0, spectrum.basis * spectrum.scale[:, None])
    change = vector_norm(matmul(taken * spectrum.scale[None], seen), axis=-1)
    harmless = change <= HARMLESS * vector_norm(flat * spectrum.scale[None], axis=-1)
    return (flat - jnp.where(harmless[:, None], taken, 0.0)).reshape(weight.shape)
