"""The step size 1/L, at which gradient descent is known to descend."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy.typing as npt

from dlcore._core.compilation.jit_cache import cached_jit
from dlcore._core.types import Array, working_dtype
from dlcore.devices import to_device
from dlcore.linalg import matmul, matrix_transpose
from dlcore.losses import get_loss_info
from dlcore.objective import BlockedData, Objective, run_program, sum_over_blocks


def lipschitz_step(objective: Objective, data: BlockedData | Sequence[npt.ArrayLike]) -> Array:
    r"""Return 1/L, the largest constant rate at which gradient descent is known to descend.

    $L = c\,\lambda_{\max}(\tilde X^\top \mathrm{diag}(s)\,\tilde X)/S + \lambda \ge \|\nabla^2 J\|$

    Here $c$ is the curvature of the loss: squared error 2, Huber 1, softmax cross-entropy ½, sigmoid
    cross-entropy ¼. $\tilde X$ is the data with a column of ones for the bias. The computed L includes a bound on
    the rounding error of the Gram matrix and of its largest eigenvalue. So the step never exceeds the true 1/L.

    Args:
      objective: an objective with an affine model and a loss of known curvature.
      data: as `Objective.value` takes it.

    Returns:
      A scalar in the dtype of the arithmetic, or nan if the squares of x exceed the range of that dtype. The cost
      is one pass over the data and an eigenvalue problem of order features + 1. The derivative is not useful.

    Raises:
      ValueError: if the model is not affine, the curvature of the loss is not known, or the data is wrong.
      TypeError: if the data is not arrays of real numbers.

    Source: Nesterov, Lectures on Convex Optimization, section 1.2.3; Higham, Accuracy and Stability of
    Numerical Algorithms, section 3.1 (the rounding of the Gram matrix).

    >>> from dlcore.losses import squared_error
    >>> from dlcore.models import linear
    >>> x, y = jnp.array([[3.0], [-3.0]]), jnp.array([1.0, 2.0])
    >>> print(round(1 / float(lipschitz_step(Objective(linear, squared_error), (x, y))), 2))
    18.0
    """
    curvature = get_loss_info(objective.loss).curvature
    if not objective.model.affine:
        raise ValueError("lipschitz_step: the model is not affine, so no bound on its curvature is known")
    if curvature is None:
        name = getattr(objective.loss, "__name__", repr(objective.loss))
        raise ValueError(f"lipschitz_step: no bound on the curvature of the loss {name} is known")
    objective, curvature = to_device((objective, curvature))
    return run_program(lambda data: _step(objective, data, curvature), objective.prepare(data), objective)


@cached_jit()
def _step(objective: Objective, data: BlockedData, curvature: float) -> Array:
    gram, weight_sum = sum_over_blocks(_gram, data)
    features, rows = data.x.shape[1], data.x.shape[0]
    # |Ĝ - G| ≤ k·eps·|X̃|ᵀ|X̃| for sums of k terms, and the norm of |X̃|ᵀ|X̃| is at most the trace of G. The
    # eigenvalues have the same bound with the order of the matrix for k.
    terms = data.block + -(-rows // data.block) + features + 1
    rounding = terms * jnp.finfo(gram.dtype).eps * jnp.trace(gram)
    largest = jnp.linalg.eigvalsh(gram)[-1] + rounding
    bound = curvature * largest / weight_sum + jnp.asarray(objective.l2, gram.dtype)
    return 1 / (bound * (1 + 8 * jnp.finfo(gram.dtype).eps))  # these operations round too


def _gram(x: Array, y: Array, weights: Array | None) -> tuple[Array, Array]:
    """Return X̃ᵀ diag(s) X̃ and the weight sum S of a block of rows."""
    del y
    rows = x.astype(working_dtype(x.dtype))
    rows = jnp.concatenate([rows, jnp.ones((len(rows), 1), rows.dtype)], axis=1)
    scale = jnp.ones(len(rows), rows.dtype) if weights is None else weights.astype(rows.dtype)
    return matmul(matrix_transpose(rows), rows * scale[:, None]), scale.sum()
