r"""The quadratic form ½hᵀ(A + λI)⁺h of the squared loss, from the eigenvectors of A or without A.

`squared.py` defines A and h.
"""

from typing import NamedTuple

import numpy as np

from dlcore.certificate.moments import ColumnMoments, Moments
from dlcore.certificate.rounding import squared as squared_errors
from dlcore.certificate.rows import row_norms


class Spectrum(NamedTuple):
    """The eigendecomposition DAD = VΛVᵀ.

    Attributes:
      values: Λ, ascending, shape (m,).
      vectors: V, shape (m, m), or None for the identity.
      column_units: d, the diagonal of D, powers of two or 0, shape (m,).
      err: a bound on the norm of the error of DAD.
      trace_root: √(Σ 2d²·`error_scale`). The sum is an upper bound on the trace of DAD.
    """

    values: np.ndarray
    vectors: np.ndarray | None
    column_units: np.ndarray
    err: float
    trace_root: float


class GramSpectra:
    """A of x/σ, centered if the heads have an intercept, and its eigendecompositions, computed on demand."""

    def __init__(self, moments: Moments, scale: np.ndarray | None, *, centered: bool) -> None:
        self.scale, self.error_scale = scale, _error_scale_of(moments, scale, centered=centered)
        self.gram, self.relative_error = moments.gram, moments.relative_error
        if not centered:
            self.gram = self.gram + np.outer(moments.x_mean, moments.x_mean)
        if scale is not None:
            self.gram = self.gram / scale[:, None] / scale
            self.relative_error += squared_errors.SCALED_GRAM
        self._spectra: dict[bool, Spectrum] = {}

    def spectrum(self, *, penalized: bool) -> Spectrum:
        """Return the decomposition of A for l2 > 0, or of DAD with scaled columns for l2 = 0."""
        if penalized not in self._spectra:
            self._spectra[penalized] = self._decompose(penalized=penalized)
        return self._spectra[penalized]

    def _decompose(self, *, penalized: bool) -> Spectrum:
        """Decompose A. Without a penalty, its columns are first scaled to norms in [1, 2).

        A constant column is only rounding after centering. It is omitted.
        """
        a, error_scale, column_units = 2 * self.gram, 2 * self.error_scale, np.ones(len(self.gram))
        if not penalized:
            varies = np.diag(a) > 4 * self.relative_error * error_scale
            exponent = np.frexp(np.sqrt(np.where(varies, np.diag(a), 1)))[1]
            column_units = np.where(varies, np.ldexp(1.0, 1 - exponent), 0)
            a = column_units[:, None] * a * column_units
        values, vectors = np.linalg.eigh(a)
        trace = float((column_units**2 * error_scale).sum())
        err = squared_errors.err_gram(self.relative_error, trace, values)
        return Spectrum(values, vectors, column_units, err, float(np.sqrt(trace)))


class PenaltyOnly:
    """The lower bound λI of A + λI, in place of A. It needs λ > 0."""

    def __init__(self, moments: ColumnMoments, scale: np.ndarray | None, *, centered: bool) -> None:
        self.scale, self.error_scale = scale, _error_scale_of(moments, scale, centered=centered)

    def spectrum(self, *, penalized: bool) -> Spectrum:
        """Return eigenvalues 0 and the identity."""
        assert penalized
        zeros = np.zeros(len(self.error_scale))
        return Spectrum(zeros, None, zeros + 1, 0.0, float(np.sqrt(2 * self.error_scale.sum())))


def _error_scale_of(moments: ColumnMoments, scale: np.ndarray | None, *, centered: bool) -> np.ndarray:
    """Return the `error_scale` of x/σ, centered or about 0, shape (m,)."""
    error_scale = moments.error_scale[: moments.features]
    error_scale = error_scale if centered else (np.sqrt(error_scale) + np.abs(moments.x_mean)) ** 2
    return error_scale if scale is None else error_scale / scale / scale


def quadratic_form(
    spectrum: Spectrum, h: np.ndarray, l2: np.ndarray, err_h: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Return the computed ½hᵀ(A + λI)⁺h, a bound on √exact − √computed, and the name of each bound.

    `dlcore.certificate.rounding.squared` splits the eigenvectors into C, whose eigenvalues are certain, and U. At
    λ = 0, U is treated as the null space of A, and the name of the bound states the rank |C|.

    Args:
      spectrum: the eigendecomposition of A.
      h: in the scale of the spectrum, shape (H, m).
      l2: λ, shape (H,).
      err_h: a bound on the error of h, shape (H,).
    """
    count = h.shape[1]
    err_h = squared_errors.err_rotated(err_h, count, row_norms(h))
    squares = np.square(h if spectrum.vectors is None else h @ spectrum.vectors)
    name = "duality" if spectrum.vectors is None else "exact"
    gap, err_root, names = np.zeros(len(h)), np.zeros(len(h)), np.full(len(h), name, dtype=object)
    for penalty in np.unique(l2):
        same = np.flatnonzero(l2 == penalty)
        same = slice(same[0], same[-1] + 1) if same[-1] - same[0] + 1 == len(same) else same
        certain, lower = squared_errors.certain_eigenvalues(spectrum.values, penalty, spectrum.err)
        computed = np.where(certain, spectrum.values + penalty, np.inf)
        factors = np.stack([1 / computed, 1 / lower, ~certain, certain], axis=1)
        sums = squares[same] @ factors
        gap[same] = sums[:, 0] / 2
        err_values = np.maximum(np.sqrt(sums[:, 1] / 2) - np.sqrt(gap[same]), 0)
        norms = np.sqrt(sums[:, 2]), np.sqrt(sums[:, 3])
        smallest, rank = lower.min(), int(certain.sum())
        err_root[same] = squared_errors.err_root_gap(
            err_values, norms, err_h[same], penalty, smallest, full_rank=rank == count
        )
        if penalty == 0 and rank < count:
            refuted = squared_errors.is_rank_refuted(norms, err_h[same], spectrum.err, smallest)
            err_root[same] = np.where(refuted, np.inf, err_root[same])
            none = f"none: of {count} columns only {rank} are independent in float64"
            names[same] = np.where(refuted, none, f"exact if the rank is {rank}")
    return gap, err_root, names
