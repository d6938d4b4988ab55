"""Certificates of ridge heads, fit after fit, from sums over rows that all fits share."""

import numpy as np

from dlcore.certificate import Certificate
from dlcore.certificate.bounds.squared import RowSums, bounds_of_set
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.result import certificate_from_bounds
from dlcore.certificate.rows import scaled_weights
from dlcore.heads.data.training_data import TrainingData
from dlcore.heads.files import merge_certificates
from dlcore.heads.result import is_idle, statuses

DUALITY_TOL = 1e-12
"""The duality bound, which needs no Gram matrix, is used if it is at most this times min(J, E)."""


class RidgeCertifier:
    """Certifier of the heads of every fit. It shares sums over rows between fits."""

    def __init__(self, inputs: TrainingData, *, fit_intercept: bool, tol: float) -> None:
        same = (inputs.weight == inputs.weight[0]).all()
        weights = inputs.train if same else np.where(inputs.train, inputs.weight, 0)
        y = inputs.y.reshape(len(inputs.y), -1)
        self._sums = RowSums(inputs.x, y, scaled_weights(weights))
        self._l2, self._tol, self._fit_intercept = inputs.l2, tol, fit_intercept

    def certify_fit(
        self, fit: int, coef: np.ndarray, intercept: np.ndarray, scale: np.ndarray | None
    ) -> tuple[Certificate, np.ndarray]:
        """Return the certificate and the status of the heads of a fit, in arrays of shape (L, targets).

        A head that differs from the null head by rounding only is set to the null head, in place, if the null head
        converges.

        Args:
          fit: the number of the fit.
          coef: shape (L, targets, m).
          intercept: shape (L, targets).
          scale: divisors of the columns, shape (m,), if they are standardised.
        """
        shape = intercept.shape
        l2 = np.repeat(self._l2[fit], shape[1])

        def certificate_of_heads() -> Certificate:
            bias = intercept.reshape(-1) if self._fit_intercept else None
            with np.errstate(over="ignore", invalid="ignore"):
                heads = HeadArrays(coef.reshape(len(l2), -1), bias, l2, scale)
                bounds = bounds_of_set(self._sums, fit, heads, min(DUALITY_TOL, self._tol))
            return certificate_from_bounds(bounds, shape)

        certificate = certificate_of_heads()
        idle = is_idle(certificate, self._tol)
        if idle.any():
            before, known = (coef.copy(), intercept.copy()), certificate
            level = self._sums.moments(fit).y_mean if self._fit_intercept else 0.0
            coef[idle] = 0
            intercept[...] = np.where(idle, level, intercept)
            certificate = certificate_of_heads()
            better = certificate.gap <= certificate.gap_tol(self._tol)
            coef[~better], intercept[~better] = (part[~better] for part in before)
            certificate = merge_certificates(better, certificate, known)
        names = np.reshape(np.array(certificate.bound), shape)
        return certificate, statuses(
            certificate.gap, certificate.gap_tol(self._tol), np.ones(shape), names, np.zeros(shape, bool)
        )
