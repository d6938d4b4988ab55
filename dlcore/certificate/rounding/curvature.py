r"""Rounding of the bound by curvature.

In the coordinates of W (`dlcore.certificate.bounds.curvature`) A is about I, and errors are measured there. Let p
be the probabilities of a row, r the probability of its wrong classes, and s its weight. Let $W(x\otimes e_k)$ be
the transformed row of class k, ξ its difference to that of the true class, and μ the smallest eigenvalue of A.

1. The error of a transformed row is at most $e_i = (KD + 4)u\sum_a\|W_{\cdot a}\||x_{ia}|$. The error of ξ, a
   difference of two of them, is at most $2e_i$ plus a relative error u.
2. Computed probabilities differ from the exact ones by factors between $e^{-2\varepsilon}$ and $e^{2\varepsilon}$.
   Here ε is the error of a difference of two logits and of its exponential. As
   $\mathrm{diag}(p) - pp^\top = \frac12\sum_{kl}p_kp_l(e_k - e_l)(e_k - e_l)^\top$, the true Hessian is at least
   $e^{-4\varepsilon}$ times the Hessian of the computed p.
3. A is $B^\top B$, where B stacks the factors of all rows. Errors E of B change $\sqrt\mu$ by at most $\|E\|_F$.
   A row adds at most $\sqrt{s\,r}$ times the sum of the error of ξ and the rounding of its operations. The reason
   is that a variance is at most the mean square of the distances from the true class. The computed $B^\top B$ has
   an error of `err_sums` times the trace of A. Its computed eigenvalues have an error of 10·K·D·u times the
   largest (LAPACK).
4. The error of g is at most $\sum s\,r\,$(2ε + `err_sums`)$\max\|\xi\|$ plus the errors of ξ and those of λw.

Source: Higham (2002), Accuracy and Stability of Numerical Algorithms, chapters 2 to 4; LAPACK Users' Guide,
section 4.7.1 (eigenvalues).
"""

import dataclasses

import numpy as np

from dlcore.certificate.rounding.base import UNIT, err_eigenvalue, err_logit


def err_transformed(size: int, reach: np.ndarray, largest: np.ndarray) -> np.ndarray:
    r"""Bound the error of ξ, step 1 above, shape (n,).

    Args:
      size: the number of coefficients, KD.
      reach: $\sum_a\|W_{\cdot a}\||x_{ia}|$, the largest over classes, shape (n,).
      largest: an upper bound on ‖ξ‖, shape (n,).
    """
    return 2 * ((size + 4) * UNIT * reach) + 4 * UNIT * largest


def err_row_logits(terms: int, magnitude: np.ndarray) -> np.ndarray:
    """Bound the error ε of the differences of logits, step 2 above, shape (n,)."""
    return 2 * (err_logit(terms, magnitude) + 6 * UNIT)


def abs_class_sum(coef: np.ndarray) -> np.ndarray:
    """Return an upper bound on |Σ_k θ_k|, the error of the sum over the K classes included, shape (D,)."""
    return np.abs(coef.sum(0)) + len(coef) * UNIT * np.abs(coef).sum(0)


def largest_distance(squares: np.ndarray, terms: int, largest: np.ndarray | None) -> np.ndarray:
    """Bound the distances whose squares are given, shape (n,).

    Args:
      squares: computed squares of distances, shape (n,).
      terms: the number of terms of each square.
      largest: the largest norm, shape (n,), if squares are ‖a‖² + ‖b‖² − 2a·b, else None.
    """
    if largest is not None:
        squares = squares + 8 * (terms + 4) * UNIT * largest**2
    return np.sqrt(squares) * (1 + (terms + 4) * UNIT)


@dataclasses.dataclass
class CurvatureErrors:
    """Errors of A and g in the coordinates of W, added up over blocks of rows: steps 2 to 4 above.

    Attributes:
      classes: K, 1 for the sigmoid.
      size: the number of coefficients, KD.
      err_sums: the relative error of sums over rows.
      err_factor: an upper bound on ‖E‖² of the errors E of B.
      err_grad: a bound on the norm of the error of g.
      err_difference: ε of step 2, the largest error of a difference of two logits and of its exponential.
    """

    classes: int
    size: int
    err_sums: float
    err_factor: float = 0.0
    err_grad: float = 0.0
    err_difference: float = 0.0

    @classmethod
    def of_blocks(cls, blocks: list[slice], classes: int, size: int) -> "CurvatureErrors":
        """Return errors of 0, with `err_sums` for these blocks of rows."""
        longest = (blocks[0].stop - blocks[0].start) * (classes + 1)
        return cls(classes, size, (longest + len(blocks) + size + 2 * classes + 40) * UNIT)

    def add_rows(
        self,
        error_weight: np.ndarray,
        largest: np.ndarray,
        err_xi: np.ndarray,
        err_logits: np.ndarray,
        residual: np.ndarray | None = None,
    ) -> None:
        """Add the errors of a block.

        Args:
          error_weight: s·r of each row, for counts s times the rate, shape (n,).
          largest: an upper bound on ‖ξ‖, shape (n,).
          err_xi: the error of ξ, shape (n,).
          err_logits: ε, shape (n,).
          residual: s·|rate − y| of counts, shape (n,). None if it is `error_weight`.
        """
        self.err_factor += float(error_weight @ (2 * err_xi + (2 * self.classes + 20) * UNIT * largest) ** 2)
        if residual is None:
            self.err_grad += float(error_weight @ ((2 * err_logits + self.err_sums) * largest + err_xi))
        else:
            self.err_grad += float(error_weight @ (2 * err_logits * largest))
            self.err_grad += float(residual @ (self.err_sums * largest + err_xi))
        self.err_difference = max(self.err_difference, float(err_logits.max()))

    def add_penalty(self, class_sums: float, trace: float, reach: float, grad_norm: float) -> None:
        """Add the errors of the penalty.

        Args:
          class_sums: Σ_a (scale_a Σ_k‖W_{·ka}‖)² over the columns a whose class sums are penalized. The terms of a
            sum may be far larger than the sum.
          trace: the trace of the penalty in the coordinates of W.
          reach: the sum of ‖W_{·a}‖·λσ²(|w| + |mean of w over the classes|).
          grad_norm: ‖g‖.
        """
        self.err_factor += float((2 * (self.classes + 4) * UNIT) ** 2 * class_sums + (4 * UNIT) ** 2 * trace)
        self.err_grad += (self.size + 4) * UNIT * reach + self.err_sums * grad_norm

    def smallest_eigenvalue(self, a: np.ndarray, values: np.ndarray) -> float:
        """Return a lower bound on the smallest eigenvalue of the exact A, or 0.

        Args:
          a: the computed A.
          values: its computed eigenvalues, ascending.
        """
        smallest = values[0] - self.err_sums * np.trace(a) - err_eigenvalue(self.size, values[-1])
        root = np.sqrt(max(smallest, 0)) - np.sqrt(self.err_factor)
        return float(max(root, 0) ** 2 * (1 - 4 * self.err_difference - 10 * UNIT))
