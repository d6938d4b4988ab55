"""Softmax heads of every strength and fold: L-BFGS in a shared metric, on a sample of the rows first.

A group of strengths starts together on the sample, where a pass costs a small part, and goes on with all rows and
the memory of what the sample has shown of the curvature. A fold's heads start where those of all rows have
ended, with their memory too. What float32 cannot bring to its goal goes on in float64; what has
no end there is left to Newton's method with the whole Hessian, where that is small.
"""

import functools
from typing import Any

import jax
import numpy as np

from dlcore._core.jit_cache import cached_jit
from dlcore._core.types import Array
from dlcore.devices import to_device
from dlcore.heads.damped import UNKNOWN
from dlcore.heads.frame import frame_of, of_rows_as_given
from dlcore.heads.full_newton import FULL_NEWTON, Given
from dlcore.heads.inputs import Inputs, Rows
from dlcore.heads.laps import run
from dlcore.heads.metric import metric_of
from dlcore.heads.multinomial import Place, Task, held_out
from dlcore.heads.packing import batches, padded, rows_at_once
from dlcore.heads.quasi_newton import Memory, State, descend
from dlcore.heads.stages import Stages
from dlcore.objective import BlockedData

SLOTS = 12
COLUMNS = 256
"""Heads × classes that are solved at once: enough for products at full speed."""
MEMORY_BYTES = 2**28
PAIRS = 100
"""The memory of a head: with so many pairs L-BFGS is nearly conjugate gradients that forget nothing."""
FEWEST_PAIRS = 4
WORTH = 2**26
"""Products of a pass below which programs for fewer slots, or a start on a sample, save nothing."""
BLOCK_BYTES = 2**20
"""Size of the logits of a block on a CPU."""
SAMPLE = 6
"""The sample has at most one row in so many."""
SAMPLE_STEPS = 120
SAMPLE_GOAL = 1e-3
"""The optimum of the sample is that of all rows to no better than this."""
HESSIAN = 512
"""Classes × columns up to which the whole Hessian is made, for heads that come to no end without it."""
HESSIAN_BYTES = 2**24
"""What a block's part of it takes on the way."""
KEPT = 100
"""Passes that are kept for it, at most a quarter of all."""
STATE = ("theta", "accuracy", "steps", "flat")
"""What a stage changes, of some strengths."""


def descent_block(x: Any, logits: int) -> int:
    """Rows per block where gradients are enough, of so many logits for each row."""
    return rows_at_once(x, x.shape[0], BLOCK_BYTES, 4 * max(logits, 256))


def hessian_block(x: Any, classes: int) -> int:
    """Rows per block where each head has its whole Hessian."""
    return rows_at_once(x, x.shape[0], HESSIAN_BYTES, 8 * classes**2 * (x.shape[1] + 1))


class SoftmaxSweep:
    """The state of a sweep on the host: what each head has reached, and the rows on the device."""

    def __init__(self, inputs: Inputs, rows: Rows, *, fit_intercept: bool, tol: float, max_steps: int) -> None:
        (fits, strengths), columns = inputs.l2.shape, inputs.x.shape[1] + 1
        n, classes = len(inputs.x), int(inputs.y.max()) + 1
        self.l2, self.max_steps = inputs.l2, max_steps
        self.most = max_steps - (min(KEPT, max_steps // 4) if classes * columns <= HESSIAN else 0)
        self.slots = max(1, min(SLOTS, COLUMNS // classes, MEMORY_BYTES // (8 * FEWEST_PAIRS * classes * columns)))
        room = MEMORY_BYTES // (8 * self.slots * classes * columns)
        self.pairs = max(FEWEST_PAIRS, min(PAIRS, room))
        work = n * columns * classes * self.slots
        self.sizes = _sizes(self.slots) if work > WORTH else (self.slots,)
        marks = jax.device_put(np.stack([inputs.y.astype(np.uint32), rows.train, rows.test], axis=1))
        block = descent_block(rows.x, classes * self.slots)
        self.data = BlockedData(rows.x, marks, rows.weight, block)
        self.curved = BlockedData(rows.x, marks, rows.weight, hessian_block(rows.x, classes))
        self.frame = frame_of(inputs.x, fit_intercept, None if rows.scale is None else rows.scale[0])
        self.scored = BlockedData(rows.x, marks, jax.device_put(inputs.scored), block)
        mass = np.where(inputs.train, inputs.weight, 0)
        self.total = mass.sum(1)
        labels = inputs.y.astype(np.int64)
        self.share = np.stack([np.bincount(labels, s, classes) for s in mass]) / self.total[:, None]
        self.present = self.share > 0
        self.fit_intercept = fit_intercept
        self.null_value = self._null_value()
        self.accuracy = np.full((fits, strengths), 0.7 * tol)
        self.theta = np.zeros((fits, strengths, classes, columns))
        self.reset(np.full((fits, strengths), True))
        self.steps = np.zeros((fits, strengths), np.int64)
        self.flat = np.zeros((fits, strengths), bool)
        self.sample = self._sample(labels, inputs.weight, classes) if work > WORTH else None
        scale = np.ones((fits, columns - 1)) if rows.scale is None else rows.scale
        self.ratio = (scale / scale[0]) ** 2
        self.metric = metric_of(*to_device((self.sample or self.data, self.frame)))

    def _sample(self, labels: np.ndarray, weight: np.ndarray, classes: int) -> BlockedData | None:
        """Rows in proportion to their weights, each class in its share; None where that is no small part of all.

        Evenly spaced over the sum of the weights, the rows of a class one after another; and one row of each
        class, which stands for the weight of a class that is too rare to be met otherwise.
        """
        rows, columns = self.data.x.shape
        size = min(rows // SAMPLE, max(16 * columns, rows // 32))
        spread = size - classes
        if spread < 8 * classes:
            return None
        order = np.lexsort((weight, labels))
        bound = np.cumsum(weight[order])
        met = np.searchsorted(bound, (np.arange(spread) + 0.5) / spread * bound[-1])
        drawn = order[np.minimum(met, rows - 1)]
        heaviest = order[np.searchsorted(labels[order], np.arange(classes), side="right") - 1]
        missing = np.bincount(labels[drawn], minlength=classes) == 0
        alone = np.where(missing, self.share[0] * spread, 0)
        index = np.concatenate([drawn, heaviest])
        chosen = np.argsort(index, kind="stable")
        x, marks = _rows(self.data.x, self.data.y, to_device(index[chosen].astype(np.int32)))
        weights = np.concatenate([np.ones(spread), alone])[chosen]
        self.sample_total = weights.sum()
        return BlockedData(x, marks, jax.device_put(weights), min(self.data.block, size))

    def _null_value(self) -> np.ndarray:
        """Return J of the best constant prediction of each fit, of the classes that it has."""
        if not self.fit_intercept:
            return np.log(self.present.sum(1))
        return -(self.share * np.log(np.where(self.present, self.share, 1))).sum(1)

    def reset(self, heads: np.ndarray) -> None:
        """Make null heads of these, a mask (fits, L): the best constant prediction."""
        logarithm = self.fit_intercept * np.log(np.where(self.present, self.share, 1))
        self.theta[heads] = 0
        self.theta[..., -1] = np.where(heads[..., None], logarithm[:, None], self.theta[..., -1])

    def run(self, stages: Stages) -> None:
        """All heads, a group of strengths at a time, similar ones together."""
        order = np.argsort(-self.l2[0], kind="stable")
        for start in range(0, len(order), self.slots):
            group = [int(k) for k in order[start : start + self.slots]]
            make = functools.partial(self._together, group)
            stages.on(f"strengths from {start}", self, STATE, (slice(None), group), make)

    def _together(self, group: list[int]) -> None:
        """These strengths: all rows first, then the folds."""
        heads, memory, where = [(0, k) for k in group], self._nothing(), np.arange(len(group))
        if self.sample is not None:
            memory, where = self._descend(heads, memory, where, "float32", sampled=True)
        memory, where = self._to_the_end(heads, memory, where)
        for fit in range(1, len(self.theta)):
            self.theta[fit, group] = self.theta[0, group] * self.present[fit][:, None]
        folds = [(f, k) for k in group for f in range(1, len(self.theta))]
        for batch in batches(folds, self.slots):
            self._to_the_end(batch, memory, where[[group.index(k) for _, k in batch]])

    def again(self, heads: list[tuple[int, int]], closer: np.ndarray) -> bool:
        """Those heads once more, in float64, aiming closer by a factor each; False where none has steps left."""
        left = [(f, k) for f, k in heads if self.steps[f, k] < self.max_steps]
        for f, k in left:
            self.accuracy[f, k] *= closer[f, k]
            self.flat[f, k] = False
        if self.most == self.max_steps:  # too many coefficients for the whole Hessian
            for batch in batches([(f, k) for f, k in left if self.steps[f, k] < self.most], self.slots):
                self._descend(batch, self._nothing(), np.arange(len(batch)), "float64")
        self._by_the_whole_hessian(left)
        return bool(left)

    def _to_the_end(
        self, heads: list[tuple[int, int]], memory: Memory, where: np.ndarray
    ) -> tuple[Memory, np.ndarray]:
        for dtype in ("float32", "float64"):
            if any(not self.flat[f, k] and self.steps[f, k] < self.most for f, k in heads):
                memory, where = self._descend(heads, memory, where, dtype)
        self._by_the_whole_hessian(heads)
        return memory, where

    def _by_the_whole_hessian(self, heads: list[tuple[int, int]]) -> None:
        """What of these is still short of its goal, where a penalty makes the Hessian definite."""
        if self.most == self.max_steps:
            return
        left = [(f, k) for f, k in heads if not self.flat[f, k] and self.l2[f, k] > 0]
        left = [(f, k) for f, k in left if self.steps[f, k] < self.max_steps]
        for batch in batches(left, self.slots):
            fit, k = (padded(np.array(numbers), self.slots) for numbers in zip(*batch, strict=True))
            most = np.where(np.arange(self.slots) < len(batch), self.max_steps - self.steps[fit, k], 0)
            given = Given(self._task(fit, k), self.theta[fit, k], most.astype(np.int32), self.frame)
            found = run(FULL_NEWTON, given, [self.curved])
            for at, (f, k) in enumerate(batch):
                known = self.present[f][:, None]
                self.theta[f, k] = known * (found.theta[at] - found.theta[at].mean(0, where=known))
                self.flat[f, k] = found.flat[at]
                self.steps[f, k] += found.steps[at]

    def _descend(
        self, heads: list[tuple[int, int]], memory: Memory, where: np.ndarray, dtype: str, *, sampled: bool = False
    ) -> tuple[Memory, np.ndarray]:
        """Until all of these have ended; `where` says, before and after, which slot's memory is whose."""
        data = self.data if not sampled or self.sample is None else self.sample
        state = self._state(heads, dtype, sampled=sampled)
        source, owner = padded(where, self.slots), np.arange(self.slots)
        active, order = np.asarray(state.active), np.arange(self.slots)
        while active.any():
            order = np.argsort(~active, kind="stable")
            owner, source = owner[order], source[order]
            level = int(np.searchsorted(self.sizes, active.sum()))
            numbers = (np.asarray(part, np.int32) for part in (order, source, level))
            given = to_device((state, memory, *numbers, data, self.metric, self.frame))
            state, memory = descend(*given, sizes=self.sizes, dtype=dtype)
            active, source = np.asarray(state.active), np.arange(self.slots)
        theta, left, flat = (np.asarray(part) for part in (state.theta, state.left, state.flat))
        slot = np.argsort(owner)[: len(heads)]
        for at, (f, k) in zip(slot, heads, strict=True):
            known = self.present[f][:, None]
            self.theta[f, k] = known * (theta[at] - theta[at].mean(0, where=known))
            if not sampled:
                self.flat[f, k] = flat[at]
                self.steps[f, k] = self.most - left[at]
        return memory, slot

    def _nothing(self) -> Memory:
        ring = np.zeros((self.pairs, self.slots, self.theta[0, 0].size), np.float32)
        return Memory(ring, ring, np.int32(0))

    def _state(self, heads: list[tuple[int, int]], dtype: str, *, sampled: bool) -> State:
        """These heads in all slots; the ones that stand empty repeat the first and make no step."""
        fit, k = (padded(np.array(numbers), self.slots) for numbers in zip(*heads, strict=True))
        theta, left = self.theta[fit, k], (self.most - self.steps[fit, k]).astype(np.int32)
        task, flat = self._task(fit, k), self.flat[fit, k]
        if sampled:
            goal, total = np.full(self.slots, SAMPLE_GOAL), np.full(self.slots, self.sample_total)
            task = task._replace(goal=goal, total=total)
            left, flat = np.full(self.slots, SAMPLE_STEPS, np.int32), np.zeros(self.slots, bool)
        unknown, nothing = np.full(self.slots, UNKNOWN), np.zeros(self.slots, np.int32)
        place = Place(unknown, np.zeros_like(theta), self.share[fit], nothing + 1, np.zeros(self.slots))
        active = ~flat & (left > 0) & (np.arange(self.slots) < len(heads))
        if dtype == "float32":  # which does not see what a strong penalty leaves of the logits
            active &= self.l2[fit, k] <= self.frame.radius**2
        rate = np.ones(self.slots)
        return State(task, theta, place, np.zeros_like(theta), rate, unknown, unknown, nothing, left, active, flat)

    def _task(self, fit: np.ndarray, k: np.ndarray) -> Task:
        """Return the problem of the heads of those fits and strengths."""
        return Task(
            self.l2[fit, k],
            self.ratio[fit],
            fit.astype(np.uint32),
            self.total[fit],
            self.share[fit],
            self.accuracy[fit, k],
            self.null_value[fit],
        )

    def heads(self) -> np.ndarray:
        """Weights and, last, the intercepts, −∞ of absent classes: shape (fits, L, classes, m + 1)."""
        return self._without_absent(of_rows_as_given(self.theta, self.frame))

    def _without_absent(self, theta: np.ndarray) -> np.ndarray:
        """No row is of a class that is absent."""
        theta = theta.copy()
        theta[..., -1][np.broadcast_to(~self.present[:, None], theta.shape[:-1])] = -np.inf
        return theta

    def scores(self) -> tuple[np.ndarray, np.ndarray]:
        """On what each fold holds out: Σ weight·loss and the weight of what is right, (folds, L) each."""
        heads = [(f, k) for f in range(1, len(self.theta)) for k in range(self.l2.shape[1])]
        theta = self._without_absent(self.theta)
        loss, right = np.zeros(self.theta.shape[:2]), np.zeros(self.theta.shape[:2])
        for batch in batches(heads, self.slots):
            fit, k = (padded(np.array(numbers), self.slots) for numbers in zip(*batch, strict=True))
            sums = held_out(*to_device((theta[fit, k], fit.astype(np.uint32), self.scored, self.frame)))
            for head, lost, met in zip(batch, *map(np.asarray, sums), strict=False):
                loss[head], right[head] = lost, met
        return loss[1:], right[1:]


def _sizes(most: int) -> tuple[int, ...]:
    """Ascending: one, a quarter, half, all."""
    return tuple(sorted({1, -(-most // 4), -(-most // 2), most}))


@cached_jit()
def _rows(x: Array, marks: Array, index: Array) -> tuple[Array, Array]:
    return x[index], marks[index]
