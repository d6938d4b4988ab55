r"""The duality gap of softmax heads.

With the rows $p_i$ of probabilities, one-hot $y_i$ and any rows q of probabilities whose residuals sum to zero in
each class, $\sum_i s_i(q_i - y_i) = 0$,

$J - J^* \le \frac1S\sum_i s_i\,\mathrm{KL}(q_i\|p_i)
+ \frac{1}{2\lambda}\|\frac1S (s\circ(q - y))^\top X + \lambda W\|_F^2$

Here W are the coefficients, shape (K, m). The loss of a row of logits z is
$\ell_i(z) = (q_i - y_i)\cdot z + H(q_i) + \mathrm{KL}(q_i\|\mathrm{softmax}\,z)$
with the entropy H. Let G be the first term inside the norm. Summed over the rows,
$J(W, b) = \langle G, W\rangle + \bar H(q) + \overline{\mathrm{KL}} + \frac\lambda2\|W\|^2$. The intercepts drop
out, because they are multiplied by the sums of the residuals. At the optimum KL is at least 0 and
$\langle G, W^*\rangle + \frac\lambda2\|W^*\|^2 \ge -\|G\|^2/2\lambda$. The difference is the bound.

The repair of p. Let $M_k = \sum_i s_i p_{ik}$ be the column sums and $N_k$ the weights of the classes. From each
column with $M_k > N_k$ the fraction $a_k = (M_k - N_k)/M_k$ is subtracted. A row loses
$d_i = \sum_k a_k p_{ik}$. This mass is added to the columns with $M_k < N_k$ in the proportions π of $N_k - M_k$.
So $q_i = p_i - a\circ p_i + d_i\pi$ is linear in p. Rows stay probabilities, columns sum to N, and the gradient
for q comes from that for p without another pass.

With a scale σ, norms are taken of x/σ and σw. The logits (x/σ)·(σw) equal x·w. The gradient for x/σ is the
gradient for x divided by σ.

A row with soft labels y counts as K rows: the row of class k has the weight s·y_k. The K rows share p and q. In
column k their residuals sum to $(1 - y_k)p_k - y_k(1 - p_k)$, and r is $\sum_k y_k(1 - p_k)$.
"""

from typing import NamedTuple

import numpy as np

from dlcore._core import host_checks
from dlcore.certificate.bounds.base import CertifiedLoss, probabilities
from dlcore.certificate.bounds.row_losses import CLASS_LOSS
from dlcore.certificate.bounds.soft_labels import is_soft, soft_terms
from dlcore.certificate.head_arrays import HeadArrays
from dlcore.certificate.result import Bounds, duality_names
from dlcore.certificate.rounding.base import improvement_bound, sum_rounding
from dlcore.certificate.rounding.softmax import softmax_logit, softmax_rounding, softmax_sums
from dlcore.certificate.rows import TrainingData, add_runs, head_slices, map_runs, read_rows, row_norms, row_slices

SERIES_LIMIT = 1e-3
"""Up to this t, φ(t) is computed from its series, whose terms do not cancel."""
MIN_PROBABILITY = 1e-290
"""A probability below this has too few digits, and its logarithm is computed from the logit."""


class SoftmaxSums(NamedTuple):
    """Sums over rows for H heads of K classes. r is the probability of the wrong classes.

    Attributes:
      weight: Σ s of the rows of each class, shape (H, K).
      loss: Σ s·ℓ, shape (H,).
      mass: Σ s·r, shape (H,).
      excess: Σ s·(p − y), shape (H, K).
      grad_coef: Σ s·(p − y)·x, shape (H, K, m).
      class_feature_sums: Σ s·x over the rows of each class, shape (H or 1, K, m).
      weighted_norm_sum: Σ s·r·‖x/σ‖, the measure of the rounding of the gradient, shape (H,).
      max_row_norm: the largest ‖x/σ‖ among the rows of positive weight, shape (H,).
    """

    weight: np.ndarray
    loss: np.ndarray
    mass: np.ndarray
    excess: np.ndarray
    grad_coef: np.ndarray
    class_feature_sums: np.ndarray
    weighted_norm_sum: np.ndarray
    max_row_norm: np.ndarray


class _Repair(NamedTuple):
    """The repair of p, shape (H, K) each.

    Attributes:
      fraction_removed: the fraction a of each column that is subtracted.
      proportion_added: the proportion π in which the removed mass is added to each column.
    """

    fraction_removed: np.ndarray
    proportion_added: np.ndarray


def softmax_bounds(heads: HeadArrays, data: TrainingData, center: np.ndarray | None = None) -> Bounds:
    """Return J, ‖∇J‖, the bound and its rounding for H heads.

    Args:
      heads: H heads. With a center, the intercepts are those for centered rows.
      data: rows of classes 0, 1, …, or of their probabilities, shape (n, K), centered if there is a center.
      center: shape (m,), or None.
    """
    count, classes, features = heads.coef.shape
    l2, has_intercept = heads.l2, heads.intercept is not None
    intercept = np.zeros((count, classes)) if heads.intercept is None else heads.intercept
    sums = _softmax_sums(heads, intercept, data)
    total = sums.weight.sum(-1)
    scale = np.ones(features) if heads.scale is None else heads.scale
    scaled_coef = heads.coef * scale
    coef_norm = np.linalg.norm(scaled_coef.reshape(count, -1), axis=1)
    grad_coef = sums.grad_coef if center is None else sums.grad_coef + sums.excess[:, :, None] * center
    gradient = grad_coef / total[:, None, None] + l2[:, None, None] * scaled_coef * scale  # of the rows as given
    gradient_norm = np.linalg.norm(gradient.reshape(count, -1), axis=1)
    divergence, moved, repaired = np.zeros(count), np.zeros(count), sums.grad_coef
    if has_intercept:
        gradient_norm = np.hypot(gradient_norm, np.linalg.norm(sums.excess, axis=1) / total)
        repair = _repair(sums)
        removed, added = repair
        divergence = _divergence(heads.coef, intercept, data, repair, sums) / total
        moved = np.maximum(sums.excess, 0).sum(-1) / total  # the mass that the repair moves
        whole = sums.grad_coef + sums.class_feature_sums  # Σ s·p·x
        lost = np.einsum("hk,hkm->hm", removed, whole)
        repaired = sums.grad_coef - removed[:, :, None] * whole + added[:, :, None] * lost[:, None, :]
    residue = repaired / total[:, None, None] / scale + l2[:, None, None] * scaled_coef
    grad_norm = np.linalg.norm(residue.reshape(count, -1), axis=1)

    rounding_of_sums = sum_rounding(row_slices(data.x, count, classes))
    err_sums = softmax_sums(rounding_of_sums.sums, classes, soft=is_soft(data))
    err_z = softmax_logit(heads, scaled_coef, sums.max_row_norm)
    value = sums.loss / total + l2 / 2 * coef_norm**2
    null_value = _null_value(sums, has_intercept=has_intercept)
    err_loss = 4 * err_z * (sums.mass / total)
    improvement = improvement_bound(value, null_value, l2 / 2 * coef_norm**2, err_sums, err_loss)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        gap = divergence + grad_norm**2 / (2 * l2)
    rounding = softmax_rounding(
        heads,
        sums,
        moved=moved,
        gap=gap,
        grad_norm=grad_norm,
        coef_norm=coef_norm,
        err_z=err_z,
        err_sums=err_sums,
        err_products=rounding_of_sums.products,
    )
    names = duality_names(l2, (sums.weight == 0).any(-1) & has_intercept)
    return Bounds(value, gradient_norm, gap, rounding, names, null_value, improvement)


def _softmax_sums(heads: HeadArrays, intercept: np.ndarray, data: TrainingData) -> SoftmaxSums:
    """Return the sums over all rows."""
    count, classes, _ = heads.coef.shape
    blocks = row_slices(data.x, count, classes)
    runs = map_runs(lambda some: _sums_of_blocks(some, heads, intercept, data), blocks)
    max_row_norm = np.max([run.max_row_norm for run in runs], axis=0)
    return SoftmaxSums(*add_runs([run[:-1] for run in runs]), max_row_norm=max_row_norm)


def _sums_of_blocks(
    blocks: list[slice], heads: HeadArrays, intercept: np.ndarray, data: TrainingData
) -> SoftmaxSums:
    """Return the sums over the rows of some blocks."""
    coef, (x, y, weights) = heads.coef, data
    count, classes, features = coef.shape
    loss, mass, weighted_norm_sum, max_row_norm = np.zeros((4, count))
    weight, excess = np.zeros((2, count, classes))
    grad_coef, class_feature_sums = np.zeros_like(coef), np.zeros((len(weights.values), classes, features))
    buffer = np.empty((blocks[0].stop - blocks[0].start, features))
    for block in blocks:
        rows = read_rows(x, block, buffer)
        norms = row_norms(rows, heads.scale)
        soft = y[block] if is_soft(data) else None
        label = y[block].astype(np.intp) if soft is None else np.zeros(0, np.intp)
        for k in np.unique(label) if soft is None else range(classes):
            if soft is None:
                in_class = label == k
                class_weight = np.ascontiguousarray(
                    weights.block(block)[:, in_class]
                )  # so that its sum is pairwise
            else:
                in_class, class_weight = slice(None), weights.block(block) * soft[:, k]
            weight[:, k] += class_weight.sum(-1)
            class_feature_sums[:, k] += class_weight @ rows[in_class]
        for h in head_slices(count, len(rows), classes):
            row_weight = weights.block(block, h)
            powers, shifted = _exponentials(coef[h], intercept[h], rows)
            if soft is None:
                residual, losses, p_wrong = _label_terms(powers, shifted, label, row_weight)
            else:
                residual, losses, p_wrong = soft_terms(powers, shifted, soft, row_weight)
            loss[h] += (row_weight * losses).sum(-1)
            mass[h] += p_wrong.sum(-1)
            excess[h] += residual.sum(-1)
            grad_coef[h] += (residual.reshape(-1, len(rows)) @ rows).reshape(-1, classes, features)
            weighted_norm_sum[h] += p_wrong @ norms
            max_row_norm[h] = np.maximum(max_row_norm[h], np.where(row_weight > 0, norms, 0).max(-1))
    return SoftmaxSums(weight, loss, mass, excess, grad_coef, class_feature_sums, weighted_norm_sum, max_row_norm)


def _label_terms(
    powers: np.ndarray, shifted: np.ndarray, label: np.ndarray, row_weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return s(p − y), shape (H, K, n), the losses and s·r, shape (H, n) each. `powers` is overwritten."""
    index = np.arange(len(label))
    true_power, true_logit = powers[:, label, index].copy(), shifted[:, label, index]
    powers[:, label, index] = 0
    rest = powers.sum(1)
    whole = rest + true_power
    # −ln p of the true class. If its logit is the largest, its power is 1, and log1p is exact for small rest.
    losses = np.where(true_logit == 0, np.log1p(rest), np.log(whole) - true_logit)
    p_wrong = row_weight * (rest / whole)
    powers *= (row_weight / whole)[:, None, :]
    powers[:, label, index] = -p_wrong
    return powers, losses, p_wrong


def _repair(sums: SoftmaxSums) -> _Repair:
    """Return the repair of p.

    The repair needs a column sum above its class weight and a column sum below. Otherwise q = p.
    """
    is_over = sums.excess > 0
    full = sums.weight + sums.excess
    removed = np.divide(sums.excess, full, out=np.zeros_like(full), where=is_over)
    lack = np.maximum(-sums.excess, 0)
    total_lack = lack.sum(-1, keepdims=True)
    possible = (total_lack > 0) & is_over.any(-1, keepdims=True)
    added = np.divide(lack, total_lack, out=np.zeros_like(lack), where=possible)
    return _Repair(np.where(possible, np.minimum(removed, 1), 0), added)


def _divergence(
    coef: np.ndarray, intercept: np.ndarray, data: TrainingData, repair: _Repair, sums: SoftmaxSums
) -> np.ndarray:
    r"""Return Σ s·KL(q‖p), shape (H,).

    With $\varphi(t) = (1 + t)\ln(1 + t) - t$ and $q = (1 + t)p$ it is Σ s·p·φ(t), a sum of terms ≥ 0. In the
    columns that lose mass, t = −a, the same in all rows. In the columns that gain mass, t = dπ/p.
    """
    count, classes, _ = coef.shape
    a = repair.fraction_removed
    with np.errstate(divide="ignore", invalid="ignore"):
        losses = np.where(a < 1, (1 - a) * np.log1p(-a) + a, 1.0)
        losses = np.where(a < SERIES_LIMIT, a * a * _phi_series(-a), losses)
    total = ((sums.weight + sums.excess) * losses).sum(-1)
    if not a.any():
        return total
    blocks = row_slices(data.x, count, classes)
    return total + sum(map_runs(lambda some: _gains_of_blocks(some, coef, intercept, data, repair), blocks))


def _gains_of_blocks(
    blocks: list[slice], coef: np.ndarray, intercept: np.ndarray, data: TrainingData, repair: _Repair
) -> np.ndarray:
    """Return the sum of s·p·φ(t) over the rows of some blocks and the columns that gain mass, shape (H,)."""
    count, classes, features = coef.shape
    a, added = repair
    total = np.zeros(count)
    buffer = np.empty((blocks[0].stop - blocks[0].start, features))
    for block in blocks:
        rows = read_rows(data.x, block, buffer)
        for h in head_slices(count, len(rows), classes):
            if not a[h].any():
                continue
            p, shifted = _exponentials(coef[h], intercept[h], rows)
            whole = p.sum(1, keepdims=True)
            p /= whole
            gain = np.matmul(a[h, None, :], p) * added[h, :, None]
            gains = _gains(p, gain, shifted, whole)
            total[h] += (data.weights.block(block, h) * gains.sum(1)).sum(-1)
    return total


def _gains(p: np.ndarray, gain: np.ndarray, shifted: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return p·φ(gain/p), shape (H, K, n). p is the exponential of `shifted` over `whole`.

    For p below `MIN_PROBABILITY` the logarithm comes from the logits.
    """
    is_large = gain > SERIES_LIMIT * p
    ratio = np.divide(gain, p, out=np.zeros_like(p), where=(gain > 0) & ~is_large)
    small = gain * ratio * _phi_series(ratio)
    if not is_large.any():
        return small
    is_tiny = (p < MIN_PROBABILITY) & is_large
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        logarithm = np.log1p(gain / np.where(p < MIN_PROBABILITY, 1, p))
    if is_tiny.any():
        head, _, row = np.nonzero(is_tiny)
        log_ratio = np.log(gain[is_tiny]) - shifted[is_tiny] + np.log(whole[head, 0, row])
        logarithm[is_tiny] = np.logaddexp(0, log_ratio)
    return np.where(is_large, (p + gain) * logarithm - gain, small)


def _phi_series(t: np.ndarray) -> np.ndarray:
    """Return φ(t)/t² for |t| ≤ `SERIES_LIMIT`: ½ − t/6 + t²/12 − t³/20 + t⁴/30.

    The truncation has a relative error below 2e-16.
    """
    return 1 / 2 - t * (1 / 6 - t * (1 / 12 - t * (1 / 20 - t / 30)))


def _exponentials(coef: np.ndarray, intercept: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return e^(z − max z), and the exponents, shape (H, K, n)."""
    heads, classes, features = coef.shape
    shifted = (coef.reshape(-1, features) @ rows.T).reshape(heads, classes, len(rows))
    shifted += intercept[:, :, None]
    shifted -= shifted.max(1, keepdims=True)
    return np.exp(shifted), shifted


def _null_value(sums: SoftmaxSums, *, has_intercept: bool) -> np.ndarray:
    """Return the entropy of the fractions of the classes, or ln K without intercepts."""
    if not has_intercept:
        return np.full(len(sums.weight), np.log(sums.weight.shape[1]))
    fraction = sums.weight / sums.weight.sum(-1, keepdims=True)
    return -(fraction * np.log(np.where(fraction > 0, fraction, 1))).sum(-1)


def _accept_targets(y: np.ndarray, weights: np.ndarray | None) -> None:
    """Accept any targets here: `_check_targets_of_heads` checks them, when the number of classes is known."""
    del y, weights


def _check_targets_of_heads(y: np.ndarray, weights: np.ndarray, heads: HeadArrays) -> None:
    """Check that `y` has class indices of the heads."""
    del weights
    classes = heads.coef.shape[1]
    host_checks.check_rank("y", y, 1, "[n]")
    values = np.unique(y).astype(np.float64)
    invalid = values[(values < 0) | (values >= classes) | (values != np.floor(values))]
    if len(invalid):
        shown = ", ".join(f"{value:g}" for value in invalid[:5]) + (", …" if len(invalid) > 5 else "")
        raise ValueError(
            f"y: expected labels 0 to {classes - 1}, indices of the {classes} classes of heads.coef, got {shown}"
        )


def _check_labels_and_count_logits(y: np.ndarray, weights: np.ndarray) -> int:
    del weights
    if (y != np.floor(y)).any() or (y < 0).any():
        raise ValueError(f"y: expected labels 0, 1, …, the class indices, got {np.unique(y)[:5]}")
    return int(y.max()) + 1


def _predict(logits: np.ndarray) -> np.ndarray:
    return logits.argmax(-2)


SOFTMAX = CertifiedLoss(
    "softmax",
    softmax_bounds,
    _accept_targets,
    _predict,
    probabilities,
    check_targets_of_heads=_check_targets_of_heads,
    has_classes=True,
    check_labels_and_count_logits=_check_labels_and_count_logits,
    row_loss=CLASS_LOSS,
)
"""The cross-entropy of a softmax."""
