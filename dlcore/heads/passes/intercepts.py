r"""Newton's step for the intercepts of softmax heads alone, on the host.

L-BFGS converges slowly in the intercepts if classes are nearly separable. The curvature of J along the intercepts
is then far below that of the constant prediction, which the preconditioner uses. For rows of length R, the duality
bound pays about $R^2\|g\|^2/2\lambda$ for their remaining gradient g. One Newton step removes this gradient.
"""

import numpy as np

from dlcore.heads.losses import row_loss
from dlcore.heads.losses.probabilities import probabilities
from dlcore.heads.passes.evaluate import ABSENT, HeadBatch
from dlcore.heads.passes.host_rows import HostRows

LARGEST = 0.5
"""The longest step of an intercept. A longer step may leave the quadratic model, and the head is unchanged."""


def fit_intercepts(rows: HostRows, batch: HeadBatch, theta: np.ndarray, loss: str) -> np.ndarray:
    """Return heads after one Newton step of the intercepts in float64, with unchanged coefficients.

    Args:
      rows: the rows.
      batch: the heads.
      theta: coefficients and, last, intercepts about the centre, shape (B, K, m + 1), K > 1.
      loss: name of the loss.
    """
    heads, outputs, width = theta.shape
    targets, scale = rows.scales(batch)
    present = np.asarray(batch.spread) > 0
    coef, intercept = theta[..., :-1].reshape(-1, width - 1), np.where(present, theta[..., -1], ABSENT)
    gradient, hessian = np.zeros((heads, outputs)), np.zeros((heads, outputs, outputs))
    rows.prepare("float64")
    for part in rows.parts(2 * len(coef)):
        logits = (coef @ rows.block(part, "float64").T).reshape(heads, outputs, -1) + intercept[..., None]
        weight = scale[:, None, part]
        gradient += (row_loss(loss).terms(logits, targets[:, part], np).residual * weight).sum(-1)
        p = probabilities(logits, 1)
        weighted = p * weight
        hessian -= np.matmul(weighted, p.swapaxes(1, 2))
        hessian[:, range(outputs), range(outputs)] += weighted.sum(-1)
    total = np.asarray(batch.total)[:, None]
    # Adding one number to all intercepts changes no probability, and an absent class has no gradient.
    identity = np.eye(outputs) * np.where(present, 0, 1)[..., None]
    matrix = hessian / total[..., None] + 1 / outputs + identity
    result = theta.copy()
    for head in range(heads):
        try:
            step = np.linalg.solve(matrix[head], np.where(present[head], gradient[head], 0) / total[head])
        except np.linalg.LinAlgError:
            continue
        if abs(step).max() <= LARGEST:  # false for nan too
            result[head, :, -1] -= step * present[head]
    return result
