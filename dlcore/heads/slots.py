"""One pass over the rows for K logistic heads at once: their objectives, gradients and curvature.

A slot is one head: its strength, its fold (a bit of each row), its target (a column) and its parameters. All of
them are data, so that any heads run the same program. Heads of the same fold and target stand together, in groups
of one size, because what their rows weigh is then worked out once.
"""

import functools
from collections.abc import Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlcore._core.types import Array
from dlcore.heads.frame import Frame, about
from dlcore.heads.packing import has_bit
from dlcore.linalg import matmul
from dlcore.objective import BlockedData, sum_over_blocks


class Slots(NamedTuple):
    """K heads that are fitted together, in G groups of K / G.

    Attributes:
      theta: shape (K, m + 1), weights and, last, the intercept about the centre.
      l2: shape (K,), λ.
      aim: shape (K,), the gap that is good enough, as a share of `objective.value_scale`.
      scale: shape (K,), about what `objective.value_scale` will be, for passes that do not ask for J.
      null_value: shape (K,), J of the best constant prediction.
      spread: shape (K,), π(1 − π) with the share π of class 1.
      steps: shape (K,), int32: the passes that this slot may make; 0 for a slot that stands empty.
      total: shape (G,), the sum of the weights of a group's rows.
      bit: shape (G,), uint32, the bit that says whether a row trains a group; None where all rows do.
      target: shape (G,), int32, its column of labels; None where there is one.
      ratio: shape (G, m), what λ is multiplied by for each column; None for 1.
      balance: shape (G, 2), a factor of the weights of rows of either class; None where there is none.
    """

    theta: Any
    l2: Any
    aim: Any
    scale: Any
    null_value: Any
    spread: Any
    steps: Any
    total: Any
    bit: Any = None
    target: Any = None
    ratio: Any = None
    balance: Any = None

    @property
    def penalty(self) -> Array:
        """Shape (K, m + 1): λ of each column, and 0 for the intercept."""
        of_head = self.of_columns(self.l2[:, None])
        return jnp.concatenate([of_head, jnp.zeros_like(of_head[:, :1])], axis=1)

    def of_columns(self, numbers: Array) -> Array:
        """A number of each head, (K, 1), times the ratio of each column: shape (K, m)."""
        if self.ratio is None:
            return jnp.broadcast_to(numbers, (len(self.l2), self.theta.shape[1] - 1))
        return numbers * jnp.repeat(self.ratio, len(self.l2) // len(self.ratio), axis=0)


class Place(NamedTuple):
    """Evaluation of K heads by a pass: J, ∇J, the data's part of ∇²J, how many rows are wrong; None if not asked.

    And `penalty`, what the penalty adds to J.
    """

    value: Any
    gradient: Array
    curvature: Any
    wrong: Any
    penalty: Any = None


class Sums(NamedTuple):
    """Sums over the rows for K heads, m features; None where it is not asked for.

    Attributes:
      slope, bias: of the residuals times the rows, (K, m), and of the residuals, (K,).
      loss, wrong: of the losses, (K,), and of the rows on the wrong side, (K,) int32.
      inner, edge, corner: of the curvature, (K, m, m), (K, m) and (K,).
    """

    slope: Any
    bias: Any
    loss: Any = None
    wrong: Any = None
    inner: Any = None
    edge: Any = None
    corner: Any = None


def sums_at(slots: Slots, theta: Array, data: BlockedData, frame: Frame, *, curved: Any, valued: bool) -> Sums:
    """One pass over the rows: what J and ∇J at `theta` are made of, and the curvature.

    All in float64, but that the products of the curvature within a block are in a dtype of their own.

    Args:
      slots: K heads; their `theta` is not read.
      theta: shape (K, m + 1).
      data: x in any dtype; y of shape (n, 1 + targets), uint32: the bits of a row and its labels; weights.
      frame: how rows are read.
      curved: a dtype, or None where curvature is not asked for.
      valued: whether J and the rows on the wrong side are asked for.
    """
    group = len(slots.l2) // len(slots.total)

    def of_heads(groups: Array) -> Array:
        return groups if len(groups) == 1 else jnp.repeat(groups, group, axis=0)

    weight_of, bias = theta[:, :-1], frame.intercept * theta[:, -1:]

    def block(x: Array, marks: Array, weights: Array | None) -> Sums:
        assert weights is not None
        rows = about(x, frame, jnp.float64)
        labels = marks[:, 1:] if slots.target is None else marks[:, 1:][:, slots.target]
        positive = (labels == 1).T  # (1, n), or (G, n) where groups have targets of their own
        weight = weights[None]
        if slots.bit is not None:
            weight = jnp.where(has_bit(marks[:, 0], slots.bit), weight, 0.0)
        if slots.balance is not None:
            weight = weight * jnp.where(positive, slots.balance[:, 1:], slots.balance[:, :1])
        sign, weight = of_heads(jnp.where(positive, 1.0, -1.0)), of_heads(weight)
        margin = sign * (matmul(weight_of, rows.T) + bias)
        other = 1 / (1 + jnp.exp(margin))  # the other class's probability
        residual = -sign * weight * other
        sums = Sums(matmul(residual, rows), residual.sum(1))
        if valued:
            loss = weight * (jnp.maximum(-margin, 0) + jnp.log1p(jnp.exp(-jnp.abs(margin))))
            wrong = ((weight > 0) & (margin <= 0)).sum(1, dtype=jnp.int32)
            sums = sums._replace(loss=loss.sum(1), wrong=wrong)
        if curved is not None:
            narrow, curve = rows.astype(curved), (weight * other * (1 - other)).astype(curved)
            inner = matmul(narrow.T[None] * curve[:, None, :], narrow)
            parts = {"inner": inner, "edge": matmul(curve, narrow), "corner": curve.sum(1)}
            sums = sums._replace(**{name: part.astype(jnp.float64) for name, part in parts.items()})
        return sums

    return sum_over_blocks(block, data)


def place_of(slots: Slots, theta: Array, frame: Frame, parts: Sequence[Sums]) -> Place:
    r"""J, ∇J and curvature at `theta` from the sums of all parts of the rows, added in their order.

    The curvature is $\frac1S\sum_i s_ip_i(1-p_i)\tilde x_i\tilde x_i^\top$, where $\tilde x$ is x with a last
    entry 1, or 0 where there is no intercept.
    """
    sums = functools.reduce(lambda one, other: jax.tree.map(jnp.add, one, other), parts)
    total = jnp.repeat(slots.total, len(slots.l2) // len(slots.total))
    slope = jnp.concatenate([sums.slope, frame.intercept * sums.bias[:, None]], axis=1)
    gradient = slope / total[:, None] + slots.penalty * theta
    value = curvature = None
    penalty = (slots.penalty * theta**2).sum(1) / 2
    if sums.loss is not None:
        value = sums.loss / total + penalty
    if sums.inner is not None:
        there = frame.intercept
        edge, corner = there * sums.edge[:, :, None], there * sums.corner[:, None, None]
        above = jnp.concatenate([sums.inner, edge], axis=2)
        below = jnp.concatenate([edge.swapaxes(1, 2), corner], axis=2)
        curvature = jnp.concatenate([above, below], axis=1) / total[:, None, None]
    return Place(value, gradient, curvature, sums.wrong, penalty)


def gap_estimate(slots: Slots, frame: Frame, gradient: Array) -> Array:
    """Estimate the duality bound.

    What the repair of the intercept does to the slope is replaced by a bound on it, and its divergence by
    `intercept_gap` at the classes' shares.
    """
    squares = gradient[:, :-1] ** 2 / slots.of_columns(jnp.ones_like(slots.l2)[:, None])
    slope = jnp.sqrt(squares.sum(1)) + frame.radius * jnp.abs(gradient[:, -1])
    duality = slope**2 / (2 * jnp.where(slots.l2 > 0, slots.l2, 1.0))
    return duality + intercept_gap(gradient[:, -1], slots.spread, slots.l2, frame.radius)


def intercept_gap(gradient: Any, spread: Any, l2: Any, radius: Any, xp: ModuleType = jnp) -> Any:
    r"""Return $g^2/v$, more where the penalty is strong; arrays of one shape.

    A strong penalty makes $x\cdot w$ so small that an intercept which is good enough for J would decide every
    prediction. With $\lambda/R^2$ in front its error is as small beside $R\|w\|$ as that of w beside $\|w\|$.

    Args:
      gradient: g, of the intercept; a few roundings of a sum of probabilities count as 0.
      spread: v, no less than half the curvature.
      l2: λ.
      radius: R, the usual length of a row.
      xp: the module of the arrays, `jax.numpy` or `numpy`.
    """
    certain = xp.maximum(xp.abs(gradient) - 32 * float(np.finfo(np.float64).eps), 0)
    stricter = xp.maximum(l2 / xp.where(radius > 0, radius**2, np.inf), 1)
    return gradient**2 / spread + (stricter - 1) * certain**2 / spread
