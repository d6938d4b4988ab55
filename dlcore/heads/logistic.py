"""Logistic heads of every strength and fold: a few by Newton, the others by their neighbours' curvature.

Anchors, strengths spread over the range, are solved with their own curvature. Between two of them both the
optimum and the curvature change smoothly with log λ: a head starts at the interpolated optimum and steps with
the interpolated curvature and its own λ, for which gradients alone are needed. A fold's heads start at those of
all rows and step with the same curvature. A head for which that is too slow
gets its own: Newton is what always works.
"""

import functools

import jax
import numpy as np

from dlcore._types import Array
from dlcore.heads import descent
from dlcore.heads.descent import Descended, Slots
from dlcore.heads.inputs import Inputs, Rows
from dlcore.objective import BlockedData

ANCHORS = 8
SLOTS = 32
SLOT_BYTES = 2**28
"""Curvatures and factors of all slots together stay about this small."""
BLOCK_BYTES = 2**17
"""Size of the logits of a block on a CPU: a few arrays of it stay in the second-level cache."""
CHORD_STEPS = 14
"""A head that is not flat after so many passes gets its own curvature."""
SAMPLE_STEPS = 20
FLOAT32_STEPS = 30
"""A head that is not flat after so many passes gets curvature in float64."""
SAMPLE = 32
"""Rows per column with which Newton starts, where there are many more."""


class Sweep:
    """The state of a sweep on the host: what each head has reached, and the rows on the device."""

    def __init__(self, inputs: Inputs, rows: Rows, *, fit_intercept: bool, tol: float, max_steps: int) -> None:
        fits, strengths, columns = len(inputs.train), len(inputs.l2), inputs.x.shape[1] + 1
        self.l2, self.max_steps = inputs.l2, max_steps
        room = max(1, SLOT_BYTES // (8 * columns**2))
        self.anchors, self.slots = min(ANCHORS, max(2, room // 4)), min(SLOTS, max(2, room))
        marks = jax.device_put(
            np.stack([inputs.y.astype(np.uint32), np.asarray(rows.train), np.asarray(rows.test)], axis=1)
        )
        self.data = BlockedData(rows.x, marks, rows.weight, self._block(rows.x))
        self.intercept = jax.device_put(np.float64(fit_intercept))
        self.radius = descent.spread(self.data)
        mass = np.where(inputs.train, inputs.weight, 0)
        self.total = mass.sum(1)
        share = (mass * inputs.y).sum(1) / self.total
        self.entropy = -(share * np.log(share) + (1 - share) * np.log1p(-share))
        self.accuracy = np.full((fits, strengths), tol / 4)
        self.theta = np.zeros((fits, strengths, columns))
        if fit_intercept:
            self.theta[:, :, -1] = (np.log(share) - np.log1p(-share))[:, None]
        self.steps = np.zeros((fits, strengths), np.int64)
        self.flat = np.zeros((fits, strengths), bool)
        self.separates = np.zeros((fits, strengths), bool)
        self.curvature: dict[int, np.ndarray] = {}
        self._sample_start = self._sample(inputs, rows.weight)

    def _block(self, x: Array) -> int:
        """Rows per block, from the shape of X alone."""
        if next(iter(x.devices())).platform != "cpu":
            return max(1, min(len(x), 2**28 // (8 * max(x.shape[1], self.slots))))
        return max(1, min(len(x), BLOCK_BYTES // (8 * self.slots)))

    def _sample(self, inputs: Inputs, weight_of: Array) -> tuple[BlockedData, float] | None:
        """Every so many rows, for Newton's first steps; None where that is no small part or lacks a class."""
        stride = len(inputs.x) // (SAMPLE * self.theta.shape[-1])
        if stride < 4:
            return None
        weight = inputs.weight[::stride]
        if len(np.unique(inputs.y[::stride][weight > 0])) < 2:
            return None
        x, marks, weights = _every(self.data.x, self.data.y, weight_of, stride)
        return BlockedData(x, marks, weights, min(self.data.block, len(x))), float(weight.sum())

    def run(self) -> None:
        """All heads: those of all rows first, because the folds start from them."""
        positive = np.flatnonzero(self.l2 > 0)
        chosen = spaced(self.l2, positive, self.anchors)
        if len(chosen):
            self._newton([(0, int(k)) for k in chosen], sampled=True)
            others = [int(k) for k in positive if k not in set(chosen)]
            self._start_between(chosen, others)
            self._chord(chosen, [(0, k) for k in others])
        self._own_curvature()
        for fit in range(1, len(self.theta)):
            self.theta[fit] = self.theta[0]
        self._chord(chosen, [(f, int(k)) for f in range(1, len(self.theta)) for k in positive])
        self._own_curvature()

    def _own_curvature(self) -> None:
        """Newton for what has been started and is not flat; the unpenalised start at the weakest penalty's."""
        fits = range(len(self.theta)) if self.steps[1:].any() or (self.l2 == 0).all() else range(1)
        positive = np.flatnonzero(self.l2 > 0)
        for k in np.flatnonzero(self.l2 == 0):
            if len(positive) and not self.steps[0, k]:
                self.theta[0, k] = self.theta[0, positive[self.l2[positive].argmin()]]
        self._newton([(f, int(k)) for f in fits for k in range(len(self.l2)) if not self.flat[f, k]])

    def again(self, heads: list[tuple[int, int]], closer: np.ndarray) -> bool:
        """Those heads once more, aiming closer by a factor each; False where none has steps left."""
        left = [(f, k) for f, k in heads if self.steps[f, k] < self.max_steps]
        for f, k in left:
            self.accuracy[f, k] *= closer[f, k]
            self.flat[f, k] = False
        self._newton(left, wide=True)
        return bool(left)

    def _newton(self, heads: list[tuple[int, int]], *, sampled: bool = False, wide: bool = False) -> None:
        """Newton's steps for these heads, curvature in float32 and, where that was not enough, in float64."""
        if sampled and self._sample_start is not None:
            sample, total = self._sample_start
            for batch in _batches(heads, self.anchors):
                slots = self._slots(batch, self.anchors)
                slots = slots._replace(
                    total=jax.device_put(np.full(self.anchors, total)),
                    accuracy=jax.device_put(np.full(self.anchors, 1e-2)),
                    steps=jax.device_put(np.minimum(np.asarray(slots.steps), SAMPLE_STEPS)),
                )
                done = descent.newton(slots, sample, self.intercept, self.radius, curved="float32")
                theta = np.asarray(done.theta)
                for slot, (f, k) in enumerate(batch):
                    if np.isfinite(theta[slot]).all():
                        self.theta[f, k] = theta[slot]
        for curved in ("float64",) if wide else ("float32", "float64"):
            heads = [(f, k) for f, k in heads if not self.flat[f, k] and self.steps[f, k] < self.max_steps]
            limit = self.max_steps if curved == "float64" else FLOAT32_STEPS
            for batch in _batches(heads, self.anchors):
                slots = self._slots(batch, self.anchors, limit)
                done = descent.newton(slots, self.data, self.intercept, self.radius, curved=curved)
                self._keep(batch, done)
                curvature = np.asarray(done.curvature, np.float32)
                for slot, (f, k) in enumerate(batch):
                    if f == 0:
                        self.curvature[k] = curvature[slot]

    def _chord(self, chosen: np.ndarray, heads: list[tuple[int, int]]) -> None:
        """Gradient-only steps for these heads, with the curvature between the anchors."""
        if not heads:
            return
        curvature = np.stack([self.curvature[int(k)] for k in chosen])
        short = np.repeat(curvature[-1:], self.anchors - len(curvature), axis=0)
        anchors = jax.device_put(np.concatenate([curvature, short]))
        knots = np.log(self.l2[chosen])
        for batch in _batches(heads, self.slots):
            where = np.log(self.l2[[k for _, k in batch]])
            left = np.clip(np.searchsorted(knots, where, side="right") - 1, 0, max(len(knots) - 2, 0))
            share = np.zeros(len(batch))
            if len(knots) > 1:
                share = (where - knots[left]) / (knots[left + 1] - knots[left])
            left, share = _padded(left.astype(np.int32), self.slots), _padded(share, self.slots)
            slots = self._slots(batch, self.slots, CHORD_STEPS)
            done = descent.chord(slots, self.data, self.intercept, self.radius, anchors, left, share)
            self._keep(batch, done)

    def _slots(self, batch: list[tuple[int, int]], size: int, limit: int = 2**30) -> Slots:
        """These heads in a fixed number of slots; the ones that stand empty repeat the first and make no step."""
        fit, k = (_padded(np.array(numbers), size) for numbers in zip(*batch, strict=True))
        left = np.minimum(np.maximum(self.max_steps - self.steps[fit, k], 1), limit).astype(np.int32)
        left[len(batch) :] = 0
        put = jax.device_put
        return Slots(
            put(self.theta[fit, k]),
            put(self.l2[k]),
            put(fit.astype(np.uint32)),
            put(self.total[fit]),
            put(self.accuracy[fit, k]),
            put(1e-3 * self.entropy[fit]),
            put(left),
        )

    def _keep(self, batch: list[tuple[int, int]], done: Descended) -> None:
        theta, steps, wrong, flat = (np.asarray(part) for part in (done.theta, done.steps, done.wrong, done.flat))
        for slot, (f, k) in enumerate(batch):
            self.theta[f, k], self.flat[f, k], self.separates[f, k] = theta[slot], flat[slot], wrong[slot] == 0
            self.steps[f, k] += steps[slot]

    def _start_between(self, chosen: np.ndarray, others: list[int]) -> None:
        """Lagrange's polynomial in log λ through the four nearest anchors."""
        knots = np.log(self.l2[chosen])
        for k in others:
            where = np.log(self.l2[k])
            near = np.sort(np.argsort(abs(knots - where), kind="stable")[:4])
            self.theta[0, k] = sum(
                self.theta[0, chosen[i]]
                * np.prod([(where - knots[j]) / (knots[i] - knots[j]) for j in near if j != i])
                for i in near
            )

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean loss, share predicted right), each (folds, L), on the rows that the fold holds out."""
        heads = [(f, k) for f in range(1, len(self.theta)) for k in range(len(self.l2))]
        loss, right = np.zeros(self.theta.shape[:2]), np.zeros(self.theta.shape[:2])
        for batch in _batches(heads, self.slots):
            sums = descent.held_out(self._slots(batch, self.slots), self.data, self.intercept)
            for slot, (f, k) in enumerate(batch):
                loss[f, k], right[f, k] = float(sums[0][slot]), float(sums[1][slot])
        return loss[1:], right[1:]


def spaced(l2: np.ndarray, positive: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the positive strengths, evenly over their logarithms, ascending; each value once."""
    values, first = np.unique(l2[positive], return_index=True)
    if len(values) <= most:
        return positive[first]
    wanted = np.linspace(np.log(values[0]), np.log(values[-1]), most)
    nearest = np.unique(abs(np.log(values)[None] - wanted[:, None]).argmin(1))
    return positive[first[nearest]]


@functools.partial(jax.jit, static_argnums=3)
def _every(x: Array, marks: Array, weights: Array, stride: int) -> tuple[Array, Array, Array]:
    return x[::stride], marks[::stride], weights[::stride]


def _batches(heads: list[tuple[int, int]], size: int) -> list[list[tuple[int, int]]]:
    return [heads[start : start + size] for start in range(0, len(heads), size)]


def _padded(numbers: np.ndarray, size: int) -> np.ndarray:
    """Filled up with the first."""
    return np.concatenate([numbers, np.repeat(numbers[:1], size - len(numbers))])
