"""Newton's method for heads of small problems, down to the rounding of float64.

A gap is quadratic in the coefficients: one of 1e-8 leaves them half of their digits. Where a Hessian matrix costs
nothing, users who compare numbers get the other half too.
"""

import numpy as np

from dlcore.sklearn.types import Features

MAX_COST = 2**22
"""Multiplications of a Hessian matrix, n·p² for n rows and p coefficients, up to which heads are polished."""
STEPS = 3


def is_small(n_rows: int, n_coefficients: int) -> bool:
    """Return whether a head is polished."""
    return n_rows * n_coefficients**2 <= MAX_COST


def polish(
    rows: np.ndarray, labels: np.ndarray, weight: np.ndarray, penalty: np.ndarray, theta: np.ndarray
) -> np.ndarray:
    """Return the coefficients of a softmax head after Newton steps, shape (K, p).

    The steps are of minimum norm, so that coefficients that sum to 0 over the classes go on to do so.

    Args:
      rows: shape (n, p), with a column of ones if an intercept is fitted.
      labels: the number of the class of each row, shape (n,).
      weight: shape (n,), sums to 1.
      penalty: λ of each coefficient, shape (p,).
      theta: shape (K, p), near the optimum.

    Source: Nocedal and Wright, Numerical Optimization, section 3.3.
    """
    classes, n_columns = theta.shape
    target = np.eye(classes)[labels]
    for _ in range(STEPS):
        logits = rows @ theta.T
        probability = np.exp(logits - logits.max(1, keepdims=True))
        probability /= probability.sum(1, keepdims=True)
        gradient = (weight[:, None] * (probability - target)).T @ rows + penalty * theta
        hessian = np.zeros((classes, n_columns, classes, n_columns))
        for i in range(classes):
            for j in range(i, classes):
                factor = weight * probability[:, i] * ((i == j) - probability[:, j])
                hessian[i, :, j] = hessian[j, :, i] = (factor[:, None] * rows).T @ rows
            hessian[i, :, i] += np.diag(penalty)
        flat = hessian.reshape(theta.size, theta.size)
        step, *_ = np.linalg.lstsq(flat, gradient.ravel(), rcond=None)
        theta = theta - step.reshape(theta.shape)
    return theta


def polish_heads(
    data: tuple[Features, np.ndarray, np.ndarray],
    heads: tuple[np.ndarray, np.ndarray],
    l2: np.ndarray,
    done: np.ndarray,
    *,
    fit_intercept: bool,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the coefficients and intercepts of heads, those that are `done` with all their digits."""
    (X, labels, weight), (coef, intercept) = data, (heads[0].copy(), heads[1].copy())
    dense = (X if isinstance(X, np.ndarray) else X.toarray()).astype(np.float64)
    rows = np.column_stack([dense, np.ones(len(labels))]) if fit_intercept else dense
    penalised = np.arange(rows.shape[1]) < dense.shape[1]
    for head in np.flatnonzero(done):
        theta = np.column_stack([np.atleast_2d(coef[head]), np.atleast_1d(intercept[head])])
        is_binary = len(theta) == 1
        # Two classes are a softmax of ∓z/2. Its penalty is twice that of z.
        theta = np.concatenate([-theta, theta]) / 2 if is_binary else theta
        penalty = l2[head] * penalised * (2 if is_binary else 1)
        found = polish(rows, labels, weight / weight.sum(), penalty, theta[:, : rows.shape[1]])
        found = found[1:] - found[:1] if is_binary else found
        coef[head] = found[:, : dense.shape[1]]
        if fit_intercept:
            intercept[head] = found[:, -1] if not is_binary else found[0, -1]
    return coef, intercept
