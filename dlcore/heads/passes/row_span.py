r"""The span of few rows, where heads of many columns have few coordinates.

A component of w outside the span of the rows increases the penalty and changes no prediction. An optimal head is
therefore a combination of the rows. With centered rows $X^\top = QR$ a head is $w = Qu$. The head predicts
$Xw = R^\top u$ and has $\|w\| = \|u\|$, so that u is a head of $R^\top$, which has as many columns as rows.
"""

from typing import NamedTuple

import numpy as np

from dlcore._core.blas_threads import blas_threads_for
from dlcore.certificate.rows import HostTable
from dlcore.heads.data.centering import Centering, center_rows

COLUMNS_OF_ROW = 2
"""The least ratio of columns to rows at which passes in the span are much shorter."""
ROWS_OF_LOGIT = 8
"""The span is used if n²/m is at most this times the number of logits.

The factorisation takes n²·m operations. The saving of each logit is a multiple of m².
"""
MOST_ROWS = 2048
"""The most rows of a factorisation, which then takes seconds at most."""


class RowSpan(NamedTuple):
    """Rows in an orthonormal basis of their span, in which their columns are uncorrelated if weights are equal.

    Attributes:
      rows: the centered rows in this basis, shape (n, n), float64.
      basis: shape (m, n), float64.
      centering: that of `rows`, which are centered already.
    """

    rows: np.ndarray
    basis: np.ndarray
    centering: Centering

    def project(self, theta: np.ndarray) -> np.ndarray:
        """Return coefficients in the basis and, last, intercepts, from those of centered columns."""
        return np.concatenate([theta[..., :-1] @ self.basis, theta[..., -1:]], axis=-1)

    def expand(self, theta: np.ndarray) -> np.ndarray:
        """Return coefficients of centered columns and, last, intercepts, from those in the basis."""
        return np.concatenate([theta[..., :-1] @ self.basis.T, theta[..., -1:]], axis=-1)


def row_span(x: HostTable, centering: Centering, logits: int) -> RowSpan | None:
    """Return the span of the rows, or None if fitting in the columns is faster.

    Args:
      x: shape (n, m). The result is None for sparse rows.
      centering: the centering of the columns.
      logits: the number of heads that are fitted, times the logits of each.

    Source: Golub and Van Loan, Matrix Computations, section 5.2 (the factorisation, which is backward stable).
    """
    n, columns = x.shape
    is_quicker = COLUMNS_OF_ROW * n <= columns and n**2 <= ROWS_OF_LOGIT * logits * columns and n <= MOST_ROWS
    if not isinstance(x, np.ndarray) or not is_quicker:
        return None
    with blas_threads_for(n**2 * columns):
        basis, upper = np.linalg.qr(center_rows(x, centering, np.float64, np).T)
        turn = np.linalg.eigh(upper @ upper.T)[1]
        rows, basis = upper.T @ turn, basis @ turn
    return RowSpan(rows, basis, centering._replace(centre=np.zeros(n), unit=None, offset=np.float64(0)))
